"""The front page says how many minutes each chapter takes: as the chapter itself does, and summed over the two ways.

Nothing is measured here. What a stored run took may differ from its strip: processors and their load do. Who writes a
strip rounds what a run on two free cores took.
"""

import json
import math
import re

import pytest

from tests.course import ROOT

INDEX = (ROOT / "book/index.md").read_text(encoding="utf-8")
CARD = r"(?m)^:::\{grid-item-card\} (\d\d)( ★)? \[.+?\]\(\.\./chapters/(\w+)\)\n:footer: (.+?) minutes?$"
CARDS = re.findall(CARD, INDEX)
WORDS = ["a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
MINUTES = {"half a": 0.5} | {word: number for number, word in enumerate(WORDS, 1)}


def cell_of(strip):
    """Put what a chapter says of its time, in words, as its card does: ``"3½"``, ``"under 1"`` or ``"7 to 11"``."""
    if strip.startswith("A few seconds"):
        return "under 1"
    shape = r"(?:About |(Under )|)(?:(\w+) to )?(half a|\w+)( and a half)? minutes?( and a half)?\b"
    under, first, last, *halves = re.match(shape, strip, flags=re.I).groups()
    number = MINUTES[last.lower()] + any(halves) / 2
    written = f"{int(number) or ''}{'½' if number % 1 else ''}"
    return f"{'under ' if under else ''}{f'{MINUTES[first.lower()]} to ' if first else ''}{written}"


def at_most(cell):
    """Return the minutes of a card at their upper end."""
    number = re.search(r"(\d*)(½?)$", cell)
    return int(number[1] or 0) + len(number[2]) / 2


def time_of(name):
    first = json.loads((ROOT / f"chapters/{name}.ipynb").read_text(encoding="utf-8"))["cells"][0]
    return re.search(r"\*\*Time and memory\.\*\* (.+)", "".join(first["source"]))[1]


@pytest.mark.parametrize(
    ("strip", "cell", "minutes"),
    [
        ("About ten minutes and 4 GiB", "10", 10),
        ("About three and a half minutes and 2 GiB", "3½", 3.5),
        ("About a minute and a half and 1 GiB", "1½", 1.5),
        ("About half a minute and 1 GiB", "½", 0.5),
        ("Under two minutes and 1.3 GiB", "under 2", 2),
        ("A few seconds and half a GiB", "under 1", 1),
        ("Seven to eleven minutes and 4 GiB", "7 to 11", 11),
    ],
)
def test_a_time_in_words_is_read_as_a_reader_does(strip, cell, minutes):
    assert cell_of(strip) == cell
    assert at_most(cell) == minutes


def test_each_chapter_has_a_card_with_the_minutes_that_it_names_itself():
    assert [name for _, _, name, _ in CARDS] == sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))
    assert {name: cell for _, _, name, cell in CARDS} == {name: cell_of(time_of(name)) for _, _, name, _ in CARDS}


def test_both_ways_through_the_book_have_their_sums():
    evening = math.ceil(sum(at_most(cell) for _, star, _, cell in CARDS if star))
    everything = math.ceil(sum(at_most(cell) for *_, cell in CARDS))
    text = " ".join(INDEX.split())
    assert f"in their order: about {evening} minutes of computing" in text
    assert f"**Everything**: all of them, a few evenings, with about {everything} minutes of computing" in text
