"""Conversations as files: what a visitor downloads, and what thumbs said."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftlib.data.messages import Message
from ftlib.errors import DataError
from ftlib.files import check_target, write_checked


def as_json_lines(conversations: Sequence[Sequence[Message]]) -> str:
    r"""Write conversations as JSON Lines that :func:`ftlib.load_conversations` reads.

    An exchange without an answer teaches nothing, and is left out; so is a conversation of nothing else.

    >>> as_json_lines([[{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]])
    '{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}\n'
    """
    answered = [_answered(messages) for messages in conversations]
    return "".join(_line({"messages": messages}) for messages in answered if messages)


class FeedbackFile:
    """A file of rated answers, one conversation a line, the rated answer last.

    It is read by :func:`ftlib.load_conversations`: only an answer with a thumb up is a target (``weight`` 1).
    Rating an answer again replaces what was said before.

    Args:
        path: Written at the first rating; it may hold ratings already.

    Raises:
        DataError: The file holds something else, or can't be written.
    """

    def __init__(self, path: str | Path) -> None:
        """Check what the file holds."""
        self.path = check_target(path)
        self._writing = threading.Lock()
        self._rows()

    def rate(self, messages: Sequence[Message], *, model: str, is_good: bool | None) -> None:
        """Keep what somebody thinks of the last answer of a conversation.

        Args:
            messages: The conversation, up to and with that answer.
            model: Who wrote it.
            is_good: Thumb up or down; None takes the rating back.

        Raises:
            DataError: There is no answer to rate, or the file can't be written.
        """
        rated = _answered(messages)
        if not rated or rated[-1] != messages[-1]:
            raise DataError("an empty answer can't be rated: only answers with text can be learnt from")
        weighted = [_weighted(message) for message in rated[:-1]]
        weighted.append({**rated[-1], "weight": int(bool(is_good))})
        row = {"messages": weighted, "model": model, "rating": "up" if is_good else "down"}
        with self._writing:
            others = [other for other in self._rows() if _subject(other) != _subject(row)]
            self._write(others if is_good is None else [*others, row])

    def _rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
            rows = [json.loads(line) for line in lines if line]
            for row in rows:
                _subject(row)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self.path}: holds something else than ratings ({error}): choose another file") from error
        return rows

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        write_checked(self.path, "".join(map(_line, rows)))


def _answered(messages: Sequence[Message]) -> list[Message]:
    """Leave out questions that got no answer, or an empty one."""
    kept: list[Message] = []
    for message in messages:
        if message["role"] == "user" and kept and kept[-1]["role"] == "user":
            kept.pop()
        if message["role"] != "assistant" or (message["content"] or "").strip():
            kept.append(message)
    return kept[:-1] if kept and kept[-1]["role"] == "user" else kept


def _weighted(message: Message) -> Message:
    """Keep an earlier answer from being a target: nobody said that it is good."""
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def _subject(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], *((message["role"], message["content"]) for message in row["messages"])


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
