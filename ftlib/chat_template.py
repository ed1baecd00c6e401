"""A tokenizer's own chat template, taken apart into segments.

A chat template is a small program (Jinja) that comes with a tokenizer and gives one string. To know what
in that string is markup, what is somebody's words and what is to be learnt, it is run with placeholders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from ftlib.errors import DataError
from ftlib.messages import Message
from ftlib.templates import Segment, Template

_PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")


class ChatTemplate(Template):
    r"""The chat template that a tokenizer brings, for models that were trained with it.

    Laid out as text, a conversation is exactly what ``tokenizer.apply_chat_template`` gives (where that
    strips the space around a message, so does this). What the model writes in its turn is the target, up to
    and with the first special token behind it.

    Args:
        tokenizer: A tokenizer with a chat template; it is not changed.
        tools: Descriptions of functions for templates that can present them (JSON schema, as transformers has it).

    Raises:
        DataError: The tokenizer has no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, tools: list[Any] | None = None) -> None:
        """Check that there is a template."""
        if not tokenizer.chat_template:
            raise DataError("the tokenizer has no chat template: choose a text template, such as 'chatml'")
        self.name = "chat"
        self._tokenizer = tokenizer
        self._tools = tools

    def _lay_out(self, messages: Sequence[Message]) -> list[Segment]:
        self._refuse_imitations(messages)
        waits = messages[-1]["role"] != "assistant"
        whole = self._run(_hollow(messages), waits)
        segments: list[Segment] = []
        done = ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self._run(_hollow(messages[:number]), waits=True) if number else ""
            answered = self._run(_hollow(messages[: number + 1]), waits=False)
            if not (prompt.startswith(done) and answered.startswith(prompt) and whole.startswith(prompt)):
                raise DataError("the chat template changes earlier text when a message is added: no prompt is a prefix")
            turn = self._turn(answered[len(prompt) :])
            trained = message.get("weight") != 0
            segments += _filled(prompt[len(done) :], messages, is_target=False)
            segments += _filled(turn, messages, is_target=trained)
            segments[-1] = segments[-1]._replace(ends_turn=True)
            done = prompt + turn
            if not whole.startswith(done):
                raise DataError("the chat template changes an answer when a message is added: no prompt is a prefix")
        segments += _filled(whole[len(done) :], messages, is_target=False)
        return self._checked(segments, messages, waits)

    def _turn(self, text: str) -> str:
        """Cut what stands behind a turn: all after the first special token that follows the words."""
        words = max((found.end() for found in _PLACEHOLDER.finditer(text)), default=0)
        ends = [text.find(token, words) + len(token) for token in self._special() if text.find(token, words) >= 0]
        return text[: min(ends)] if ends else text.rstrip("\n")

    def _special(self) -> list[str]:
        return [token for token in self._tokenizer.all_special_tokens if token]

    def _run(self, messages: Sequence[Message], waits: bool) -> str:
        try:
            given = [_with_arguments(message) for message in messages]
            text = self._tokenizer.apply_chat_template(
                given, tools=self._tools, tokenize=False, add_generation_prompt=waits
            )
        except TemplateError as error:
            raise DataError(f"the tokenizer's chat template refuses the conversation: {error}") from error
        return str(text)

    def _checked(self, segments: list[Segment], messages: Sequence[Message], waits: bool) -> list[Segment]:
        expected = self._run(messages, waits)
        for version in (segments, [s if s.is_markup else s._replace(text=s.text.strip()) for s in segments]):
            if "".join(segment.text for segment in version) == expected:
                return [segment for segment in version if segment.text or segment.ends_turn]
        raise DataError("the chat template rewrites the text of a message: it can't be told apart from the markup")

    def _refuse_imitations(self, messages: Sequence[Message]) -> None:
        """Fields other than the content end up in the markup, where a special token would count."""
        for number, message in enumerate(messages):
            others = json.dumps({k: v for k, v in message.items() if k not in ("content", "context")})
            found = [token for token in self._special() if token in others]
            if found:
                raise DataError(f"messages[{number}]: {found[0]!r} in a name or tool call would become a special token")


def _hollow(messages: Sequence[Message]) -> list[Message]:
    """Put a placeholder where each text stands."""
    hollow = [message.copy() for message in messages]
    for number, message in enumerate(hollow):
        if message["content"]:
            message["content"] = f"\ue000{number}\ue001"
    return hollow


def _filled(text: str, messages: Sequence[Message], *, is_target: bool) -> list[Segment]:
    """Cut at the placeholders and put the texts back."""
    pieces = _PLACEHOLDER.split(text)
    return [
        Segment(messages[int(piece)]["content"] or "", is_target)
        if number % 2
        else Segment(piece, is_target, is_markup=True)
        for number, piece in enumerate(pieces)
        if piece
    ]


def _with_arguments(message: Message) -> dict[str, Any]:
    """Give tool calls as chat templates expect them: with arguments as an object, not as JSON text."""
    calls = [
        call | {"function": call["function"] | {"arguments": json.loads(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or []
    ]
    given = {k: v for k, v in message.items() if k not in ("context", "weight")}
    return {**given, "tool_calls": calls} if calls else given
