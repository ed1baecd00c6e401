"""Tools in a fine-tuning file: what may be called, what is called, and what comes back must belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftlib.data.messages import loaded_json

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOOL = '{"type": "function", "function": {"name": "...", "parameters": {...}}}'
_CALL = '{"id": "...", "type": "function", "function": {"name": "...", "arguments": "..."}}'
_FUNCTION_FIELDS = {"name", "description", "parameters", "strict"}


def wrong_with_tools(row: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the tools that a row offers.

    >>> wrong_with_tools({"tools": [{"type": "function", "function": {"name": "add 1"}}]})
    ["tools[0]: name 'add 1', expected at most 64 letters, digits, '_' and '-'"]
    """
    problems = []
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        problems.append(f"'parallel_tool_calls' must be true or false, found {row['parallel_tool_calls']!r}")
    if "tools" not in row:
        return problems
    tools = row["tools"]
    if not isinstance(tools, list) or not tools:
        return [*problems, f"'tools' must be a list of at least one tool: {_TOOL}"]
    for number, tool in enumerate(tools):
        problems += [f"tools[{number}]: {problem}" for problem in _wrong_with_tool(tool)]
    names = tool_names(tools)
    problems += [f"two tools are called {name!r}" for name in sorted({name for name in names if names.count(name) > 1})]
    return problems


def tool_names(tools: Any) -> list[str]:
    """Return the names of the tools that a row offers, as far as they have any."""
    functions = [tool.get("function") for tool in tools or () if isinstance(tool, Mapping)]
    named = [function.get("name") for function in functions if isinstance(function, Mapping)]
    return [name for name in named if isinstance(name, str)]


def wrong_with_calls(messages: Sequence[Mapping[str, Any]], tools: Any) -> Iterator[str]:
    """Say which calls are no calls, call nothing that the row offers, or aren't answered one by one.

    Args:
        messages: Of a row, in a right order.
        tools: What the row offers.
    """
    offered, seen = tool_names(tools), set[str]()
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message["role"] == "tool":
            yield from (f"{place}: {problem}" for problem in _wrong_with_result(message, open_calls))
            continue
        if open_calls:
            yield f"{place}: nothing has come back for the tool call {open_calls[0]!r}"
        open_calls = []
        if "tool_call_id" in message:
            yield f"{place}: 'tool_call_id' is for a tool's messages, not for {message['role']}'s"
        if "tool_calls" in message:
            yield from (f"{place}: {problem}" for problem in _wrong_with_message(message, offered, seen))
            open_calls = _ids(message["tool_calls"])
            seen.update(open_calls)


def _wrong_with_message(message: Mapping[str, Any], offered: Sequence[str], seen: set[str]) -> Iterator[str]:
    calls = message["tool_calls"]
    if message["role"] != "assistant":
        yield f"'tool_calls' are for the assistant's messages, not for {message['role']}'s"
    if not isinstance(calls, list) or not calls:
        yield f"'tool_calls' must be a list of at least one call: {_CALL}"
        return
    ids = _ids(calls)
    yield from (
        f"two tool calls have the id {one!r}" for one in dict.fromkeys(ids) if ids.count(one) > 1 or one in seen
    )
    for number, call in enumerate(calls):
        for problem in _wrong_with_call(call, offered):
            yield f"tool_calls[{number}]: {problem}"


def _wrong_with_call(call: Any, offered: Sequence[str]) -> Iterator[str]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or call.get("type") != "function":
        yield f"expected {_CALL}"
        return
    if not isinstance(call.get("id"), str) or not call["id"]:
        yield f"id {call.get('id')!r}, expected text: what comes back names it"
    yield from (f"unknown field {name!r}" for name in sorted(set(call) - {"id", "type", "function"}))
    yield from (f"unknown field {name!r} of its function" for name in sorted(set(function) - {"name", "arguments"}))
    if function.get("name") not in offered:
        yield f"calls {function.get('name')!r}, and the row's 'tools' offer {', '.join(offered) or 'nothing'}"
    if problem := _wrong_with_arguments(function.get("arguments")):
        yield problem


def _wrong_with_arguments(arguments: Any) -> str | None:
    if not isinstance(arguments, str):
        return f"'arguments' must be the text of a JSON object, found {type(arguments).__name__}"
    try:
        is_object = isinstance(loaded_json(arguments), dict)
    except (ValueError, RecursionError) as error:
        return f"'arguments' are no JSON ({error}): {arguments[:40]!r}"
    return None if is_object else f"'arguments' must be the text of a JSON object, found {arguments[:40]!r}"


def _wrong_with_result(message: Mapping[str, Any], open_calls: list[str]) -> Iterator[str]:
    called = message.get("tool_call_id")
    if called in open_calls:
        open_calls.remove(called)
    else:
        waiting = ", ".join(map(repr, open_calls)) or "none"
        yield f"tool_call_id {called!r}, expected that of a call that waits for a result ({waiting})"
    if "tool_calls" in message:
        yield "'tool_calls' are for the assistant's messages, not for tool's"


def _wrong_with_tool(tool: Any) -> Iterator[str]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or tool.get("type") != "function":
        yield f"expected {_TOOL}"
        return
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"name {name!r}, expected at most 64 letters, digits, '_' and '-'"
    if not isinstance(function.get("description", ""), str):
        yield "'description' must be text"
    parameters = function.get("parameters", {"type": "object"})
    if not isinstance(parameters, Mapping) or parameters.get("type") != "object":
        yield '\'parameters\' must be a JSON schema with "type": "object"'
    yield from (f"unknown field {field!r} of its function" for field in sorted(set(function) - _FUNCTION_FIELDS))


def _ids(calls: Any) -> list[str]:
    found = [call.get("id") for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    return [one for one in found if isinstance(one, str)]
