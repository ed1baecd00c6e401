"""Placeholders for what is said, so that a chat template's output can be told apart: its own markup, and the words.

A chat template gives one string. It is run on a conversation whose texts are placeholders, and these are looked for in
what it gave. A model that reasons first adds a difficulty: its template shows the reasoning of an answer only while
that answer is the last one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftlib.data.messages import Message
from ftlib.errors import DataError
from ftlib.text.templates import Segment

# Around each placeholder stands a space that no template writes: where it is gone, the template strips that text.
_SPACE = "\u2003"
PLACEHOLDER = re.compile(f"({_SPACE}?)\ue000([0-9]+)\ue001({_SPACE}?)")
_TAG = "think"
REASONING = "reasoning_content"
_THOUGHT = re.compile(rf"<{_TAG}>(.*?)</{_TAG}>[ \t\n]*", re.DOTALL)
_OPENED = re.compile(rf"<{_TAG}>\s*\Z")
_REASONED = re.compile(rf"\s*(?:<{_TAG}>)?(.*?)</{_TAG}>\s*(.*)\Z", re.DOTALL)
_EMPTY_THOUGHT = re.compile(rf"\s*(?:<{_TAG}>)?\s*</{_TAG}>\s*")


class Hollow:
    """A conversation with placeholders instead of texts, and the texts.

    Args:
        messages: As a chat template takes them; an answer may have its reasoning apart (:func:`with_reasoning_apart`).

    Attributes:
        messages: The same messages, hollow.
    """

    def __init__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Replace every text that is there."""
        self._texts: list[str] = []
        self._numbers: list[int] = []
        self._used: set[int] = set()
        self.messages = [self._hollow(number, message) for number, message in enumerate(messages)]

    def _hollow(self, number: int, message: Mapping[str, Any]) -> dict[str, Any]:
        said = {field: self._hidden(number, message[field]) for field in ("content", REASONING) if message.get(field)}
        return {**message, **said}

    def _hidden(self, number: int, text: str) -> str:
        self._texts.append(text)
        self._numbers.append(number)
        return f"{_SPACE}\ue000{len(self._texts) - 1}\ue001{_SPACE}"

    def fill(self, text: str, *, is_target: bool) -> list[Segment]:
        """Cut at the placeholders and put the texts back, stripped of space where the template strips them."""
        segments, done = [], 0
        for found in PLACEHOLDER.finditer(text):
            self._used.add(int(found[2]))
            said = self._texts[int(found[2])]
            said = said if found[1] else said.lstrip()
            segments.append(Segment(text[done : found.start()], is_target, is_markup=True))
            segments.append(Segment(said if found[3] else said.rstrip(), is_target))
            done = found.end()
        segments.append(Segment(text[done:], is_target, is_markup=True))
        return [segment for segment in segments if segment.text]

    def check_all_used(self) -> None:
        """Hold a template to showing every text.

        Raises:
            DataError: It left one out.
        """
        for text, number in enumerate(self._numbers):
            if text not in self._used:
                raise DataError(
                    f"messages[{number}]: the chat template leaves out the text of role "
                    f"{self.messages[number]['role']!r}: take it out, or choose a text template such as 'chatml'"
                )


def behind(text: str, done: str) -> str:
    """Return what stands in a text behind a beginning that says the same as ``done``, closed reasoning aside.

    Raises:
        DataError: The text begins otherwise.

    >>> behind("A: yes B: ", "A: <think>well</think>yes")
    ' B: '
    """
    if text.startswith(done):
        return text[len(done) :]
    here = there = 0
    while there < len(done):
        here, there = _skip(text, here), _skip(done, there)
        if there < len(done):
            if text[here : here + 1] != done[there]:
                raise DataError(
                    "the chat template changes earlier text when a message is added: no prompt is a prefix; set "
                    "tokenizer.chat_template to a program that doesn't, or choose a text template such as 'chatml'"
                )
            here, there = here + 1, there + 1
    return text[here:]


def opened_thought(prompt: str) -> str:
    r"""Return the tag of a reasoning that a prompt has opened at its end, with what follows it; else nothing.

    >>> opened_thought("Assistant: <think>\n")
    '<think>\n'
    """
    found = _OPENED.search(prompt)
    return found[0] if found else ""


def written_behind(opened: str, shown: str, reasoning: str) -> str:
    r"""Return what a model writes behind a prompt: the end of its reasoning, if that was begun, and the answer.

    Args:
        opened: From :func:`opened_thought`.
        shown: The turn as the template shows it, behind the prompt without what was opened.
        reasoning: The placeholder of the reasoning that belongs to the answer, or nothing.

    >>> written_behind("<think>\n", "yes", "")
    '\n</think>\n\nyes'
    """
    reasoning = reasoning.strip()
    if reasoning in shown and (not opened or shown.startswith(opened)):
        return shown[len(opened) :]
    found = _THOUGHT.match(shown)
    answer = (shown[found.end() :] if found else shown).lstrip("\n")
    beginning = "" if opened else f"<{_TAG}>\n"
    return f"{beginning}{reasoning}\n</{_TAG}>\n\n{answer}"


def with_reasoning_apart(message: Message) -> dict[str, Any]:
    r"""Take the reasoning out of the text of an answer, into the field that chat templates read it from.

    >>> with_reasoning_apart({"role": "assistant", "content": "<think>\nwell\n</think>\n\nyes"})
    {'role': 'assistant', 'content': 'yes', 'reasoning_content': 'well'}
    """
    found = _REASONED.match(message["content"] or "") if message["role"] == "assistant" else None
    if not found:
        return dict(message)
    reasoning = {REASONING: found[1].strip()} if found[1].strip() else {}
    return {**message, "content": found[2], **reasoning}


def same_without_thoughts(one: str, other: str) -> bool:
    r"""Tell whether two texts say the same, closed reasoning and white space aside.

    >>> same_without_thoughts("A: <think>\nwell\n</think>\n\nyes", "A: yes")
    True
    """
    return "".join(_THOUGHT.sub("", one).split()) == "".join(_THOUGHT.sub("", other).split())


def closes_thought(prompt: str) -> bool:
    """Tell whether a prompt ends with a reasoning that is closed: then the model is to answer at once."""
    return prompt.rstrip().endswith(f"</{_TAG}>")


def without_empty_thought(text: str) -> str:
    r"""Take an empty reasoning off the beginning of an answer, also one that the prompt had opened.

    >>> without_empty_thought("\n</think>\n\nyes")
    'yes'
    """
    return _EMPTY_THOUGHT.sub("", text, count=1) if _EMPTY_THOUGHT.match(text) else text


def may_become_empty_thought(text: str) -> bool:
    """Tell whether the beginning of an answer could still turn out to be an empty reasoning.

    >>> may_become_empty_thought("<thi"), may_become_empty_thought("<think>Well")
    (True, False)
    """
    beginning = "".join(text.split())
    return any(whole.startswith(beginning) for whole in (f"<{_TAG}></{_TAG}>", f"</{_TAG}>"))


def knows_thoughts(program: str) -> bool:
    """Tell whether a chat template knows of reasoning."""
    return f"<{_TAG}>" in program or f"</{_TAG}>" in program


def _skip(text: str, start: int) -> int:
    found = _THOUGHT.match(text, start)
    return found.end() if found else start
