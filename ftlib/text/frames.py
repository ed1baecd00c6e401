"""Does a text hold a template's frame already? Then a template would put a second one around it."""

from __future__ import annotations

from collections.abc import Sequence

from ftlib.data.messages import Message, assistant, user
from ftlib.errors import DataError
from ftlib.text.templates import Template

_IN_FRONT = (
    "### Question:",
    "### Instruction:",
    "### Human:",
    "### User:",
    "Below is an instruction that describes a task",
    "<|im_start|>",
    "<|user|>",
    "<|system|>",
    "<|User|>",
    "<\uff5cUser\uff5c>",
    "<|start_header_id|>",
    "<|start_of_role|>",
    "<|START_OF_TURN_TOKEN|>",
    "<start_of_turn>",
    "[INST]",
    "<<SYS>>",
)
_BEHIND = (
    "### Answer:",
    "### Response:",
    "### Assistant:",
    "### Output:",
    "<|im_start|>assistant",
    "<|assistant|>",
    "<|Assistant|>",
    "<\uff5cAssistant\uff5c>",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|start_of_role|>assistant<|end_of_role|>",
    "<|CHATBOT_TOKEN|>",
    "<start_of_turn>model",
    "[/INST]",
    "<think>",
)
# Names alone stand in front of ordinary texts too: they count only as a pair.
_PAIRS = (("USER:", "ASSISTANT:"), ("User:", "Assistant:"), ("Human:", "Assistant:"), ("Q:", "A:"))
_ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "</s>",
)
_BEGINNINGS = ("<s>", "<bos>", "<|begin_of_text|>", "<BOS_TOKEN>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>")


class FrameFinder:
    """Looks for the frame of a template, or of a well-known one, in the texts of a conversation.

    Args:
        template: The one that is to be put around the texts. One that adds nothing but space is no second frame.
    """

    def __init__(self, template: Template) -> None:
        """Learn the template's own markup."""
        front, between, self._adds = _markup(template)
        self._front = (*_IN_FRONT, *front)
        self._behind = (*_BEHIND, *between)

    def find(self, messages: Sequence[Message]) -> str:
        r"""Return a piece of a frame that one of the texts begins or ends with, or nothing.

        >>> from ftlib.text.templates import QUESTION_ANSWER
        >>> FrameFinder(QUESTION_ANSWER).find([user("### Question:\nWhy?\n\n### Answer:"), assistant("So.")])
        '### Question:'
        """
        if not self._adds:
            return ""
        found = (self._in(message["content"] or "", message["role"]) for message in messages)
        return next(filter(None, found), "")

    def _in(self, text: str, role: str) -> str:
        text = _without_beginning(text)
        if role == "assistant":
            return _first(text, begins=self._behind, ends=_ENDS)
        if role != "user":
            return _first(text, begins=self._front, ends=())
        pairs = [one for one, other in _PAIRS if text.startswith(one) and text.endswith(f"\n{other}")]
        return pairs[0] if pairs else _first(text, begins=self._front, ends=self._behind)


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
