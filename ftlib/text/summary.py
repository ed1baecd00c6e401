"""What is in an instruction data set, and what is wrong with it: found in one pass, in memory that hardly grows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ftlib.argument_checks import at_least, checked, each
from ftlib.data.message_checks import nonempty_message_list
from ftlib.data.messages import EXTRAS, Message
from ftlib.data.quality import REMEDIES, language_of, text_faults
from ftlib.errors import DataError
from ftlib.text.chat_template import template_of
from ftlib.text.grouping import length_batches
from ftlib.text.template_markup import MarkupFinder
from ftlib.text.templates import QUESTION_ANSWER, Segment, Template
from ftlib.text.tokenization import encode_rows, known_limit

_CHUNK = 1000
_BINS = 10


@dataclass(frozen=True)
class Spread:
    """The least, the middle and the greatest of some counts."""

    least: int
    median: int
    greatest: int


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with some rows.

    Attributes:
        kind: A key of :data:`ftlib.data.quality.REMEDIES`.
        rows: How many rows have it.
        first_row: Number of the first of them, from 0, rows that could not be read left out.
        example: How that row begins.
        remedy: What to do.
    """

    kind: str
    rows: int
    first_row: int
    example: str
    remedy: str


@dataclass(frozen=True)
class TokenCounts:
    """How long the rows are for a tokenizer.

    Attributes:
        tokenizer: Its name.
        template: The template that the rows were laid out in.
        context: Tokens that a row may have; None where nobody says.
        total: Tokens of all rows.
        lengths: Tokens of a row.
        histogram: ``(from, to, rows)``; ``to`` is not part of the bin.
        batch_size: Rows of a batch, for the three shares that follow.
        padding_to_longest_row: Share of padding if every row is filled up to the longest row of all (0 to 1).
        padding_in_file_order: Share if each batch is filled up to its own longest row.
        padding_by_length: The same, if rows of about one length share a batch.
    """

    tokenizer: str
    template: str
    context: int | None
    total: int
    lengths: Spread
    histogram: list[tuple[int, int, int]]
    batch_size: int
    padding_to_longest_row: float
    padding_in_file_order: float
    padding_by_length: float


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
        unanswered: Rows whose last message is no answer: training leaves it out, since nothing behind the last answer
            can change what is learnt.
        extras: Rows that hold a further field, by its name.
        language: ISO 639-1 code of the language that most rows are in, or ``""``.
        faults: What is wrong, the most frequent first.
        tokens: Lengths in tokens, if a tokenizer was given.
    """

    format: str
    rows: int
    messages: dict[str, int]
    turns: Spread
    words: dict[str, Spread]
    same_prompt: int
    unanswered: int
    extras: dict[str, int]
    language: str
    faults: list[Fault]
    tokens: TokenCounts | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


@checked(conversations=each(nonempty_message_list), context=at_least(1), batch_size=at_least(1))
def summarize(
    conversations: Iterable[Sequence[Message]],
    *,
    format: str = "",
    tokenizer: PreTrainedTokenizerBase | None = None,
    template: Template | None = None,
    context: int | None = None,
    batch_size: int = 8,
) -> DataSummary:
    """Count what conversations are made of, and look for faults.

    Args:
        conversations: Lists of messages; read once.
        format: Name to keep in the summary.
        tokenizer: Counts tokens; without one there are no token counts.
        template: The template that rows are laid out in before they are counted; default: what the tokenizer tells.
        context: Tokens that a row may have; default: the tokenizer's ``model_max_length``, if it has one.
        batch_size: Rows of a batch, to say how much of it would be padding.

    >>> row = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "It is so."}]
    >>> found = summarize([row, row])
    >>> found.words["assistant"], found.faults[0].kind
    (Spread(least=3, median=3, greatest=3), 'duplicate')
    """
    template = template or (QUESTION_ANSWER if tokenizer is None else template_of(tokenizer))
    counts, lengths, finder = _Counts(), array("l"), MarkupFinder(template)
    limit = context or (known_limit(tokenizer) if tokenizer else None)
    rows = iter(conversations)
    while chunk := list(islice(rows, _CHUNK)):
        sizes = [0] * len(chunk)
        if tokenizer is not None:
            sizes = [sum(map(len, row)) for row in encode_rows(tokenizer, [_laid_out(r, template) for r in chunk])]
            lengths.extend(sizes)
        for messages, size in zip(chunk, sizes, strict=True):
            counts.add(messages, too_long=limit is not None and size > limit, has_markup=bool(finder.find(messages)))
    tokens = None
    if tokenizer is not None and lengths:
        name = Path(tokenizer.name_or_path).name
        tokens = _token_counts(
            np.array(lengths), tokenizer=name, template=template.name, context=limit, size=batch_size
        )
    return counts.summary(format, tokens)


class _Counts:
    """What is counted row by row."""

    def __init__(self) -> None:
        self.turns: Counter[int] = Counter()
        self.words: dict[str, Counter[int]] = {}
        self.extras: Counter[str] = Counter()
        self.prompts: set[int] = set()
        self.rows: set[int] = set()
        self.faults: dict[str, tuple[int, int, str]] = {}
        self.languages: dict[str, tuple[int, int, str]] = {}
        self.read = self.unanswered = 0

    def add(self, messages: Sequence[Message], *, too_long: bool, has_markup: bool) -> None:
        self.turns[len(messages)] += 1
        for message in messages:
            self.words.setdefault(message["role"], Counter())[len((message["content"] or "").split())] += 1
        self.extras.update({extra for message in messages for extra in EXTRAS if message.get(extra) is not None})
        said = [(message["role"], message["content"], str(message.get("tool_calls"))) for message in messages]
        self.prompts.add(hash(tuple(said[:-1])))
        if hash(tuple(said)) in self.rows:
            self._note(self.faults, "duplicate", messages)
        self.rows.add(hash(tuple(said)))
        if not {"user", "assistant"} <= {message["role"] for message in messages}:
            self._note(self.faults, "one-sided", messages)
        self.unanswered += messages[-1]["role"] != "assistant"
        if has_markup:
            self._note(self.faults, "two templates", messages)
        if too_long:
            self._note(self.faults, "over the context", messages)
        for kind in text_faults(messages):
            self._note(self.faults, kind, messages)
        self._note(self.languages, language_of(messages), messages)
        self.read += 1

    def _note(self, book: dict[str, tuple[int, int, str]], kind: str, messages: Sequence[Message]) -> None:
        begins = " ".join((messages[0]["content"] or "").split())[:60]
        rows, first, example = book.get(kind, (0, self.read, begins))
        book[kind] = (rows + 1, first, example)

    def summary(self, format: str, tokens: TokenCounts | None) -> DataSummary:
        certain = {code: noted for code, noted in self.languages.items() if code}
        language = max(certain, key=lambda code: certain[code][0], default="")
        faults = [Fault(kind, *noted, REMEDIES[kind]) for kind, noted in self.faults.items()]
        for code, noted in certain.items():
            if code != language:
                faults.append(Fault(f"language {code}", *noted, REMEDIES["language"].format(code=code, main=language)))
        return DataSummary(
            format=format,
            rows=self.read,
            messages={role: counts.total() for role, counts in self.words.items()},
            turns=spread(self.turns),
            words={role: spread(counts) for role, counts in self.words.items()},
            same_prompt=self.read - len(self.prompts),
            unanswered=self.unanswered,
            extras={extra: self.extras[extra] for extra in EXTRAS if extra in self.extras},
            language=language,
            faults=sorted(faults, key=lambda fault: -fault.rows),
            tokens=tokens,
        )


def _laid_out(messages: Sequence[Message], template: Template) -> list[Segment]:
    """Lay out a row; one that the template has no place for counts with its bare texts."""
    try:
        return template.render(messages)
    except DataError:
        return [Segment((message["content"] or "") + str(message.get("tool_calls") or "")) for message in messages]


def _token_counts(lengths: np.ndarray, *, tokenizer: str, template: str, context: int | None, size: int) -> TokenCounts:
    least, end = int(lengths.min()), int(lengths.max()) + 1
    edges = np.linspace(least, max(end, least + _BINS), _BINS + 1).astype(int)
    rows, _ = np.histogram(lengths, edges)
    bins = zip(edges[:-1].tolist(), edges[1:].tolist(), rows.tolist(), strict=True)
    in_order = (range(start, min(start + size, len(lengths))) for start in range(0, len(lengths), size))
    return TokenCounts(
        tokenizer=tokenizer,
        template=template,
        context=context,
        total=int(lengths.sum()),
        lengths=spread(Counter(lengths.tolist())),
        histogram=list(bins),
        batch_size=size,
        padding_to_longest_row=_padding_share(lengths, [range(len(lengths))]),
        padding_in_file_order=_padding_share(lengths, in_order),
        padding_by_length=_padding_share(lengths, length_batches(lengths.tolist(), size, seed=0)),
    )


def _padding_share(lengths: np.ndarray, batches: Iterable[Sequence[int]]) -> float:
    filled = sum(int(lengths[list(batch)].max()) * len(batch) for batch in batches)
    return 1 - int(lengths.sum()) / filled if filled else 0.0


def spread(counts: Counter[int]) -> Spread:
    """Return the least, the middle and the greatest of some counts, each with how often it occurs.

    >>> spread(Counter([1, 5, 9]))
    Spread(least=1, median=5, greatest=9)
    """
    if not counts:
        return Spread(0, 0, 0)
    half, seen, median = (counts.total() + 1) // 2, 0, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= half:
            median = value
            break
    return Spread(min(counts), median, max(counts))
