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
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ftlib.training.hf import planned_optimizer
from ftlib.training.job import Job, TargetLoss


def run(job: Job) -> None:
    """Take the steps of a job with Lightning's Trainer."""
    precisions = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
    was_training = job.model.training
    with _quiet():
        _fit(job, precisions[job.precision])
    job.model.train(was_training)


def _fit(job: Job, precision: Any) -> None:
    trainer = lightning.Trainer(
        accelerator=_accelerator(job.model.device),
        devices=1,
        precision=precision,
        max_steps=job.max_steps - job.first_step + 1,
        accumulate_grad_batches=job.batches.accumulation_steps,
        gradient_clip_val=job.max_gradient_norm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(job.batches, batch_size=1, shuffle=False, collate_fn=lambda batches: batches[0])
    job.model.train()
    trainer.fit(_Module(job), loader)


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

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.loss_of = job, TargetLoss(job.model, job.batches.accumulation_steps)
        self._begin()

    def _begin(self) -> None:
        self.step_loss, self.step_tokens, self.started = 0.0, 0, time.perf_counter()

    def configure_optimizers(self) -> Any:
        optimizer, shares = planned_optimizer(self.job)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": shares, "interval": "step"}}

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
        # Lightning's own refuses fused AdamW in bfloat16, where there is nothing to unscale.
        self.norm = float(nn.utils.clip_grad_norm_(self.job.model.parameters(), gradient_clip_val))

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        if (number + 1) % self.job.batches.accumulation_steps == 0:
            seconds = time.perf_counter() - self.started
            self.job.finish_step(self.step_loss, self.norm, tokens=self.step_tokens, seconds=seconds)
            self._begin()


def _accelerator(device: torch.device) -> str:
    return {"cuda": "gpu"}.get(device.type, device.type)
