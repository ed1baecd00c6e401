"""The door of a run, where its configuration is taken apart: its model, its evaluation and its job."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.compat.installed import enable_checkpointing
from ftlib.errors import ConfigError, ModelError
from ftlib.evaluation.rewards import Reward
from ftlib.files import read_note
from ftlib.models.loading import context_length, load_model
from ftlib.models.names import CHECKPOINT_LOST
from ftlib.models.precision import Precision
from ftlib.models.trainable import add_lora, freeze
from ftlib.training.checkpoints import Checkpoint, CheckpointPolicy, checkpoints
from ftlib.training.checks import check_fit
from ftlib.training.config import FinetuneConfig
from ftlib.training.config_sections import DpoSection
from ftlib.training.distributed import is_main_process, process_count
from ftlib.training.groups import GroupBatches, GroupJob, Rewards, check_prompts, check_rewards, make_rewards
from ftlib.training.job import Job, MicroBatches, OnStep
from ftlib.training.loop import steps_for_epochs
from ftlib.training.optimizers import default_learning_rate, make_optimizer, schedule
from ftlib.training.pairs import PairBatches, PreferenceJob
from ftlib.training.run_evaluation import RunEvaluation

if TYPE_CHECKING:
    from peft import PeftModel

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


def prepare_model(
    config: FinetuneConfig, start: Checkpoint | None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer; freeze or add adapters as asked.

    Args:
        config: Of the run.
        start: The checkpoint to go on from, if there is one.

    Raises:
        ConfigError: The device isn't there.
        ModelError: The model can't be loaded or frozen as asked.
    """
    section = config.model
    name = start.folder if start else config.checkpoint.start_from or section.name
    model, tokenizer = load_model(name, device=_device(section.device), dtype=section.dtype, trainable=True)
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


def _device(name: str | None) -> str | None:
    if name is None and torch.cuda.is_available() and process_count() > 1:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    if name is not None and name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"model.device {name}: no NVIDIA card was found: choose cpu, or leave it out")
    return name


def check_objective(config: FinetuneConfig, functions: Mapping[str, Reward]) -> None:
    """Refuse a run by rewards without a reward, and rewards for another run; nothing is loaded for it.

    Raises:
        ConfigError: There is no reward, there are two of one name, or not as many weights as rewards.
    """
    if config.objective == "grpo":
        check_rewards(config.rewarded.rewards, config.rewarded.reward_weights, functions)
    elif functions:
        raise ConfigError(f"rewards are for objective: grpo, not {config.objective}: set it, or pass none")


def prepare_evaluation(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    config: FinetuneConfig,
    rows: Dataset,
    eval_rows: Dataset | None,
    functions: Mapping[str, Reward],
) -> RunEvaluation:
    """Return what measures a run on its evaluation rows.

    Args:
        model: From :func:`prepare_model`.
        tokenizer: The model's.
        config: Of the run.
        rows: To train on, tokenised.
        eval_rows: To evaluate on, if there are any.
        functions: Rewards beside those of the configuration, by name.

    Raises:
        DataError: A reward needs other references than the rows have.
    """
    section, rewards = config.rewarded, Rewards({})
    if config.objective == "grpo":
        rewards = make_rewards(tokenizer, section.rewards, section.reward_weights, functions, rows, eval_rows)
    return RunEvaluation(
        model,
        tokenizer,
        eval_rows,
        batch_size=config.evaluate.batch_size,
        metrics=config.evaluate.metrics,
        metrics_rows=config.evaluate.metrics_rows,
        dpo_beta=_beta(config) if config.objective == "dpo" else None,
        rewards=rewards,
        max_new_tokens=section.max_completion_length,
    )


def _beta(config: FinetuneConfig) -> float:
    return (config.dpo or DpoSection()).beta


def prepare_job(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    config: FinetuneConfig,
    rows: Dataset,
    evaluation: RunEvaluation,
    *,
    precision: Precision = "float32",
    first_step: int = 1,
    scaler_state: dict[str, Any] | None = None,
    on_step: OnStep | None = None,
) -> Job:
    """Return the job that an engine is given.

    Args:
        model: From :func:`prepare_model`.
        tokenizer: The model's.
        config: Of the run.
        rows: To train on, tokenised.
        evaluation: On the evaluation rows.
        precision: What matrices are multiplied in.
        first_step: Above 1 when a run goes on.
        scaler_state: Where float16's gradient scaler stood, when a run goes on.
        on_step: Is told of each step.

    Raises:
        ConfigError: Nothing would be trained.
        DataError: The model can't read the rows.
    """
    section = config.train
    _check_rows_fit(model, tokenizer, config, rows, evaluation.rows)
    max_steps = section.max_steps or steps_for_epochs(
        len(rows), section.epochs or 1, config.rows_per_batch, section.accumulation_steps
    )
    warmup = section.warmup_steps or round(section.warmup_share * max_steps)
    rate = section.learning_rate or default_learning_rate(model, section.optimizer)
    kind, further = _kind(config, evaluation.rewards)
    return kind(
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
        precision=precision,
        evaluate=evaluation.loss if is_main_process() else lambda: None,
        evaluation_is_due=_due_in_evaluation(config, len(rows)),
        first_step=first_step,
        seed=section.seed,
        on_step=on_step,
        scaler_state=scaler_state,
        **further,
    )


def _check_rows_fit(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    config: FinetuneConfig,
    rows: Dataset,
    eval_rows: Dataset | None,
) -> None:
    check_fit(model, rows)
    if eval_rows:
        check_fit(model, eval_rows, "evaluation row")
    if config.objective == "grpo":
        longest = config.rewarded.max_completion_length
        check_prompts(tokenizer, rows, context=context_length(model), max_completion_length=longest)


def _kind(config: FinetuneConfig, rewards: Rewards) -> tuple[type[Job], dict[str, Any]]:
    """Return the class of a job by its objective, and what that one needs more."""
    if config.objective == "dpo":
        return PreferenceJob, {"beta": _beta(config)}
    if config.objective == "grpo":
        return GroupJob, {"settings": config.rewarded, "given": rewards}
    return Job, {}


def checkpoint_policy(config: FinetuneConfig, rows: int) -> CheckpointPolicy:
    """Return when a run of so many rows is saved, what is best of it, and how much of it stays."""
    section = config.checkpoint
    is_due = _due(config, rows, steps=section.every_steps, epochs=section.every_epochs)
    return CheckpointPolicy(is_due, keep=section.keep, monitor=section.monitor, higher_is_better=section.mode == "max")


def _due_in_evaluation(config: FinetuneConfig, rows: int) -> Callable[[int], bool]:
    section = config.evaluate
    return _due(config, rows, steps=section.every_steps, batches=section.every_batches, epochs=section.every_epochs)


def _due(
    config: FinetuneConfig, rows: int, *, steps: int = 0, batches: int = 0, epochs: float = 0
) -> Callable[[int], bool]:
    """Tell of a step whether something is due after it that comes every so often; counted in batches."""
    in_step = config.train.accumulation_steps
    interval = steps * in_step or batches or epochs * math.ceil(rows / config.rows_per_batch)

    def passed(number: int) -> int:
        return math.floor(number * in_step / interval + 1e-9)  # a share of an epoch is rarely exact in binary

    return lambda number: bool(interval) and passed(number) > passed(number - 1)


def _batches(config: FinetuneConfig, rows: Dataset, tokenizer: PreTrainedTokenizerBase, **steps: int) -> MicroBatches:
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
