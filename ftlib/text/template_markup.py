"""Does a text hold a template's markup already? Then a template would put a second one around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from ftlib.data.messages import Message, assistant, user
from ftlib.errors import DataError
from ftlib.text.templates import Template

_IN_FRONT = (
    *("### Question:", "### Instruction:", "### Human:", "### User:", "Below is an instruction that describes a task"),
    *("<|im_start|>", "<|user|>", "<|system|>", "<|User|>", "<\uff5cUser\uff5c>", "<|start_header_id|>"),
    *("<|start_of_role|>", "<|START_OF_TURN_TOKEN|>", "<start_of_turn>", "[INST]", "<<SYS>>"),
)
_BEHIND = (
    *("### Answer:", "### Response:", "### Assistant:", "### Output:", "<|im_start|>assistant", "<|assistant|>"),
    *("<|Assistant|>", "<\uff5cAssistant\uff5c>", "<|start_header_id|>assistant<|end_header_id|>"),
    *("<|start_of_role|>assistant<|end_of_role|>", "<|CHATBOT_TOKEN|>", "<start_of_turn>model", "[/INST]", "<think>"),
)
# Names alone stand in front of ordinary texts too: they count only as a pair, one where a text or a line begins (or
# behind a sentence, as Vicuna has it) and the other where the text ends and waits.
_ASKS = "question|q|instruction|human|user|prompt|input|customer|query|task"
_ANSWERS = "answer|a|response|assistant|output|bot|chatbot|ai|gpt|completion|model"
_WAITS = re.compile(rf"\s<?(?:{_ANSWERS})>? ?:\Z", re.IGNORECASE)
_ANSWERED = re.compile(rf"<?(?:{_ANSWERS})>? ?:\s", re.IGNORECASE)
_ASKED = re.compile(rf"(?:^|\n|[.!?] )\s*(<?(?:{_ASKS})>? ?:)\s", re.IGNORECASE)
# The headings of a template, however they are spelt (###Question:, ### question, ### 指令), and other families' tokens.
_HEADING = r"#{2,} ?(?:%s)(?: ?[:\uff1a]|(?=\n|$))"
_QUESTION = re.compile(
    _HEADING
    % f"{_ASKS}|system|指令|问题"
    + r"|<\|\w+\|>|<\uff5c\w+\uff5c>|\[\|\w+\|\]|<reserved_\d+>|\[gMASK\]|\[Round \d+\]|GPT4 Correct User:"
    r"|Below (?:is|are) (?:an? |some )?(?:instruction|question|request|conversation)s?\b(?=.*?#{2,} ?\w)",
    re.IGNORECASE | re.DOTALL,
)
_ANSWER = re.compile(_HEADING % f"{_ANSWERS}|回答" + r"|<\|assistant\|>", re.IGNORECASE)
_WAITING = re.compile(r"\n(" + _HEADING % f"{_ANSWERS}|回答" + r"|#{3,}$)\Z", re.IGNORECASE)
_TAIL = 40
_ENDED = re.compile(r"(?:<\|(?:\w*end\w*|eot\w*|eom\w*|return)\|>|</s>|<eos>|\[\|endofturn\|\])\Z", re.IGNORECASE)
_ENDS = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>"),
    *("<\uff5cend\u2581of\u2581sentence\uff5c>", "</s>"),
)
_BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>", "<BOS_TOKEN>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>")


class MarkupFinder:
    """Looks for the markup of a template, or of a well-known one, in the texts of a conversation.

    Args:
        template: The one that is to be put around the texts. One that adds nothing but space is no second template.
    """

    def __init__(self, template: Template) -> None:
        """Learn the template's own markup."""
        front, between, self._adds = _markup(template)
        self._front = (*_IN_FRONT, *front)
        self._behind = (*_BEHIND, *between)

    def find(self, messages: Sequence[Message]) -> str:
        r"""Return the markup that one of the texts begins or ends with, or nothing.

        >>> from ftlib.text.templates import QUESTION_ANSWER
        >>> MarkupFinder(QUESTION_ANSWER).find([user("### Question:\nWhy?\n\n### Answer:"), assistant("So.")])
        '### Question:'
        """
        if not self._adds:
            return ""
        texts = [(_without_beginning(message["content"] or ""), message["role"]) for message in messages]
        found = (self._in(text, role) for text, role in texts)
        return next(filter(None, found), "") or _divided([text for text, _ in texts])

    def _in(self, text: str, role: str) -> str:
        if role == "assistant":
            return _first(text, begins=self._behind, ends=_ENDS) or _found(_ANSWER.match(text), _ended(text))
        if role != "user":
            return _first(text, begins=self._front, ends=()) or _found(_QUESTION.match(text))
        known = _first(text, begins=self._front, ends=self._behind)
        return known or _found(_QUESTION.match(text), _waiting(text)) or _pair(text)


def _found(*matches: re.Match[str] | None) -> str:
    """Return what was found first, on one line."""
    return next((" ".join(match[0].split())[:40] for match in matches if match), "")


def _ended(text: str) -> re.Match[str] | None:
    return _ENDED.search(text[-_TAIL:])


def _waiting(text: str) -> re.Match[str] | None:
    return _WAITING.search(text[-_TAIL:])


def _pair(text: str) -> str:
    """Return the name in front of a question, if that of the answer waits at the text's end."""
    found = _ASKED.search(text) if _WAITS.search(text[-_TAIL:]) else None
    return found[1] if found else ""


def _divided(texts: Sequence[str]) -> str:
    """Return the name in front of a question whose answer begins with the other name."""
    pairs = pairwise(texts)
    found = (_ASKED.match(one) for one, other in pairs if _ANSWERED.match(other))
    return next((match[1] for match in found if match), "")


def _first(text: str, *, begins: tuple[str, ...], ends: tuple[str, ...]) -> str:
    if not text.startswith(begins) and not text.endswith(ends):
        return ""
    return next((one for one in begins if text.startswith(one)), "") or next(one for one in ends if text.endswith(one))


def _without_beginning(text: str) -> str:
    text = text.strip()
    for token in _BEGINNINGS:
        text = text.removeprefix(token).lstrip()
    return text


def _markup(template: Template) -> tuple[list[str], list[str], bool]:
    """Return what a template writes in front of a question and of an answer, and whether that is anything at all."""
    try:
        segments = template.render([user("?"), assistant("!")])
    except DataError:  # a template that takes no plain question and answer
        return [], [], True
    words = [number for number, segment in enumerate(segments) if not segment.is_markup]
    front = "".join(segment.text for segment in segments[: words[0]])
    between = "".join(segment.text for segment in segments[words[0] + 1 : words[-1]] if segment.is_markup)
    telling = [
        [_without_beginning(text)] if any(letter.isalnum() for letter in text) else [] for text in (front, between)
    ]
    return telling[0], telling[1], bool(front.strip() or between.strip())
