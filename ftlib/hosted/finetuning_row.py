"""One row of a fine-tuning file: what the service would refuse in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ftlib.data.messages import RowError, check_order, loaded_json

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_OLD_NAMES = {"functions": "tools", "function_call": "tool_calls"}


def _json_object(text: str) -> str:
    if not isinstance(loaded_json(text), dict):
        raise ValueError("expected the text of a JSON object")
    return text


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Parameters(BaseModel):
    type: Literal["object"]


class _Function(_Part):
    name: _Name
    description: str = ""
    parameters: _Parameters = _Parameters(type="object")
    strict: Any = None


class _Tool(BaseModel):
    type: Literal["function"]
    function: _Function


class _CalledFunction(_Part):
    name: str
    arguments: Annotated[str, AfterValidator(_json_object)]


class _Call(_Part):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: _CalledFunction


class _Message(_Part):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    name: _Name = ""
    weight: Annotated[int, Field(ge=0, le=1)] = 1
    refusal: str | None = None
    tool_calls: Annotated[list[_Call], Field(min_length=1)] = []
    tool_call_id: Any = None

    @model_validator(mode="after")
    def _belongs_to_its_role(self) -> _Message:
        for field, role in (("weight", "assistant"), ("tool_calls", "assistant"), ("tool_call_id", "tool")):
            if field in self.model_fields_set and self.role != role:
                raise ValueError(f"{field!r} is for messages of the role {role!r}, not for {self.role!r}")
        text = text_of(self.content)
        if text is None and isinstance(self.content, list):
            raise ValueError("'content' holds a part that is no text: expected {'type': 'text', 'text': '...'}")
        if text is None and self.content is not None:
            raise ValueError(f"'content' must be text, found {type(self.content).__name__}")
        speaks_otherwise = self.role == "assistant" and (self.tool_calls or self.refusal)
        if not (text and text.strip()) and not speaks_otherwise:
            raise ValueError("'content' must be text that isn't empty")
        return self


class _Row(_Part):
    messages: list[_Message]
    tools: Annotated[list[_Tool], Field(min_length=1)] = []
    parallel_tool_calls: bool = True


FIELDS = frozenset(_Message.model_fields)
"""What a message may hold."""


def read_row(line: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return a row, as far as it can be read, and what is wrong with it.

    >>> read_row(b'{"messages": [{"role": "user", "content": "Why?"}]}')[1]
    ["the last message must be the assistant's"]
    """
    row: Any = {}
    try:
        text = line.decode("utf-8-sig")
        loaded_json(text)  # refuses what only Python takes for JSON
        row = json.loads(text, object_pairs_hook=_object)
        messages = row.get("messages") if isinstance(row, dict) else None
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            return {}, ["expected an object with 'messages', a list of objects"]
        checked = _Row.model_validate(row)
    except ValidationError as error:
        return row, [_told(fault) for fault in error.errors(include_url=False)]
    except ValueError as error:
        return {}, [f"no JSON ({error})"]
    except RecursionError:
        return {}, ["nested too deeply to be a row"]
    return row, list(_wrong_with_order(checked.messages)) or list(_wrong_with_calls(checked))


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
        raise ValueError(f"the key {twice!r} stands more than once in one object: keep one")
    return whole


def _told(fault: ErrorDetails) -> str:
    """Put what pydantic found into one line: where, what, and what was expected."""
    path = "".join(f"[{part}]: " if isinstance(part, int) else f".{part}" for part in fault["loc"])
    where = path.replace(": .", ": ").removeprefix(".")
    message = fault["msg"].removeprefix("Value error, ")
    if where.endswith(": ") and fault["type"] == "value_error":  # the whole message, which says what it found
        return where + message
    if fault["type"] == "missing":
        return f"{where} is missing"
    if fault["type"] == "extra_forbidden":
        place, _, field = where.rpartition(" ")
        old = _OLD_NAMES.get(field)
        hint = f": since 2023 it is called {old!r}, and written otherwise" if old else ""
        return f"{place} unknown field {field!r}{hint}".lstrip()
    if fault["type"] == "literal_error":
        choices = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"{where} {fault['input']!r:.60}, expected one of {choices}"
    return f"{where.removesuffix(': ')} {fault['input']!r:.60}: {message[0].lower()}{message[1:]}"


def _wrong_with_order(messages: Sequence[_Message]) -> Iterator[str]:
    plain: Any = [message.model_dump() | {"role": message.role.replace("developer", "system")} for message in messages]
    try:
        check_order(plain)
    except RowError as error:
        yield str(error)
        return
    if messages[-1].role != "assistant":
        yield "the last message must be the assistant's"
    elif all(message.weight == 0 for message in messages if message.role == "assistant"):
        yield "every answer has weight 0: there is nothing to learn"


def _wrong_with_calls(row: _Row) -> Iterator[str]:
    """Say which calls call nothing that the row offers, or aren't answered one by one."""
    offered = [tool.function.name for tool in row.tools]
    for name in sorted({name for name in offered if offered.count(name) > 1}):
        yield f"two tools are called {name!r}"
    seen, waiting = set[str](), list[str]()
    for number, message in enumerate(row.messages):
        place = f"messages[{number}]"
        if message.role == "tool":
            if message.tool_call_id in waiting:
                waiting.remove(message.tool_call_id)
            else:
                open_calls = ", ".join(map(repr, waiting)) or "none"
                found = f"tool_call_id {message.tool_call_id!r}"
                yield f"{place}: {found}, expected that of a call that waits for a result ({open_calls})"
            continue
        if waiting:
            yield f"{place}: nothing has come back for the tool call {waiting[0]!r}"
        waiting = [call.id for call in message.tool_calls]
        for index, call in enumerate(message.tool_calls):
            if call.id in seen:
                yield f"{place}: two tool calls have the id {call.id!r}"
            seen.add(call.id)
            if call.function.name not in offered:
                offer = f"the row's 'tools' offer {', '.join(offered) or 'nothing'}"
                yield f"{place}: tool_calls[{index}]: calls {call.function.name!r}, and {offer}"
