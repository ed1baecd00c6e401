"""Calls as the first edition had them: they work as they did, or one clear error says what is written today."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from ftlib.errors import DataError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def tokenizer_before_data(
    place: int, *, gone: Mapping[str, str] | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Take a call in the order of the first edition, where the tokenizer came behind what it is for, with a warning.

    Since the second edition the order is the same everywhere: the model, the tokenizer, and what they work on.

    Args:
        place: Of the tokenizer among the positional arguments, counted from 0.
        gone: Arguments of the first edition that there are no more, each with what says the same now.

    Raises:
        DataError: From the function: an argument that is gone was given.

    Warns:
        DeprecationWarning: From the function: the tokenizer stands where it stood.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        parameters = inspect.signature(function).parameters.values()
        names = ", ".join(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD)
        order = f"{function.__name__}({names}, ...)"

        @functools.wraps(function)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for name in (gone or {}).keys() & kwargs.keys():
                raise DataError(f"{function.__name__} takes no {name} any more, {(gone or {})[name]}: call {order}")
            behind = [number for number, one in enumerate(args) if number > place and _is_tokenizer(one)]
            by_name = "tokenizer" in kwargs and len(args) > place  # what is given stands in the tokenizer's place
            if not by_name and (not behind or _is_tokenizer(args[place])):
                return function(*args, **kwargs)
            warnings.warn(f"the tokenizer comes before the data now: call {order}", DeprecationWarning, stacklevel=2)
            moved = list(args)
            moved.insert(place, kwargs.pop("tokenizer") if by_name else moved.pop(behind[0]))
            return function(*moved, **kwargs)  # type: ignore[arg-type]

        return wrapper

    return decorate


def renamed_argument(old: str, new: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Take a keyword under the name that it had in the first edition, too, with a warning.

    Args:
        old: Its name then.
        new: Its name now.

    Warns:
        DeprecationWarning: From the function: it was given under the old name.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if old in kwargs and new not in kwargs:
                message = f"{function.__name__}: {old} is {new} since the second edition"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate


def _is_tokenizer(value: Any) -> bool:
    return hasattr(value, "convert_tokens_to_ids")
