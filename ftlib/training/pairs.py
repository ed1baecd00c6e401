"""Pairs of answers made ready for DPO: tokenised as every conversation is, and put side by side in batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.argument_checks import checked
from ftlib.data.preferences import SIDES
from ftlib.errors import DataError, DroppedRowsWarning
from ftlib.evaluation.preferences import preference_scores
from ftlib.text.batches import pad_batch
from ftlib.text.row_maker import IGNORED
from ftlib.text.templates import Template
from ftlib.text.tokenization import NO_LIMIT, tokenize
from ftlib.training.job import STEP_TARGETS, Job, MicroBatches

if TYPE_CHECKING:
    from peft import PeftModel

OTHER = ("rejected_input_ids", "rejected_labels")


@dataclass(frozen=True, eq=False, kw_only=True)
class PreferenceJob(Job):
    """A job whose rows are pairs of answers.

    Attributes:
        beta: How dearly DPO's step away from the reference is paid.
    """

    beta: float


@checked()
def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase, rows: Dataset, *, template: Template, max_length: int = NO_LIMIT
) -> Dataset:
    """Tokenise preference rows; only what follows the prompt has labels.

    Args:
        tokenizer: The model's; it is not changed.
        rows: From :func:`ftlib.data.preferences.load_preferences`.
        template: Around the messages.
        max_length: Tokens that prompt and answer may have; a pair with a longer side is left out whole, since cutting
            one side would change what is compared.

    Returns:
        ``input_ids`` and ``labels`` of the chosen side, ``rejected_input_ids`` and ``rejected_labels`` of the other.

    Warns:
        DroppedRowsWarning: Pairs are too long, and are left out.

    Raises:
        DataError: No pair is left.

    Taught in: chapters/14_preferences.ipynb
    """
    sides = [tokenize(tokenizer, _conversations(rows, side), template=template, max_length=NO_LIMIT) for side in SIDES]
    columns = [list(side[name]) for side in sides for name in _NAMES]
    pairs = Dataset.from_dict(dict(zip((*_NAMES, *OTHER), columns, strict=True)))
    kept = [n for n, row in enumerate(pairs) if max(len(row["input_ids"]), len(row[OTHER[0]])) <= max_length]
    if not kept:
        raise DataError(f"every one of the {len(pairs)} pairs has more than {max_length} tokens: raise max_length")
    if len(kept) < len(pairs):
        told = f"left out {len(pairs) - len(kept)} of {len(pairs)} pairs with more than {max_length} tokens"
        warnings.warn(f"{told}: raise max_length to keep them", DroppedRowsWarning, stacklevel=2)
    return pairs.select(kept)


_NAMES = ("input_ids", "labels")


def _conversations(rows: Dataset, side: str) -> Dataset:
    """Lay prompt and one answer out as a conversation; earlier answers in the prompt weigh nothing."""
    found = []
    for row in rows:
        prompt = [{**message, "weight": 0 if message["role"] == "assistant" else None} for message in row["prompt"]]
        found.append({"messages": [*prompt, *({**message, "weight": None} for message in row[side])]})
    return Dataset.from_list(found)


def pair_batch(rows: Iterable[Mapping[str, Any]], pad_token_id: int) -> dict[str, Tensor]:
    """Stack pairs into one batch ``(2 * pairs, seq)``: all chosen answers, then all rejected ones.

    >>> row = {"input_ids": [5, 6], "labels": [-100, 6], "rejected_input_ids": [5], "rejected_labels": [-100]}
    >>> pair_batch([row], pad_token_id=0)["input_ids"].tolist()
    [[5, 6], [5, 0]]
    """
    rows = list(rows)
    chosen = [{name: row[name] for name in _NAMES} for row in rows]
    rejected = [dict(zip(_NAMES, (row[name] for name in OTHER), strict=True)) for row in rows]
    return pad_batch([*chosen, *rejected], pad_token_id)


@checked()
def pair_batches(pairs: Dataset, size: int, *, pad_token_id: int) -> list[dict[str, Tensor]]:
    """Stack all pairs, so many in a batch, in order.

    Taught in: chapters/14_preferences.ipynb
    """
    rows = list(pairs)
    return [pair_batch(rows[start : start + size], pad_token_id) for start in range(0, len(rows), size)]


def completion_batch(rows: Iterable[Mapping[str, Any]], pad_token_id: int) -> dict[str, Tensor]:
    """Stack pairs as TRL has them: a ``completion_mask`` of 0 and 1 says which tokens are the answers'."""
    batch = pair_batch(rows, pad_token_id)
    labels = batch.pop("labels")
    return {**batch, "completion_mask": (labels != IGNORED).to(torch.int64)}


class PairBatches(MicroBatches):
    """Every batch of a run of DPO, in order; as :class:`~ftlib.training.job.MicroBatches`, with two rows a pair."""

    def __init__(self, rows: Dataset, **plan: Any) -> None:
        """Look at both sides of each pair: a batch is padded to the longest answer in it, chosen or rejected."""
        super().__init__(rows, **plan)
        self.lengths = [max(sides) for sides in zip(self.lengths, map(len, rows[OTHER[0]]), strict=True)]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``input_ids``, ``attention_mask``, ``completion_mask``, each ``(2 * pairs, seq)``, and how many pairs.

        Raises:
            IndexError: There are no more.
        """
        _, numbers = self.at(index)
        batch = completion_batch((self.rows[number] for number in numbers), self.pad_token_id)
        return {**batch, STEP_TARGETS: torch.tensor(len(numbers))}


def pair_evaluator(
    model: PreTrainedModel | PeftModel, pairs: Dataset | None, *, pad_token_id: int, batch_size: int, beta: float
) -> Callable[[], float | None]:
    """Return a function that measures DPO's mean loss on some pairs, in nats; without pairs it returns ``None``."""
    if pairs is None or not len(pairs):
        return lambda: None
    batches = pair_batches(pairs, batch_size, pad_token_id=pad_token_id)

    def measure() -> float:
        losses = preference_scores(model, batches, beta=beta).loss
        return sum(losses) / len(losses)

    return measure
