"""Tool calls as chat templates take them: with arguments as an object, or as the JSON text of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftlib.data.messages import Message, RowError, json_arguments
from ftlib.errors import DataError


def with_json_arguments(number: int, message: Message) -> Message:
    """Bring tool calls that nobody has read from a file into the shape of those that were."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    try:
        texts = [json_arguments(call["function"].get("arguments"), f"messages[{number}]") for call in calls]
    except RowError as error:
        raise DataError(str(error)) from error
    functions = [call["function"] | {"arguments": text} for call, text in zip(calls, texts, strict=True)]
    given = [call | {"function": function} for call, function in zip(calls, functions, strict=True)]
    return {**message, "tool_calls": given}


def odd_arguments(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the arguments of all tool calls, without those that look the same in Python and in JSON."""
    texts = [call["function"]["arguments"] for message in messages for call in message.get("tool_calls") or []]
    return [json.loads(text) for text in texts if str(json.loads(text)) != json.dumps(json.loads(text))]


def with_arguments(message: Mapping[str, Any], form: Callable[[str], Any]) -> dict[str, Any]:
    """Give tool calls as chat templates expect them."""
    calls = [
        call | {"function": call["function"] | {"arguments": form(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or []
    ]
    given = {k: v for k, v in message.items() if k not in ("context", "weight")}
    return {**given, "tool_calls": calls} if calls else given
