"""Every shipped data set: it has a card that counts right, and reads as what it is."""

import json
import re

import pytest

from ftlib.data import load_conversations, shipped_datasets
from ftlib.leakage import find_leaks
from ftlib.templates import ALPACA

FOLDERS = sorted(folder for folder in shipped_datasets().iterdir() if folder.is_dir())
ROWS = {"dialogues": 124, "faq": 1260, "house_plants": 100, "instructions": 60, "web_pages": 40}


def rows_of(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]


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
