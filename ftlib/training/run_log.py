"""Writes down what a run does while it does it: metrics, scores, checkpoints, tracking."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from torch.amp import GradScaler

from ftlib.errors import DataError
from ftlib.files import write_whole
from ftlib.training.checkpoints import CheckpointPolicy, checkpoints, prune, save_checkpoint
from ftlib.training.config_sections import TrackingSection
from ftlib.training.distributed import is_main_process
from ftlib.training.job import Job, Step
from ftlib.training.speed import Speed
from ftlib.training.tracking import Log, tracker

METRICS, SCORE_LOG, BASELINE = "metrics.jsonl", "scores.jsonl", "before.json"
KEY_VARIABLE = "WANDB_API_KEY"
LoggedScores = dict[str, float]


class Recorder:
    """Writes down what a job reports: metrics and scores, and checkpoints when they are due.

    It is entered as a context, which opens its files; only the main process writes.

    Args:
        folder: Of the run.
        first_step: Of the job; what an earlier start wrote about it and later steps is dropped.
        policy: When a checkpoint is due, and which is the best.
        score: Measures the scores, where they are wanted.
        speed: Turns tokens and seconds into figures.
        log_every_steps: Steps of one line of metrics.
        track: Begins the tracking; returns what logs a step's numbers, and what ends it.
        on_step: Is told of every step, and the number of the last one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int,
        policy: CheckpointPolicy,
        score: Callable[[], LoggedScores],
        speed: Speed,
        log_every_steps: int,
        track: Callable[[], tuple[Log, Callable[[], None]]],
        on_step: Callable[[Step, int], None] | None,
    ) -> None:
        """Keep what is needed; nothing is written yet."""
        self.folder, self.first_step, self.policy, self.score = folder, first_step, policy, score
        self.speed, self.log_every_steps, self.begin_tracking, self.on_step = speed, log_every_steps, track, on_step
        self.is_main = is_main_process()
        self.tokens, self.seconds = 0, 0.0

    def __enter__(self) -> Recorder:
        """Open the files."""
        if not self.is_main:
            return self
        known = [one.rank for one in checkpoints(self.folder) if one.rank is not None]
        self.lowest = min(known, default=float("inf"))
        for name in (METRICS, SCORE_LOG):
            if name == METRICS or (self.folder / name).is_file():
                kept = [line for line in _read(self.folder / name) if line["number"] < self.first_step]
                write_whole(self.folder / name, "".join(map(_line, kept)))
        self.file = (self.folder / METRICS).open("a", encoding="utf-8")
        self.track, self.stop_tracking = self.begin_tracking()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        if self.is_main:
            self.file.close()
            self.stop_tracking()

    def note_baseline(self, measure: Callable[[], float | None]) -> None:
        """Write down loss and scores before the first step."""
        if self.is_main:
            write_whole(self.folder / BASELINE, _line({"eval_loss": measure(), **self.score()}))

    def record(self, job: Job, step: Step, scaler: GradScaler | None) -> None:
        """Write a step down, then a checkpoint if one is due or the evaluation is the best so far.

        Args:
            job: What the step was taken for.
            step: What it did.
            scaler: What scaled its loss, in float16.
        """
        if not self.is_main:
            return
        found: LoggedScores = {}
        try:
            found = self.score() if step.eval_loss is not None else {}
        finally:  # scores that fail must not cost the steps that were taken
            self._keep(job, step, scaler, found)
        if self.on_step:
            self.on_step(step, job.max_steps)

    def _keep(self, job: Job, step: Step, scaler: GradScaler | None, found: LoggedScores) -> None:
        due = step.number == job.max_steps or self.policy.is_due(step.number)
        rank = self.policy.rank(step, found, due=due)
        best = rank is not None and rank < self.lowest
        if rank is not None and best:
            self.lowest = rank
        self._write(step, found, now=due or best)
        if due or best:
            state = (scaler.state_dict() or None) if scaler is not None else None
            save_checkpoint(
                job.model, job.tokenizer, self.folder, job.optimizer, step=step.number, rank=rank, scaler=state
            )
            prune(self.folder, self.policy.keep)

    def _write(self, step: Step, found: LoggedScores, *, now: bool) -> None:
        self.tokens, self.seconds = self.tokens + step.tokens, self.seconds + step.seconds
        if not (now or step.eval_loss is not None or step.number % self.log_every_steps == 0):
            return
        line = asdict(replace(step, tokens=self.tokens, seconds=self.seconds))
        if line["rewards"] is None:
            del line["rewards"]
        line["gradient_norm"] = (
            step.gradient_norm if math.isfinite(step.gradient_norm) else None
        )  # JSON has no infinity
        line |= self.speed.figures(self.tokens, self.seconds)
        self.tokens, self.seconds = 0, 0.0
        self.file.write(_line(line))
        self.file.flush()
        self.track({**line, **found})
        if found:
            with (self.folder / SCORE_LOG).open("a", encoding="utf-8") as file:
                file.write(_line({"number": step.number, **found}))


def tracked(section: TrackingSection | None, folder: Path, config: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    """Begin the tracking as :func:`ftlib.training.tracking.tracker` does, with the key of the section if need be.

    Args:
        section: What to track as, if at all.
        folder: The offline files go there.
        config: Is stored with the run; it holds no key.
    """
    with _key_in_environment(section):
        return tracker(section, folder, config)


@contextlib.contextmanager
def _key_in_environment(section: TrackingSection | None) -> Iterator[None]:
    # wandb reads its key there when it begins. One that is there already is preferred, and ours doesn't stay.
    if section is None or section.api_key is None or os.environ.get(KEY_VARIABLE):
        yield
        return
    os.environ[KEY_VARIABLE] = section.api_key.get_secret_value()
    try:
        yield
    finally:
        del os.environ[KEY_VARIABLE]


def read_metrics(folder: str | Path) -> list[Step]:
    """Read the steps of a run; a last line that a crash cut off doesn't count.

    A line also holds ``tokens_per_second`` and ``model_flops_utilization``, which follow from the rest and are
    left out here. With ``train.log_every_steps`` above 1, a line's tokens and seconds are those of all steps since the
    line before.

    Args:
        folder: Of the run.
    """
    names = [field.name for field in fields(Step)]
    lines = [
        {name: found[name] for name in names if name != "rewards" or name in found}
        for found in _read(Path(folder) / METRICS)
    ]
    return [Step(**{**line, "gradient_norm": line["gradient_norm"] or math.inf}) for line in lines]


def read_scores(folder: str | Path) -> list[dict[str, float]]:
    """Read the scores of a run: for each evaluation the step's ``number`` and the scores' names and values.

    Args:
        folder: Of the run.
    """
    return _read(Path(folder) / SCORE_LOG)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: is no JSON ({error}): take the file from a backup") from error
    return found


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
