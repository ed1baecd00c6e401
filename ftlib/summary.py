"""What is in an instruction data set: counted in one pass, in memory that hardly grows with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ftlib.messages import EXTRAS, Message


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the greatest of some counts."""

    least: int
    median: int
    greatest: int


@dataclass(frozen=True)
class DataSummary:
    """What a pass over conversations found.

    Attributes:
        format: How the source writes its rows.
        rows: Conversations.
        messages: Messages by role.
        turns: Messages of a conversation.
        words: Words of a message, by role (what stands between spaces).
        same_prompt: Rows whose prompt an earlier row has too, letter for letter.
        extras: Rows that hold a further field, by its name.
    """

    format: str
    rows: int
    messages: dict[str, int]
    turns: Spread
    words: dict[str, Spread]
    same_prompt: int
    extras: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def summarize(conversations: Iterable[Sequence[Message]], *, format: str = "") -> DataSummary:
    """Count what conversations are made of.

    Args:
        conversations: Lists of messages; read once.
        format: Name to keep in the summary.

    >>> row = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It is so."}]
    >>> summarize([row, row]).words["assistant"], summarize([row, row]).same_prompt
    (Spread(least=3, median=3, greatest=3), 1)
    """
    turns: Counter[int] = Counter()
    words: dict[str, Counter[int]] = {}
    extras: Counter[str] = Counter()
    prompts: set[int] = set()
    for messages in conversations:
        turns[len(messages)] += 1
        prompts.add(hash(tuple(message["content"] for message in messages[:-1])))
        for message in messages:
            words.setdefault(message["role"], Counter())[len((message["content"] or "").split())] += 1
        extras.update({extra for message in messages for extra in EXTRAS if message.get(extra) is not None})
    rows = turns.total()
    return DataSummary(
        format=format,
        rows=rows,
        messages={role: counts.total() for role, counts in words.items()},
        turns=_spread(turns),
        words={role: _spread(counts) for role, counts in words.items()},
        same_prompt=rows - len(prompts),
        extras={extra: extras[extra] for extra in EXTRAS if extra in extras},
    )


def _spread(counts: Counter[int]) -> Spread:
    if not counts:
        return Spread(0, 0, 0)
    half, seen, median = (counts.total() + 1) // 2, 0, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= half:
            median = value
            break
    return Spread(min(counts), median, max(counts))
