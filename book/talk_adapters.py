"""Adapters that the pages' talks show: trained at the build from a configuration, and kept by what they depend on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from book.chapters import BookError
from ftlib.errors import FtlibError
from ftlib.training.config import FinetuneConfig
from ftlib.training.job import Step
from ftlib.training.kept import train_once


def trained(root: Path, model: str, name: str, steps: int | None) -> Path:
    """Return the folder of an adapter, which is trained unless an earlier build, or a chapter, has done so.

    Args:
        root: The course's folder.
        model: The model that the page asks.
        name: Of a configuration of the course, which trains a LoRA adapter of that model.
        steps: How many steps to train; default: as long as the configuration says.

    Raises:
        BookError: There is no such configuration, it trains something else, or training failed.
    """
    changes = [] if steps is None else ["train.epochs=null", f"train.max_steps={steps}"]
    try:
        config = FinetuneConfig.from_yaml(root / "configs" / f"{name}.yaml", changes=changes)
        if config.model.name != model or config.model.lora is None:
            raise BookError(
                f"configs/{name}.yaml: a page wants a LoRA adapter of {model}, and it trains something else"
            )
        what = f"{name} for a page{f', {steps} steps' if steps else ''}"
        return train_once(config, name=name, on_step=partial(_say_once, what=what)).best.folder
    except FtlibError as error:
        raise BookError(f"{name}.yaml: a page wants an adapter that can't be trained: {error}") from error


def _say_once(step: Step, _: int, *, what: str) -> None:
    if step.number == 1:
        print(f"training {what}: minutes, once", flush=True)
