"""Checkpoints: whole or not there at all, in safetensors, with everything that an exact resume needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftlib.errors import TrainingError
from ftlib.files import read_note, whole_folder
from ftlib.models.loading import save_quietly
from ftlib.models.names import CHECKPOINT_LOST, best_checkpoint
from ftlib.training.job import Step
from ftlib.training.randomness import random_states, set_random_states

if TYPE_CHECKING:
    from peft import PeftModel

_STATE, _TENSORS = "training_state.json", "training_state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is on disk.

    Attributes:
        folder: Model, tokenizer and state.
        step: Steps that were taken when it was written.
        rank: What was monitored at that step, if it was measured: the lowest is the best (the evaluation loss, unless
            the configuration monitors something else).
        eval_loss: Evaluation loss at that step, filled in from the run's metrics, in nats per token.
    """

    folder: Path
    step: int
    rank: float | None
    eval_loss: float | None = None


def checkpoints(run_folder: Path) -> list[Checkpoint]:
    """List the checkpoints of a run, the oldest first; what a crash left unfinished doesn't count."""
    found = []
    for state in (run_folder / "checkpoints").glob(f"step-*/{_STATE}"):
        told = read_note(state, "step", "rank", error=TrainingError, way_out=CHECKPOINT_LOST)
        found.append(Checkpoint(state.parent, told["step"], told["rank"]))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def best_of(found: list[Checkpoint]) -> Checkpoint | None:
    """Return the checkpoint with the lowest evaluation loss, or the last one if none was evaluated."""
    folder = best_checkpoint(found[0].folder.parent.parent) if found else None
    return next((checkpoint for checkpoint in found if checkpoint.folder == folder), None)


@dataclass(frozen=True)
class CheckpointPolicy:
    """When a run is saved, which checkpoint is the best, and how many stay.

    Attributes:
        is_due: Step number -> whether a checkpoint follows it.
        keep: How many of the last checkpoints stay, beside the best one.
        monitor: What decides which is best: eval_loss, loss (of training), or a score's name.
        higher_is_better: Whether the best value of it is the highest.
    """

    is_due: Callable[[int], bool]
    keep: int = 1
    monitor: str = "eval_loss"
    higher_is_better: bool = False

    def rank(self, step: Step, scores: Mapping[str, float], *, due: bool) -> float | None:
        """Return what decides whether a checkpoint is the best, turned so that lower is better.

        Args:
            step: The step that was taken.
            scores: What was measured after it, beside the loss.
            due: Whether a checkpoint is due; the loss of training is compared only then.
        """
        if self.monitor == "loss":
            value = step.loss if due else None
        else:
            value = step.eval_loss if self.monitor == "eval_loss" else scores.get(self.monitor)
        return -value if value is not None and self.higher_is_better else value


def save_checkpoint(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    run_folder: Path,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    rank: float | None,
    scaler: dict[str, Any] | None = None,
) -> Checkpoint:
    """Write a checkpoint: into a folder under another name first, flushed to the disk, renamed when it is whole.

    A process that is killed at any moment leaves either all of it or nothing.

    Args:
        model: Its weights are saved; of a model with adapters, the adapters.
        tokenizer: Saved beside it.
        run_folder: Of the run.
        optimizer: Its state is saved.
        step: Steps taken.
        rank: What is monitored, if it was measured at this step.
        scaler: State of float16's gradient scaler.

    Raises:
        TrainingError: It can't be written; earlier checkpoints are as they were.
    """
    place = run_folder / "checkpoints" / f"step-{step:08d}"
    checkpoint = Checkpoint(place, step, rank)
    if place.exists():
        return checkpoint
    try:
        with whole_folder(place) as folder:
            save_quietly(model, folder)
            tokenizer.save_pretrained(folder)
            tensors, numbers = _flat(optimizer)
            random = {f"random.{name}": state for name, state in random_states().items()}
            save_file(tensors | random, folder / _TENSORS)
            state = {"step": step, "rank": rank, "optimizer_numbers": numbers, "scaler": scaler}
            (folder / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        kept = checkpoints(run_folder)
        rest = f"; the last whole one is {kept[-1].folder.name}" if kept else ""
        reason = getattr(error, "strerror", None) or error
        raise TrainingError(
            f"{place}: the checkpoint can't be written ({reason}): free some space or check permissions{rest}"
        ) from error
    return checkpoint


def scaler_state(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Return where float16's gradient scaler stood, if there was one."""
    told = read_note(checkpoint.folder / _STATE, "optimizer_numbers", error=TrainingError, way_out=CHECKPOINT_LOST)
    state: dict[str, Any] | None = told.get("scaler")
    return state


def load_state(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer's state and the random generators back as they were.

    Args:
        checkpoint: Where from.
        optimizer: Over the same weights in the same order; changed in place.

    Raises:
        TrainingError: The state doesn't fit the optimizer.
    """
    told = read_note(checkpoint.folder / _STATE, "optimizer_numbers", error=TrainingError, way_out=CHECKPOINT_LOST)
    state: dict[int, dict[str, Any]] = {}
    for key, number in told["optimizer_numbers"].items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = number
    random: dict[str, Tensor] = {}
    for key, tensor in _tensors(checkpoint.folder / _TENSORS).items():
        kind, index, name = key.split(".", 2)
        if kind == "optimizer":
            state.setdefault(int(index), {})[name] = tensor
        else:
            random[f"{index}.{name}"] = tensor
    set_random_states(random)
    groups = optimizer.state_dict()["param_groups"]
    known = {index for group in groups for index in group["params"]}
    if not set(state) <= known:
        raise TrainingError(f"{checkpoint.folder}: its optimizer has {len(state)} weights, this one {len(known)}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: can't be read ({error}): {CHECKPOINT_LOST}") from error


def prune(run_folder: Path, keep: int) -> None:
    """Delete all checkpoints but the best one and the last ``keep``, and what a crash left unfinished."""
    for unfinished in (run_folder / "checkpoints").glob(".*.partial"):
        shutil.rmtree(unfinished)
    found = checkpoints(run_folder)
    best = best_of(found)
    for checkpoint in found[:-keep]:
        if checkpoint != best:
            # Renamed first: a folder that is half deleted must not look like a checkpoint.
            doomed = checkpoint.folder.with_name(f".{checkpoint.folder.name}.partial")
            checkpoint.folder.rename(doomed)
            shutil.rmtree(doomed)


def _flat(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state into tensors and plain numbers, each named ``index.name``."""
    tensors, numbers = {}, {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value.detach().contiguous().cpu()
            else:
                numbers[f"{index}.{name}"] = value
    return tensors, numbers
