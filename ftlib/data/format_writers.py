"""From messages to a row of each format that is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ftlib.data.messages import Message, RowError, json_arguments, split_context
from ftlib.data.turns import KEPT_FIELDS


def _only_pair(messages: Sequence[Message], name: str) -> tuple[str, str]:
    roles = [message["role"] for message in messages]
    extras = sorted({extra for message in messages for extra in KEPT_FIELDS if message.get(extra) is not None})
    if roles != ["user", "assistant"]:
        raise RowError(f"{name} holds one question and one answer, not {', '.join(roles)}: save as openai or sharegpt")
    if extras:
        raise RowError(f"{name} can't carry {', '.join(extras)}: save as openai")
    return messages[0]["content"] or "", messages[1]["content"] or ""


def write_pair(name: str, question: str, answer: str) -> Callable[[Sequence[Message]], dict[str, Any]]:
    """Return a writer of one question and one answer."""

    def write(messages: Sequence[Message]) -> dict[str, Any]:
        asked, answered = _only_pair(messages, name)
        return {question: asked, answer: answered}

    return write


def write_alpaca(messages: Sequence[Message]) -> dict[str, Any]:
    """Write an instruction, its material and its answer."""
    _, answered = _only_pair(messages, "alpaca")
    instruction, more = split_context(messages[0])
    return {"instruction": instruction, "input": more, "output": answered}


def write_openai(messages: Sequence[Message]) -> dict[str, Any]:
    """Write a conversation as OpenAI does."""
    return {"messages": [{k: v for k, v in message.items() if k != "context"} for message in messages]}


def write_sharegpt(messages: Sequence[Message]) -> dict[str, Any]:
    """Write a conversation as ShareGPT does."""
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
    sender = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}[message["role"]]
    return {"from": sender, "value": message["content"] or ""}
