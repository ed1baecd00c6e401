"""The same steps taken by TRL's SFTTrainer, with TRL's own loss.

Rows come tokenised and labelled, so SFTTrainer has nothing to prepare; its loss weighs the tokens of a step as the
plain loop does, which a test checks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from ftlib.compat.installed import text_config
from ftlib.errors import TrainingError
from ftlib.models.target_logits import looked_at
from ftlib.training.hf import planned_arguments, precision_of_this_run_only
from ftlib.training.job import STEP_TARGETS, Job, TargetLoss
from ftlib.training.own_loss import auxiliary_weight
from ftlib.training.randomness import random_states
from ftlib.training.trl_steps import TRLSteps, model_kept, without_recomputation

if TYPE_CHECKING:
    from peft import PeftModel


def run(job: Job) -> None:
    """Take the steps of a job with TRL's SFTTrainer.

    Raises:
        TrainingError: TRL's loss of this model is not the model's own.
    """
    states = random_states()
    with tempfile.TemporaryDirectory() as folder, precision_of_this_run_only(), model_kept(job.model):
        arguments = SFTConfig(**planned_arguments(job, folder), **_further_arguments(job))
        with _configuration_kept(job.model):
            trainer = _SFTTrainer(job.model, arguments, job=job, states=states)
        _check_loss(trainer, job)
        trainer.train()


def _further_arguments(job: Job) -> dict[str, Any]:
    """Arguments of SFTTrainer alone: nothing is prepared or recomputed, nor added to the model's own loss."""
    known = {field.name for field in dataclasses.fields(SFTConfig)}
    further: dict[str, Any] = {"dataset_kwargs": {"skip_prepare_dataset": True}, **without_recomputation(SFTConfig)}
    if "router_aux_loss_coef" in known and hasattr(text_config(job.model.config), "output_router_logits"):
        further["router_aux_loss_coef"] = auxiliary_weight(job.model, _first_batch(job)[0])
    return further


@contextlib.contextmanager
def _configuration_kept(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Undo what SFTTrainer notes in the configuration of a mixture: a checkpoint holds the model's own."""
    config, names = text_config(model.config), ("output_router_logits", "router_aux_loss_coef")
    before = {name: vars(config)[name] for name in names if name in vars(config)}
    yield
    for name in set(names) & set(vars(config)):
        setattr(config, name, before[name]) if name in before else delattr(config, name)


def _check_loss(trainer: _SFTTrainer, job: Job) -> None:
    """Hold SFTTrainer's loss of a micro-batch to the model's own: it works the scores out in its own way."""
    batch, targets = _first_batch(job)
    trainer.current_gradient_accumulation_steps = job.batches.accumulation_steps
    head = job.model.get_output_embeddings()
    with looked_at(job.model):
        own = float(TargetLoss(job.model, job.batches.accumulation_steps)(**batch, **{STEP_TARGETS: targets})["loss"])
        theirs = float(trainer.compute_loss(job.model, batch, num_items_in_batch=targets))  # type: ignore[no-untyped-call]
    theirs /= trainer.accelerator.num_processes
    if hasattr(head, "base_layer") or not math.isclose(own, theirs, rel_tol=1e-3, abs_tol=1e-6):
        raise TrainingError(
            f"engine trl: SFTTrainer computes the loss {theirs:.4g} where {type(job.model).__name__} itself gives "
            f"{own:.4g}, or knows nothing of an adapter on its output layer: choose the engine loop, hf or lightning"
        )


def _first_batch(job: Job) -> tuple[dict[str, Tensor], Tensor]:
    batch = {name: tensor.to(job.model.device) for name, tensor in job.batches[0].items()}
    targets = batch.pop(STEP_TARGETS)
    return batch, targets


class _SFTTrainer(TRLSteps, SFTTrainer):
    def of_one_process(self, loss: Tensor) -> Tensor:
        """It comes multiplied by the processes, over which gradients are averaged."""
        shared: Tensor = loss / self.accelerator.num_processes
        return shared
