"""Turns to messages: a list of objects that say who speaks and what, however a data set spells that."""

from __future__ import annotations

import ast
import contextlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ftlib.data.messages import Message, RowError, checked_text, json_arguments

COLUMNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
"""Columns that may hold a conversation, the usual ones first."""
KEPT_FIELDS = ("name", "weight", "tool_calls", "tool_call_id")
"""What a message may hold beside role and content, and is kept."""

_WHO, _WHAT = ("role", "from", "speaker", "author"), ("content", "value", "text", "message")
_SPOKEN = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter", "customer"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "chatbot", "ai", "model", "agent"),
    "tool": ("tool", "observation", "function", "function_response", "tool_response", "tool_result", "ipython"),
}
_ROLES = {name: role for role, names in _SPOKEN.items() for name in names}
_CALLS = ("function_call", "tool_call")
_WEIGHTS = ("weight", "loss_weight", "loss", "train")
# Said about a message, and nothing that changes what is learnt from it.
_ASIDE = {
    *("id", "uuid", "message_id", "parent_id", "turn_id", "turn", "index", "number", "timestamp", "time", "created"),
    *("created_at", "create_time", "date", "lang", "language", "model", "source", "tokens", "token_count", "country"),
    *("state", "hashed_ip", "header", "redacted", "turn_identifier", "metadata", "end_turn", "recipient", "channel"),
}


def listed(value: Any) -> list[Any] | None:
    """Return a list, also one that a table holds as the text of it (JSON, or what Python prints); else ``None``.

    >>> listed('[{"role": "user"}]'), listed("[{'role': 'user'}]"), listed("[sic]")
    ([{'role': 'user'}], [{'role': 'user'}], None)
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed(value.strip())
    return value if isinstance(value, list) else None


def _parsed(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    with warnings.catch_warnings(), contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        warnings.simplefilter("ignore")  # backslashes in somebody's text
        return ast.literal_eval(text)
    return None


def listed_messages(value: Any) -> list[Any] | None:
    """Return a list of messages, also one that a table holds as text; ``None`` for anything else, such as a text.

    >>> listed_messages([{"role": "user", "content": "Why?"}]), listed_messages("[1, 2]")
    ([{'role': 'user', 'content': 'Why?'}], None)
    """
    turns = listed(value)
    is_turn = (isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in turns or ())
    return turns if turns and all(is_turn) else None


def conversation_of(row: Any) -> tuple[str, list[Any]] | None:
    """Return the column of a row that holds a list of objects, and the list; ``None`` if there is none."""
    if not isinstance(row, Mapping):
        return None
    names = {str(name).lower(): name for name in row}
    for column in COLUMNS:
        turns = listed(row[names[column]]) if column in names else None
        if turns is not None and all(isinstance(turn, Mapping) for turn in turns):
            return names[column], turns
    return None


def is_from_value(column: str, turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether turns are written as ShareGPT does, ``from`` and ``value``, and not as OpenAI does."""
    if not turns:
        return column.lower() == "conversations"
    return any("from" in turn and "role" not in turn for turn in turns)


def read_turns(turns: Sequence[Any], column: str) -> list[Message]:
    """Turn turns into messages.

    Args:
        turns: Objects with a speaker (``role``, ``from``) and what is said (``content``, ``value``).
        column: Where they stand, for errors.

    Raises:
        RowError: A turn has no known speaker or no text, or holds something that has no place in a message.

    >>> read_turns([{"from": " Human", "value": "Why?"}, {"from": "GPT", "value": "So."}], "conversations")
    [{'role': 'user', 'content': 'Why?'}, {'role': 'assistant', 'content': 'So.'}]
    """
    return [_message(turn, number, f"{column}[{number}]") for number, turn in enumerate(turns)]


def _message(turn: Any, number: int, place: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"{place}: each turn must be an object, found {type(turn).__name__}")
    given = {str(name).lower(): value for name, value in turn.items() if value is not None}
    who = next((name for name in _WHO if name in given), _WHO[0])
    what = next((name for name in _WHAT if name in given), _WHAT[who == "from"])
    role, spoken = _role(given.pop(who, None), who, place), given.pop(what, None)
    if isinstance(spoken, list):
        spoken = "".join(_text_part(part, place) for part in spoken)
    if role == "call":
        called = _call_of_text(checked_text(spoken, f"{place}: {what!r}"), f"call_{number}", place)
        return _finished(Message(role="assistant", content=None, tool_calls=[called]), given, place)
    if legacy := given.pop("function_call", None):
        given["tool_calls"] = [{"id": f"call_{number}", "function": legacy}]
    if spoken is not None or not given.get("tool_calls"):
        spoken = checked_text(
            spoken, f"{place}: {what!r}", may_be_empty=role == "tool" or bool(given.get("tool_calls"))
        )
    if role == "tool" and who == "from" and "tool_call_id" not in given:
        given["tool_call_id"] = f"call_{number - 1}"
    return _finished(Message(role=role, content=spoken), given, place)


def _role(given: Any, field: str, place: str) -> str:
    if given is None:
        raise RowError(f"{place}: nothing says who speaks: expected 'role' and 'content' (or 'from' and 'value')")
    name = "_".join(given.lower().replace("-", "_").split()) if isinstance(given, str) else None
    if name in _CALLS:
        return "call"
    if name not in _ROLES:
        raise RowError(f"{place}: {field} {given!r}: expected one of {', '.join([*_ROLES, *_CALLS])}")
    return _ROLES[name]


def _finished(message: Message, given: dict[str, Any], place: str) -> Message:
    """Put what else a turn holds into its message."""
    weight = _weight(given, message["role"], place)
    calls = given.pop("tool_calls", None)
    if calls:
        if not isinstance(calls, list):
            raise RowError(f"{place}: 'tool_calls' must be a list of calls, found {type(calls).__name__}")
        message["tool_calls"] = [_tool_call(call, place) for call in calls]
    for name in ("name", "tool_call_id"):
        if name in given:
            message[name] = checked_text(given.pop(name), f"{place}: {name!r}")
    if weight is not None:
        message["weight"] = weight
    unknown = sorted(name for name, value in given.items() if name not in _ASIDE and value not in ("", []))
    if unknown:
        raise RowError(
            f"{place}: the field {unknown[0]!r} has no place in messages: remove it, or write it into the text "
            f"(kept: {', '.join(KEPT_FIELDS)})"
        )
    return message


def _weight(given: dict[str, Any], role: str, place: str) -> int | None:
    """Take out of a turn whether it is learnt, 0 or 1, by any of the names for it."""
    found: set[int] = set()
    for name in _WEIGHTS:
        value = given.pop(name, None)
        if value is None:
            continue
        if not isinstance(value, int | float) or value not in (0, 1):
            raise RowError(f"{place}: {name} {value!r}: expected 0 (not to be learnt) or 1")
        found.add(int(value))
    if len(found) > 1:
        raise RowError(f"{place}: two of {', '.join(_WEIGHTS)} say different things: keep one")
    if 1 in found and role != "assistant":
        raise RowError(f"{place}: a weight of 1 for role {role!r}: only the assistant's messages are learnt")
    return found.pop() if found and role == "assistant" else None


def _tool_call(call: Any, place: str) -> dict[str, Any]:
    """Bring a tool call into one shape: its arguments are JSON text, as the OpenAI format has it."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError(f"{place}: a tool call needs a function with a name")
    identifier = call.get("id")
    if identifier is not None:
        checked_text(identifier, f"{place}: the id of a tool call")
    name = checked_text(function["name"], f"{place}: the name of a tool call's function")
    kept = {"name": name, "arguments": json_arguments(function.get("arguments"), place)}
    return {"id": identifier, "type": "function", "function": kept}


def _call_of_text(value: str, identifier: str, place: str) -> dict[str, Any]:
    try:
        call = json.loads(value)
        function = {
            "name": checked_text(call["name"], f"{place}: 'name'"),
            "arguments": json_arguments(call["arguments"], place),
        }
    except RowError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RowError(f'{place}: a function_call needs {{"name": ..., "arguments": ...}} as JSON') from error
    return {
        "id": identifier,
        "type": "function",
        "function": {**function, "name": checked_text(function["name"], place)},
    }


def _text_part(part: Any, place: str) -> str:
    if isinstance(part, Mapping) and part.get("type", "text") in ("text", "input_text", "output_text"):
        spoken = next((part[name] for name in ("text", "value", "content") if part.get(name) is not None), None)
        return checked_text(spoken, f"{place}: a text part", may_be_empty=True)
    if isinstance(part, str):
        return checked_text(part, f"{place}: a text part", may_be_empty=True)
    raise RowError(f"{place}: a part of 'content' is no text: only parts of type 'text' can be trained on")
