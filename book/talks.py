"""Record what the models say to the questions of a page, and lay the models beside the pages that ask them.

A page asks with the directive ``talk`` (``book/_extensions/talk.py``). Answers are kept by what they depend on, so a
second build computes none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from book.chapters import BookError
from book.staged import markdown_of

TALKS = Path("_build") / "talks"
RECORDED = Path("book") / "talks.json"
"""Below the staged sources: what the directive reads."""
TOKENS = 60
"""Tokens that an answer has at most, where a page says nothing else."""
_TALK = re.compile(r"^```\{talk\} *(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OPTION = re.compile(r":(tokens|adapter|steps|rows): *(.*\S)")


@dataclass(frozen=True)
class Talk:
    """Questions of a page to a model; with an adapter, to the model before and after its training."""

    model: str
    questions: tuple[str, ...]
    tokens: int = TOKENS
    adapter: str | None = None
    steps: int | None = None
    rows: str | None = None

    @property
    def shelf(self) -> str | None:
        """The folder of its adapter beside the model, by which the directive finds it, too."""
        return f"{self.adapter}-{self.steps}" if self.adapter and self.steps else self.adapter


def talks_in(text: str) -> Iterator[Talk]:
    r"""Find what a page of Markdown asks.

    >>> list(talks_in("```{talk} nano\n:tokens: 9\nWhy?\n```\n"))
    [Talk(model='nano', questions=('Why?',), tokens=9, adapter=None, steps=None, rows=None)]
    """
    for found in _TALK.finditer(text):
        from ftlib.export.page_section import (
            questions_in,
        )  # only where a page asks: a book without talks needs no library

        lines = found[2].splitlines()
        told = {one[1]: one[2] for one in map(_OPTION.match, lines) if one}
        questions = list(questions_in(line for line in lines if not line.startswith(":")))
        rows = told.get("rows")
        questions += _prompts(rows) if rows else []
        steps = int(told["steps"]) if "steps" in told else None
        yield Talk(found[1], tuple(questions), int(told.get("tokens", TOKENS)), told.get("adapter"), steps, rows)


def _prompts(rows: str) -> list[str]:
    """Return the questions of rows of the course's data; ``"support_mail test 2 8"`` means rows 2 and 8, from 1."""
    from ftlib.data import load_conversations  # only where a page takes rows
    from ftlib.errors import FtlibError

    try:
        source, split, *numbers = rows.split()
        conversations = load_conversations(source, split=split)["messages"]
        questions = (next(turn["content"] for turn in turns if turn["role"] == "user") for turns in conversations)
        asked = {str(number): question for number, question in enumerate(questions, start=1)}
        return [asked[number] for number in numbers]
    except (FtlibError, ValueError, KeyError) as error:
        raise BookError(f"a page asks rows that aren't there, in {rows!r}: {error}") from error


def record(root: Path, stage: Path, names: Collection[str] = ()) -> None:
    """Write what the staged pages need: of each model that they ask, its facts and its answers.

    Args:
        root: The course's folder.
        stage: The folder with the sources of the pages.
        names: The models that a reader may load into a page; only of these adapters are trained.

    Raises:
        BookError: A model that a page asks isn't there, or an adapter can't be trained.
    """
    shutil.rmtree(root / TALKS / "models", ignore_errors=True)
    talks = [talk for text in markdown_of(stage) for talk in talks_in(text)]
    if not talks:
        return
    talks = [talk if talk.model in names else replace(talk, adapter=None) for talk in talks]
    kept = _Kept(root / TALKS / "answers.json")
    answers = [_answered(talk, *_published(talk, root), kept) for talk in talks]
    (stage / RECORDED).write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _published(talk: Talk, root: Path) -> tuple[dict[str, Any], Path | None]:
    """Lay out what a page needs of the model that it asks; return what it must know, and where its adapter lies."""
    from book.talk_adapters import trained  # only where a page asks: it takes PyTorch

    tuned = None
    if talk.adapter:
        tuned = trained(root, talk.model, talk.adapter, talk.steps)
    return laid_out(root, talk.model, tuned=tuned, shelf=talk.shelf or ""), tuned


def laid_out(root: Path, model: str, *, tuned: Path | None = None, shelf: str = "") -> dict[str, Any]:
    """Lay a model out as pages load it, and return what they must know of it.

    Args:
        root: The course's folder.
        model: Its name.
        tuned: The folder of an adapter that lies on it.
        shelf: The folder for that adapter beside the model.

    Raises:
        BookError: The model isn't there.
    """
    from ftlib.errors import FtlibError  # only where a page asks: they take PyTorch
    from ftlib.export.page_model import publish

    try:
        return publish(model, root / TALKS / "models" / model, tuned=tuned, shelf=shelf)
    except FtlibError as error:
        raise BookError(f"a page asks a model that isn't there: {error}") from error


def add_models(root: Path, static: Path, names: list[str]) -> None:
    """Lay the models that pages ask, as far as they are named, beside the program that runs them."""
    for name in names:
        if (root / TALKS / "models" / name).is_dir():
            shutil.copytree(root / TALKS / "models" / name, static / "lm" / "models" / name)


class _Kept:
    """Answers of earlier builds, by what they depend on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def find(self, keys: list[str]) -> list[list[str]] | None:
        return [self._answers[key] for key in keys] if set(keys) <= set(self._answers) else None

    def keep(self, keys: list[str], answers: list[list[str]]) -> None:
        self._answers |= dict(zip(keys, answers, strict=True))
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(self._path)


def _answered(talk: Talk, about: dict[str, Any], tuned: Path | None, kept: _Kept) -> dict[str, Any]:
    facts = json.dumps([about, talk.tokens], sort_keys=True)
    keys = [hashlib.sha256(f"{facts}\0{question}".encode()).hexdigest() for question in talk.questions]
    answers = kept.find(keys)
    if answers is None:
        from ftlib.export.page import PageSource, record

        source = PageSource(talk.model, None if tuned is None else str(tuned))
        answers = [said for _, said in record(source, talk.questions, max_new_tokens=talk.tokens)]
        kept.keep(keys, answers)
    pairs = [{"question": q, "answers": a} for q, a in zip(talk.questions, answers, strict=True)]
    told = {"model": talk.model, "shelf": talk.shelf, "tokens": talk.tokens, "rows": talk.rows}
    return told | {"about": about, "pairs": pairs}
