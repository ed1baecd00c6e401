"""Adapters that the pages' talks show: trained at the build from a configuration, and kept by what they depend on."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from book.chapters import BookError, digest_of
from ftlib.errors import FtlibError
from ftlib.files import whole_folder
from ftlib.models.names import best_checkpoint
from ftlib.training.config import FinetuneConfig

_LIBRARY = ("ftlib/data", "ftlib/text", "ftlib/models", "ftlib/training")
_STATE = ("training_state.*", "README.md")  # of a checkpoint: what only a resume needs, and a card with places


def trained(root: Path, shelf: Path, model: str, name: str, steps: int | None) -> Path:
    """Return the folder of an adapter, which is trained unless an earlier build kept it.

    Args:
        root: The course's folder.
        shelf: The folder in which adapters are kept.
        model: The model that the page asks.
        name: Of a configuration of the course, which trains a LoRA adapter of that model.
        steps: How many steps to train; default: as long as the configuration says.

    Raises:
        BookError: There is no such configuration, it trains something else, or training failed.
    """
    config = _config(root, model, name)
    inputs = (f"configs/{name}.yaml", f"datasets/{config.data.source}", *_LIBRARY)
    key = hashlib.sha256(f"{digest_of(root, inputs)} {steps}".encode()).hexdigest()[:16]
    place = shelf / f"{name}-{key}"
    if not place.is_dir():
        print(f"training {name} for a page{f', {steps} steps' if steps else ''}: minutes, once", flush=True)
        run = shelf / f"{name}.run"
        shutil.rmtree(run, ignore_errors=True)
        _train(root, root / "configs" / f"{name}.yaml", run, steps)
        with whole_folder(place) as partial:
            found = best_checkpoint(run)
            shutil.copytree(str(found), partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_STATE))
        shutil.rmtree(run)
    return place


def _config(root: Path, model: str, name: str) -> FinetuneConfig:
    try:
        config = FinetuneConfig.from_yaml(root / "configs" / f"{name}.yaml")
    except FtlibError as error:
        raise BookError(f"a page wants an adapter that can't be trained: {error}") from error
    if config.model.name != model or config.model.lora is None:
        raise BookError(f"configs/{name}.yaml: a page wants a LoRA adapter of {model}, and it trains something else")
    return config


def _train(root: Path, config: Path, run: Path, steps: int | None) -> None:
    command = [sys.executable, "-m", "ftlib.cli", "train", str(config), "--out", str(run)]
    if steps is not None:
        command += ["--set", "train.epochs=null", "--set", f"train.max_steps={steps}"]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise BookError(f"{config.name}: the adapter of a page can't be trained: {done.stderr.strip()}")
