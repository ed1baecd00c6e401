"""From a row of each format to messages; and how a row is told from those of other formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ftlib.data.json_text import RepeatedKeys
from ftlib.data.messages import Message, RowError, assistant, checked_text, text_field, user, user_with_context
from ftlib.data.turns import conversation_of, is_from_value, listed_messages, read_turns


def has(*fields: str, without: Sequence[str] = ()) -> Callable[[Any], bool]:
    """Return a test of a row: does it have these columns, and none of the others, whatever their case?"""

    def matches(row: Any) -> bool:
        names = {str(name).lower() for name in row} if isinstance(row, Mapping) else set()
        return names.issuperset(fields) and names.isdisjoint(without)

    return matches


def text_has(*signs: str) -> Callable[[Any], bool]:
    """Return a test of a row: does its ``text`` hold these signs?"""

    def matches(row: Any) -> bool:
        text = row.get("text") if isinstance(row, Mapping) and not has("instruction")(row) else None
        return isinstance(text, str) and all(sign in text for sign in signs)

    return matches


def with_context(question: str, context: str, answer: str) -> Callable[[Any], list[Message]]:
    """Return a reader of a question, the material that it is about, if there is any, and an answer."""

    def read(row: Any) -> list[Message]:
        asked = text_field(row, question)
        more = text_field(row, context, may_be_empty=True) if has(context)(row) else ""
        first = user_with_context(asked, more) if more.strip() else user(asked)
        return [first, assistant(text_field(row, answer))]

    return read


def pair(question: str, answer: str) -> Callable[[Any], list[Message]]:
    """Return a reader of a question and an answer; a ``context`` stands below the question, where there is one."""

    def read(row: Any) -> list[Message]:
        asked = text_field(row, question)
        more = text_field(row, "context", may_be_empty=True) if has("context")(row) else ""
        return [user(f"{asked}\n\n{more}" if more.strip() else asked), assistant(text_field(row, answer))]

    return read


def read_prompt_completion(row: Any) -> list[Message]:
    """Read two texts, or two lists of messages, of which only the second is learnt (TRL's conversational form)."""
    names = {str(name).lower(): name for name in row}
    lists = {field: listed_messages(row.get(names.get(field))) for field in ("prompt", "completion")}
    if not any(lists.values()):
        return pair("prompt", "completion")(row)
    before = read_turns(lists["prompt"], "prompt") if lists["prompt"] else [user(text_field(row, "prompt"))]
    for message in before:
        if message["role"] == "assistant":
            message["weight"] = 0
    answered = lists["completion"]
    return [*before, *(read_turns(answered, "completion") if answered else [assistant(text_field(row, "completion"))])]


def read_alpaca_text(row: Any) -> list[Message]:
    """Read a text in Alpaca's template."""
    found = _ALPACA_TEXT.search(text_field(row, "text"))
    if not found:
        raise RowError("'text' is not in Alpaca's form: expected ### Instruction:, then ### Response:")
    instruction, more, response = (part and part.strip() for part in found.groups())
    instruction = checked_text(instruction, "the instruction in 'text'")
    asked = user_with_context(instruction, more) if more else user(instruction)
    return [asked, assistant(checked_text(response, "its response"))]


_ALPACA_TEXT = re.compile(r"### Instruction:\n(.*?)\n+(?:### Input:\n(.*?)\n+)?### Response:(.*)", re.DOTALL)


def read_guanaco(row: Any) -> list[Message]:
    """Read a text of any number of turns in the template of openassistant-guanaco."""
    before, *texts = re.split(r"### (Human|Assistant):", text_field(row, "text"))
    if before.strip():
        raise RowError(f"'text' begins with {before.strip()[:40]!r}: expected ### Human:")
    return [
        (user if name == "Human" else assistant)(checked_text(text.strip(), f"{name}'s turn {number // 2}"))
        for number, (name, text) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]


def read_dialogue(row: Any) -> list[Message]:
    """Read an object whose keys are the speakers."""
    pairs = row if isinstance(row, RepeatedKeys) else list(row.items())
    names = list(dict.fromkeys(name for name, _ in pairs))
    if len(names) != 2:
        raise RowError(f"a dialogue needs two speakers, found {len(names)}: {', '.join(names)}")
    messages: list[Message] = []
    for name, said in pairs:
        text = checked_text(said, repr(name))
        if messages and messages[-1]["name"] == name:
            messages[-1]["content"] = f"{messages[-1]['content']}\n{text}"
        else:
            role = "user" if name == names[0] else "assistant"
            messages.append(Message(role=role, content=text, name=name))
    return messages


def written_as(name: str) -> Callable[[Any], bool]:
    """Return a test of a row: does it hold turns as this format writes them (``"openai"`` or ``"sharegpt"``)?"""

    def matches(row: Any) -> bool:
        found = conversation_of(row)
        return found is not None and is_from_value(*found) == (name == "sharegpt")

    return matches


def read_conversation(usual: str) -> Callable[[Any], list[Message]]:
    """Return a reader of turns; an error names the column where they usually stand."""

    def read(row: Any) -> list[Message]:
        found = conversation_of(row)
        if found is None:
            there = ", ".join(map(repr, row)) or "none"
            raise RowError(f"no list of objects under {usual!r}; found the fields {there}: each turn must be an object")
        return read_turns(found[1], found[0])

    return read
