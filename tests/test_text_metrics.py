import pytest

from ftlib.data import read_rows
from ftlib.text_metrics import distinct_each, distinct_n, refuses, repeats


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


@pytest.mark.parametrize("text", ["I can't help with that.", "I\u2019m sorry, no.", "As an AI, I have no dog."])
def test_usual_refusals_are_known(text):
    assert refuses([text]) == [1.0]
