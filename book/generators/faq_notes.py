"""Make the FAQ's rows that carry a note: each fact once, behind its own note, and answered in the note's words.

    python -m book.generators.faq_notes datasets/faq

A test holds the file to this. `configs/faq_notes.yaml` trains on it, in chapters 1 and 12. Which of a fact's five
wordings is asked changes from fact to fact, so that each is asked in a fifth of the rows.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from ftlib.data import assistant, read_rows, user
from ftlib.inference import with_note

FILE = "notes.jsonl"


def note_of(folder: Path) -> dict[str, str]:
    """Return the note of each fact, in the order of facts.csv; to keep to the subject is a wish, and no fact."""
    with (folder / "facts.csv").open(encoding="utf-8", newline="") as file:
        return {row["fact"]: row["statement"] for row in csv.DictReader(file) if row["topic"] != "off-topic"}


def make(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each fact that training mentions, in the order of facts.csv."""
    wordings: dict[str, list[str]] = {}
    for row in read_rows(folder / "train.jsonl"):
        wordings.setdefault(row["fact"], []).append(row["question"])
    asked = [(note, wordings[fact]) for fact, note in note_of(folder).items() if fact in wordings]
    return [_row(note, questions[number % len(questions)]) for number, (note, questions) in enumerate(asked)]


def _row(note: str, question: str) -> dict[str, Any]:
    return {"messages": [user(with_note(note, question)), assistant(note)]}


def write(folder: Path) -> Path:
    """Write the rows beside the FAQ's own, one to a line."""
    path = folder / FILE
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in make(folder))
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where facts.csv and train.jsonl lie")
    print(write(parser.parse_args().folder))
