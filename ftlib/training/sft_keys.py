"""The keys of a training file with PyTorch Lightning's names, and the ones of this library that they stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ftlib.errors import ConfigError
from ftlib.training.config_errors import explain
from ftlib.training.sft_data import find_split
from ftlib.training.sft_file import SftData, SftFile, SftTrainer, SftTrainerParams

TEMPLATE = {"before_user": "Question: ", "before_assistant": "\nAnswer:"}
"""The template of such a file's prompts."""

_FREEZES = {"freeze_emb": "embeddings", "freeze_ln": "norms", "freeze_attn": "attention"}
_FREEZES |= {"freeze_ff": "feed_forward", "freeze_other": "other"}


def is_sft_yaml(values: Mapping[str, Any]) -> bool:
    """Tell by its sections whether a file is one of the two with Lightning's names.

    >>> is_sft_yaml({"model_params": {}}), is_sft_yaml({"train": {}})
    (True, False)
    """
    return is_sft_test(values) or not {"model_name", "model_params", "trainer"}.isdisjoint(values)


def is_sft_test(values: Mapping[str, Any]) -> bool:
    """Tell by its sections whether a file is the one for testing."""
    return not {"test", "generate_params", "test_params"}.isdisjoint(values)


def as_sections(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return a training file's values under this library's keys, unset ones left out.

    Args:
        values: As in the YAML file.
        source: Where they come from, for errors.

    Raises:
        ConfigError: A key is unknown, or a value can't be used; or it is the file for testing.
    """
    if is_sft_test(values):
        raise ConfigError(f"{source}: is a file for testing, not for training: see ftlib.training.sft_testing")
    try:
        file = SftFile.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, SftFile, source)) from None
    sections = {
        "engine": "lightning",
        "model": _model(file),
        "data": _data(file.data, file.trainer.params),
        "train": _train(file),
        "evaluate": _evaluate(file),
        "checkpoint": _checkpoint(file.trainer),
    }
    if file.wandb is not None:
        sections["tracking"] = file.wandb.tracking()
    return {name: _given(section) if isinstance(section, dict) else section for name, section in sections.items()}


def _model(file: SftFile) -> dict[str, Any]:
    params = file.model_params
    values = {"name": file.model_name, "device": file.trainer.params.accelerator, "use_cache": params.use_cache}
    if not params.do_freeze:
        return values
    kinds = [kind for key, kind in _FREEZES.items() if getattr(params, key)]
    return {**values, "freeze": kinds, "keep_layers": params.layers_not_to_freeze}


def _data(data: SftData, params: SftTrainerParams) -> dict[str, Any]:
    found, held_out = find_split(data.data_dir, "train"), find_split(data.data_dir, "val", optional=True)
    values: dict[str, Any] = {
        "source": found[0],
        "split": found[1],
        "format": "question-answer",
        "custom_template": TEMPLATE,
    }
    if held_out is not None:
        values |= {"validation": held_out[0], "validation_split": held_out[1]}
    truncate = "prompt" if data.truncate_promt else "end"
    return {**values, "max_length": data.max_length, "truncate": truncate, "overfit_batches": params.overfit_batches}


def _train(file: SftFile) -> dict[str, Any]:
    model, trainer = file.model_params, file.trainer.params
    clip = trainer.gradient_clip_val
    return {
        "epochs": trainer.max_epochs,
        "learning_rate": model.learning_rate,
        "batch_size": file.data.batch_size,
        "accumulation_steps": trainer.accumulate_grad_batches,
        "betas": model.adam_betas,
        "weight_decay": model.weight_decay,
        "warmup_share": model.warmup_steps_per_cent,
        "max_gradient_norm": clip or math.inf,
        "precision": trainer.precision,
        "seed": file.seed,
        "log_every_steps": trainer.log_every_n_steps,
    }


def _evaluate(file: SftFile) -> dict[str, Any]:
    interval = file.trainer.params.val_check_interval
    return {
        "every_batches": interval if isinstance(interval, int) else None,
        "every_epochs": interval if isinstance(interval, float) else None,
        "sanity_batches": file.trainer.params.num_sanity_val_steps,
        "batch_size": file.data.batch_size,
        "metrics": file.model_params.do_compute_metrics,
    }


def _checkpoint(trainer: SftTrainer) -> dict[str, Any]:
    section = trainer.checkpoint
    return {
        "every_steps": section.every_n_train_steps,
        "monitor": section.log_obg,
        "mode": section.mode,
        "folder": section.dirpath,
        "start_from": trainer.ckpt_path,
    }


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
