"""Chat templates: a tokenizer's own, taken apart into segments, and the course's, written as one.

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
from ftlib.templates import QUESTION_ANSWER, TEMPLATES, DialogueTemplate, Segment, Template, TextTemplate

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

    @property
    def source(self) -> str:
        """The Jinja program."""
        return _program(self._tokenizer)

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


def template_of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """Return the template that a tokenizer's model was trained with, as far as the tokenizer tells.

    Args:
        tokenizer: Any tokenizer.

    Returns:
        The text template that :func:`to_jinja` wrote into the tokenizer; or else its chat template; or, if it has
        none, the course's own frame.

    >>> from ftlib.models import load_tokenizer
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

    ``apply_chat_template`` then gives the text of :meth:`~ftlib.templates.Template.render`, and with
    ``add_generation_prompt`` that of ``render_prompt``.

    Args:
        template: A text template, or a chat template, whose program is returned as it is.
        tokenizer: If given, its end-of-text token follows each answer, as it does in training.

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
    return "".join([_CHECKS, _opening(template), _names(template), _turns(template, template.end_marker + end)])


_CHECKS = (
    "{% for message in messages %}{% if message['content'] is not string or message['tool_calls'] %}"
    "{{ raise_exception('only text has a place in this template: no tool call, no picture') }}{% endif %}{% endfor %}"
    "{% set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    "{% if not turns %}{{ raise_exception('the conversation holds nothing but a system message') }}{% endif %}"
)
_CHECK_ROLE = (
    "{% if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}"
    "{{ raise_exception('expected at most one system message, then user and assistant in turn') }}{% endif %}"
)
# A message's text without the material that stands at its end, behind an empty line.
_ASKED = "message['content'][:-2 - message['context'] | length]"


def _opening(template: TextTemplate) -> str:
    system = f"{_quoted(template.before_system)} ~ messages[0]['content'] ~ {_quoted(template.after_system)}"
    opening = _quoted(template.opening)
    if template.opening_with_context:
        opening = f"({_quoted(template.opening_with_context)} if turns[0]['context'] else {opening})"
    return f"{{{{ {system} if messages[0]['role'] == 'system' else {opening} }}}}"


def _names(template: TextTemplate) -> str:
    if not isinstance(template, DialogueTemplate):
        return ""
    return (
        "{% set names = messages | selectattr('role', 'equalto', 'assistant') | map(attribute='name') | select "
        "| unique(case_sensitive=true) | list %}"
        "{% if names | length > 1 %}{{ raise_exception('one name for the assistant is expected') }}{% endif %}"
    )


def _turns(template: TextTemplate, behind_answer: str) -> str:
    before_user, before_assistant = _quoted(template.before_user), _quoted(template.before_assistant)
    if isinstance(template, DialogueTemplate):
        before_user = f"(message['name'] or {_quoted(template.user_name)}) ~ {before_user}"
        before_assistant = f"'\\n' ~ (names[0] or {_quoted(template.assistant_name)}) ~ {before_assistant}"
    asked = "message['content']"
    if template.before_context != "\n\n":
        with_context = f"{_ASKED} ~ {_quoted(template.before_context)} ~ message['context']"
        asked = f"({with_context} if message['context'] else {asked})"
    return (
        "{% for message in turns %}" + _CHECK_ROLE + "{% if message['role'] == 'user' %}"
        f"{{{{ ('' if loop.first else {_quoted(template.between_turns)}) ~ {before_user} ~ {asked} }}}}"
        f"{{% if not loop.last or add_generation_prompt %}}{{{{ {before_assistant} }}}}{{% endif %}}"
        f"{{% else %}}{{{{ message['content'] ~ {_quoted(behind_answer)} }}}}{{% endif %}}{{% endfor %}}"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _end_of_turn(template: TextTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    special = tuple(token for token in tokenizer.all_special_tokens if token)
    return "" if template.end_marker.endswith(special) else str(tokenizer.eos_token)


def _program(tokenizer: PreTrainedTokenizerBase) -> str:
    program = tokenizer.chat_template
    return str(program["default"] if isinstance(program, dict) else program)
