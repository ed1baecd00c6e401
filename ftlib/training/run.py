"""A run from its configuration: everything that it needs, and everything that it leaves in a folder of its own."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ftlib.argument_checks import checked
from ftlib.errors import ConfigError, DataError, TrainingError
from ftlib.evaluation.rewards import Reward
from ftlib.files import check_folder, read_note, write_whole
from ftlib.models.gradients import gradients_on
from ftlib.models.loading import context_length
from ftlib.models.precision import WantedPrecision, best_precision, choose_precision
from ftlib.models.run_folder import CONFIG
from ftlib.models.trainable import count_parameters
from ftlib.spare_memory import sparing_memory
from ftlib.text.chat_template import to_jinja
from ftlib.text.ends import set_ends
from ftlib.training.checkpoints import Checkpoint, best_of, checkpoints, load_state, prune, scaler_state
from ftlib.training.config import FinetuneConfig
from ftlib.training.distributed import is_main_process
from ftlib.training.job import Job, Step
from ftlib.training.prepare import (
    check_objective,
    checkpoint_policy,
    other_run,
    prepare_evaluation,
    prepare_job,
    prepare_model,
)
from ftlib.training.prepare_data import configured_template, fingerprint, prepare_rows
from ftlib.training.report import loss_unit, plot_losses, plot_rewards, run_card, summarize_run
from ftlib.training.run_log import Recorder, read_metrics, tracked
from ftlib.training.speed import Speed, measure_speed

CARD, PLOT, SUMMARY = "README.md", "loss.png", "summary.json"
REWARD_PLOT = "reward.png"
DATA = "data.json"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Everything it left.
        history: Its steps, those before an interruption included.
        best: The checkpoint that `checkpoint.monitor` calls best (the lowest evaluation loss); without evaluation the
            last one.
        last: The last checkpoint.
    """

    folder: Path
    history: list[Step]
    best: Checkpoint
    last: Checkpoint


@checked()
@gradients_on()
@sparing_memory()
def train(
    config: FinetuneConfig,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    on_step: Callable[[Step, int], None] | None = None,
    rewards: Mapping[str, Reward] | None = None,
) -> Run:
    """Fine-tune as a configuration says, and keep everything in a folder.

    The folder holds the configuration, a line of metrics for each step, checkpoints, a picture of the loss and a card
    that says how to load the model. ``ftlib.load_model(folder)`` gives the best checkpoint. Its tokenizer's chat
    template is the template of the training.

    Args:
        config: What to do.
        folder: Made here; it may not hold a run already. Default: the configuration's `checkpoint.folder`.
        resume: Go on with the run in the folder from its last checkpoint, with the same configuration. The result is,
            bit for bit on a processor, that of a run that was never stopped.
        on_step: Called after each step with the step and the number of the last one.
        rewards: With `objective: grpo`, functions by name that give rewards beside those of the configuration: each
            takes a list of answers and one of references, and returns a number for each answer; higher is better. A
            run that goes on needs the same ones again.

    Raises:
        TrainingError: The folder holds a run (or, to resume, none, or another one, or one that was begun with other
            rows), or the training breaks down.
        ConfigError: Nothing would be trained, or no folder is named.
        DataError: The data can't be used.
        ModelError: The model can't be loaded or frozen as asked.
    """
    place = _place(folder, config.checkpoint.folder)
    check_objective(config, rewards or {})
    if not resume and is_main_process():  # another process may come here when this one has begun to write
        _check_empty(place)
    start = (_where_it_stopped(place, config) if resume else None) or other_run(config)
    model, tokenizer = prepare_model(config, start)
    template = configured_template(tokenizer, config.data)
    rows, eval_rows = prepare_rows(tokenizer, config, template, context=context_length(model))
    counts = {"rows": len(rows), "eval_rows": len(eval_rows) if eval_rows else 0}
    data = {**counts, "fingerprint": fingerprint(rows, eval_rows)}
    if resume:
        _check_same_data(place, data)
    # Whoever asks the model later (a server, a chat page) finds the template of its training beside it, and its ends.
    set_ends(tokenizer, model.generation_config, template)
    tokenizer.chat_template = to_jinja(template, tokenizer)
    evaluation = prepare_evaluation(model, tokenizer, config, rows, eval_rows, rewards or {})
    first_step = start.step + 1 if start else 1
    precision = choose_precision(config.train.precision, model.device)
    speed = measure_speed(model, rows, precision)
    recorder = Recorder(
        place,
        first_step=first_step,
        policy=checkpoint_policy(config, len(rows)),
        score=evaluation.scores,
        speed=speed,
        log_every_steps=config.train.log_every_steps,
        track=partial(tracked, config.tracking, place, config.model_dump(mode="json")),
        on_step=on_step,
    )
    job = prepare_job(
        model,
        tokenizer,
        config,
        rows,
        evaluation,
        precision=precision,
        first_step=first_step,
        scaler_state=scaler_state(start) if start else None,
        on_step=recorder.record,
    )
    _check_something_is_left(job, place)
    evaluation.check(config.evaluate.sanity_batches)
    torch.manual_seed(config.train.seed)
    if start:
        load_state(start, job.optimizer)
    if not resume:
        _make_folder(place, config.as_yaml(), data)
    with recorder:
        if config.evaluate.before_training and first_step == 1:
            recorder.note_baseline(evaluation.loss)
        _take_steps(job, config.engine, config.objective)
    return _finish(place, config, job, speed, {**counts, "template": template.name})


def _take_steps(job: Job, engine: str, objective: str) -> None:
    if job.first_step <= job.max_steps:
        steps = engine if objective == "sft" else f"{engine}_{objective}"
        importlib.import_module(f"ftlib.training.{steps}").run(job)


def _place(folder: str | Path | None, configured: str | None) -> Path:
    named = folder if folder is not None else configured
    if named is None:
        raise ConfigError("no folder is named for the run: give one, or set checkpoint.folder")
    try:
        return check_folder(named)
    except DataError as error:
        raise TrainingError(str(error)) from error


def _check_something_is_left(job: Job, place: Path) -> None:
    """Refuse a start from another run that has taken all the steps."""
    if job.first_step > job.max_steps and not checkpoints(place):
        raise ConfigError(
            f"checkpoint.start_from has taken {job.first_step - 1} steps, and this run ends at {job.max_steps}: "
            "raise train.max_steps or train.epochs"
        )


def _check_empty(place: Path) -> None:
    """Refuse a folder that holds something: a run is never overwritten."""
    if place.exists() and (not place.is_dir() or any(path.suffix != ".partial" for path in place.iterdir())):
        raise TrainingError(
            f"{place}: holds something already, and a run is never overwritten: choose another folder, "
            "or go on with the run that is there (--resume)"
        )


def _make_folder(place: Path, config: str, data: dict[str, Any]) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        if is_main_process():
            write_whole(place / DATA, json.dumps(data) + "\n")
            write_whole(place / CONFIG, config)
    except OSError as error:
        raise TrainingError(
            f"{place}: can't be written ({error.strerror}): check permissions and free space"
        ) from error


def _where_it_stopped(place: Path, config: FinetuneConfig) -> Checkpoint | None:
    """Return the last checkpoint of a run; none if it was stopped before its first."""
    described = place / CONFIG
    if not described.is_file():
        raise TrainingError(f"{place}: holds no run (no {CONFIG}): start one without --resume")
    if FinetuneConfig.from_yaml(described).as_yaml() != config.as_yaml():  # a key is in neither of the two
        raise TrainingError(f"{place}: was begun with another configuration: resume with {described}, unchanged")
    if is_main_process():
        prune(place, config.checkpoint.keep)
    found = checkpoints(place)
    return found[-1] if found else None


def _check_same_data(place: Path, data: dict[str, Any]) -> None:
    """Refuse to go on with other rows than a run began with, which a run of an earlier release didn't note."""
    noted = place / DATA
    way_out = "take the file from a backup, or begin another run"
    before = read_note(noted, *data, error=TrainingError, way_out=way_out) if noted.is_file() else data
    if before != data:
        raise TrainingError(
            f"{place}: was begun with other rows ({before['rows']} to train on and {before['eval_rows']} to evaluate "
            f"on; now {data['rows']} and {data['eval_rows']}, or different ones): put the data back, or begin "
            f"another run that goes on from this one (checkpoint.start_from: {place})"
        )


def read_run(folder: Path) -> Run:
    """Return what a finished run left in its folder.

    Raises:
        TrainingError: There is no checkpoint in it.
    """
    found, history = checkpoints(folder), read_metrics(folder)
    best = best_of(found)
    if best is None:
        raise TrainingError(f"{folder}: holds no checkpoint: name the folder of a run that took a step")
    # What decides which is best stands in a checkpoint's eval_loss; it may be another value than that.
    losses = {step.number: step.eval_loss for step in history}
    best, last = (replace(one, eval_loss=losses.get(one.step)) for one in (best, found[-1]))
    return Run(folder, history, best, last)


def _finish(place: Path, config: FinetuneConfig, job: Job, speed: Speed, facts: dict[str, Any]) -> Run:
    run = read_run(place)
    if is_main_process():
        summary = summarize_run(
            run.history,
            run.best,
            count_parameters(job.model),
            speed,
            model=config.model.name,
            engine=config.engine,
            objective=config.objective,
            **facts,
            precision=job.precision,
            **_precision_reason(config.train.precision, job.model.device),
        )
        write_whole(place / SUMMARY, json.dumps(summary, indent=1) + "\n")
        data = config.data
        own = data.custom_template is not None
        card = run_card(place.name, summary, source=data.source, has_own_template=own, best=run.best, last=run.last)
        write_whole(place / CARD, card)
        plot_losses(run.history, place / PLOT, unit=loss_unit(config.objective))
        if config.objective == "grpo":
            plot_rewards(run.history, place / REWARD_PLOT)
    return run


def _precision_reason(wanted: WantedPrecision, device: torch.device) -> dict[str, str]:
    """Say why it was computed in what it was, where the machine decided."""
    return {"precision_reason": best_precision(device).reason} if wanted == "auto" else {}
