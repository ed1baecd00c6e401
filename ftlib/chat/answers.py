"""Which visitors are being answered, so that what follows an answer can wait until the answer has ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class AnswersUnderWay:
    """The answers that are being written now.

    A browser has no way to know when a model has really stopped: word of a cancellation and the next thing that a
    visitor wants travel at the same time. The server knows.

    >>> answers = AnswersUnderWay()
    >>> with answers.begun_by("a visitor") as stop:
    ...     stop.is_set()
    False
    >>> answers.end("a visitor", limit_seconds=60)  # nothing to wait for
    True
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._changed = threading.Condition()
        self._running: list[tuple[str, threading.Event]] = []

    @contextmanager
    def begun_by(self, visitor: str) -> Iterator[threading.Event]:
        """Count an answer as long as the ``with`` lasts.

        Args:
            visitor: Whose question is answered.

        Returns:
            What is set when the answer should end.
        """
        answer = (visitor, threading.Event())
        with self._changed:
            self._running.append(answer)
        try:
            yield answer[1]
        finally:
            with self._changed:
                self._running.remove(answer)
                self._changed.notify_all()

    def end(self, visitor: str, *, limit_seconds: float) -> bool:
        """Ask a visitor's answers to end, and wait until they have.

        Args:
            visitor: Whose.
            limit_seconds: When to give up; no answer should take that long.

        Returns:
            Whether they have ended.
        """
        with self._changed:
            for owner, stop in self._running:
                if owner == visitor:
                    stop.set()
            return self._changed.wait_for(lambda: all(owner != visitor for owner, _ in self._running), limit_seconds)
