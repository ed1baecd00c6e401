"""The course's own data, held to what its card says."""

import csv
import re
import shutil
from collections import Counter

from book.generators import faq_notes
from ftlib.data.reading import load_conversations, read_rows
from ftlib.data.sources import shipped_datasets

TRAIN, TEST = read_rows("faq", split="train"), read_rows("faq", split="test")
ROWS = [*TRAIN, *TEST]
OFF_TOPIC = "keep-to-the-subject"


def shingles(row):
    words = re.findall(r"\w+", f"{row['question']} {row['answer']}".lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_sizes_and_fields():
    assert (len(TRAIN), len(TEST)) == (1260, 140)
    assert all(set(row) == {"question", "answer", "topic", "fact"} for row in ROWS)


def test_no_question_and_no_answer_twice():
    for field in ("question", "answer"):
        seen = Counter(re.sub(r"\W+", " ", row[field].lower()).strip() for row in ROWS)
        assert [text for text, count in seen.items() if count > 1] == []


def test_every_known_fact_is_taught_in_five_wordings_and_some_are_tested_in_a_sixth():
    taught = Counter(row["fact"] for row in TRAIN)
    tested = Counter(row["fact"] for row in TEST)
    assert taught.pop(OFF_TOPIC) == 60
    assert set(taught.values()) == {5}
    assert set(tested.values()) == {1}
    assert (len(taught), len(set(taught) & set(tested)), len(set(tested) - set(taught))) == (240, 100, 40)


def test_off_topic_answers_ask_to_keep_to_the_subject():
    rows = [row for row in TRAIN if row["fact"] == OFF_TOPIC]
    assert all("fine-tuning" in row["answer"] for row in rows)


def test_no_unseen_fact_is_near_a_training_row():
    taught = {row["fact"] for row in TRAIN}
    training = [shingles(row) for row in TRAIN]
    for row in TEST:
        if row["fact"] not in taught:
            own = shingles(row)
            assert max(len(own & other) / len(own | other) for other in training) < 0.2, row["question"]


def test_every_fact_has_a_statement_and_a_source():
    with (shipped_datasets() / "faq" / "facts.csv").open(encoding="utf-8", newline="") as file:
        facts = list(csv.DictReader(file))
    assert {fact["fact"] for fact in facts} == {row["fact"] for row in ROWS}
    assert all(fact["statement"].endswith(".") and fact["source"] for fact in facts)
    topics = {fact["fact"]: fact["topic"] for fact in facts}
    assert all(topics[row["fact"]] == row["topic"] for row in ROWS)


def test_answers_are_sentences_of_plain_text():
    for row in ROWS:
        assert row["answer"].isascii(), row
        assert row["question"].isascii(), row
        assert row["answer"].endswith("."), row
        assert 10 <= len(row["answer"].split()) <= 40, row


def test_the_rows_with_notes_are_what_the_program_makes(tmp_path):
    for name in ("facts.csv", "train.jsonl"):
        shutil.copy(shipped_datasets() / "faq" / name, tmp_path)
    made = faq_notes.write(tmp_path).read_bytes()
    kept = (shipped_datasets() / "faq" / faq_notes.FILE).read_bytes()
    assert made == kept, "run: python -m book.generators.faq_notes datasets/faq"


def test_each_taught_fact_is_asked_once_behind_its_own_note():
    rows = load_conversations("faq", split="notes")["messages"]
    facts = {row["question"]: row["fact"] for row in TRAIN}
    asked = [facts[question["content"].rpartition("\n\nQuestion: ")[2]] for question, _ in rows]
    assert len(set(asked)) == len(rows) == 240
    for question, answer in rows:
        assert question["content"].startswith(answer["content"] + "\n\nQuestion: ")
