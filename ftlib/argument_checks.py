"""Arguments held to what a function says about them, before it begins: one clear error in place of a late raw one."""

from __future__ import annotations

import builtins
import collections.abc
import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, ParamSpec, TypeVar

from ftlib.errors import DataError

P = ParamSpec("P")
R = TypeVar("R")
ArgumentRule = Callable[[str, Any], Any]
"""From what errors call an argument, and its value, to the value; raises :class:`ftlib.errors.DataError`."""
_MANY = (collections.abc.Sequence, collections.abc.Iterable)
_TOO_LARGE = 2**63
_ONE_TEXT = (str, bytes, bytearray)


def checked(**rules: ArgumentRule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the arguments of a function against its annotations, and against rules of their own.

    Args:
        rules: For single arguments, by name; run where the argument is not None.

    Raises:
        DataError: From the function: an argument is of another kind than its annotation, or a rule refuses it.

    >>> @checked(size=at_least(1))
    ... def chunks(text: str, size: int = 2) -> int:
    ...     return len(text) // size
    >>> chunks("abcd", 0)
    Traceback (most recent call last):
    ftlib.errors.DataError: chunks: size must be at least 1, not 0
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.arguments.update(held(function, rules, **given.arguments))
            return function(*given.args, **given.kwargs)

        return wrapper

    return decorate


def held(function: Callable[..., Any], rules: Mapping[str, ArgumentRule], **values: Any) -> dict[str, Any]:
    """Check some arguments of a function from within it: so that one that takes a key needs no wrapper.

    Args:
        function: Whose annotations hold.
        rules: As for :func:`checked`.
        values: The arguments, by name.

    Returns:
        Them, as the rules give them back.

    Raises:
        DataError: As for :func:`checked`.
    """
    hints = _hints(function)
    found = {}
    for name, value in values.items():
        place, rule = f"{function.__name__}: {name}", rules.get(name)
        if name in hints and rule not in _INSTEAD:
            _check(place, value, hints[name])
        found[name] = rule(place, value) if rule and (value is not None or rule in (a_model, a_tokenizer)) else value
    return found


class _Names(dict[str, Any]):
    """What names in annotations mean; anything where only a type checker imports them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._known = {**vars(builtins), **function.__globals__}

    def __missing__(self, name: str) -> Any:
        return self._known.get(name, Any)


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function, localns=_Names(inspect.unwrap(function)))


def unchecked(name: str, value: Any) -> Any:
    """Leave an argument to the function, which says better what is wrong with it."""
    return value


def a_model(name: str, value: Any) -> Any:
    """Allow a model, one with adapters around it, too."""
    if not callable(getattr(value, "named_parameters", None)):
        raise refusal(name, "a model, such as load_model returns", value)
    return value


def a_tokenizer(name: str, value: Any) -> Any:
    """Allow a tokenizer, or what stands for one where only its padding token is asked for."""
    if not hasattr(value, "pad_token_id"):
        raise refusal(name, "a tokenizer, such as load_model returns", value)
    return value


def at_least(least: float) -> ArgumentRule:
    """Return a rule for numbers: this one or more, and finite."""
    return _number(f"at least {least}", lambda value: value >= least)


def above(least: float) -> ArgumentRule:
    """Return a rule for numbers: more than this one, and finite."""
    return _number(f"above {least}", lambda value: value > least)


def whole(name: str, value: Any) -> Any:
    """Allow whole numbers."""
    _check(name, value, int)
    return value


def _number(expected: str, allows: Callable[[Any], bool]) -> ArgumentRule:
    def rule(name: str, value: Any) -> Any:
        if not _fits(value, float) or not math.isfinite(value) or _is_too_long(value) or not allows(value):
            raise refusal(name, expected, value)
        return value

    return rule


def each(check: ArgumentRule) -> ArgumentRule:
    """Return a rule for many values, each checked: at once, or as they come where they can be read only once."""

    def rule(name: str, values: Any) -> Any:
        if isinstance(values, Iterator):
            return (check(f"{name}, number {number} (from 0)", value) for number, value in enumerate(values))
        if not isinstance(values, Iterable) or isinstance(values, (*_ONE_TEXT, Mapping)):
            one = f", such as [{values!r}]" if isinstance(values, str) and len(values) < 40 else ""
            raise refusal(name, f"a list{one}", values)
        for number, value in enumerate(values):
            check(f"{name}, number {number} (from 0)", value)
        return values

    return rule


def text(name: str, value: Any) -> Any:
    """Allow text."""
    if not isinstance(value, str):
        raise refusal(name, "text", value)
    return value


def row_with(*columns: str) -> ArgumentRule:
    """Return a rule for a row: an object that holds lists of whole numbers, all of one length, under these names."""

    def rule(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping) or any(column not in value for column in columns):
            raise refusal(name, f"a row with {' and '.join(map(repr, columns))}", value)
        lists = [value[column] for column in columns]
        if not all(map(_is_numbers, lists)) or len({*map(len, lists)}) > 1:
            raise refusal(name, f"a row with lists of token ids, equally long, under {', '.join(columns)}", value)
        return value

    return rule


def _is_numbers(value: Any) -> bool:
    """Whether something is a list of whole numbers, as its first element tells: batches are made in every step."""
    return _is_many(value, collections.abc.Sequence) and (not len(value) or _fits(value[0], int))


def one_text(name: str, value: Any) -> Any:
    """Allow a text."""
    if not isinstance(value, str):
        raise refusal(name, "a text", value)
    return value


def refusal(name: str, expected: str, value: Any) -> DataError:
    """Return the error for an argument that is not what was expected."""
    try:
        shown = repr(value)
    except Exception as error:  # somebody else's __repr__
        shown = f"a {type(value).__name__} that can't be shown ({type(error).__name__})"
    kind = "" if isinstance(value, str | int | float | None) else f" ({type(value).__name__})"
    return DataError(f"{name} must be {expected}, not {shown[:80]}{kind}")


def _check(name: str, value: Any, wanted: Any) -> None:
    if not _fits(value, wanted):
        raise refusal(name, _wording(wanted), value)
    if _is_too_long(value):
        raise refusal(name, "a number of 64 bits", value)
    inner = typing.get_args(wanted)
    is_table = hasattr(value, "column_names") or not hasattr(value, "__len__")
    if typing.get_origin(wanted) in _MANY and inner and not is_table:
        kind = typing.get_origin(inner[0]) or inner[0]
        for number, one in enumerate(value if kind in (str, int, float, dict, collections.abc.Mapping) else ()):
            if not _fits(one, kind):
                raise refusal(f"{name}, number {number} (from 0)", _wording(inner[0]), one)


def _is_too_long(value: Any) -> bool:
    """Whether this is a whole number that doesn't fit into 64 bits."""
    return _fits(value, int) and abs(value) >= _TOO_LARGE


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value is what an annotation says; what stands in a list is not looked at."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if wanted is None or wanted is type(None):
        return value is None
    if wanted is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    kind = origin or wanted
    if kind in _MANY:
        return _is_many(value, kind)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _is_many(value: Any, kind: Any) -> bool:
    if isinstance(value, (*_ONE_TEXT, Mapping)):
        return False
    is_sequence = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return is_sequence if kind is collections.abc.Sequence else is_sequence or hasattr(value, "__iter__")


def _wording(wanted: Any) -> str:
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_wording, inner)))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    kind = origin or wanted
    if kind in _MANY:
        return f"a list of {_wording(inner[0])}" if inner else "a list"
    return _PLAIN.get(kind) or f"a {getattr(kind, '__name__', kind)}"


_INSTEAD = (unchecked, a_model, a_tokenizer, text)
"""Rules that hold in the place of the annotation."""
_PLAIN: dict[Any, str] = {
    type(None): "None",
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    dict: "a dictionary",
    collections.abc.Mapping: "a dictionary",
    collections.abc.Callable: "a function",
}
