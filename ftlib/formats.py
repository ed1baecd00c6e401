"""What a row means: every instruction format to messages, and back.

One :class:`Format` is one line of the table in the book. To add a format, write one function from a row
to messages and add one entry to ``FORMATS``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftlib.messages import (
    Message,
    RowError,
    assistant,
    check_order,
    checked_text,
    json_arguments,
    split_context,
    text_field,
    user,
    user_with_context,
)
from ftlib.records import RepeatedKeys


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
    """

    name: str
    example: str
    matches: Callable[[Any], bool]
    read: Callable[[Any], list[Message]]
    write: Callable[[Sequence[Message]], dict[str, Any]] | None = None
    extras: tuple[str, ...] = ()


_OPENAI_EXTRAS = ("name", "weight", "tool_calls", "tool_call_id")
_ROLES = {"developer": "system", "function": "tool"} | {role: role for role in ("system", "user", "assistant", "tool")}
_SPEAKERS = {"system": "system", "human": "user", "gpt": "assistant", "observation": "tool"}
_SPEAKERS |= {"user": "user", "assistant": "assistant", "chatgpt": "assistant", "tool": "tool"}


def _has(*fields: str, without: Sequence[str] = ()) -> Callable[[Any], bool]:
    def matches(row: Any) -> bool:
        names = {str(name).lower() for name in row} if isinstance(row, Mapping) else set()
        return names.issuperset(fields) and names.isdisjoint(without)

    return matches


def _text_has(*signs: str) -> Callable[[Any], bool]:
    def matches(row: Any) -> bool:
        text = row.get("text") if isinstance(row, Mapping) and not _has("instruction")(row) else None
        return isinstance(text, str) and all(sign in text for sign in signs)

    return matches


def _list_of_objects(field: str) -> Callable[[Any], bool]:
    def matches(row: Any) -> bool:
        turns = row.get(field) if isinstance(row, Mapping) else None
        return isinstance(turns, list) and all(isinstance(turn, Mapping) for turn in turns)

    return matches


def _pair(question: str, answer: str) -> Callable[[Any], list[Message]]:
    return lambda row: [user(text_field(row, question)), assistant(text_field(row, answer))]


def _with_context(question: str, context: str, answer: str) -> Callable[[Any], list[Message]]:
    def read(row: Any) -> list[Message]:
        asked = text_field(row, question)
        more = text_field(row, context, may_be_empty=True) if _has(context)(row) else ""
        first = user_with_context(asked, more) if more.strip() else user(asked)
        return [first, assistant(text_field(row, answer))]

    return read


def _read_openorca(row: Any) -> list[Message]:
    system = text_field(row, "system_prompt", may_be_empty=True)
    first = [Message(role="system", content=system)] if system.strip() else []
    return [*first, user(text_field(row, "question")), assistant(text_field(row, "response"))]


def _read_alpaca_text(row: Any) -> list[Message]:
    found = _ALPACA_TEXT.search(text_field(row, "text"))
    if not found:
        raise RowError("'text' is not in Alpaca's form: expected ### Instruction:, then ### Response:")
    instruction, more, response = (part and part.strip() for part in found.groups())
    instruction = checked_text(instruction, "the instruction in 'text'")
    asked = user_with_context(instruction, more) if more else user(instruction)
    return [asked, assistant(checked_text(response, "its response"))]


_ALPACA_TEXT = re.compile(r"### Instruction:\n(.*?)\n+(?:### Input:\n(.*?)\n+)?### Response:(.*)", re.DOTALL)


def _read_guanaco(row: Any) -> list[Message]:
    before, *parts = re.split(r"### (Human|Assistant):", text_field(row, "text"))
    if before.strip():
        raise RowError(f"'text' begins with {before.strip()[:40]!r}: expected ### Human:")
    return [
        (user if speaker == "Human" else assistant)(checked_text(text.strip(), f"{speaker}'s turn {number // 2}"))
        for number, (speaker, text) in enumerate(zip(parts[::2], parts[1::2], strict=True))
    ]


def _read_dialogue(row: Any) -> list[Message]:
    pairs = row if isinstance(row, RepeatedKeys) else list(row.items())
    speakers = list(dict.fromkeys(name for name, _ in pairs))
    if len(speakers) != 2:
        raise RowError(f"a dialogue needs two speakers, found {len(speakers)}: {', '.join(speakers)}")
    messages: list[Message] = []
    for speaker, said in pairs:
        text = checked_text(said, repr(speaker))
        if messages and messages[-1]["name"] == speaker:
            messages[-1]["content"] = f"{messages[-1]['content']}\n{text}"
        else:
            role = "user" if speaker == speakers[0] else "assistant"
            messages.append(Message(role=role, content=text, name=speaker))
    return messages


def _turns(row: Any, field: str) -> list[Mapping[str, Any]]:
    if not _list_of_objects(field)(row):
        found = ", ".join(map(repr, row)) or "none"
        raise RowError(f"no list of objects under {field!r}; found the fields {found}: each turn must be an object")
    turns: list[Mapping[str, Any]] = row[field]
    return turns


def _read_openai(row: Any) -> list[Message]:
    return [_openai_message(turn, f"messages[{number}]") for number, turn in enumerate(_turns(row, "messages"))]


def _openai_message(turn: Mapping[str, Any], place: str) -> Message:
    given = {name: value for name, value in turn.items() if value is not None}
    role = given.pop("role", None)
    if role not in _ROLES:
        raise RowError(f"{place}: role {role!r}: expected one of {', '.join(_ROLES)}")
    content = given.pop("content", None)
    if isinstance(content, list):
        content = "".join(_text_part(part, place) for part in content)
    if content is not None or not given.get("tool_calls"):
        content = checked_text(content, f"{place}: 'content'", may_be_empty=role == "tool")
    if given.get("tool_calls"):
        given["tool_calls"] = [_tool_call(call, place) for call in given["tool_calls"]]
    unknown = set(given) - set(_OPENAI_EXTRAS)
    if unknown:
        kept = ", ".join(_OPENAI_EXTRAS)
        raise RowError(f"{place}: the field {min(unknown)!r} has no place in messages: remove it (kept: {kept})")
    return Message(role=_ROLES[role], content=content, **given)  # type: ignore[typeddict-item,no-any-return]


def _tool_call(call: Any, place: str) -> dict[str, Any]:
    """Bring a tool call into one shape: its arguments are JSON text, as the OpenAI format has it."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError(f"{place}: a tool call needs a function with a name")
    kept = {"name": function["name"], "arguments": json_arguments(function.get("arguments"), place)}
    return {"id": call.get("id"), "type": "function", "function": kept}


def _text_part(part: Any, place: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        raise RowError(f"{place}: a part of 'content' is no text: only parts of type 'text' can be trained on")
    return checked_text(part.get("text"), f"{place}: a text part", may_be_empty=True)


def _read_sharegpt(row: Any) -> list[Message]:
    messages: list[Message] = []
    for number, turn in enumerate(_turns(row, "conversations")):
        speaker, place = turn.get("from"), f"conversations[{number}]"
        value = checked_text(turn.get("value"), f"{place}: 'value'", may_be_empty=speaker == "observation")
        if speaker == "function_call":
            messages.append(_function_call(value, f"call_{number}", place))
        elif speaker in _SPEAKERS:
            extra = {"tool_call_id": f"call_{number - 1}"} if _SPEAKERS[speaker] == "tool" else {}
            messages.append(Message(role=_SPEAKERS[speaker], content=value, **extra))  # type: ignore[typeddict-item]
        else:
            raise RowError(f"{place}: from {speaker!r}: expected one of {', '.join([*_SPEAKERS, 'function_call'])}")
    return messages


def _function_call(value: str, identifier: str, place: str) -> Message:
    try:
        call = json.loads(value)
        function = {"name": call["name"], "arguments": json_arguments(call["arguments"], place)}
    except RowError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise RowError(f'{place}: a function_call needs {{"name": ..., "arguments": ...}} as JSON') from error
    called = [{"id": identifier, "type": "function", "function": function}]
    return Message(role="assistant", content=None, tool_calls=called)


def _only_pair(messages: Sequence[Message], name: str) -> tuple[str, str]:
    roles = [message["role"] for message in messages]
    extras = sorted({extra for message in messages for extra in _OPENAI_EXTRAS if message.get(extra) is not None})
    if roles != ["user", "assistant"]:
        raise RowError(f"{name} holds one question and one answer, not {', '.join(roles)}: save as openai or sharegpt")
    if extras:
        raise RowError(f"{name} can't carry {', '.join(extras)}: save as openai")
    return messages[0]["content"] or "", messages[1]["content"] or ""


def _write_pair(name: str, question: str, answer: str) -> Callable[[Sequence[Message]], dict[str, Any]]:
    def write(messages: Sequence[Message]) -> dict[str, Any]:
        asked, answered = _only_pair(messages, name)
        return {question: asked, answer: answered}

    return write


def _write_alpaca(messages: Sequence[Message]) -> dict[str, Any]:
    _, answered = _only_pair(messages, "alpaca")
    instruction, more = split_context(messages[0])
    return {"instruction": instruction, "input": more, "output": answered}


def _write_openai(messages: Sequence[Message]) -> dict[str, Any]:
    return {"messages": [{k: v for k, v in message.items() if k != "context"} for message in messages]}


def _write_sharegpt(messages: Sequence[Message]) -> dict[str, Any]:
    return {"conversations": [_sharegpt_turn(message) for message in messages]}


def _sharegpt_turn(message: Message) -> dict[str, str]:
    lost = [extra for extra in ("name", "weight") if message.get(extra) is not None]
    calls = message.get("tool_calls") or []
    if lost or len(calls) > 1 or (calls and message["content"]):
        what = lost[0] if lost else "several tool calls" if len(calls) > 1 else "text beside a tool call"
        raise RowError(f"sharegpt can't carry {what}: save as openai")
    if calls:
        function = calls[0]["function"]
        call = {"name": function["name"], "arguments": json.loads(json_arguments(function["arguments"], "a turn"))}
        return {"from": "function_call", "value": json.dumps(call, ensure_ascii=False)}
    speaker = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}[message["role"]]
    return {"from": speaker, "value": message["content"] or ""}


_ALL = [
    Format(
        "question-answer",
        '{"question": "...", "answer": "..."}',
        _has("question", "answer"),
        _pair("question", "answer"),
        _write_pair("question-answer", "question", "answer"),
    ),
    Format(
        "alpaca",
        '{"instruction": "...", "input": "...", "output": "..."}',
        _has("instruction", "output"),
        _with_context("instruction", "input", "output"),
        _write_alpaca,
        ("context",),
    ),
    Format(
        "alpaca-text",
        '{"text": "... ### Instruction: ... ### Response: ..."}',
        _text_has("### Instruction:", "### Response:"),
        _read_alpaca_text,
        extras=("context",),
    ),
    Format(
        "prompt-completion",
        '{"prompt": "...", "completion": "..."}',
        _has("prompt", "completion"),
        _pair("prompt", "completion"),
        _write_pair("prompt-completion", "prompt", "completion"),
    ),
    Format(
        "input-output",
        '{"input": "...", "output": "..."}',
        _has("input", "output", without=["instruction"]),
        _pair("input", "output"),
    ),
    Format(
        "instruction-response",
        '{"instruction": "...", "response": "..."}',
        _has("instruction", "response", without=["context"]),
        _pair("instruction", "response"),
    ),
    Format(
        "dolly",
        '{"instruction": "...", "context": "...", "response": "..."}',
        _has("instruction", "context", "response"),
        _with_context("instruction", "context", "response"),
        extras=("context",),
    ),
    Format(
        "openorca",
        '{"system_prompt": "...", "question": "...", "response": "..."}',
        _has("system_prompt", "question", "response"),
        _read_openorca,
    ),
    Format(
        "openai",
        '{"messages": [{"role": "user", "content": "..."}, ...]}',
        _list_of_objects("messages"),
        _read_openai,
        _write_openai,
        _OPENAI_EXTRAS,
    ),
    Format(
        "sharegpt",
        '{"conversations": [{"from": "human", "value": "..."}, ...]}',
        _list_of_objects("conversations"),
        _read_sharegpt,
        _write_sharegpt,
        ("tool_calls", "tool_call_id"),
    ),
    Format(
        "guanaco",
        '{"text": "### Human: ... ### Assistant: ..."}',
        _text_has("### Human:"),
        _read_guanaco,
    ),
    Format(
        "dialogue",
        '{"Ann": "...", "Bob": "...", "Ann": "..."}',
        lambda row: isinstance(row, RepeatedKeys) and not candidates(dict(row)),
        _read_dialogue,
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


def read_row(row: Any, name: str) -> list[Message]:
    """Turn a row of a known format into messages.

    Raises:
        RowError: A field is missing, wrong or empty, or a role stands where it can't.
    """
    if isinstance(row, RepeatedKeys) and name != "dialogue":
        keys = [key for key, _ in row]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowError(f"the key {twice!r} stands more than once in one object: rename one")
    if not isinstance(row, Mapping | RepeatedKeys):
        raise RowError(f"expected an object with fields, found {type(row).__name__}")
    if not FORMATS[name].matches(row):
        others = [other for other in candidates(row) if other != name]
        if others:
            raise RowError(f"this row looks like {others[0]}, the others like {name}: one format a file")
    messages = FORMATS[name].read(row)
    check_order(messages)
    return messages
