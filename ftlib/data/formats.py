"""What a row means: every instruction format to messages, and back.

One :class:`Format` is one line of the table in the book. To add a format, write one function from a row
to messages and add one entry to ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlib.data.columns import SYSTEM, check_judgement, left_out
from ftlib.data.format_readers import (
    has,
    pair,
    read_alpaca_text,
    read_conversation,
    read_dialogue,
    read_guanaco,
    read_prompt_completion,
    text_has,
    with_context,
    written_as,
)
from ftlib.data.format_writers import write_alpaca, write_openai, write_pair, write_sharegpt
from ftlib.data.json_text import RepeatedKeys
from ftlib.data.messages import Message, RowError, assistant, check_order, checked_text, user
from ftlib.data.turns import KEPT_FIELDS, conversation_of, listed, listed_messages, read_turns
from ftlib.errors import DataError


@dataclass(frozen=True)
class Format:
    """A way to write conversations down.

    Attributes:
        name: What ``format=`` accepts.
        example: A row, as the table in the book shows it.
        matches: Does this row look like the format? Looks only at names and types of fields.
        read: From a row to messages; raises :class:`RowError`.
        write: From messages to a row; ``None`` for a format that is only read. Raises :class:`RowError` for
            what the format can't carry.
        extras: Fields of a message, beyond role and content, that the format may bring.
        columns: Those that the messages are read from; none where the format looks for them.
    """

    name: str
    example: str
    matches: Callable[[Any], bool]
    read: Callable[[Any], list[Message]]
    write: Callable[[Sequence[Message]], dict[str, Any]] | None = None
    extras: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


_ALL = [
    Format(
        "question-answer",
        '{"question": "...", "answer": "..."}',
        has("question", "answer"),
        pair("question", "answer"),
        write_pair("question-answer", "question", "answer"),
        columns=("question", "answer", "context"),
    ),
    Format(
        "alpaca",
        '{"instruction": "...", "input": "...", "output": "..."}',
        has("instruction", "output"),
        with_context("instruction", "input", "output"),
        write_alpaca,
        ("context",),
        columns=("instruction", "input", "output", "text"),
    ),
    Format(
        "alpaca-text",
        '{"text": "... ### Instruction: ... ### Response: ..."}',
        text_has("### Instruction:", "### Response:"),
        read_alpaca_text,
        extras=("context",),
        columns=("text",),
    ),
    Format(
        "prompt-completion",
        '{"prompt": "...", "completion": "..."}',
        has("prompt", "completion"),
        read_prompt_completion,
        write_pair("prompt-completion", "prompt", "completion"),
        KEPT_FIELDS,
        columns=("prompt", "completion", "context"),
    ),
    Format(
        "input-output",
        '{"input": "...", "output": "..."}',
        has("input", "output", without=["instruction"]),
        pair("input", "output"),
        columns=("input", "output", "context"),
    ),
    Format(
        "instruction-response",
        '{"instruction": "...", "response": "..."}',
        has("instruction", "response", without=["context"]),
        pair("instruction", "response"),
        columns=("instruction", "response"),
    ),
    Format(
        "dolly",
        '{"instruction": "...", "context": "...", "response": "..."}',
        has("instruction", "context", "response"),
        with_context("instruction", "context", "response"),
        extras=("context",),
        columns=("instruction", "context", "response"),
    ),
    Format(
        "openorca",
        '{"system_prompt": "...", "question": "...", "response": "..."}',
        has("system_prompt", "question", "response"),
        pair("question", "response"),
        columns=("question", "response", "context"),
    ),
    Format(
        "openai",
        '{"messages": [{"role": "user", "content": "..."}, ...]}',
        written_as("openai"),
        read_conversation("messages"),
        write_openai,
        KEPT_FIELDS,
    ),
    Format(
        "sharegpt",
        '{"conversations": [{"from": "human", "value": "..."}, ...]}',
        written_as("sharegpt"),
        read_conversation("conversations"),
        write_sharegpt,
        KEPT_FIELDS,
    ),
    Format(
        "guanaco",
        '{"text": "### Human: ... ### Assistant: ..."}',
        text_has("### Human:"),
        read_guanaco,
        columns=("text",),
    ),
    Format(
        "dialogue",
        '{"Ann": "...", "Bob": "...", "Ann": "..."}',
        lambda row: isinstance(row, RepeatedKeys) and not candidates(dict(row)),
        read_dialogue,
        extras=("name",),
    ),
]
FORMATS = {one.name: one for one in _ALL}
"""Every format by name.

:meta hide-value:
"""


def candidates(row: Any) -> list[str]:
    """Names of the formats that a row looks like.

    >>> candidates({"instruction": "Sort", "input": "3 1", "output": "1 3"})
    ['alpaca']
    """
    found = [one.name for one in _ALL if one.matches(row)]
    return found if found or not isinstance(row, RepeatedKeys) else candidates(dict(row))


def read_whole_row(row: Any, name: str) -> tuple[list[Message], list[str]]:
    """Turn a row of a known format into messages, and name the columns left out that may change what should be learnt.

    A system message and turns before the question are read from columns of their own too (``system``, ``history``).

    Raises:
        RowError: A field is missing, wrong or empty, a role stands where it can't, or the row says of itself that its
            answer is a bad one.

    >>> read_whole_row({"question": "Why?", "answer": "So.", "topic": "t", "score": 0.5}, "question-answer")[1]
    ['score']
    """
    _check_shape(row, name)
    one = FORMATS[name]
    messages = one.read(row)
    left: list[str] = []
    if isinstance(row, Mapping):
        messages, read = _surrounded(row, messages)
        found = () if one.columns else conversation_of(row)
        read |= {*one.columns, *([found[0].lower()] if found else [])}
        check_judgement(row, messages, read)
        left = left_out(row, read, messages)
    check_order(messages)
    return messages, left


def _check_shape(row: Any, name: str) -> None:
    if not isinstance(name, str) or name not in FORMATS:
        raise DataError(f"unknown format {name!r}; expected one of {', '.join(FORMATS)}")
    if isinstance(row, RepeatedKeys) and name != "dialogue":
        keys = [key for key, _ in row]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowError(f"the key {twice!r} stands more than once in one object: rename one")
    if not isinstance(row, Mapping | RepeatedKeys):
        raise RowError(f"expected an object with fields, found {type(row).__name__}")
    if not FORMATS[name].matches(row):
        others = [other for other in candidates(row) if other != name]
        if others:
            raise RowError(
                f"this row looks like {others[0]}, where {name} is expected: one format a file "
                "(ftlib.load_conversations finds out which)"
            )


def _surrounded(row: Mapping[Any, Any], messages: list[Message]) -> tuple[list[Message], set[str]]:
    """Put a row's own columns for history and system in front; return also which of them were read."""
    read: set[str] = set()
    values = {str(name).lower(): value for name, value in row.items()}
    if not any(message["role"] == "assistant" for message in messages) and values.get("chosen"):
        raise RowError("the answers stand in 'chosen' and 'rejected': keep the better one as the conversation's answer")
    before = _history(values.get("history")) if len(messages) == 2 and messages[0]["role"] == "user" else None
    if before is not None:
        messages, read = [*before, *messages], {"history"}
    for name in SYSTEM:
        system = values.get(name)
        if isinstance(system, str):
            read.add(name)
            messages = _with_system(messages, system, name)
    return messages, read


def _with_system(messages: list[Message], system: str, name: str) -> list[Message]:
    if not system.strip():
        return messages
    if messages and messages[0]["role"] == "system":
        if messages[0]["content"] != system:
            raise RowError(f"{name!r} and the system message say different things: keep one")
        return messages
    return [Message(role="system", content=checked_text(system, repr(name))), *messages]


def _history(value: Any) -> list[Message] | None:
    """Read turns before the question: messages, or pairs of a question and its answer; None if they are neither."""
    if turns := listed_messages(value):
        return read_turns(turns, "history")
    pairs = listed(value)
    if not pairs or not all(isinstance(one, list | tuple) and len(one) == 2 for one in pairs):
        return None
    turns = []
    for number, (asked, answered) in enumerate(pairs):
        turns += [
            user(checked_text(asked, f"history[{number}]: the question")),
            assistant(checked_text(answered, f"history[{number}]: the answer")),
        ]
    return turns
