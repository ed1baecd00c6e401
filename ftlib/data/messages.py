"""Messages: what a conversation is made of, and what every one of them must keep to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ftlib.errors import DataError

EXTRAS = ("name", "weight", "tool_calls", "tool_call_id", "context")


class _Turn(TypedDict):
    role: str
    content: str | None


class Message(_Turn, total=False):
    """One turn: who speaks (``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``) and what is said.

    What the OpenAI chat format adds to it is kept. ``context`` repeats the end of ``content`` where that is
    material to work on (Alpaca's input, Dolly's context), so that nothing is lost on the way back.
    """

    name: str
    weight: int
    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    context: str


class RowError(DataError, ValueError):
    """What is wrong with a row, and in which field; the caller knows file and line."""


def user(content: str) -> Message:
    """Return what the user says."""
    return Message(role="user", content=content)


def user_with_context(instruction: str, context: str) -> Message:
    r"""Return an instruction and, below it, the material that it is about.

    >>> user_with_context("Sort.", "3 1")
    {'role': 'user', 'content': 'Sort.\n\n3 1', 'context': '3 1'}
    """
    return Message(role="user", content=f"{instruction}\n\n{context}", context=context)


def split_context(message: Message) -> tuple[str, str]:
    """Return the text of a message in two: the instruction, and the material, if it has any.

    Raises:
        RowError: The text doesn't end with what ``context`` says.

    >>> split_context(user_with_context("Sort.", "3 1"))
    ('Sort.', '3 1')
    """
    content, context = message["content"] or "", message.get("context") or ""
    if context and not content.endswith(f"\n\n{context}"):
        raise RowError("'context' must repeat the end of 'content', behind an empty line")
    return (content.removesuffix(f"\n\n{context}"), context) if context else (content, "")


def assistant(content: str) -> Message:
    """Return what the model answers."""
    return Message(role="assistant", content=content)


def text_field(row: Any, field: str, *, may_be_empty: bool = False) -> str:
    """Return a field of text, whatever the case of its name.

    Raises:
        RowError: The field is missing, not text, empty, or holds half a surrogate pair.

    >>> text_field({"Question": "Why?"}, "question")
    'Why?'
    """
    names = {str(name).lower(): name for name in row}
    if field not in names:
        raise RowError(f"no field {field!r}; found {', '.join(map(repr, row)) or 'none'}: add or rename it")
    value = row[names[field]]
    if value is None and may_be_empty:
        return ""
    return checked_text(value, repr(names[field]), may_be_empty=may_be_empty)


def checked_text(value: Any, name: str, *, may_be_empty: bool = False) -> str:
    """Return the value if it is text that can be stored and trained on.

    Raises:
        RowError: It is not; ``name`` says which field.
    """
    if not isinstance(value, str):
        found = "null" if value is None else type(value).__name__
        raise RowError(f"{name} must be text, found {found}: write it in quotes or delete the row")
    if not value.strip() and not may_be_empty:
        raise RowError(f"{name} is empty: write the text or delete the row")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        raise RowError(f"{name} holds half of a surrogate pair ({half!r} at character {error.start})") from None
    if "\0" in value:
        raise RowError(f"{name} holds a NUL character at character {value.index(chr(0))}: remove it")
    return value


def json_arguments(value: Any, place: str) -> str:
    """Return the arguments of a tool call as the text of a JSON object, whichever way they are written.

    Raises:
        RowError: They are no JSON object; ``place`` says where they stand.

    >>> json_arguments({"city": "Graz"}, "here"), json_arguments(None, "here")
    ('{"city": "Graz"}', '{}')
    """
    if value is None or value == "":
        return "{}"
    try:
        if isinstance(value, Mapping):
            value = json.dumps(value, ensure_ascii=False)
        found = loaded_json(value) if isinstance(value, str) else value
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"{place}: the arguments of a tool call are no JSON ({error}): {str(value)[:60]!r}") from error
    if not isinstance(found, dict):
        kind = "JSON text inside of JSON text" if isinstance(found, str) else type(found).__name__
        raise RowError(
            f'{place}: the arguments of a tool call must be a JSON object such as {{"city": "Graz"}}, found {kind}'
        )
    return str(value)


def loaded_json(text: str) -> Any:
    """Return what a text says in JSON as the standard has it: no NaN, no halves of surrogate pairs.

    Raises:
        ValueError: It is no such text.
    """

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is no number of JSON")

    found = json.loads(text, parse_constant=no_number)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair, {error.object[error.start]!r}") from error
    return found


def all_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return what all messages say, a line for each."""
    return "\n".join(message["content"] or "" for message in messages)


def check_messages(messages: Any) -> None:
    """See that something is a list of messages, each with a known role and with text (or None: a tool is called).

    Raises:
        RowError: It is not.

    >>> check_messages([user("Why?"), assistant("So.")])
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise RowError(f"expected a list of messages, found {type(messages).__name__}")
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise RowError(f"messages[{number}]: expected an object, found {type(message).__name__}")
        role, content = message.get("role"), message.get("content", "")
        if not isinstance(role, str) or role not in ROLES or "content" not in message:
            raise RowError(
                f"messages[{number}]: expected 'content' and a 'role' of {', '.join(ROLES)}, found {message!r:.80}"
            )
        if content is not None and not isinstance(content, str):
            raise RowError(f"messages[{number}]: 'content' must be text, found {type(content).__name__}")


def check_order(messages: Sequence[Message]) -> None:
    """Hold a conversation to its order: system first, then user and assistant in turn; tools answer a tool call.

    Raises:
        RowError: There are no messages, or a role stands where it can't.

    >>> check_order([user("Why?"), assistant("So.")])
    """
    if not messages:
        raise RowError("the conversation is empty: delete the row")
    before = "start"
    for number, message in enumerate(messages):
        role = message["role"]
        if role not in _FOLLOWS[before]:
            expected = " or ".join(_FOLLOWS[before])
            raise RowError(f"messages[{number}]: role {role!r} after {before}: expected {expected}")
        before = "tool call" if message.get("tool_calls") else role
    if before == "system":
        raise RowError("the conversation holds nothing but a system message: delete the row")


ROLES = ("system", "user", "assistant", "tool")
"""Who may speak."""
_FOLLOWS = {
    "start": ("system", "user", "assistant"),
    "system": ("user", "assistant"),
    "user": ("assistant",),
    "assistant": ("user",),
    "tool call": ("tool",),
    "tool": ("tool", "assistant"),
}


def clean_message(message: Mapping[str, Any]) -> Message:
    """Drop the empty fields that a table adds to a message.

    Raises:
        DataError: It is no message.

    >>> clean_message({"role": "user", "content": "Why?", "name": None})
    {'role': 'user', 'content': 'Why?'}
    """
    if not isinstance(message, Mapping):
        raise DataError(f"a message must be an object with 'role' and 'content', not {message!r:.60}")
    return {k: v for k, v in message.items() if v is not None or k == "content"}  # type: ignore[return-value]
