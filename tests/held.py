"""A model that writes no further than a test allows, so that no test depends on how fast a machine is.

The model lives in the process of its page. It and the test meet in a folder: the file ``steps`` grows by a byte with
each forward pass, ``allowed`` says how many there may be, and ``answers`` gets a + when an answer begins and a - when
it has ended.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.waiting import HUNG_SECONDS, wait_until

NO_LIMIT = 10**9


class HeldModel:
    """The test's side."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("steps", "answers"):
            (folder / name).touch()
        self._allow(NO_LIMIT)

    @property
    def steps(self):
        return (self.folder / "steps").stat().st_size

    @property
    def is_answering(self):
        told = (self.folder / "answers").read_text(encoding="ascii")
        return told.count("+") > told.count("-")

    def allow(self, more):
        """Let the model make so many further steps, and no more; it is held in the next one, unless asked to stop."""
        self._allow(self.steps + more)

    def free(self):
        self._allow(NO_LIMIT)

    def wait_until_idle(self):
        wait_until(lambda: not self.is_answering, "the end of all answers")

    def go_on_until_idle(self, url):
        """Let it go on step by step until its answer has ended.

        Before each step the page's server is asked for something else, so that it has heard who left before.
        """
        while self.is_answering:
            httpx.get(f"{url}config", timeout=HUNG_SECONDS, trust_env=False)
            before = self.steps
            self.allow(1)
            wait_until(lambda before=before: self.steps > before or not self.is_answering, "the next step")

    def _allow(self, steps):
        new = self.folder / "allowed.new"
        new.write_text(str(steps), encoding="ascii")
        new.replace(self.folder / "allowed")


def hold(model, folder):
    """Hold a model, in the process of its page, which must not be laid out yet."""
    import ftlib.chat.page
    from ftlib.chat.answers import AnswersUnderWay

    folder = Path(folder)
    steps, allowed = folder / "steps", folder / "allowed"
    pages = []

    class Watched(AnswersUnderWay):
        def __init__(self):
            super().__init__()
            pages.append(self)

        @contextmanager
        def begun_by(self, visitor):
            _append(folder / "answers", "+")
            try:
                with super().begun_by(visitor) as stop:
                    yield stop
            finally:
                _append(folder / "answers", "-")

    def should_end():
        return any(stop.is_set() for page in pages for _, stop in list(page._running))

    def wait_for_leave(*_):
        _append(steps, ".")
        while steps.stat().st_size > int(allowed.read_text(encoding="ascii")) and not should_end():
            time.sleep(0.002)

    ftlib.chat.page.AnswersUnderWay = Watched
    ftlib.chat.page._REFRESH_SECONDS = 0  # every token is shown
    model.register_forward_hook(wait_for_leave)


def _append(path, sign):
    with path.open("a", encoding="ascii") as file:
        file.write(sign)
        file.flush()
        os.fsync(file.fileno())
