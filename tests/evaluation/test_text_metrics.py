import json

import pytest

from ftlib.data.reading import read_rows
from ftlib.data.sources import shipped_datasets
from ftlib.evaluation.text_metrics import distinct_each, distinct_n, fact_recall, refuses, repeats
from tests.course import ROOT


def test_distinct_by_hand():
    assert distinct_n(["a b a b", "a b"], n=1) == pytest.approx(2 / 6)
    assert distinct_n(["a b a b", "a b"], n=2) == pytest.approx(2 / 4)
    assert distinct_n(["", "one"], n=2) == 0.0
    assert distinct_each(["a b a b", "a b"]) == [pytest.approx(2 / 3), 1.0]


def test_repetition_by_hand():
    assert repeats(["a b c d e a b c d", "a b c d e a b c", "the the the the the", ""]) == [1.0, 0.0, 1.0, 0.0]


def test_refusals_of_the_faq_are_told_from_answers():
    rows = [row for split in ("train", "test") for row in read_rows("faq", split=split)]
    found = refuses([row["answer"] for row in rows])
    expected = [float(row["topic"] == "off-topic") for row in rows]
    assert found == expected
    assert sum(expected) == 60


def test_how_often_the_rule_for_refusals_is_right():
    labelled = (ROOT / "tests" / "labelled") / "refusals.jsonl"
    rows = [json.loads(line) for line in labelled.read_text(encoding="utf-8").splitlines()]
    found = refuses([row["answer"] for row in rows])
    wrong = [row["answer"] for row, one in zip(rows, found, strict=True) if bool(one) != row["refuses"]]
    assert len(rows) == 96
    assert wrong == []


def test_words_of_any_script_are_counted():
    assert distinct_n(["天气天气"], n=1) == 0.5
    assert repeats(["好的好的好的好的好的", "अ ब अ ब", "अ ब क"], n=2) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "text",
    [
        "I can't help with that.",
        "I\u2019m sorry, no.",
        "As an AI, I have no dog.",
        "Sorry, I can't run for you.",
        "Dough is beyond me.",
    ],
)
def test_usual_refusals_are_known(text):
    assert refuses([text]) == [1.0]


@pytest.mark.parametrize(
    "text",
    [
        "Fine-tuning a language model changes its weights.",
        "It helps with fine-tuning language models, but here is how to boil an egg: ten minutes.",
        "LoRA makes fine-tuning a language model cheaper, since few weights are trained.",
        "When we fine-tune language models, we mask the question.",
    ],
)
def test_who_only_speaks_of_the_subject_does_not_decline(text):
    assert refuses([text]) == [0.0]


def test_how_often_the_rule_for_facts_is_right():
    lines = (ROOT / "tests" / "labelled").joinpath("faq_answers.jsonl").read_text(encoding="utf-8").splitlines()
    labelled = [json.loads(line) for line in lines]
    texts, references, questions = ([row[field] for row in labelled] for field in ("answer", "reference", "question"))
    found = [share >= 0.5 for share in fact_recall(texts, references, questions)]
    judged = [row["right"] for row in labelled]
    agreed = sum(map(bool.__eq__, found, judged))
    both = sum(one and other for one, other in zip(found, judged, strict=True))
    told = " ".join((shipped_datasets() / "faq" / "README.md").read_text(encoding="utf-8").split())
    assert f'The rule "at least half" agrees on {agreed} of them' in told
    assert f"the reader found {sum(judged)} right, the rule {sum(found)}, and {both} are the same" in told
    assert len(labelled) == 100
