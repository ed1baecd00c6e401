"""The help desk's data: written rows that are what the card says, and files with notes that a program makes of them."""

import csv
import json
from collections import Counter

import pytest

from book import help_desk
from ftlib.data.leaks import find_leaks
from ftlib.data.reading import load_conversations
from ftlib.data.sources import shipped_datasets
from ftlib.evaluation.text_metrics import refuses
from ftlib.inference.notes import read_notes

FOLDER = shipped_datasets() / "help_desk"
WRITTEN = [json.loads(line) for line in (FOLDER / "written.jsonl").read_text(encoding="utf-8").splitlines()]
DECLINED = [row for row in WRITTEN if row["kind"] != "small talk"]
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")


def shown(row):
    return {"messages": [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]}


def without_notes(split):
    turns = [messages[-2:] for messages in load_conversations("help_desk", split=split)["messages"]]
    return [
        shown({"question": asked["content"].rpartition("Question: ")[2], "answer": said["content"]})
        for asked, said in turns
    ]


def test_a_written_row_has_its_four_fields_in_plain_text():
    for row in WRITTEN:
        assert list(row) == ["question", "answer", "kind", "split"], row
        assert all(text.isascii() and text == text.strip() for text in row.values()), row
        assert 5 <= len(row["answer"].split()) <= 35, row


def test_no_written_question_and_no_answer_stands_twice():
    for field in ("question", "answer"):
        assert [text for text, count in Counter(row[field].lower() for row in WRITTEN).items() if count > 1] == []


def test_the_rule_recognises_every_written_answer_that_declines():
    found = refuses([row["answer"] for row in DECLINED])
    assert [row["answer"] for row, one in zip(DECLINED, found, strict=True) if not one] == []


def test_no_test_question_is_near_one_of_training():
    train = [shown(row) for row in WRITTEN if row["split"] == "train"]
    test = [shown(row) for row in WRITTEN if row["split"] == "test"]
    assert find_leaks([*train, *load_conversations("faq")], test, threshold=0.2) == []
    # Two questions may get the same note; what was asked and answered is compared without it.
    assert find_leaks(without_notes("train"), without_notes("test")) == []


def test_the_files_with_notes_are_what_the_program_makes(tmp_path):
    (tmp_path / "written.jsonl").write_bytes((FOLDER / "written.jsonl").read_bytes())
    help_desk.write(tmp_path)
    for split in ("train", "test"):
        made = (tmp_path / f"{split}.jsonl").read_bytes()
        assert made == (FOLDER / f"{split}.jsonl").read_bytes(), "run: python -m book.help_desk datasets/help_desk"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_question_stands_behind_the_note_that_a_chat_would_find(split):
    notes = read_notes("faq")
    rows = load_conversations("help_desk", split=split)["messages"]
    assert [number for number, messages in enumerate(rows) if len(messages) == 4] == [*range(3, len(rows), 4)]
    for messages in rows:
        asked = messages[-2]["content"]
        question = asked.rpartition("\n\nQuestion: ")[2]
        assert asked == notes.before(question)


def test_the_card_counts_right():
    kinds = Counter((row["kind"], row["split"]) for row in WRITTEN)
    for kind in {row["kind"] for row in WRITTEN}:
        assert f"| `{kind}` | {kinds[kind, 'train']} | {kinds[kind, 'test']} |" in CARD
    for split in ("train", "test"):
        written = sum(row["split"] == split for row in WRITTEN)
        faq = help_desk.FAQ_ROWS[split]
        assert f"| `{split}.jsonl` | {faq + written} | " in CARD
        assert f"{faq} questions of the FAQ" in CARD
        assert len(load_conversations("help_desk", split=split)) == faq + written
    assert f"| `written.jsonl` | {len(WRITTEN)} | {len(DECLINED)} questions that the desk declines" in CARD


def test_the_card_says_how_often_the_right_note_is_found():
    with (shipped_datasets() / "faq" / "facts.csv").open(encoding="utf-8", newline="") as file:
        note_of = {row["fact"]: row["statement"] for row in csv.DictReader(file)}
    notes, asked = read_notes("faq"), help_desk.held_out()
    found = sum(notes.find(row["question"]) == note_of[row["fact"]] for row in asked)
    assert f"the right one for {found}." in " ".join(CARD.split())
