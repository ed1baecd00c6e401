"""Weights & Biases for a run, if it is asked for. Offline it writes into the run's folder, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlib.errors import MissingExtraError

if TYPE_CHECKING:
    from ftlib.training.config_sections import TrackingSection

Log = Callable[[dict[str, Any]], None]


def tracker(section: TrackingSection | None, folder: Path, config: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    """Return a function that logs a step's numbers, and one that ends the tracking.

    Args:
        section: What to track as; without it both functions do nothing.
        folder: Of the run; the offline files go there.
        config: Is stored with the run.

    Raises:
        MissingExtraError: wandb is not installed.
    """
    if section is None:
        return (lambda numbers: None), (lambda: None)
    try:
        import wandb
    except ModuleNotFoundError as error:
        raise MissingExtraError("tracking needs the package wandb: pip install 'ftlib[tracking]'") from error
    run = wandb.init(
        project=section.project,
        name=section.name,
        group=section.group,
        job_type=section.job_type,
        dir=folder.resolve(),  # the process that writes was begun by the first run, maybe in another folder
        mode=section.mode,
        config=config,
        settings=wandb.Settings(silent=True, console="off"),
    )

    def log(numbers: dict[str, Any]) -> None:
        run.log({name: value for name, value in numbers.items() if value is not None}, step=numbers["number"])

    return log, run.finish
