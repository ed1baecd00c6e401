"""How probable does a model find the right answers? What the loss scores of an evaluation are computed from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.argument_checks import at_least, checked
from ftlib.evaluation.confidence import Array
from ftlib.models.gradients import evaluation_mode
from ftlib.models.target_logits import target_logits
from ftlib.text.batches import padded_batches
from ftlib.text.row_maker import IGNORED
from ftlib.text.templates import Template
from ftlib.text.tokenization import tokenize_measured


@checked(batch_size=at_least(1))
def answer_statistics(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Dataset,
    *,
    template: Template | None = None,
    max_length: int | None = None,
    batch_size: int = 16,
) -> Array:
    """Loss, tokens, likeliest tokens and bytes of the answers of each conversation.

    The end-of-text token behind an answer is one of its tokens; a byte of text it is not. Of an answer that the limit
    cuts, only what is left is measured, in tokens and in bytes.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's tokenizer.
        conversations: A data set with the column ``messages``.
        template: As for :func:`ftlib.tokenize`, like the next one.
        max_length: The most tokens of a row.
        batch_size: Rows of one forward pass.

    Returns:
        ``(rows, 4)``, the columns :data:`ftlib.evaluation.scores.LOSS_COLUMNS`.

    Raises:
        DataError: As :func:`ftlib.tokenize`.
    """
    rows, written = tokenize_measured(tokenizer, conversations, template=template, max_length=max_length)
    batches = padded_batches(rows, batch_size, pad_token_id=tokenizer.pad_token_id)
    with evaluation_mode(model):
        measured = torch.cat([_of_batch(model, batch) for batch in batches]).numpy()
    return np.column_stack([measured, np.array(written, dtype=np.float64)])


@torch.no_grad()
def _of_batch(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Loss, tokens and likeliest tokens of each row, ``(batch, 3)``."""
    device = next(model.parameters()).device
    logits, targets = target_logits(model, {name: tensor.to(device) for name, tensor in batch.items()})
    losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    right = (logits.argmax(-1) == targets).float()
    values = torch.stack([losses, torch.ones_like(losses), right], dim=-1).double().cpu()
    counts = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
    return torch.stack([row.sum(0) for row in values.split(counts)])
