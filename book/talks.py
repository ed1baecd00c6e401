"""Record what the models say to the questions of a page, and lay the models beside the pages that ask them.

A page asks with the directive ``talk`` (``book/_extensions/talk.py``). Answers are kept by what they depend on, so a
second build computes none.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.chapters import BookError

TALKS = Path("_build") / "talks"
RECORDED = Path("book") / "talks.json"
"""Below the staged sources: what the directive reads."""
TOKENS = 60
"""Tokens that an answer has at most, where a page says nothing else."""
_TALK = re.compile(r"^```\{talk\} *(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TOKENS = re.compile(r":tokens: *(\d+)")


@dataclass(frozen=True)
class Talk:
    """Questions of a page to a model."""

    model: str
    questions: tuple[str, ...]
    tokens: int = TOKENS


def talks_in(text: str) -> Iterator[Talk]:
    r"""Find what a page of Markdown asks.

    >>> list(talks_in("```{talk} nano\n:tokens: 9\nWhy?\n```\n"))
    [Talk(model='nano', questions=('Why?',), tokens=9)]
    """
    for found in _TALK.finditer(text):
        lines = [line.strip() for line in found[2].splitlines() if line.strip()]
        told = _TOKENS.search(found[2])
        questions = tuple(line for line in lines if not line.startswith(":"))
        yield Talk(found[1], questions, int(told[1]) if told else TOKENS)


def record(root: Path, stage: Path) -> None:
    """Write what the staged pages need: of each model that they ask, its facts and its answers.

    Args:
        root: The course's folder.
        stage: The folder with the sources of the pages.

    Raises:
        BookError: A model that a page asks isn't there.
    """
    shutil.rmtree(root / TALKS / "models", ignore_errors=True)
    pages = [path for path in sorted((stage / "book").rglob("*.md")) if path.is_file()]
    talks = [talk for path in pages for talk in talks_in(path.read_text(encoding="utf-8"))]
    if not talks:
        return
    # Only where a page asks: they take PyTorch.
    from ftlib.errors import FtlibError
    from ftlib.export.page_model import publish

    try:
        models = {name: publish(name, root / TALKS / "models" / name) for name in sorted({one.model for one in talks})}
    except FtlibError as error:
        raise BookError(f"a page asks a model that isn't there: {error}") from error
    kept = _Kept(root / TALKS / "answers.json")
    answers = [_answered(talk, models[talk.model], kept) for talk in talks]
    told = {"models": models, "answers": answers}
    (stage / RECORDED).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def add_models(root: Path, static: Path, names: list[str]) -> None:
    """Lay the models that pages ask, as far as they are named, beside the program that runs them."""
    for name in names:
        if (root / TALKS / "models" / name).is_dir():
            shutil.copytree(root / TALKS / "models" / name, static / "lm" / "models" / name)


class _Kept:
    """Answers of earlier builds, by what they depend on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def find(self, keys: list[str]) -> list[str] | None:
        return [self._answers[key] for key in keys] if set(keys) <= set(self._answers) else None

    def keep(self, keys: list[str], answers: list[str]) -> None:
        self._answers |= dict(zip(keys, answers, strict=True))
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        beside.replace(self._path)


def _answered(talk: Talk, about: dict[str, Any], kept: _Kept) -> dict[str, Any]:
    facts = json.dumps([about, talk.tokens], sort_keys=True)
    keys = [hashlib.sha256(f"{facts}\0{question}".encode()).hexdigest() for question in talk.questions]
    answers = kept.find(keys)
    if answers is None:
        from ftlib.inference import answer
        from ftlib.models.loading import load_model

        model, tokenizer = load_model(talk.model, device="cpu")
        answers = answer(model, tokenizer, talk.questions, max_new_tokens=talk.tokens)
        kept.keep(keys, answers)
    pairs = zip(talk.questions, answers, strict=True)
    return {"model": talk.model, "tokens": talk.tokens, "pairs": [{"question": q, "answer": a} for q, a in pairs]}
