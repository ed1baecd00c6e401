"""Messages to text: the template around a question that training and generation must share.

A template gives segments. Each says whether the model is trained to write it, and whether it is the
template's own markup or somebody's words: only markup may hold special tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ftlib.argument_checks import checked
from ftlib.data.messages import Message, RowError, check_messages, split_context
from ftlib.errors import DataError
from ftlib.nearest import one_of


class Segment(NamedTuple):
    """A piece of a conversation's text.

    ``text`` is the piece. ``is_target``: is the model trained to write it? ``is_markup``: is it the
    template's own? Then special tokens in it count; elsewhere they are plain text. ``ends_turn``: does the
    model's turn end here? Then the end-of-text token follows, a target like the text (unless the text ends
    with a special token of its own).
    """

    text: str
    is_target: bool = False
    is_markup: bool = False
    ends_turn: bool = False


class OwnBeginning(Segment):
    """The first piece of a layout that writes the beginning of the text itself: no token is put in front of it."""


class Template(ABC):
    """What every template can do: lay out a conversation, or one that waits for its next answer.

    Attributes:
        name: How errors call it.
        end_marker: Text that the model learns to write behind an answer, if any.
    """

    name: str
    end_marker: str = ""

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Lay out a conversation as segments, in order; the answers are the targets.

        An answer with ``weight`` 0 is laid out, and is no target. What follows the last answer is left out:
        nothing behind the last target can change what is learnt.

        Raises:
            DataError: The template has no place for a message, or there is no answer.

        >>> QUESTION_ANSWER.render([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}])[-1]
        Segment(text='So.', is_target=True, is_markup=False, ends_turn=True)

        Taught in: chapters/04_tokens_padding_truncation.ipynb
        """
        _check(messages)
        answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
        if not answers:
            raise DataError(f"template {self.name!r}: there is no assistant's message to learn")
        return self._lay_out(messages[: answers[-1] + 1])

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]:
        r"""Lay out a conversation that waits for its next answer: exactly the beginning of what training sees.

        Raises:
            DataError: The template has no place for a message, or the last message is an answer.

        >>> "".join(s.text for s in QUESTION_ANSWER.render_prompt([{"role": "user", "content": "Why?"}]))
        '### Question:\nWhy?\n\n### Answer:\n'
        """
        _check(messages)
        if not messages or messages[-1]["role"] in ("assistant", "system"):
            raise DataError(f"template {self.name!r}: a prompt must end with user, so that the model can answer")
        return self._lay_out(messages)

    @abstractmethod
    def _lay_out(self, messages: Sequence[Message]) -> list[Segment]: ...


@dataclass(frozen=True)
class TextTemplate(Template):
    """A template of plain text: what stands before and after each message.

    Attributes:
        name: How messages and errors call it.
        before_user: Text in front of each question.
        before_assistant: Text between question and answer; the prompt ends with it.
        before_context: Text between a question and the material that it is about.
        end_marker: Text that the model learns to write behind each answer.
        between_turns: Text behind an answer when another question follows.
        opening: Text in front of everything. A system message takes its place.
        opening_with_context: The same, for a first question that comes with material.
        before_system: Text in front of a system message.
        after_system: Text behind a system message.
    """

    name: str
    before_user: str
    before_assistant: str
    before_context: str = "\n\n"
    end_marker: str = ""
    between_turns: str = "\n\n"
    opening: str = ""
    opening_with_context: str = ""
    before_system: str = ""
    after_system: str = "\n\n"

    def _lay_out(self, messages: Sequence[Message]) -> list[Segment]:
        system, turns = (messages[0], messages[1:]) if messages[0]["role"] == "system" else (None, messages)
        self._check_roles(turns)
        segments = self._opening(system, turns[0])
        for number, message in enumerate(turns):
            if message["role"] == "assistant":
                segments += self._answer(message)
            else:
                gap = self.between_turns if number else ""
                segments += self._question(gap, message)
        return [segment for segment in segments if segment.text or segment.ends_turn]

    def _opening(self, system: Message | None, first: Message) -> list[Segment]:
        if system is not None:
            text = Segment(self._text(system))
            return [Segment(self.before_system, is_markup=True), text, Segment(self.after_system, is_markup=True)]
        with_context = self.opening_with_context and first.get("context")
        return [Segment(self.opening_with_context if with_context else self.opening, is_markup=True)]

    def _question(self, gap: str, message: Message) -> list[Segment]:
        self._text(message)
        asked, context = _instruction_and_input(message)
        material = [Segment(self.before_context, is_markup=True), Segment(context)] if context else []
        before = [Segment(gap, is_markup=True), *self._label_user(message)]
        return [*before, Segment(asked), *material, *self._label_assistant()]

    def _answer(self, message: Message) -> list[Segment]:
        trained = message.get("weight") != 0
        if not self.end_marker:
            return [Segment(self._text(message), trained, ends_turn=True)]
        marker = Segment(self.end_marker, trained, is_markup=True, ends_turn=True)
        return [Segment(self._text(message), trained), marker]

    def _label_user(self, message: Message) -> list[Segment]:
        return [Segment(self.before_user, is_markup=True)]

    def _label_assistant(self) -> list[Segment]:
        return [Segment(self.before_assistant, is_markup=True)]

    def _text(self, message: Message) -> str:
        if message["content"] is None or message.get("tool_calls"):
            raise DataError(f"template {self.name!r} has no place for a tool call: use the tokenizer's chat template")
        return message["content"]

    def _check_roles(self, turns: Sequence[Message]) -> None:
        roles = [message["role"] for message in turns]
        if not roles or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
            raise DataError(
                f"template {self.name!r} expects at most one system message, then user and assistant in turn; "
                f"found {roles}"
            )


@dataclass(frozen=True)
class DialogueTemplate(TextTemplate):
    r"""Lines with the speaker's name in front, as in a play.

    Names come from the messages. Who answers a first question can't be known from the question: set
    ``assistant_name`` to ask in somebody's name.

    Attributes:
        user_name: Who asks, where a message gives no name.
        assistant_name: Who answers, until an answer with a name is there.

    >>> play = DialogueTemplate("play", assistant_name="Bob")
    >>> "".join(s.text for s in play.render_prompt([{"role": "user", "content": "Hi.", "name": "Ann"}]))
    'Ann: Hi.\nBob: '
    """

    before_user: str = ": "
    before_assistant: str = ": "
    between_turns: str = "\n"
    after_system: str = "\n"
    user_name: str = "User"
    assistant_name: str = "Assistant"

    def _label_user(self, message: Message) -> list[Segment]:
        return [Segment(message.get("name") or self.user_name), Segment(self.before_user, is_markup=True)]

    def _label_assistant(self) -> list[Segment]:
        marks = [Segment("\n", is_markup=True), Segment(self.assistant_name)]
        return [*marks, Segment(self.before_assistant, is_markup=True)]

    def _lay_out(self, messages: Sequence[Message]) -> list[Segment]:
        names = sorted({m["name"] for m in messages if m["role"] == "assistant" and m.get("name")})
        if len(names) > 1:
            raise DataError(f"template {self.name!r} takes one name for the assistant; found {names}")
        if names and names[0] != self.assistant_name:
            return replace(self, assistant_name=names[0])._lay_out(messages)
        return super()._lay_out(messages)


def _check(messages: Sequence[Message]) -> None:
    try:
        check_messages(messages)
    except RowError as error:
        raise DataError(str(error)) from error


def _instruction_and_input(message: Message) -> tuple[str, str]:
    try:
        return split_context(message)
    except RowError as error:
        raise DataError(str(error)) from error


QUESTION_ANSWER = TextTemplate("question-answer", before_user="### Question:\n", before_assistant="\n\n### Answer:\n")
"""The course's own template: a heading over the question, a heading over the answer."""

ALPACA = TextTemplate(
    "alpaca",
    before_user="### Instruction:\n",
    before_context="\n\n### Input:\n",
    before_assistant="\n\n### Response:\n",
    opening="Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n",
    opening_with_context="Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n",
)
"""Both templates of Stanford Alpaca (Taori et al., 2023, https://github.com/tatsu-lab/stanford_alpaca): with and
without an input."""

GUANACO = TextTemplate("guanaco", before_user="### Human: ", before_assistant="### Assistant: ", between_turns="")
"""The template of openassistant-guanaco: all turns in one line of text, without gaps."""

CHATML = TextTemplate(
    "chatml",
    before_user="<|im_start|>user\n",
    before_assistant="<|im_end|>\n<|im_start|>assistant\n",
    end_marker="<|im_end|>",
    between_turns="\n",
    before_system="<|im_start|>system\n",
    after_system="<|im_end|>\n",
)
"""OpenAI's chat markup language. Where the tokenizer knows its markers as special tokens, they are those."""

DIALOGUE = DialogueTemplate("dialogue")
"""Lines with the speaker's name in front."""

TEMPLATES: dict[str, Template] = {one.name: one for one in (QUESTION_ANSWER, ALPACA, GUANACO, CHATML, DIALOGUE)}
"""Every text template by name.

:meta hide-value:
"""


@checked()
def get_template(name: str) -> Template:
    """Return a text template by its name.

    Raises:
        DataError: There is none of that name.

    >>> get_template("chatml").end_marker
    '<|im_end|>'
    """
    if name not in TEMPLATES:
        raise DataError(f"unknown template {name!r}; {one_of(name, TEMPLATES)}")
    return TEMPLATES[name]
