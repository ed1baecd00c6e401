"""Answers from notes: the note that a question calls for is looked up, and put in front of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ftlib.argument_checks import checked
from ftlib.data.files import read_raw_rows
from ftlib.data.sources import shipped_datasets
from ftlib.errors import DataError, MissingExtraError
from ftlib.paths import check_name

FIELDS = ("statement", "note", "text")
"""What a column of notes may be called."""
_LINES = (".txt", ".md")
_SHIPPED = "facts.csv"


@checked()
def with_note(note: str, question: str) -> str:
    r"""Put a note in front of a question, in the one form that training and asking share.

    >>> with_note("A batch is padded to its longest row.", "How long is a batch?")
    'A batch is padded to its longest row.\n\nQuestion: How long is a batch?'
    """
    return f"{note}\n\nQuestion: {question}" if note else question


class Notes:
    """Sentences in which facts are looked up, by BM25 (Robertson and Zaragoza, 2009): shared words, rare ones first.

    Compared are the stems of English words (Porter, 1980), without those that every text has.

    Args:
        texts: One note each.
        least_score: A note that scores less isn't taken: it shares a word with the question, and not its subject. What
            is a good limit depends on the notes; try it on questions of both kinds.

    Raises:
        DataError: There are no notes, or one is no text.
        MissingExtraError: bm25s or nltk isn't installed.

    >>> notes = Notes(["LoRA trains two thin matrices.", "A batch is padded to its longest row."])
    >>> notes.find("What is padded?"), notes.find("Zebras?")
    ('A batch is padded to its longest row.', '')
    """

    def __init__(self, texts: Sequence[str], *, least_score: float = 0.0) -> None:
        """Index the notes."""
        try:
            import bm25s
            from nltk.stem import PorterStemmer
        except ImportError as error:
            command = "pip install 'ftlib[chapters]'"
            raise MissingExtraError(f"notes need the package {error.name!r}: install it with {command}") from error
        self.texts = list(texts)
        if isinstance(texts, str) or not all(isinstance(text, str) and text.strip() for text in self.texts):
            raise DataError("notes are texts, one each, and none is empty")
        if not self.texts:
            raise DataError("there are no notes to look anything up in")
        self.least_score = least_score
        stem = PorterStemmer().stem
        settings = {"stopwords": "en_plus", "stemmer": lambda words: list(map(stem, words)), "show_progress": False}
        self._words = functools.partial(bm25s.tokenize, **settings)
        self._index = bm25s.BM25()
        self._index.index(self._words(self.texts), show_progress=False)

    def best(self, question: str) -> tuple[str, float]:
        """Return the note that shares most with a question, whatever it is, and its score (0: nothing is shared).

        Of notes that share as much, it is the first. (A search for the best few leaves that to the processor.)
        """
        (words,) = self._words([question], return_ids=False)
        scores = self._index.get_scores(words) if words else np.zeros(1)
        best = int(scores.argmax())
        return self.texts[best], float(scores[best])

    def find(self, question: str) -> str:
        """Return the note for a question; an empty text where none scores enough."""
        note, score = self.best(question)
        return note if score >= self.least_score and score > 0 else ""

    def before(self, question: str) -> str:
        """Return a question behind the note that was found for it."""
        return with_note(self.find(question), question)


@checked()
def read_notes(source: str | Path, *, least_score: float = 0.0) -> Notes:
    """Read notes from a file: one in each line of a text, or in each row of a table.

    Args:
        source: A ``.txt`` or ``.md`` file; a file of rows (``.csv``, ``.jsonl``, ``.parquet``, ...) with a column
            ``statement``, ``note`` or ``text``; or the name of a shipped data set with notes: ``"faq"``.
        least_score: As for :class:`Notes`.

    Raises:
        DataError: There is no such file, it has no notes, or no column of that name.
        MissingExtraError: bm25s or nltk isn't installed.

    >>> len(read_notes("faq").texts)
    281

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    check_name(source)
    path = Path(source).expanduser()
    if not path.is_file():
        shipped = shipped_datasets() / str(source) / _SHIPPED
        if path.parent != Path() or not shipped.is_file():
            raise DataError(f"{source}: no such file, and no shipped data set with notes (faq has them)")
        path = shipped
    if path.suffix.lower() in _LINES:
        texts = [line.strip() for line in _text(path).splitlines()]
    else:
        texts = [_note(place, row) for place, row in read_raw_rows(path, on_error=_stop)]
    texts = [text for text in texts if text]
    if not texts:
        raise DataError(f"{source}: the file holds no notes")
    return Notes(texts, least_score=least_score)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _note(place: str, row: Any) -> str:
    found = [row[name] for name in FIELDS if name in row] if isinstance(row, dict) else []
    if not found or not isinstance(found[0], str):
        raise DataError(f"{place}: expected a text under {', '.join(map(repr, FIELDS[:-1]))} or {FIELDS[-1]!r}")
    return found[0].strip()


def _stop(error: DataError) -> NoReturn:
    raise error
