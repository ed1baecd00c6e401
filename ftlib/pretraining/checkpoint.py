"""Checkpoints of a pretraining: all that a resume needs, as safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ftlib.errors import ModelError
from ftlib.files import whole_folder
from ftlib.pretraining.recipe import Recipe


def save_checkpoint(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe, run_folder: Path, step: int
) -> Path:
    """Write all that a resume needs, then drop the older checkpoint. Tensors are safetensors, never pickle."""
    folder = run_folder / f"checkpoint-{step:07d}"
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with whole_folder(folder) as partial:
        save_file(weights, partial / "model.safetensors")
        save_file(_optimizer_tensors(optimizers), partial / "optimizer.safetensors")
        told = json.dumps({"step": step, "recipe": asdict(recipe)}, indent=1)
        (partial / "state.json").write_text(told, encoding="utf-8")
    for older in sorted(run_folder.glob("checkpoint-0*"))[:-1]:
        for file in older.iterdir():
            file.unlink()
        older.rmdir()
    return folder


def _optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{which}.{index}.{name}": torch.as_tensor(value).clone()
        for which, optimizer in enumerate(optimizers)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def resume(model: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe, run_folder: Path) -> int:
    """Load the newest checkpoint of a folder, if there is one, into a model and its optimizers.

    Returns:
        How many steps it has behind it; 0 without one.

    Raises:
        ModelError: The folder holds a run of another recipe.
    """
    checkpoints = sorted(run_folder.glob("checkpoint-0*"))
    if not checkpoints:
        return 0
    state = json.loads((checkpoints[-1] / "state.json").read_text(encoding="utf-8"))
    known = Recipe(**state["recipe"])
    if replace(known, total_tokens=recipe.total_tokens) != recipe:
        raise ModelError(f"{run_folder} holds a run of another recipe: choose another folder, or delete it\n{known}")
    model.load_state_dict(load_file(checkpoints[-1] / "model.safetensors"))
    tensors = load_file(checkpoints[-1] / "optimizer.safetensors")
    for which, optimizer in enumerate(optimizers):
        content: dict[str, Any] = optimizer.state_dict()
        for key, value in tensors.items():
            owner, index, name = key.split(".", 2)
            if int(owner) == which:
                content["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(content)
    return int(state["step"])


def last_step(run_folder: Path) -> int:
    """Optimizer steps that the run folder's newest checkpoint has behind it; 0 without one."""
    return max((int(folder.name.split("-")[1]) for folder in run_folder.glob("checkpoint-0*")), default=0)
