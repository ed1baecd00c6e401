"""A configuration made ready: its model, its job, and the moments at which it is evaluated and saved."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from datasets import Dataset
from ftlib.compat.installed import enable_checkpointing
from ftlib.errors import ConfigError, ModelError
from ftlib.evaluation.metrics import answer_loss, corpus_bleu
from ftlib.evaluation.preferences import preference_scores
from ftlib.files import read_note
from ftlib.models.loading import load_model
from ftlib.models.names import CHECKPOINT_LOST
from ftlib.models.precision import choose_precision
from ftlib.models.trainable import add_lora, freeze
from ftlib.text.batches import padded_batches
from ftlib.training.checkpoints import Checkpoint, checkpoints
from ftlib.training.checks import check_fit
from ftlib.training.config import FinetuneConfig
from ftlib.training.config_sections import DpoSection
from ftlib.training.distributed import is_main_process, process_count
from ftlib.training.groups import GroupBatches, GroupJob, Rewards, check_prompts, measure_rewards
from ftlib.training.job import Job, MicroBatches, check_finite, evaluator
from ftlib.training.loop import steps_for_epochs
from ftlib.training.optimizers import default_learning_rate, make_optimizer, schedule
from ftlib.training.pairs import PairBatches, PreferenceJob, pair_batches, pair_evaluator
from ftlib.training.scores import scores

_STATE = "training_state.json"


def other_run(config: FinetuneConfig) -> Checkpoint | None:
    """Return the checkpoint that `checkpoint.start_from` names, to go on from; none if it names only weights.

    Raises:
        ConfigError: It is a file.
    """
    if config.checkpoint.start_from is None:
        return None
    folder = Path(config.checkpoint.start_from).expanduser()
    if folder.is_file():
        raise ConfigError(
            f"{folder}: expected a folder that a run or save_pretrained wrote; a file such as Lightning's .ckpt may "
            "run code when it is opened and isn't read: save the model in it with save_pretrained first"
        )
    if (folder / _STATE).is_file():
        step = read_note(folder / _STATE, "step", error=ConfigError, way_out=CHECKPOINT_LOST)["step"]
        return Checkpoint(folder, step, None)
    found = checkpoints(folder)
    return found[-1] if found else None


def prepare_model(config: FinetuneConfig, start: Checkpoint | None) -> tuple[Any, Any]:
    """Load model and tokenizer; freeze or add adapters as asked.

    Args:
        config: Of the run.
        start: The checkpoint to go on from, if there is one.

    Raises:
        ConfigError: The device isn't there.
        ModelError: The model can't be loaded or frozen as asked.
    """
    section = config.model
    device = section.device
    if device is None and torch.cuda.is_available() and process_count() > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"model.device {device}: no NVIDIA card was found: choose cpu, or leave it out")
    name = start.folder if start else config.checkpoint.start_from or section.name
    model, tokenizer = load_model(name, device=device, dtype=section.dtype, trainable=True)
    if config.has_reference and start is None and hasattr(model, "peft_config"):
        raise ModelError(
            f"{name}: has adapters, and the reference of {config.objective} would be the model without them: merge "
            "them first (ftlib.models.merge_lora) and give the merged folder as model.name"
        )
    if section.lora is not None and not hasattr(model, "peft_config"):
        model = add_lora(model, **section.lora.model_dump(), seed=config.train.seed)
    if section.freeze or section.keep_layers or section.freeze_patterns:
        freeze(model, section.freeze, keep_layers=section.keep_layers, patterns=section.freeze_patterns)
    if section.gradient_checkpointing:
        enable_checkpointing(model)
    model.config.use_cache = model.generation_config.use_cache = section.use_cache
    return model, tokenizer


def prepare_job(
    model: Any, tokenizer: Any, config: FinetuneConfig, rows: Dataset, *, first_step: int, evaluation: Evaluation
) -> Job:
    """Return the job that an engine is given.

    Args:
        model: From :func:`prepare_model`.
        tokenizer: The model's.
        config: Of the run.
        rows: To train on, tokenised.
        first_step: Above 1 when a run goes on.
        evaluation: On the evaluation rows.

    Raises:
        ConfigError: Nothing would be trained.
        DataError: The model can't read the rows.
    """
    section = config.train
    check_fit(model, rows)
    if evaluation.rows:
        check_fit(model, evaluation.rows, "evaluation row")
    if config.objective == "grpo":
        check_prompts(model, tokenizer, rows, config.rewarded)
    max_steps = section.max_steps or steps_for_epochs(
        len(rows), section.epochs or 1, config.rows_per_batch, section.accumulation_steps
    )
    warmup = section.warmup_steps or round(section.warmup_share * max_steps)
    rate = section.learning_rate or default_learning_rate(model, section.optimizer)
    kind, more = _kind(config, evaluation)
    job = kind(
        model=model,
        tokenizer=tokenizer,
        batches=_batches(config, rows, tokenizer, first_step=first_step, max_steps=max_steps),
        optimizer=make_optimizer(
            model,
            section.optimizer,
            learning_rate=rate,
            weight_decay=section.weight_decay,
            betas=section.betas,
        ),
        rate_share=lambda number: schedule(number, warmup, max_steps, section.schedule),
        learning_rate=rate,
        max_steps=max_steps,
        max_gradient_norm=section.max_gradient_norm,
        precision=choose_precision(section.precision, model.device),
        first_step=first_step,
        seed=section.seed,
        **more,
    )
    _plan_evaluations(job, config, evaluation)
    return job


def _kind(config: FinetuneConfig, evaluation: Evaluation) -> tuple[type[Job], dict[str, Any]]:
    """Return the class of a job by its objective, and what that one needs more."""
    if config.objective == "dpo":
        return PreferenceJob, {"beta": beta_of(config)}
    if config.objective == "grpo":
        return GroupJob, {"settings": config.rewarded, "given": evaluation.rewards}
    return Job, {}


def beta_of(config: FinetuneConfig) -> float:
    """Return DPO's beta as a run's configuration has it."""
    return (config.dpo or DpoSection()).beta


class Evaluation:
    """Measures a model on evaluation rows, if there are any.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        config: Of the run.
        rows: Tokenised, or none.
        rewards: What gives answers their rewards, where the objective has some.
    """

    def __init__(
        self, model: Any, tokenizer: Any, config: FinetuneConfig, rows: Dataset | None, rewards: Rewards | None = None
    ) -> None:
        """Keep what is needed; nothing is measured yet."""
        self.rewards, self.answer_tokens = rewards or Rewards({}), config.rewarded.max_completion_length
        self.section, self.model, self.tokenizer, self.rows = config.evaluate, model, tokenizer, rows
        size = config.evaluate.batch_size
        self.is_paired = config.objective == "dpo"
        how: dict[str, Any] = {"pad_token_id": tokenizer.pad_token_id, "batch_size": size}
        if self.is_paired:
            self.loss = pair_evaluator(model, rows, beta=beta_of(config), **how)
        else:
            self.loss = evaluator(model, rows, **how)

    def scores(self) -> dict[str, float]:
        """Measure token accuracy, BLEU and ROUGE-L, if they are wanted, and rewards, if there are some."""
        if not self.rows:
            return {}
        return self._scores(self.rows, self.section.metrics_rows)

    def _scores(self, rows: Dataset, generated: int) -> dict[str, float]:
        size, found = self.section.batch_size, dict[str, float]()
        if self.section.metrics:
            found |= scores(self.model, self.tokenizer, rows, generated_rows=generated, batch_size=size)
        if self.rewards.functions:
            first = rows.select(range(min(len(rows), generated)))
            how: dict[str, Any] = {"max_new_tokens": self.answer_tokens, "batch_size": size}
            found |= measure_rewards(self.model, self.tokenizer, first, self.rewards, **how)
        return found

    def check(self) -> None:
        """Evaluate the first few batches, as `evaluate.sanity_batches` asks, and keep nothing.

        Raises:
            TrainingError: The loss is no number.
            MissingExtraError: A package that the scores need is not installed.
        """
        if self.section.metrics and self.rows:
            corpus_bleu(["text"], ["text"])  # is its package there?
        count, size = self.section.sanity_batches, self.section.batch_size
        if not count or not self.rows:
            return
        rows = self.rows if count < 0 else self.rows.select(range(min(len(self.rows), count * size)))
        pad = self.tokenizer.pad_token_id
        if self.is_paired:
            losses = preference_scores(self.model, pair_batches(rows, size, pad_token_id=pad)).loss
            loss = sum(losses) / len(losses)
        else:
            loss = answer_loss(self.model, padded_batches(rows, size, pad_token_id=pad))
        check_finite(0, loss, 0.0)
        self._scores(rows, 1)


def checkpoint_is_due(config: FinetuneConfig, job: Job) -> Callable[[int], bool]:
    """Return a function that tells whether a checkpoint is due after a step."""
    section = config.checkpoint
    return _due(job, steps=section.every_steps, epochs=section.every_epochs)


def _plan_evaluations(job: Job, config: FinetuneConfig, evaluation: Evaluation) -> None:
    section = config.evaluate
    is_due = _due(job, steps=section.every_steps, batches=section.every_batches, epochs=section.every_epochs)

    def evaluate() -> float | None:
        number = job.first_step + len(job.history)
        return evaluation.loss() if number == job.max_steps or is_due(number) else None

    job.eval_every = 1  # it is asked after every step, and says when
    if is_main_process():
        job.evaluate = evaluate


def _due(job: Job, *, steps: int = 0, batches: int = 0, epochs: float = 0) -> Callable[[int], bool]:
    """Tell of a step whether something is due after it that comes every so often; counted in batches."""
    in_step = job.batches.accumulation_steps
    in_epoch = math.ceil(len(job.batches.rows) / job.batches.batch_size)
    interval = steps * in_step or batches or epochs * in_epoch

    def passed(number: int) -> int:
        return math.floor(number * in_step / interval + 1e-9)  # a share of an epoch is rarely exact in binary

    return lambda number: bool(interval) and passed(number) > passed(number - 1)


def _batches(config: FinetuneConfig, rows: Dataset, tokenizer: Any, **steps: int) -> MicroBatches:
    section = config.train
    plan: dict[str, Any] = {
        "pad_token_id": tokenizer.pad_token_id,
        "batch_size": config.rows_per_batch,
        "accumulation_steps": section.accumulation_steps,
        "order": "as_given" if config.data.overfit_batches else section.batch_order,
        "seed": section.seed,
        **steps,
    }
    if config.objective == "grpo":
        return GroupBatches(rows, tokenizer=tokenizer, num_generations=config.rewarded.num_generations, **plan)
    return (PairBatches if config.objective == "dpo" else MicroBatches)(rows, **plan)
