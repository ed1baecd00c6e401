"""Every shipped data set: it has a card that counts right, and reads as what it is."""

import json
import re

import pytest

from ftlib.data.leaks import find_leaks
from ftlib.data.reading import load_conversations, shipped_datasets
from ftlib.text.templates import ALPACA

FOLDERS = sorted(folder for folder in shipped_datasets().iterdir() if folder.is_dir())
ROWS = {"dialogues": 124, "faq": 1260, "house_plants": 100, "instructions": 60, "support_mail": 422, "web_pages": 40}


def rows_of(folder, split="train"):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_these_data_sets_are_shipped():
    assert {folder.name: len(rows_of(folder)) for folder in FOLDERS} == ROWS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_card_states_licence_and_size(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: cc-by-4.0" in card
    assert re.search(rf"\b{ROWS[folder.name]:,}\b".replace(",", ",?"), card)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "web_pages"])
def test_instruction_data_reads_without_naming_its_format(name):
    assert len(load_conversations(name)) == ROWS[name]


def test_alpacas_ready_made_text_is_its_frame():
    rows = rows_of(shipped_datasets() / "instructions")
    for row, conversation in zip(rows, load_conversations("instructions"), strict=True):
        assert "".join(segment.text for segment in ALPACA.render(conversation["messages"])) == row["text"]
    assert sum(bool(row["input"]) for row in rows) == 25


def test_web_pages_have_c4s_columns():
    assert all(set(row) == {"text", "timestamp", "url"} for row in rows_of(shipped_datasets() / "web_pages"))


def test_no_faq_test_row_is_nearly_a_training_row():
    assert find_leaks(load_conversations("faq"), load_conversations("faq", split="test")) == []


MAILS = {split: rows_of(shipped_datasets() / "support_mail", split) for split in ("train", "validation", "test")}
TOPICS = {"delivery", "defect", "return", "payment", "advice"}


@pytest.mark.parametrize("split", MAILS)
def test_the_fields_of_a_mail_are_what_its_card_says(split):
    for row in MAILS[split]:
        fields = json.loads(row["completion"])
        assert list(fields) == ["topic", "urgent", "order"], row
        assert fields["topic"] in TOPICS
        assert isinstance(fields["urgent"], bool)
        order = fields["order"]
        if order is not None:
            assert re.fullmatch(r"\d{5}", order), row
            assert re.search(rf"(?<!\d){order}(?!\d)", row["prompt"]), row
        assert json.dumps(fields) == row["completion"]


def test_no_mail_stands_twice():
    rows = [row for split in MAILS.values() for row in split]
    assert len({row["id"] for row in rows}) == len(rows) == 622
    orders = [json.loads(row["completion"])["order"] for row in rows]
    named = [order for order in orders if order]
    assert len(set(named)) == len(named)
    conversations = {split: load_conversations("support_mail", split=split) for split in MAILS}
    for split in ("validation", "test"):
        assert find_leaks(conversations["train"], conversations[split], threshold=0.2) == []
    assert find_leaks(conversations["validation"], conversations["test"], threshold=0.2) == []


@pytest.mark.parametrize("split", MAILS)
def test_topics_are_even_and_no_field_is_always_the_same(split):
    fields = [json.loads(row["completion"]) for row in MAILS[split]]
    for topic in TOPICS:
        assert 0.18 < sum(one["topic"] == topic for one in fields) / len(fields) < 0.22
    assert 0.3 < sum(one["urgent"] for one in fields) / len(fields) < 0.4
    assert 0.25 < sum(one["order"] is None for one in fields) / len(fields) < 0.36


def test_the_second_reader_agrees_as_the_card_says():
    second = {row.pop("id"): row for row in rows_of(shipped_datasets() / "support_mail", "second_labels")}
    first = {row["id"]: json.loads(row["completion"]) for row in MAILS["test"]}
    assert second == first
    card = (shipped_datasets() / "support_mail" / "README.md").read_text(encoding="utf-8")
    assert "All 300 fields were\nthe same" in card
