"""Fine-tuning in plain PyTorch: the whole loop in view."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.argument_checks import a_model, a_tokenizer, at_least, checked, text
from ftlib.models.gradients import gradients_on
from ftlib.models.precision import WantedPrecision, choose_precision
from ftlib.old_calls import tokenizer_before_data
from ftlib.spare_memory import sparing_memory
from ftlib.text.special_tokens import padding
from ftlib.training.checks import check_fit, check_rows, with_targets
from ftlib.training.distributed import Processes, find_processes
from ftlib.training.job import Job, MicroBatches, Step, TargetLoss, evaluator, real_tokens
from ftlib.training.optimizers import OptimizerName, default_learning_rate, make_optimizer, schedule, set_rates

if TYPE_CHECKING:
    from peft import PeftModel


@tokenizer_before_data(1, gone={"pad_token_id": "the tokenizer says which token fills the batches"})
@checked(model=a_model, tokenizer=a_tokenizer, learning_rate=at_least(0), optimizer=text, precision=text)
@gradients_on()
@sparing_memory()
def finetune(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    *,
    max_steps: int,
    learning_rate: float | None = None,
    batch_size: int = 8,
    accumulation_steps: int = 1,
    warmup_steps: int = 0,
    optimizer: OptimizerName = "adamw",
    weight_decay: float = 0.01,
    max_gradient_norm: float = 1.0,
    precision: WantedPrecision = "float32",
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
        tokenizer: Its tokenizer; its padding token fills the batches.
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        max_steps: Optimizer steps; the rows are read again in a new order when they run out.
        learning_rate: Peak rate; default: :func:`~ftlib.training.optimizers.default_learning_rate`.
        batch_size: Rows of one forward pass.
        accumulation_steps: Forward passes of one optimizer step.
        warmup_steps: Steps in which the rate rises; the first already uses a rate above zero.
        optimizer: ``"adamw"``, ``"muon"`` (nano was pretrained with it), ``"adafactor"`` or ``"sgd"``.
        weight_decay: Decoupled weight decay.
        max_gradient_norm: Longer gradients are shortened to this length.
        precision: What matrices are multiplied in, weights stay as they are; ``"auto"``: bfloat16 where the device has
            instructions for it, and else float32 (:func:`~ftlib.models.precision.choose_precision`).
        eval_rows: Tokenised rows to measure the loss on.
        eval_every: Steps between two measurements; 0 measures after the last step only.
        seed: Order of the rows, and dropout.
        on_step: Called after each step.

    Returns:
        One :class:`~ftlib.training.job.Step` for each.

    Raises:
        DataError: There are no rows, the model can't read them, or an argument can't be used.
        ConfigError: The optimizer or the precision is unknown, or SGD without a learning rate.
        TrainingError: The loss is no number any more.

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    check_rows(rows, max_steps=max_steps, batch_size=batch_size, accumulation_steps=accumulation_steps)
    rows = with_targets(rows)
    check_fit(model, rows)
    if eval_rows is not None:
        check_rows(eval_rows, "evaluation rows")
        eval_rows = with_targets(eval_rows, "evaluation rows")
        check_fit(model, eval_rows, "evaluation row")
    pad_token_id = padding(tokenizer)
    rate = default_learning_rate(model, optimizer) if learning_rate is None else learning_rate
    batches = MicroBatches(
        rows,
        pad_token_id=pad_token_id,
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        max_steps=max_steps,
        seed=seed,
    )
    job = Job(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        optimizer=make_optimizer(model, optimizer, learning_rate=rate, weight_decay=weight_decay),
        rate_share=lambda number: schedule(number, warmup_steps, max_steps),
        learning_rate=rate,
        max_steps=max_steps,
        max_gradient_norm=max_gradient_norm,
        precision=choose_precision(precision, next(model.parameters()).device),
        evaluate=evaluator(model, eval_rows, pad_token_id=pad_token_id),
        evaluation_is_due=lambda number: bool(eval_every) and number % eval_every == 0,
        seed=seed,
        on_step=None if on_step is None else lambda job, step, scaler: on_step(step),
    )
    torch.manual_seed(seed)
    run(job)
    return job.history


def steps_for_epochs(rows: int, epochs: float, batch_size: int, accumulation_steps: int = 1) -> int:
    """Optimizer steps that read every row ``epochs`` times.

    >>> steps_for_epochs(100, epochs=2, batch_size=8, accumulation_steps=4)
    7
    """
    return math.ceil(epochs * math.ceil(rows / batch_size) / accumulation_steps)


def run(job: Job) -> None:
    """Take the steps of a job, on one processor or graphics card, or (started by torchrun) on several.

    Several processes share the micro-batches of each step: whatever their number, a step reads the same rows.

    Raises:
        TrainingError: The micro-batches can't be shared evenly, or the loss is no number any more.
    """
    was_training = job.model.training
    processes = find_processes(job.batches.accumulation_steps, job.model.device)
    loss_of = processes.wrap(TargetLoss(job.model, job.batches.accumulation_steps))
    scaler = GradScaler(job.model.device.type, enabled=job.precision == "float16")
    job.resume_scaler(scaler)
    try:
        for number in range(job.first_step, job.max_steps + 1):
            started = time.perf_counter()
            first = (number - job.first_step) * job.batches.accumulation_steps
            micro = [job.batches[first + i] for i in processes.share]
            set_rates(job.optimizer, job.rate_share(number))
            job.model.train()
            loss = sum(_backward(loss_of, batch, job, processes, scaler, last=batch is micro[-1]) for batch in micro)
            loss, tokens = processes.add(loss, real_tokens(micro))
            scaler.unscale_(job.optimizer)
            norm = float(nn.utils.clip_grad_norm_(job.model.parameters(), job.max_gradient_norm))
            job.check(loss, norm)
            scaler.step(job.optimizer)
            scaler.update()
            job.optimizer.zero_grad()
            job.finish_step(loss, norm, tokens=int(tokens), seconds=time.perf_counter() - started, scaler=scaler)
    finally:
        job.model.train(was_training)


def _backward(
    loss_of: nn.Module, batch: dict[str, Tensor], job: Job, processes: Processes, scaler: GradScaler, *, last: bool
) -> float:
    device = job.model.device
    on_device = {name: tensor.to(device) for name, tensor in batch.items()}
    half = job.precision != "float32"
    with processes.gradients_shared(loss_of, now=last):
        with torch.autocast(device.type, dtype=getattr(torch, job.precision), enabled=half):
            loss: Tensor = loss_of(**on_device)["loss"]
        scaler.scale(loss * processes.size).backward()
    return float(loss.detach())
