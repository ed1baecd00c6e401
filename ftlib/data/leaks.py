"""Is the test in the training data? The same prompt twice, or nearly the same text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

from ftlib.argument_checks import at_least, checked, each
from ftlib.data.message_checks import conversation_rows, nonempty_message_list
from ftlib.data.messages import Message, all_text
from ftlib.data.words import comparable
from ftlib.data.words import words as split_words
from ftlib.errors import DataError


class Leak(NamedTuple):
    """A test row and the training row it is most like; ``likeness`` is a Jaccard index, 0 to 1."""

    test_row: int
    train_row: int
    likeness: float


@checked(words=at_least(1))
def shingles(text: str, *, words: int = 3) -> frozenset[tuple[str, ...]]:
    """Return every run of so many words in a text, in lower case and without punctuation.

    A shorter text is one shingle of all its words (:func:`ftlib.data.words.words`).

    >>> sorted(shingles("Why is a batch padded?"))
    [('a', 'batch', 'padded'), ('is', 'a', 'batch'), ('why', 'is', 'a')]
    """
    found = split_words(text)
    runs = (tuple(found[start : start + words]) for start in range(max(1, len(found) - words + 1)))
    return frozenset(run for run in runs if run)


@checked()
def jaccard(first: frozenset[Any], second: frozenset[Any]) -> float:
    """Share of what two sets hold that both of them hold: 0 (nothing in common) to 1 (equal).

    (Jaccard, 1901.) Two empty sets count as equal.

    >>> round(jaccard(frozenset("abc"), frozenset("bcd")), 2)
    0.5
    """
    return len(first & second) / len(first | second) if first or second else 1.0


@checked(train=conversation_rows, test=conversation_rows)
def find_leaks(
    train: Iterable[Mapping[str, Any]], test: Iterable[Mapping[str, Any]], *, threshold: float = 0.5
) -> list[Leak]:
    """Find test conversations that training nearly contains, the likest first.

    Two conversations are compared by the three-word shingles of all their text. Each test row is reported
    at most once, with the training row that is likest to it.

    Args:
        train: Conversations (rows with ``messages``).
        test: Conversations.
        threshold: The least Jaccard index that counts, above 0 and at most 1.

    Raises:
        DataError: The threshold is out of range.

    >>> rows = [{"messages": [{"role": "user", "content": "Why is a batch padded?"}]}]
    >>> find_leaks(rows, rows)
    [Leak(test_row=0, train_row=0, likeness=1.0)]

    Taught in: chapters/06_instruction_dataset.ipynb
    """
    if not 0 < threshold <= 1:
        raise DataError(f"threshold must be above 0 and at most 1, not {threshold}")
    taught = [shingles(all_text(row["messages"])) for row in train]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, own in enumerate(taught):
        for shingle in own:
            holders[shingle].append(number)
    leaks = []
    for number, row in enumerate(test):
        own = shingles(all_text(row["messages"]))
        shared = Counter(other for shingle in own for other in holders.get(shingle, ()))
        likest = max(shared, key=lambda other: (shared[other] / len(own | taught[other]), -other), default=None)
        if likest is not None and jaccard(own, taught[likest]) >= threshold:
            leaks.append(Leak(number, likest, jaccard(own, taught[likest])))
    return sorted(leaks, key=lambda leak: (-leak.likeness, leak.test_row))


@checked(conversations=each(nonempty_message_list))
def same_prompts(
    conversations: Iterable[Sequence[Message]], train: Iterable[int], test: Iterable[int]
) -> list[tuple[int, int]]:
    """Pairs ``(test row, training row)`` whose prompts say the same (:func:`ftlib.data.words.comparable`)."""
    prompts = [comparable(all_text(messages[:-1])) for messages in conversations]
    train, test = list(train), list(test)
    for row in (*train, *test):
        if not isinstance(row, Integral) or not 0 <= row < len(prompts):
            raise DataError(f"there is no row {row!r}: there are {len(prompts)}, and the first is 0")
    taught = {prompts[row]: row for row in reversed(train)}
    return [(row, taught[prompts[row]]) for row in test if prompts[row] in taught]
