"""Rows that are to be trained on or measured, checked before any work is done."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from datasets import Dataset
from ftlib.errors import DataError, DroppedRowsWarning, PrecisionWarning, TrainingError
from ftlib.models.loading import context_length
from ftlib.text.row_maker import IGNORED

if TYPE_CHECKING:
    from peft import PeftModel


def check_rows(rows: Dataset, name: str = "rows", **positive: int) -> None:
    """Refuse rows and numbers that no engine could work with.

    Args:
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        name: What a message calls them.
        positive: Numbers that must be at least 1.

    Raises:
        DataError: There are no rows, a column is missing, or a number is below 1.
    """
    if not len(rows):
        raise DataError(f"there are no {name}: check the file or the split")
    missing = {"input_ids", "labels"} - set(rows.column_names)
    if missing:
        raise DataError(f"{name} lack the columns {sorted(missing)}: make them with ftlib.tokenize")
    for name, value in positive.items():
        if value < 1:
            raise DataError(f"{name} must be at least 1, not {value}")


def with_targets(rows: Dataset, name: str = "rows") -> Dataset:
    """Leave out the rows that have no target: nothing can be learnt from them, or measured on them.

    Args:
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        name: What a message calls them.

    Warns:
        DroppedRowsWarning: How many were left out.

    Raises:
        DataError: No row has a target.
    """
    kept = [number for number, labels in enumerate(rows["labels"]) if any(label != IGNORED for label in labels[1:])]
    if len(kept) == len(rows):
        return rows
    without = sorted({*range(len(rows))} - {*kept})
    advice = (
        "every label is -100, because the answer was cut away, or weighs 0: raise max_length, or shorten the prompts"
    )
    if not kept:
        raise DataError(f"there is no target to learn or to measure in any of the {len(rows)} {name}: {advice}")
    message = f"left out {len(without)} of {len(rows)} {name} without a target (row {without[0]}, say): {advice}"
    warnings.warn(message, DroppedRowsWarning, stacklevel=3)
    return rows.select(kept)


def check_fit(model: PreTrainedModel | PeftModel, rows: Dataset, name: str = "row") -> None:
    """Refuse rows that the model can't read: too long, or of another tokenizer.

    Args:
        model: A causal language model.
        rows: Tokenised rows.
        name: What a message calls a row.

    Raises:
        DataError: A row is longer than the model's context, or holds a token that the model doesn't know.
    """
    embeddings: Any = model.get_input_embeddings()
    context, known = context_length(model), embeddings.num_embeddings
    for number, ids in enumerate(rows["input_ids"]):
        if len(ids) > context:
            raise DataError(
                f"{name} {number} has {len(ids)} tokens, the model sees {context}: tokenise with max_length"
            )
        if max(ids, default=0) >= known or min(ids, default=0) < 0:
            raise DataError(
                f"{name} {number} holds the token {max(ids)}, the model knows 0 to {known - 1}: "
                "tokenise with the model's own tokenizer, or, if tokens were added to it, let the model have them too "
                "(model.resize_token_embeddings(len(tokenizer)))"
            )


def check_weights(model: nn.Module, precision: str) -> None:
    """Refuse weights whose type training would spoil, or that can't be multiplied in a precision.

    Args:
        model: A causal language model, with or without adapters.
        precision: What its matrices are multiplied in.

    Warns:
        PrecisionWarning: Weights in bfloat16 are trained: of a weight of 1.0, updates below 0.004 are rounded away.

    Raises:
        TrainingError: Weights in float16 are to be trained (gradients vanish in it, and the optimizer's squares of them
            sooner), or frozen ones are multiplied in the other half precision.
    """
    held = {weight.dtype for weight in model.parameters()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    count = {dtype: sum(weight.numel() for weight in trained if weight.dtype is dtype) for dtype in held}
    better = "load the model in float32 and choose the half precision for training (precision, train.precision)"
    if count.get(torch.float16):
        raise TrainingError(
            f"{count[torch.float16]:,} weights in float16 are to be trained, and their updates would vanish or "
            f"overflow: {better}, or freeze them under adapters (add_lora)"
        )
    for dtype, other in ((torch.float16, "bfloat16"), (torch.bfloat16, "float16")):
        if dtype in held and precision == other:
            name = str(dtype).removeprefix("torch.")
            raise TrainingError(
                f"the model's weights are {name} and can't be multiplied in {other}: choose precision float32, which "
                "casts nothing, or load the model in float32"
            )
    if count.get(torch.bfloat16):
        message = (
            f"{count[torch.bfloat16]:,} weights in bfloat16 are trained, which rounds small updates away (at a low "
            f"learning rate nearly all): {better}"
        )
        warnings.warn(message, PrecisionWarning, stacklevel=4)
