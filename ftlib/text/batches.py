"""Rows to batches: padded to the longest, grouped by length, or packed without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from datasets import Dataset
from ftlib.argument_checks import at_least, checked, each, row_with
from ftlib.errors import DataError
from ftlib.text.grouping import length_batches as length_batches
from ftlib.text.grouping import packing_plan as packing_plan
from ftlib.text.row_maker import IGNORED, Side


@checked(rows=each(row_with("input_ids")), pad_token_id=at_least(0))
def pad_batch(
    rows: Iterable[Mapping[str, Sequence[int]]], pad_token_id: int, *, side: Side = "right"
) -> dict[str, Tensor]:
    """Stack rows of different lengths into one batch, as long as its longest row.

    As a ``data_collator`` for a trainer: ``functools.partial(pad_batch, pad_token_id=...)``.

    Args:
        rows: Rows with ``input_ids`` and, for training, ``labels``.
        pad_token_id: Fills the gaps in ``input_ids``; masked by ``attention_mask`` and by label -100.
        side: Training pads on the right; generation must pad on the left.

    Raises:
        DataError: There are no rows, or one has no ids, or not as many labels.

    Returns:
        ``input_ids``, ``attention_mask`` and (if the rows have them) ``labels``, each ``(batch, seq)``.

    >>> pad_batch([{"input_ids": [5, 6]}, {"input_ids": [7]}], pad_token_id=1)["input_ids"].tolist()
    [[5, 6], [7, 1]]

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    rows = list(rows)
    if not rows:
        raise DataError("a batch needs at least one row: there are none")
    if any("labels" in row for row in rows):
        _check_labels(rows)
    ids = [row["input_ids"] for row in rows]
    columns: dict[str, tuple[list[Sequence[int]], int]] = {
        "input_ids": (ids, pad_token_id),
        "attention_mask": ([[1] * len(row) for row in ids], 0),
    }
    if "labels" in rows[0]:
        columns["labels"] = ([row["labels"] for row in rows], IGNORED)
    return {name: _stack(values, fill, side) for name, (values, fill) in columns.items()}


@checked(batch_size=at_least(1), pad_token_id=at_least(0))
def padded_batches(rows: Dataset, batch_size: int, *, pad_token_id: int) -> Iterator[dict[str, Tensor]]:
    """Go through a data set in order, ``batch_size`` rows at a time; the last batch may be smaller."""
    for start in range(0, len(rows), batch_size):
        yield pad_batch(rows.select(range(start, min(start + batch_size, len(rows)))), pad_token_id)


@checked(rows=each(row_with("input_ids", "labels")), pad_token_id=at_least(0), max_length=at_least(1))
def pack_batch(rows: Iterable[Mapping[str, Sequence[int]]], pad_token_id: int, *, max_length: int) -> dict[str, Tensor]:
    """Put several conversations into each row of a batch, so that little is padding, and keep them apart.

    ``position_ids`` start again at 0 with each conversation. transformers (4.53 and later, given neither an
    ``attention_mask`` nor a cache: call the model with ``use_cache=False``) takes that as the sign that a token
    must not attend beyond its own conversation. The first label of each conversation is -100: nothing in front
    of it should predict it.

    Args:
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        pad_token_id: Fills what is left of a row.
        max_length: Tokens that a packed row can hold.

    Returns:
        ``input_ids``, ``position_ids`` and ``labels``, each ``(packed rows, seq)``.

    Raises:
        DataError: A row is longer than ``max_length``.

    >>> rows = [{"input_ids": [5, 6], "labels": [-100, 6]}, {"input_ids": [7, 8, 9], "labels": [-100, 8, 9]}]
    >>> pack_batch(rows, pad_token_id=1, max_length=5)["position_ids"].tolist()
    [[0, 1, 2, 0, 1]]

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    rows = list(rows)
    if not rows:
        raise DataError("a batch needs at least one row: there are none")
    plan = packing_plan([len(row["input_ids"]) for row in rows], max_length)
    groups = [[rows[number] for number in group] for group in plan]
    ids = [[token for row in group for token in row["input_ids"]] for group in groups]
    positions = [[place for row in group for place in range(len(row["input_ids"]))] for group in groups]
    labels = [[label for row in group for label in [IGNORED, *row["labels"][1:]]] for group in groups]
    fills = {"input_ids": (ids, pad_token_id), "position_ids": (positions, 0), "labels": (labels, IGNORED)}
    return {name: _stack(values, fill, "right") for name, (values, fill) in fills.items()}


def _check_labels(rows: Iterable[Mapping[str, Sequence[int]]]) -> None:
    allowed = row_with("input_ids", "labels")
    for number, row in enumerate(rows):
        allowed(f"row {number}", row)


def _stack(rows: Sequence[Sequence[int]], fill: int, side: Side) -> Tensor:
    length = max(map(len, rows))
    gaps = [[fill] * (length - len(row)) for row in rows]
    filled = [[*row, *gap] if side == "right" else [*gap, *row] for row, gap in zip(rows, gaps, strict=True)]
    return torch.tensor(filled, dtype=torch.int64)
