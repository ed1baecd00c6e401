"""What the trainers of TRL share: a job's batches as they are, and TRL's own loss told to the job."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from ftlib.training.hf import PlannedSteps, planned_optimizer
from ftlib.training.job import STEP_TARGETS, Job
from ftlib.training.randomness import States

if TYPE_CHECKING:
    from peft import PeftModel


class TRLSteps(PlannedSteps):
    """For a trainer of TRL: rows are whole micro-batches, so that it has nothing to put together."""

    def __init__(
        self, model: PreTrainedModel | PeftModel, arguments: TrainingArguments, *, job: Job, states: States
    ) -> None:
        """Make the trainer, and give it the job with the random numbers of its first step."""
        trainer: Any = super()  # of TRL, which this class stands in front of
        trainer.__init__(
            model,
            args=arguments,
            data_collator=lambda rows: rows[0],
            train_dataset=job.batches.rows,
            processing_class=job.tokenizer,
            optimizers=planned_optimizer(job),
        )
        self.set_job(job, states)

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *rest: Any, **named: Any) -> Tensor:
        """Forward and backward of one micro-batch, all of it TRL's own."""
        inputs.pop(STEP_TARGETS)
        counted = dict(inputs)
        trainer: Any = super()
        loss: Tensor = trainer.training_step(model, inputs, *rest, **named)
        self.count(self.of_one_process(loss), counted)
        return loss

    def of_one_process(self, loss: Tensor) -> Tensor:
        """Return the loss as the job counts it."""
        return loss


def without_recomputation(config: type) -> dict[str, Any]:
    """Return the argument of a configuration that keeps activations: TRL would compute them twice, a third slower."""
    known = {field.name for field in dataclasses.fields(config)}
    return {"activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing": False}


@contextlib.contextmanager
def model_kept(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Undo what a trainer of TRL does to a model beside training it, and keep quiet about old names that TRL uses."""
    was_training = model.training
    base: Any = getattr(model, "get_base_model", lambda: model)()
    modules = [model] if base is model else [model, base]
    own = [set(vars(module)) for module in modules]
    try:
        with warnings.catch_warnings():
            # TRL 1.16 asks transformers 5.23 by the old name: huggingface/trl, trl/models/utils.py
            old = r"`(is_gradient_checkpointing|gradient_checkpointing_\w+)` is deprecated"
            warnings.filterwarnings("ignore", old, FutureWarning)
            yield
    finally:
        model.train(was_training)
        for module, names in zip(modules, own, strict=True):
            for added in set(vars(module)) - names:  # the forward that a trainer puts over the model's own, and notes
                delattr(module, added)


def quiet_arguments(model: PreTrainedModel | PeftModel, folder: str) -> dict[str, Any]:
    """Return the arguments of a trainer that is asked for numbers alone, and not to train."""
    on_processor = model.device.type == "cpu"
    return {"output_dir": folder, "report_to": [], "disable_tqdm": True, "bf16": False, "use_cpu": on_processor}
