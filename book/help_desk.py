"""Make the training and test rows of the data set help_desk: each question behind the note that BM25 finds for it.

    python -m book.help_desk datasets/help_desk

A test holds the files to this. Questions and answers were written by hand; only the notes are added here, on the road
that a chat takes later (`ftlib chat --notes faq`). A question of the FAQ is taken for training only if the right note
was found, and is answered in that note's own words: a small model that learns to reword a fact learns to change
the fact, and an answer behind a wrong note would teach it to invent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from book.generators.faq_notes import note_of
from ftlib.data.reading import read_rows
from ftlib.data.sources import shipped_datasets
from ftlib.inference.notes import Notes, read_notes

FAQ_ROWS = {"train": 160, "test": 30}
"""Questions of the FAQ in each split: one for each of so many facts."""
EVERY = 4
"""One row in so many is a conversation of two questions."""


def make(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of both splits, from the written rows in a folder and from the FAQ."""
    notes = read_notes("faq")
    lines = (folder / "written.jsonl").read_text(encoding="utf-8").splitlines()
    written = [json.loads(line) for line in lines]
    splits = {"train": _as_faq(_found(notes)), "test": _as_faq(held_out())}
    for split, rows in splits.items():
        rows += [row for row in written if row["split"] == split]
    mixed = {split: _mixed(rows) for split, rows in splits.items()}
    return {split: [_row(notes, rows, number) for number in range(len(rows))] for split, rows in mixed.items()}


def held_out() -> list[dict[str, Any]]:
    """Return the FAQ's questions that the help desk is tested on, half of them about facts that training mentions."""
    taught = {row["fact"] for row in read_rows("faq", split="train")}
    rows, half = read_rows("faq", split="test"), FAQ_ROWS["test"] // 2
    known = [row for row in rows if row["fact"] in taught]
    new = [row for row in rows if row["fact"] not in taught]
    return [*known[:half], *new[:half]]


def _found(notes: Notes) -> list[dict[str, Any]]:
    """Return a training question for each of some facts, with the fact's own note as its answer.

    Of the wordings of a question it is the first for which that note is found.
    """
    right = note_of(shipped_datasets() / "faq")
    found: dict[str, dict[str, Any]] = {}
    for row in read_rows("faq", split="train"):
        note = notes.find(row["question"])
        if note == right.get(row["fact"]):
            found.setdefault(row["fact"], {**row, "answer": note})
    return list(found.values())[: FAQ_ROWS["train"]]


def _as_faq(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "kind": "faq"} for row in rows]


def _row(notes: Notes, rows: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """Return a row of messages; every fourth has the one before it as history, whose question has lost its note."""
    row, before = rows[number], rows[number - 1 : number] if number % EVERY == EVERY - 1 else []
    history = [message for one in before for message in _turn(one["question"], one["answer"])]
    return {"messages": [*history, *_turn(notes.before(row["question"]), row["answer"])]}


def _turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _mixed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Deal the kinds out evenly, so that any piece of the file holds all of them."""
    kinds = [row["kind"] for row in rows]
    totals = {kind: kinds.count(kind) for kind in kinds}
    places = [(kinds[:number].count(kind) + 0.5) / totals[kind] for number, kind in enumerate(kinds)]
    return [row for _, row in sorted(zip(places, rows, strict=True), key=lambda pair: pair[0])]


def write(folder: Path) -> None:
    """Write the rows of both splits into the folder that holds the written ones."""
    for split, rows in make(folder).items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Make the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="datasets/help_desk")
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
