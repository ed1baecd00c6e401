"""Answers kept on disk: a question that was answered once is not paid for again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class AnswerCache:
    """A folder with one small JSON file for each answer, named by the hash of its request.

    A request is all that the answer depends on: provider, address, model, messages and settings. The key is no
    part of it. Several processes may share a folder: a file appears whole or not at all. A file that can't be
    read counts as missing, and is written anew.

    Args:
        folder: Made when the first answer is kept.

    >>> import tempfile
    >>> cache = AnswerCache(Path(tempfile.mkdtemp()))
    >>> cache.put({"model": "m", "prompt": "Why?"}, {"text": "So."})
    >>> cache.get({"prompt": "Why?", "model": "m"})
    {'text': 'So.'}
    """

    def __init__(self, folder: str | Path) -> None:
        """Remember the folder."""
        self._folder = Path(folder).expanduser()

    def get(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the kept answer, or None."""
        place = self._place(request)
        if not place.is_file():
            return None
        try:
            kept = json.loads(place.read_text(encoding="utf-8"))
        except ValueError:
            return None
        # The request stands beside its answer, so that a reader sees what was asked and no mix-up goes unseen.
        usable = isinstance(kept, dict) and kept.get("request") == _plain(request) and "answer" in kept
        return dict(kept["answer"]) if usable else None

    def put(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Keep an answer."""
        place = self._place(request)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"request": _plain(request), "answer": answer}, ensure_ascii=False, indent=1)
        handle, draft = tempfile.mkstemp(dir=place.parent, prefix=".draft-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(draft).replace(place)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise

    def _place(self, request: Mapping[str, Any]) -> Path:
        text = json.dumps(_plain(request), sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as JSON gives it back: tuples are lists, keys are text."""
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain
