"""Messages to text: the frame around a question that training and generation must share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ftlib.errors import DataError
from ftlib.messages import Message


class Segment(NamedTuple):
    """A piece of text and whether the model is trained to write it."""

    text: str
    is_target: bool


@dataclass(frozen=True)
class Template:
    """A frame for conversations: what stands before and after each message.

    Attributes:
        name: How messages and errors call it.
        before_user: Text in front of each question.
        before_assistant: Text between question and answer; the prompt ends with it.
        between_turns: Text behind an answer when another question follows.
    """

    name: str
    before_user: str
    before_assistant: str
    between_turns: str = "\n\n"

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Lay out a conversation as segments, in order; the answers are the targets.

        Raises:
            DataError: The roles don't alternate user, assistant, or the last message is no answer.

        >>> QUESTION_ANSWER.render([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}])[1]
        Segment(text='So.', is_target=True)

        Taught in: chapters/04_tokens_padding_truncation.ipynb
        """
        self._check_roles(messages, last="assistant")
        segments: list[Segment] = []
        for user, assistant in zip(messages[::2], messages[1::2], strict=True):
            gap = self.between_turns if segments else ""
            segments.append(Segment(gap + self._question(user), is_target=False))
            segments.append(Segment(self._text(assistant), is_target=True))
        return segments

    def render_prompt(self, messages: Sequence[Message]) -> list[Segment]:
        r"""Lay out a conversation that waits for its next answer: exactly the beginning of what training sees.

        Raises:
            DataError: The roles don't alternate, or the last message is not the user's.

        >>> "".join(s.text for s in QUESTION_ANSWER.render_prompt([{"role": "user", "content": "Why?"}]))
        '### Question:\nWhy?\n\n### Answer:\n'
        """
        self._check_roles(messages, last="user")
        answered = self.render(messages[:-1]) if len(messages) > 1 else []
        gap = self.between_turns if answered else ""
        return [*answered, Segment(gap + self._question(messages[-1]), is_target=False)]

    def _question(self, message: Message) -> str:
        return f"{self.before_user}{self._text(message)}{self.before_assistant}"

    def _text(self, message: Message) -> str:
        if message["content"] is None:
            raise DataError(f"template {self.name!r} has no place for a message without text (a tool call)")
        return message["content"]

    def _check_roles(self, messages: Sequence[Message], *, last: str) -> None:
        roles = [message["role"] for message in messages]
        count = len(roles) + (1 if last == "user" else 0)
        expected = ["user", "assistant"] * (count // 2)
        if not roles or count % 2 or roles != expected[: len(roles)]:
            raise DataError(
                f"template {self.name!r} expects user and assistant in turn, ending with {last}; found {roles}"
            )


QUESTION_ANSWER = Template("question-answer", before_user="### Question:\n", before_assistant="\n\n### Answer:\n")
"""The course's own frame: a heading over the question, a heading over the answer."""
