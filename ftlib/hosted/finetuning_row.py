"""One row of a fine-tuning file: what the service would refuse in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftlib.data.messages import RowError, check_order
from ftlib.errors import DataError
from ftlib.hosted.finetuning_tools import wrong_with_calls, wrong_with_tools

FIELDS = {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "refusal"}
"""What a message may hold."""
_ROLES = ("system", "developer", "user", "assistant", "tool")
_ROW_FIELDS = {"messages", "tools", "parallel_tool_calls"}
_OLD_NAMES = {"functions": "tools", "function_call": "tool_calls"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def read_row(line: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return a row, as far as it can be read, and what is wrong with it.

    >>> read_row(b'{"messages": [{"role": "user", "content": "Why?"}]}')[1]
    ["the last message must be the assistant's"]
    """
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_number)
        json.dumps(row, ensure_ascii=False).encode()
    except DataError as error:
        return {}, [str(error)]
    except UnicodeEncodeError as error:
        return {}, [f"holds half of a surrogate pair ({error.object[error.start]!r}): write the whole character"]
    except ValueError as error:
        return {}, [f"no JSON ({error})"]
    except RecursionError:
        return {}, ["nested too deeply to be a row"]
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return {}, ["expected an object with 'messages', a list of objects"]
    problems = [_unknown(name) for name in sorted(set(row) - _ROW_FIELDS)]
    problems += wrong_with_tools(row)
    for number, message in enumerate(messages):
        problems += [f"messages[{number}]: {problem}" for problem in _wrong_with(message)]
    if not problems:
        problems += _wrong_with_order(messages)
    return row, problems or list(wrong_with_calls(messages, row.get("tools")))


def text_of(content: Any) -> str | None:
    """Return what a message says: its text, or that of all its content parts; ``None`` if there is anything but text.

    >>> text_of([{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}])
    'Why?'
    """
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    found = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    texts = [text for text in found if isinstance(text, str)]
    return "".join(texts) if len(texts) == len(content) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the key {twice!r} stands more than once in one object: keep one")
    return whole


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _unknown(name: str) -> str:
    old = f": since 2023 it is called {_OLD_NAMES[name]!r}, and written otherwise" if name in _OLD_NAMES else ""
    return f"unknown field {name!r}{old}"


def _wrong_with(message: Mapping[str, Any]) -> Iterator[str]:
    role = message.get("role")
    if role not in _ROLES:
        yield f"role {role!r}, expected one of {', '.join(_ROLES)}"
    yield from _wrong_with_content(message)
    if "weight" in message and role != "assistant":
        yield f"'weight' is for the assistant's messages, not for {role}'s"
    elif isinstance(message.get("weight"), bool) or message.get("weight", 1) not in (0, 1):
        yield f"weight {message['weight']!r}, expected 0 or 1"
    if "name" in message and not (isinstance(message["name"], str) and _NAME.fullmatch(message["name"])):
        yield f"name {message['name']!r}, expected at most 64 letters, digits, '_' and '-'"
    if not isinstance(message.get("refusal"), str | None):
        yield f"'refusal' must be text, found {type(message['refusal']).__name__}"
    for field in sorted(set(message) - FIELDS):
        yield _unknown(field)


def _wrong_with_content(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    text = text_of(content)
    speaks_otherwise = message.get("tool_calls") or message.get("refusal")
    if text is None and isinstance(content, list):
        yield "'content' holds a part that is no text: expected {'type': 'text', 'text': '...'}"
    elif not (text and text.strip()) and not (message.get("role") == "assistant" and speaks_otherwise):
        yield "'content' must be text that isn't empty"
    elif content is not None and text is None:
        yield f"'content' must be text, found {type(content).__name__}"


def _wrong_with_order(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    plain: Any = [{**message, "role": message["role"].replace("developer", "system")} for message in messages]
    try:
        check_order(plain)
    except RowError as error:
        yield str(error)
        return
    if messages[-1]["role"] != "assistant":
        yield "the last message must be the assistant's"
    elif all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        yield "every answer has weight 0: there is nothing to learn"
