import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlib.data.words import comparable, words

DIFFERENT = [
    ("2 < 3?", "2 > 3?"),
    ("1+1", "1-1"),
    ("3.14", "314"),
    ("x == y", "x != y"),
    ("x <= y", "x = y"),
    ("50%", "50"),
    ("-5", "5"),
    (".5", "5"),
    ("$5", "5"),
    ("C++", "C"),
    ("C#", "C"),
    ("!x", "x"),
    ("5! = 120", "5 = 120"),
    ("6'", '6"'),
    ("{x}", "x"),
    ("<eos>", "eos"),
    ("a[0]", "a[1]"),
    ("f(x)", "f x"),
    ("a/b", "a b"),
    ("1 - 1", "1 + 1"),
    ("\u0915\u093f", "\u0915\u0940"),  # two Hindi vowels
    ("\U0001f44d", "\U0001f44e"),  # thumbs up and down
    ("?", "!"),
]
SAME = [
    ("A piece of  text.", "a piece of text"),
    ("Ids, and a mask", "ids and a mask!"),
    ("caf\u00e9", "cafe\u0301"),
    ("don\u2019t", "don't"),
    ('"Yes."', "yes"),
    ("(two)", "two"),
    ("\u00bfQu\u00e9?", "qu\u00e9"),
    ("\u00abda\u00bb !", "DA"),
    ("Stra\u00dfe", "STRASSE"),
    ("\u597d\u3002", "\u597d"),
    ("5.", "5"),
]


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_symbols_count(first, second):
    assert comparable(first) != comparable(second)


@pytest.mark.parametrize(("first", "second"), SAME)
def test_how_it_is_written_does_not_count(first, second):
    assert comparable(first) == comparable(second)


@given(st.text())
def test_the_unicode_form_does_not_count_and_comparing_twice_changes_nothing_of_it(text):
    composed, taken_apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert comparable(composed) == comparable(taken_apart)
    assert words(composed) == words(taken_apart)
    assert comparable(text) == comparable(f"  {text}\n")


def test_words_by_hand():
    assert words("Why, input_ids 2-D?") == ["why", "input_ids", "2", "d"]
    assert words("\u0939\u093f\u0928\u094d\u0926\u0940 caf\u00e9!") == [
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "caf\u00e9",
    ]
    assert words("\u5929\u6c14ok\u597d") == ["\u5929", "\u6c14", "ok", "\u597d"]
    assert words("...") == []
