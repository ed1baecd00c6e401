"""The same steps taken by TRL's SFTTrainer, with TRL's own loss.

Rows come tokenised and labelled, so SFTTrainer has nothing to prepare; its loss weighs the tokens of a step as the
plain loop does, which a test checks.
"""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any

from torch import Tensor
from trl import SFTConfig, SFTTrainer

from ftlib.training.hf import PlannedSteps, planned_optimizer, trainer_arguments
from ftlib.training.job import STEP_TARGETS, Job


def run(job: Job) -> None:
    """Take the steps of a job with TRL's SFTTrainer."""
    was_training, own = job.model.training, set(vars(job.model))
    with tempfile.TemporaryDirectory() as folder:
        # SFTTrainer would recompute activations unless told otherwise, which costs a third more time.
        known = {field.name for field in dataclasses.fields(SFTConfig)}
        recompute = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
        further: dict[str, Any] = {recompute: False, "dataset_kwargs": {"skip_prepare_dataset": True}}
        arguments = SFTConfig(**trainer_arguments(job, folder), **further)
        trainer = _SFTTrainer(job.model, arguments, job=job)
        try:
            trainer.train()
        finally:
            job.model.train(was_training)
            for added in set(vars(job.model)) - own:  # its own forward, which computes the loss, and notes
                delattr(job.model, added)


class _SFTTrainer(PlannedSteps, SFTTrainer):
    def __init__(self, model: Any, arguments: SFTConfig, *, job: Job) -> None:
        super().__init__(
            model,
            arguments,
            data_collator=lambda rows: rows[0],
            train_dataset=job.batches.rows,
            processing_class=job.tokenizer,
            optimizers=planned_optimizer(job),
        )
        self.set_job(job)

    def training_step(self, model: Any, inputs: dict[str, Tensor], *rest: Any, **named: Any) -> Tensor:
        """Forward and backward of one micro-batch, all of it SFTTrainer's own."""
        inputs.pop(STEP_TARGETS)
        counted = dict(inputs)
        loss: Tensor = super().training_step(model, inputs, *rest, **named)  # type: ignore[no-untyped-call]
        self.count(loss, counted)
        return loss
