"""Conversations to ids and labels, and ids to batches.

Labels are -100 wherever the model is not trained: on the prompt and on padding. The end-of-text token
behind the last answer is a target, because a model that never saw an end never stops.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.data import load_conversations
from ftlib.errors import DataError, TruncationWarning
from ftlib.messages import Message
from ftlib.templates import QUESTION_ANSWER, Segment, Template

IGNORED = -100
Side = Literal["left", "right"]


class Cut(NamedTuple):
    """What truncation removed."""

    rows: int
    tokens: int


class TokenizedSplit(NamedTuple):
    """A data set ready for training: two ``Dataset`` objects and what truncation removed from both."""

    train: Dataset
    test: Dataset
    cut: Cut


def encode_segments(segments: Sequence[Segment], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of segments, each tokenised on its own, so that a prompt has the same ids with and without its answer.

    Text that looks like a special token is encoded as the text that it is.
    """
    return [token for row in _encode_texts([s.text for s in segments], tokenizer) for token in row]


def tokenize(
    conversations: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: Template = QUESTION_ANSWER,
    max_length: int | None = None,
    truncation_side: Side = "left",
) -> Dataset:
    """Turn conversations into ``input_ids``, ``attention_mask`` and ``labels`` (no padding yet).

    A row over ``max_length`` loses prompt tokens first, from the side that is asked for; only when the
    answer alone is too long does its end go too. What was cut is reported in a :class:`TruncationWarning`.

    Args:
        conversations: A data set with the column ``messages``.
        tokenizer: Any tokenizer with an end-of-sequence token; it is not changed.
        template: The frame around questions and answers.
        max_length: The most tokens a row may have; default: the tokenizer's ``model_max_length``.
        truncation_side: Side of the *prompt* that is cut.

    Returns:
        A ``Dataset`` in the same order with three columns of token-long lists.

    Raises:
        DataError: There is no column ``messages``, a conversation doesn't fit the template, or
            ``max_length`` or the tokenizer can't be used.

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    dataset, cut = _tokenize(conversations, tokenizer, template, _limit(tokenizer, max_length), truncation_side)
    _warn_of(cut, len(dataset))
    return dataset


def tokenize_and_split(
    data: Dataset | str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    test_size: float = 0.1,
    seed: int = 123,
    template: Template = QUESTION_ANSWER,
    max_length: int | None = None,
    truncation_side: Side = "left",
) -> TokenizedSplit:
    """Tokenise a data set and split it at random: the same seed gives the same split.

    Args:
        data: Conversations, or a file or name for :func:`ftlib.load_conversations`.
        tokenizer: Any tokenizer with an end-of-sequence token; it is not changed.
        test_size: Share of the rows that go to the test set, between 0 and 1.
        seed: Seed of the shuffle.
        template: The frame around questions and answers.
        max_length: The most tokens a row may have.
        truncation_side: Side of the *prompt* that is cut.

    Returns:
        ``(train, test, cut)``.

    Raises:
        DataError: As :func:`tokenize`, or ``test_size`` leaves a side empty.

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    conversations = load_conversations(data) if isinstance(data, str) else data
    if not 0 < test_size * len(conversations) < len(conversations) or len(conversations) < 2:
        raise DataError(f"test_size {test_size} of {len(conversations)} rows leaves a side empty: choose 0.1, say")
    limit = _limit(tokenizer, max_length)
    dataset, cut = _tokenize(conversations, tokenizer, template, limit, truncation_side)
    _warn_of(cut, len(dataset))
    parts = dataset.train_test_split(test_size=test_size, shuffle=True, seed=seed)
    return TokenizedSplit(parts["train"], parts["test"], cut)


def pad_batch(
    rows: Iterable[dict[str, Sequence[int]]], pad_token_id: int, *, side: Side = "right"
) -> dict[str, Tensor]:
    """Stack rows of different lengths into one batch, as long as its longest row.

    Args:
        rows: Rows with ``input_ids`` and, for training, ``labels``.
        pad_token_id: Fills the gaps in ``input_ids``; masked by ``attention_mask`` and by label -100.
        side: Training pads on the right; generation must pad on the left.

    Returns:
        ``input_ids``, ``attention_mask`` and (if the rows have them) ``labels``, each ``(batch, seq)``.

    >>> pad_batch([{"input_ids": [5, 6]}, {"input_ids": [7]}], pad_token_id=1)["input_ids"].tolist()
    [[5, 6], [7, 1]]

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    rows = list(rows)
    length = max(len(row["input_ids"]) for row in rows)
    fills = {"input_ids": pad_token_id, "attention_mask": 0, "labels": IGNORED}
    batch: dict[str, Tensor] = {}
    for column, fill in fills.items():
        if column == "labels" and column not in rows[0]:
            continue
        values = [row["input_ids"] if column != "labels" else row["labels"] for row in rows]
        if column == "attention_mask":
            values = [[1] * len(value) for value in values]
        batch[column] = torch.tensor([_filled(list(value), length, fill, side) for value in values])
    return batch


def padded_batches(rows: Dataset, batch_size: int, *, pad_token_id: int) -> Iterator[dict[str, Tensor]]:
    """Go through a data set in order, ``batch_size`` rows at a time; the last batch may be smaller."""
    for start in range(0, len(rows), batch_size):
        yield pad_batch(rows.select(range(start, min(start + batch_size, len(rows)))), pad_token_id)


def length_batches(lengths: Sequence[int], batch_size: int, *, seed: int) -> list[list[int]]:
    """Group row numbers so that rows of one batch are about equally long, in a random order of batches.

    Rows are shuffled first, sorted by length within stretches of 16 batches, and the batches are
    shuffled again: little padding, and still a different mix at each seed.

    >>> sorted(i for batch in length_batches([3, 9, 4, 8], 2, seed=0) for i in batch)
    [0, 1, 2, 3]
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(lengths)).tolist()
    stretch = batch_size * 16
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = sorted(order[start : start + stretch], key=lambda row: lengths[row])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def _tokenize(
    conversations: Dataset, tokenizer: PreTrainedTokenizerBase, template: Template, limit: int, side: Side
) -> tuple[Dataset, Cut]:
    if "messages" not in conversations.column_names:
        raise DataError(f"expected a column 'messages', found {conversations.column_names}: see load_conversations")
    if side not in ("left", "right"):
        raise DataError(f"truncation_side must be 'left' or 'right', not {side!r}")
    with _no_progress_bar():
        encoded = conversations.map(
            lambda batch: _encode_batch(batch["messages"], tokenizer, template, limit, side),
            batched=True,
            remove_columns=conversations.column_names,
            load_from_cache_file=False,
        )
    lost = encoded["lost_tokens"]
    cut = Cut(rows=sum(1 for tokens in lost if tokens), tokens=sum(lost))
    return encoded.remove_columns("lost_tokens"), cut


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            enable_progress_bars()


def _encode_batch(
    conversations: Sequence[Sequence[Message]],
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    limit: int,
    side: Side,
) -> dict[str, list[Any]]:
    rendered = [template.render(messages) for messages in conversations]
    pieces = iter(_encode_texts([s.text for segments in rendered for s in segments], tokenizer))
    columns: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "lost_tokens": []}
    for segments in rendered:
        ids: list[int] = []
        labels: list[int] = []
        for segment in segments:
            piece = next(pieces)
            ids += piece
            labels += piece if segment.is_target else [IGNORED] * len(piece)
        ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id)
        lost = max(0, len(ids) - limit)
        ids, labels = _shorten(ids, labels, limit, side)
        for column, value in zip(columns, (ids, [1] * len(ids), labels, lost), strict=True):
            columns[column].append(value)
    return columns


def _shorten(ids: list[int], labels: list[int], limit: int, side: Side) -> tuple[list[int], list[int]]:
    excess = len(ids) - limit
    if excess <= 0:
        return ids, labels
    prompt = next((i for i, label in enumerate(labels) if label != IGNORED), len(labels))
    gone = min(excess, prompt)
    start, stop = (0, gone) if side == "left" else (prompt - gone, prompt)
    ids, labels = ids[:start] + ids[stop:], labels[:start] + labels[stop:]
    return ids[:limit], labels[:limit]


def _encode_texts(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = backend.encode_special_tokens if backend is not None else None
    try:
        encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        return ids
    finally:
        if backend is not None:
            backend.encode_special_tokens = before


def _limit(tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> int:
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token: set tokenizer.eos_token before training")
    limit = tokenizer.model_max_length if max_length is None else max_length
    if limit < 2:
        raise DataError(f"max_length must be at least 2 (one token and its end), not {limit}")
    return int(limit)


def _warn_of(cut: Cut, rows: int) -> None:
    if cut.rows:
        message = f"truncated {cut.rows} of {rows} rows, {cut.tokens} tokens lost: raise max_length or shorten the text"
        warnings.warn(message, TruncationWarning, stacklevel=3)


def _filled(values: list[int], length: int, fill: int, side: Side) -> list[int]:
    gap = [fill] * (length - len(values))
    return values + gap if side == "right" else gap + values
