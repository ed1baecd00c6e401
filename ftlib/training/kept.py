"""Runs that are trained once and kept, for whoever asks for the very same training again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ftlib.argument_checks import checked
from ftlib.cache import cant_write, locked, writable_cache
from ftlib.data.sources import dataset_path
from ftlib.errors import ConfigError, TrainingError
from ftlib.files import whole_folder
from ftlib.models.loading import check_device
from ftlib.models.precision import INSTRUCTION_LIMITS, choose_precision
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import SHA256
from ftlib.paths import library_folder, nano_folder
from ftlib.training.config import FinetuneConfig
from ftlib.training.config_sections import DataSection
from ftlib.training.job import Step
from ftlib.training.run import Run, read_run, train

KEPT_RUNS = 8
"""So many runs are kept, those that were asked for last."""
_DECIDES = ("data", "evaluation", "models", "text", "training", "*.py")  # in the library, what a training computes
_PACKAGES = ("torch", "transformers", "tokenizers", "peft", "trl", "accelerate", "lightning", "numpy", "datasets")
_NEEDED_BYTES = 100_000_000
_RESUMES = "training_state.safetensors"  # of a checkpoint: by far the most of it, and only for a run that goes on


@checked()
def train_once(config: FinetuneConfig, *, name: str = "run", on_step: Callable[[Step, int], None] | None = None) -> Run:
    """Train as a configuration says, or return the run of this very training that was kept.

    Two trainings are the same if nothing differs that a number could depend on: configuration, data, the model that it
    starts from, the library's own code, the versions of the packages, Python, the device, the kind of processor and
    what the precision "auto" comes to there. The number of threads isn't compared, which moves sums in their last
    digits. Runs are kept in the cache (:func:`ftlib.paths.cache_folder`), without what only a resume needs. A second
    process that asks for the same training waits for the first.

    Args:
        config: What to do; the model is nano or smollm2, and the data lies in files.
        name: What the run's folder is called, if it is trained.
        on_step: As for :func:`ftlib.training.run.train`; of a run that was kept, it hears nothing.

    Raises:
        ConfigError: The configuration starts from a run or a model of your own, whose changes would not be noticed.
        TrainingError, DataError, ModelError: As for :func:`ftlib.training.run.train`.

    Taught in: chapters/10_lora_chatbot.ipynb
    """
    shelf = writable_cache("the run is kept", _NEEDED_BYTES, error=TrainingError) / "runs"
    place = shelf / _key(config)
    try:
        with locked(place):
            folder = _run_in(place) or _trained(config, place / name, on_step)
            os.utime(place)
            _forget(shelf)
    except OSError as error:
        reason = f"{error.filename or place}: {error.strerror or error}"
        raise cant_write("the run is kept", _NEEDED_BYTES, reason, code=error.errno, error=TrainingError) from error
    return read_run(folder)


def _run_in(place: Path) -> Path | None:
    return next((one for one in place.iterdir() if one.is_dir() and not one.name.startswith(".")), None)


def _trained(config: FinetuneConfig, folder: Path, on_step: Callable[[Step, int], None] | None) -> Path:
    with whole_folder(folder) as partial:
        run = train(config, partial, on_step=on_step)
        for checkpoint in {run.best.folder, run.last.folder}:
            (checkpoint / _RESUMES).unlink()
    return folder


def _key(config: FinetuneConfig) -> str:
    whole = hashlib.sha256(_resolved(config).as_yaml().encode())
    for told in (*_surroundings(), *_model(config.model.name, config.checkpoint.start_from)):
        whole.update(f"{told}\n".encode())
    for path in (*_library(), *_data(config.data)):
        whole.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:20]


def _resolved(config: FinetuneConfig) -> FinetuneConfig:
    """Put in what is left to the machine: the device, and what is computed in on it."""
    device = check_device(config.model.device)
    precision = config.train.precision
    if precision in ("auto", "mixed"):
        precision = choose_precision(precision, device)
    model = config.model.model_copy(update={"device": device})
    section = config.train.model_copy(update={"precision": precision})
    return config.model_copy(update={"model": model, "train": section})


def _surroundings() -> Iterator[str]:
    yield f"{platform.python_version()} {platform.system()} {platform.machine()}"
    yield torch.backends.cpu.get_cpu_capability()
    yield str([os.environ.get(variable) for variable in INSTRUCTION_LIMITS])
    yield str([torch.cuda.get_device_name(card) for card in range(torch.cuda.device_count())])
    for package in _PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"no {package}"


def _model(name: str, start_from: str | None) -> Iterator[str]:
    if start_from is not None or name not in ("nano", SMOLLM2):
        raise ConfigError(
            "only a training of nano or smollm2 itself is kept, since a model of yours can change under its name: "
            "call ftlib.training.run.train"
        )
    if name == SMOLLM2:
        yield SHA256
    else:
        weights = nano_folder() / "model.safetensors"
        yield hashlib.sha256(weights.read_bytes()).hexdigest()


def _library() -> list[Path]:
    library = library_folder() / "ftlib"
    return sorted(path for part in _DECIDES for path in _python_files(library, part))


def _python_files(library: Path, part: str) -> Iterator[Path]:
    return library.glob(part) if "*" in part else (library / part).rglob("*.py")


def _data(data: DataSection) -> Iterator[Path]:
    yield dataset_path(data.source, split=data.split)
    if data.validation is not None:
        yield dataset_path(data.validation, split=data.validation_split)


def _forget(shelf: Path) -> None:
    """Remove the runs that nobody has asked for in a long time."""
    kept = sorted((one for one in shelf.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime)
    for old in kept[:-KEPT_RUNS]:
        shutil.rmtree(old, ignore_errors=True)
