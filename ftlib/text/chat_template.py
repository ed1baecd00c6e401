"""Chat templates: a tokenizer's own, taken apart into segments, and the course's, written as one.

A chat template is a small program (Jinja) that comes with a tokenizer and gives one string. To know what
in that string is markup, what is somebody's words and what is to be learnt, it is run with placeholders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from ftlib.argument_checks import checked
from ftlib.data.messages import Message
from ftlib.data.tool_calls import odd_arguments, with_arguments, with_json_arguments
from ftlib.errors import DataError
from ftlib.text.jinja_source import jinja_source
from ftlib.text.placeholders import (
    PLACEHOLDER,
    REASONING,
    Hollow,
    behind,
    closes_thought,
    knows_thoughts,
    opened_thought,
    same_without_thoughts,
    with_reasoning_apart,
    written_behind,
)
from ftlib.text.special_tokens import marker_tokens, opening_ids, special_tokens
from ftlib.text.templates import (
    QUESTION_ANSWER,
    TEMPLATES,
    OwnBeginning,
    Segment,
    Template,
    TextTemplate,
    get_template,
)


class ChatTemplate(Template):
    r"""The chat template that a tokenizer brings, for models that were trained with it.

    Laid out as text, a conversation is exactly what ``tokenizer.apply_chat_template`` gives (where that
    strips the space around a message, so does this). What the model writes in its turn is the target, up to
    and with the first special token behind it.

    The templates of models that reason first (DeepSeek-R1, Qwen3) show the reasoning of the last answer only, or begin
    one in the prompt (``<think>``). Here every answer is laid out as it is written: behind the template's own prompt,
    with its reasoning, or with an empty one. So a conversation of several answers can be learnt as a whole.

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

    @property
    def source(self) -> str:
        """The Jinja program."""
        return _program(self._tokenizer)

    @cached_property
    def _special(self) -> list[str]:
        return special_tokens(self._tokenizer)

    @cached_property
    def _markers(self) -> list[str]:
        return marker_tokens(self._tokenizer)

    def _lay_out(self, messages: Sequence[Message]) -> list[Segment]:
        messages = [with_json_arguments(number, message) for number, message in enumerate(messages)]
        self._refuse_imitations(messages)
        given = [with_reasoning_apart(one) if knows_thoughts(self.source) else one for one in messages]
        hollow = Hollow(given)
        segments: list[Segment] = []
        done = ""
        for number, message in enumerate(messages):
            if message["role"] == "assistant":
                lead = behind(self._run(hollow.messages[:number], waits=True), done) if number else ""
                turn = self._turn(hollow, number, done + lead)
                segments += hollow.fill(lead, is_target=False)
                segments += hollow.fill(turn, is_target=message.get("weight") != 0)
                segments[-1] = segments[-1]._replace(ends_turn=True)
                done += lead + turn
        waits = messages[-1]["role"] != "assistant"
        segments += hollow.fill(behind(self._run(hollow.messages, waits), done), is_target=False)
        hollow.check_all_used()
        return self._checked(segments, self._run(given, waits))

    def _turn(self, hollow: Hollow, number: int, prompt: str) -> str:
        """Return what the model writes in its turn, behind a prompt."""
        message, opened = hollow.messages[number], opened_thought(prompt)
        shown = behind(self._run(hollow.messages[: number + 1], waits=False), prompt.removesuffix(opened))
        reasoning = message.get(REASONING) or ""
        if reasoning and closes_thought(prompt):
            raise DataError(
                f"messages[{number}]: the answer holds reasoning, and the chat template has the model answer without: "
                "take <think>...</think> out of the answers, or choose a template that lets the model reason"
            )
        calls = message.get("tool_calls") or []
        turn = self._ended(written_behind(opened, shown, reasoning), is_call=bool(calls))
        if any(call["function"]["name"] not in turn for call in calls):
            raise DataError(f"messages[{number}]: the tokenizer's chat template has no place for a tool call")
        return turn

    def _ended(self, text: str, *, is_call: bool) -> str:
        """Cut a turn behind what ends it: the first special token that follows the words, the last one of a call."""
        words = max((found.end() for found in PLACEHOLDER.finditer(text)), default=0)
        find, choose = (text.rfind, max) if is_call else (text.find, min)
        for tokens in (self._special, self._markers):
            found = [(find(token, words), len(token)) for token in tokens if find(token, words) >= 0]
            if found:
                start, length = choose(found)
                return text[: start + length]
        return text.rstrip("\n")

    def _run(self, messages: Sequence[Mapping[str, Any]], waits: bool) -> str:
        """Run the program, with the arguments of tool calls in the form that it takes: an object, or else JSON text."""
        try:
            text = self._run_with(messages, waits, json.loads)
            if not any(str(arguments) in text for arguments in odd_arguments(messages)):
                return text
        except (TemplateError, TypeError, AttributeError, LookupError, ValueError) as error:
            if not any(message.get("tool_calls") for message in messages):
                raise _refused(error) from error
        try:
            return self._run_with(messages, waits, str)
        except (TemplateError, TypeError, AttributeError, LookupError, ValueError) as error:
            raise _refused(error) from error

    def _run_with(self, messages: Sequence[Mapping[str, Any]], waits: bool, form: Callable[[str], Any]) -> str:
        given = [with_arguments(message, form) for message in messages]
        text = self._tokenizer.apply_chat_template(
            given, tools=self._tools, tokenize=False, add_generation_prompt=waits
        )
        return str(text)

    def _checked(self, segments: list[Segment], expected: str) -> list[Segment]:
        """Compare with what the program makes of the texts themselves; reasoning that it leaves out doesn't count."""
        stripped = [s if s.is_markup else s._replace(text=s.text.strip("\n")) for s in segments]
        for version in (segments, stripped):
            text = "".join(segment.text for segment in version)
            if text == expected or (knows_thoughts(self.source) and same_without_thoughts(text, expected)):
                kept = [segment for segment in version if segment.text or segment.ends_turn]
                return [OwnBeginning(*kept[0]), *kept[1:]]
        raise DataError(
            "the chat template rewrites the text of a message: it can't be told apart from the markup; choose a text "
            "template such as 'chatml'"
        )

    def _refuse_imitations(self, messages: Sequence[Message]) -> None:
        """Fields other than the content end up in the markup, where a special token would count."""
        for number, message in enumerate(messages):
            others = json.dumps({k: v for k, v in message.items() if k not in ("content", "context")})
            found = [token for token in self._special if token in others]
            if found:
                raise DataError(f"messages[{number}]: {found[0]!r} in a name or tool call would become a special token")


def _refused(error: Exception) -> DataError:
    return DataError(f"the tokenizer's chat template refuses the conversation: {error}")


@checked()
def named_template(tokenizer: PreTrainedTokenizerBase, name: str) -> Template:
    """Return a template by the name that a configuration gives it.

    Args:
        tokenizer: The model's.
        name: Of a text template; ``"tokenizer"``: the tokenizer's chat template; ``"auto"``: :func:`template_of`.

    Raises:
        DataError: There is none of that name.

    >>> from ftlib.models.loading import load_tokenizer
    >>> named_template(load_tokenizer("nano"), "alpaca").name
    'alpaca'
    """
    if name == "auto":
        return template_of(tokenizer)
    return ChatTemplate(tokenizer) if name == "tokenizer" else get_template(name)


@checked()
def template_of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """Return the template that a tokenizer's model was trained with, as far as the tokenizer tells.

    Args:
        tokenizer: Any tokenizer.

    Returns:
        The text template that :func:`to_jinja` wrote into the tokenizer; or else its chat template; or, if it has
        none, the course's own template.

    >>> from ftlib.models.loading import load_tokenizer
    >>> template_of(load_tokenizer("nano")).name
    'question-answer'
    """
    if not tokenizer.chat_template:
        return QUESTION_ANSWER
    program = _program(tokenizer)
    for template in TEMPLATES.values():
        if program in (to_jinja(template), to_jinja(template, tokenizer)):
            return template
    return ChatTemplate(tokenizer)


def to_jinja(template: Template, tokenizer: PreTrainedTokenizerBase | None = None) -> str:
    r"""Write a template as a chat template: the form in which other programs (servers, above all) take it.

    ``apply_chat_template`` then gives the text of :meth:`~ftlib.text.templates.Template.render`, and with
    ``add_generation_prompt`` that of ``render_prompt``.

    Args:
        template: A text template, or a chat template, whose program is returned as it is.
        tokenizer: If given, its end-of-text token follows each answer, and what it puts in front of every text stands
            there, as in training.

    Returns:
        A Jinja program, to be set as ``tokenizer.chat_template``.

    Raises:
        DataError: The template is neither.

    >>> from jinja2 import Template as Jinja
    >>> Jinja(to_jinja(QUESTION_ANSWER)).render(messages=[{"role": "user", "content": "Why?"}])
    '### Question:\nWhy?'
    """
    if isinstance(template, ChatTemplate):
        return template.source
    if not isinstance(template, TextTemplate):
        raise DataError(f"template {template.name!r} can't be written as a chat template: use a text template")
    end = "" if tokenizer is None else _end_of_turn(template, tokenizer)
    begin = [] if tokenizer is None else tokenizer.convert_ids_to_tokens(opening_ids(tokenizer))
    return jinja_source(template, begin="".join(begin), behind_answer=template.end_marker + end)


def _end_of_turn(template: TextTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    return "" if template.end_marker.endswith(tuple(marker_tokens(tokenizer))) else str(tokenizer.eos_token)


def _program(tokenizer: PreTrainedTokenizerBase) -> str:
    program = tokenizer.chat_template
    return str(program["default"] if isinstance(program, dict) else program)
