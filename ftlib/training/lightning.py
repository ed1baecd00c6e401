"""The same steps taken by PyTorch Lightning."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.plugins import precision as plugins
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.utils.data import DataLoader

from ftlib.errors import TrainingError
from ftlib.training.distributed import process_count
from ftlib.training.job import Job, TargetLoss
from ftlib.training.optimizers import set_rates
from ftlib.training.randomness import States, random_states, set_random_states


def run(job: Job) -> None:
    """Take the steps of a job with Lightning's Trainer.

    Raises:
        TrainingError: There are several processes.
    """
    if process_count() > 1:
        raise TrainingError("the engine lightning trains in one process here: choose loop or hf under torchrun")
    was_training = job.model.training
    with _quiet():
        _fit(job)
    job.model.train(was_training)


def _fit(job: Job) -> None:
    states = random_states()
    trainer = lightning.Trainer(
        accelerator=_accelerator(job.model.device),
        devices=1,
        plugins=_precision(job),
        max_steps=job.max_steps - job.first_step + 1,
        accumulate_grad_batches=job.batches.accumulation_steps,
        gradient_clip_val=job.max_gradient_norm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(job.batches, batch_size=1, shuffle=False, collate_fn=lambda batches: batches[0])
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    job.resume_scaler(scaler)
    job.model.train()
    trainer.fit(_Module(job, states, scaler), loader)


def _precision(job: Job) -> plugins.Precision:
    # Left to choose, Lightning takes bfloat16 for float16 on a processor.
    device = job.model.device.type
    if job.precision == "float32":
        return plugins.Precision()
    if job.precision == "bfloat16":
        return plugins.MixedPrecision("bf16-mixed", device)
    return plugins.MixedPrecision("16-mixed", device, GradScaler(device))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks on hardware, workers and its own products out of a notebook."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # The batches are small and ready: worker processes would only cost time.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 calls a check that PyTorch 2.13 renamed (lightning/pytorch/utilities/_pytree.py).
            warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
            yield
    finally:
        logger.setLevel(level)


class _Module(lightning.LightningModule):
    """What Lightning asks of a model: a training step, an optimizer, and hooks."""

    def __init__(self, job: Job, states: States, scaler: GradScaler | None) -> None:
        super().__init__()
        self.states, self.scaler = states, scaler
        self.job, self.loss_of = job, TargetLoss(job.model, job.batches.accumulation_steps)
        self._begin()

    def _begin(self) -> None:
        self.step_loss, self.step_tokens, self.started = 0.0, 0, time.perf_counter()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.job.optimizer

    def on_train_batch_start(self, batch: Any, number: int) -> None:
        if number == 0:
            set_random_states(self.states)
        # A schedule of Lightning's would stand still at a step that float16 skips.
        set_rates(self.job.optimizer, self.job.rate_share(self.job.first_step + len(self.job.history)))

    def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
        self.job.model.train()
        loss: Tensor = self.loss_of(**batch)["loss"]
        self.step_loss += float(loss.detach())
        self.step_tokens += int(batch["attention_mask"].sum())
        # Lightning divides by the micro-batches of a step; the loss is a share of the whole step's already.
        return loss * self.job.batches.accumulation_steps

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Lightning's own refuses fused AdamW, which would unscale its gradients itself, after they were clipped.
        if self.scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            self.scaler.unscale_(optimizer)
        self.norm = float(nn.utils.clip_grad_norm_(self.job.model.parameters(), gradient_clip_val))

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        if (number + 1) % self.job.batches.accumulation_steps == 0:
            seconds = time.perf_counter() - self.started
            self.job.finish_step(
                self.step_loss, self.norm, tokens=self.step_tokens, seconds=seconds, scaler=self.scaler
            )
            self._begin()


def _accelerator(device: torch.device) -> str:
    return {"cuda": "gpu"}.get(device.type, device.type)
