"""The same steps taken by Hugging Face's Trainer.

The Trainer moves batches to the device, wraps the model for several processes, clips, steps and calls back. Batches,
loss, optimizer and schedule are the course's own, given to it through its documented hooks, so that the curve is the
plain loop's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from ftlib.errors import TrainingError
from ftlib.training.distributed import find_processes
from ftlib.training.job import Job, TargetLoss
from ftlib.training.optimizers import set_rates
from ftlib.training.randomness import States, random_states, set_random_states


def run(job: Job) -> None:
    """Take the steps of a job with Hugging Face's Trainer."""
    was_training, states = job.model.training, random_states()
    with tempfile.TemporaryDirectory() as folder, precision_of_this_run_only():
        arguments = TrainingArguments(**planned_arguments(job, folder))
        trainer = _HFTrainer(TargetLoss(job.model, job.batches.accumulation_steps), arguments, job=job, states=states)
        try:
            trainer.train()
        finally:
            job.model.train(was_training)


@contextlib.contextmanager
def precision_of_this_run_only() -> Iterator[None]:
    """Let neither the environment choose a Trainer's precision, nor a Trainer that of the next run in this process.

    Accelerate reads the precision in a variable where the arguments name none, and transformers 4 writes what they
    name there, for good: after a run in bfloat16, one in float32 would be in bfloat16 too.
    """
    name = "ACCELERATE_MIXED_PRECISION"
    before = os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def planned_arguments(job: Job, folder: str) -> dict[str, Any]:
    """Arguments that leave to the Trainer what is the Trainer's, and keep it quiet.

    Raises:
        TrainingError: The precision is float16, without a graphics card.
    """
    if job.precision == "float16" and job.model.device.type == "cpu":
        raise TrainingError("the Trainer has float16 on graphics cards only: choose bfloat16, or the engine loop")
    processes = find_processes(job.batches.accumulation_steps, job.model.device)
    return {
        "output_dir": folder,
        "max_steps": job.max_steps - job.first_step + 1,
        "per_device_train_batch_size": 1,  # of our micro-batches
        "gradient_accumulation_steps": len(processes.share),
        "max_grad_norm": job.max_gradient_norm,
        "bf16": job.precision == "bfloat16",
        "fp16": job.precision == "float16",
        "use_cpu": job.model.device.type == "cpu",
        "seed": job.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }


class PlannedSteps:
    """For a Trainer: take the batches of a job, in their order, and report each step to the job."""

    job: Job
    accelerator: Any

    def set_job(self, job: Job, states: States) -> None:
        """Remember the job and the random numbers that its first step begins with, and call back at each step."""
        self.job, self.states = job, states
        job.resume_scaler(self.accelerator.scaler)
        self.step_loss, self.step_tokens = 0.0, 0
        self.add_callback(_Reporter(self))  # type: ignore[attr-defined]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> Any:
        """Return the job's micro-batches in their order; with several processes, each gets its share."""
        loader = DataLoader(self.job.batches, batch_size=1, shuffle=False, collate_fn=_only)
        return self.accelerator.prepare(loader)

    def count(self, loss: Tensor, batch: dict[str, Tensor]) -> None:
        """Add a micro-batch to what is known of the step."""
        self.step_loss += float(loss.detach())
        self.step_tokens += int(batch["attention_mask"].sum())

    def rewards(self, logs: dict[str, float]) -> dict[str, float] | None:
        """Return what a Trainer logged about the rewards of a step; this one knows none."""
        return None


def planned_optimizer(job: Job) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Return the job's optimizer and its schedule as the Trainer wants them.

    PyTorch's schedulers count the steps that are done; the job counts the step that is being taken.
    """
    shares = torch.optim.lr_scheduler.LambdaLR(
        job.optimizer, lambda done: job.rate_share(job.first_step + done) if done <= job.max_steps else 0.0
    )
    return job.optimizer, shares


class _HFTrainer(PlannedSteps, Trainer):
    def __init__(self, model: nn.Module, arguments: TrainingArguments, *, job: Job, states: States) -> None:
        # The Trainer asks for a data set; the loader that it is given above does not use it.
        super().__init__(model, arguments, train_dataset=job.batches, optimizers=planned_optimizer(job))
        self.set_job(job, states)

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *unused: Any, **also_unused: Any) -> Tensor:
        """Forward and backward of one micro-batch.

        The loss is a share of the whole step's already: neither the number of micro-batches nor, with several
        processes, their number may divide it again.
        """
        model.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss: Tensor = model(**inputs)["loss"]
        self.count(loss, inputs)
        scale = self.accelerator.num_processes * self.accelerator.gradient_accumulation_steps
        self.accelerator.backward(loss * scale)
        return loss.detach()


class _Reporter(TrainerCallback):
    """Tells the job of each step: the Trainer logs after every one of them."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.started = trainer, 0.0

    def on_step_begin(self, *unused: Any, **also_unused: Any) -> None:
        job = self.trainer.job
        if not job.history:
            set_random_states(self.trainer.states)
        # The Trainer's schedule stands still at a step that float16 skips; the job's goes by the number of the step.
        set_rates(job.optimizer, job.rate_share(job.first_step + len(job.history)))
        self.started = time.perf_counter()
        self.trainer.step_loss, self.trainer.step_tokens = 0.0, 0

    def on_step_end(self, *unused: Any, **also_unused: Any) -> None:
        self.seconds = time.perf_counter() - self.started

    def on_log(self, *unused: Any, logs: dict[str, float] | None = None, **also_unused: Any) -> None:
        if logs and "grad_norm" in logs:
            trainer = self.trainer
            loss, tokens = over_processes(trainer.accelerator, trainer.step_loss, trainer.step_tokens)
            rewards, norm = trainer.rewards(logs), float(logs["grad_norm"])
            trainer.job.finish_step(
                loss,
                norm,
                tokens=tokens,
                seconds=self.seconds,
                rewards=rewards,
                scaler=trainer.accelerator.scaler,
            )


def over_processes(accelerator: Any, loss: float, tokens: int) -> tuple[float, int]:
    """Add up what each process saw of a step."""
    if accelerator.num_processes == 1:
        return loss, tokens
    both = accelerator.reduce(torch.tensor([loss, tokens], dtype=torch.float64, device=accelerator.device), "sum")
    return float(both[0]), int(both[1])


def _only(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return batches[0]
