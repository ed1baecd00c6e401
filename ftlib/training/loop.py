"""Fine-tuning in plain PyTorch: the whole loop in view."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datasets import Dataset
from ftlib.batches import length_batches, pad_batch, padded_batches
from ftlib.errors import DataError
from ftlib.metrics import answer_loss, summed_target_loss
from ftlib.muon import muon_and_adamw


@dataclass(frozen=True)
class Step:
    """What one optimizer step did.

    Attributes:
        number: 1 for the first.
        learning_rate: The rate this step used.
        loss: Mean over the step's targets, before the update, in nats per token.
        gradient_norm: Length of the gradient before clipping.
        tokens: Tokens that the model read in this step, padding not counted.
        seconds: Time the step took, evaluation not counted.
        eval_loss: Loss on the evaluation rows after the step, where it was measured.
    """

    number: int
    learning_rate: float
    loss: float
    gradient_norm: float
    tokens: int
    seconds: float
    eval_loss: float | None = None


def finetune(
    model: Any,
    rows: Dataset,
    *,
    pad_token_id: int,
    max_steps: int,
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    accumulation_steps: int = 1,
    warmup_steps: int = 0,
    optimizer: Literal["adamw", "muon"] = "adamw",
    weight_decay: float = 0.01,
    max_gradient_norm: float = 1.0,
    eval_rows: Dataset | None = None,
    eval_every: int = 0,
    seed: int = 0,
    on_step: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Train a model in place, with a linear warm-up of the learning rate and a linear decay to zero.

    A step is an optimizer step: ``accumulation_steps`` batches whose gradients add up. The loss is the
    mean over all target tokens of the step, so that splitting a batch doesn't change the result.

    Args:
        model: A causal language model; its weights change, its training mode is restored.
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        pad_token_id: Fills the batches.
        max_steps: Optimizer steps; the rows are read again in a new order when they run out.
        learning_rate: Peak rate.
        batch_size: Rows of one forward pass.
        accumulation_steps: Forward passes of one optimizer step.
        warmup_steps: Steps in which the rate rises; the first already uses a rate above zero.
        optimizer: ``"adamw"``, or ``"muon"``: Muon for the matrices inside the network, with ten times the
            learning rate, and AdamW for the rest. nano was pretrained with it.
        weight_decay: Decoupled weight decay.
        max_gradient_norm: Longer gradients are shortened to this length.
        eval_rows: Tokenised rows to measure the loss on.
        eval_every: Steps between two measurements; 0 measures after the last step only.
        seed: Order of the rows, and dropout.
        on_step: Called after each step.

    Returns:
        One :class:`Step` for each.

    Raises:
        DataError: There are no rows, or an argument can't be used.

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    if optimizer not in ("adamw", "muon"):
        raise DataError(f"optimizer must be 'adamw' or 'muon', not {optimizer!r}")
    _check(rows, max_steps=max_steps, batch_size=batch_size, accumulation_steps=accumulation_steps)
    optimizers = _make_optimizers(model, optimizer, learning_rate, weight_decay)
    batches = _batches(rows, batch_size, pad_token_id, seed)
    was_training = model.training
    torch.manual_seed(seed)
    history: list[Step] = []
    try:
        for number in range(1, max_steps + 1):
            model.train()
            share = schedule(number, warmup_steps, max_steps)
            started = time.perf_counter()
            micro = [next(batches) for _ in range(accumulation_steps)]
            loss, norm, tokens = _optimizer_step(model, optimizers, micro, share, max_gradient_norm)
            seconds = time.perf_counter() - started
            due = number == max_steps or (eval_every and number % eval_every == 0)
            eval_loss = _measure(model, eval_rows, pad_token_id) if due else None
            history.append(Step(number, learning_rate * share, loss, norm, tokens, seconds, eval_loss))
            if on_step:
                on_step(history[-1])
    finally:
        model.train(was_training)
    return history


def schedule(number: int, warmup_steps: int, max_steps: int) -> float:
    """Share of the peak learning rate at a step: a straight rise, then a straight fall that ends just above zero.

    >>> [round(schedule(number, 2, 6), 2) for number in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if number <= warmup_steps:
        return number / warmup_steps
    return (max_steps - number + 1) / max(1, max_steps - warmup_steps)


def steps_for_epochs(rows: int, epochs: float, batch_size: int, accumulation_steps: int = 1) -> int:
    """Optimizer steps that read every row ``epochs`` times.

    >>> steps_for_epochs(100, epochs=2, batch_size=8, accumulation_steps=4)
    7
    """
    return math.ceil(epochs * math.ceil(rows / batch_size) / accumulation_steps)


def _make_optimizers(model: Any, name: str, learning_rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    if name == "muon":
        rates = {"matrix_learning_rate": 10 * learning_rate, "other_learning_rate": learning_rate}
        return muon_and_adamw(model, **rates, weight_decay=weight_decay, betas=(0.9, 0.999))
    # fused: one pass over the weights, several times as fast on a processor as the default.
    return [torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)]


def _optimizer_step(
    model: Any,
    optimizers: Sequence[torch.optim.Optimizer],
    micro: Sequence[dict[str, Tensor]],
    share_of_peak: float,
    max_norm: float,
) -> tuple[float, float, int]:
    targets = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in micro)
    total = 0.0
    for batch in micro:
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        loss = summed_target_loss(model, on_device)[0] / targets
        loss.backward()
        total += float(loss.detach())
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), max_norm))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share_of_peak * optimizer.defaults["lr"]
        optimizer.step()
        optimizer.zero_grad()
    return total, norm, sum(int(batch["attention_mask"].sum()) for batch in micro)


def _measure(model: Any, rows: Dataset | None, pad_token_id: int) -> float | None:
    return answer_loss(model, padded_batches(rows, 16, pad_token_id=pad_token_id)) if rows else None


def _batches(rows: Dataset, batch_size: int, pad_token_id: int, seed: int) -> Any:
    lengths = [len(ids) for ids in rows["input_ids"]]
    epoch = 0
    while True:
        for numbers in length_batches(lengths, batch_size, seed=seed + epoch):
            yield pad_batch((rows[i] for i in numbers), pad_token_id)
        epoch += 1


def _check(rows: Dataset, **positive: int) -> None:
    if not len(rows):
        raise DataError("no rows to train on: check the file or the split")
    missing = {"input_ids", "labels"} - set(rows.column_names)
    if missing:
        raise DataError(f"rows lack the columns {sorted(missing)}: make them with ftlib.tokenize")
    for name, value in positive.items():
        if value < 1:
            raise DataError(f"{name} must be at least 1, not {value}")
