"""What can be said of answers without the right ones: are they varied, do they stop, do they refuse?

Each metric says its scale and which direction is better.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
# How the course's own data declines (it names its only subject), and how assistants do in general.
_REFUSAL = re.compile(
    r"\bfine-tun\w+ (of )?(a )?language models?\b"
    r"|\b(i|we)( am|'m| are|'re)? ?(can ?not|can't|can not|unable to|not able to|won't|must decline)\b"
    r"|\bas an ai\b|\bi('m| am) (sorry|afraid)\b|^sorry\b",
    re.IGNORECASE,
)


def distinct_n(predictions: Sequence[str], n: int = 2) -> float:
    """Share of the runs of ``n`` words, over all answers, that are different (0 to 1; higher is more varied).

    (Li et al., 2016.) It falls with the number and the length of the texts: compare only answers to the same
    questions. A text of nonsense scores high. Of no runs at all it is 0.

    >>> distinct_n(["a b a b", "a b"], n=2)
    0.5
    """
    runs = [run for text in predictions for run in _runs(_words(text), n)]
    return len(set(runs)) / len(runs) if runs else 0.0


def distinct_each(predictions: Sequence[str], n: int = 2) -> list[float]:
    """Share of each answer's own runs of ``n`` words that are different (0 to 1; below 1 it repeats itself).

    >>> distinct_each(["a b a b", "one two three", ""])
    [0.6666666666666666, 1.0, 0.0]
    """
    return [distinct_n([text], n) for text in predictions]


def repeats(predictions: Sequence[str], n: int = 4) -> list[float]:
    """Whether each answer goes round in circles: it holds a run of ``n`` words twice or more (0 or 1; 0 is better).

    A model that doesn't learn when to stop does that, above all where the likeliest token is taken each time.

    >>> repeats(["It is a token. It is a token.", "It is a token."], n=4)
    [1.0, 0.0]
    """
    runs = [_runs(_words(text), n) for text in predictions]
    return [float(len(set(each)) < len(each)) for each in runs]


def refuses(predictions: Sequence[str]) -> list[float]:
    """Whether each answer declines (0 or 1): better on a question off the subject, worse on one that belongs to it.

    Told by its words: the usual phrases of assistants, and that of the course's data, which names its only subject.
    On the 1,400 answers of the FAQ it finds the 60 that decline and no other. Another way to decline
    it doesn't know.

    >>> refuses(["Sorry, I cannot help with that.", "A token is a piece of text."])
    [1.0, 0.0]
    """
    return [float(bool(_REFUSAL.search(text.replace("\u2019", "'").strip()))) for text in predictions]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
