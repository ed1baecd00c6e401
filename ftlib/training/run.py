"""A run from its configuration: everything that it needs, and everything that it leaves in a folder of its own."""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import transformers

import ftlib
from datasets import Dataset
from ftlib.chat_template import ChatTemplate
from ftlib.data import load_conversations
from ftlib.errors import TrainingError
from ftlib.models import load_model
from ftlib.parts import PartCount, add_lora, count_parameters, freeze
from ftlib.templates import Template, get_template
from ftlib.tokenization import tokenize
from ftlib.training.checkpoints import Checkpoint, best_of, checkpoints, load_state, prune, save_checkpoint, write_whole
from ftlib.training.config import FinetuneConfig
from ftlib.training.job import Job, MicroBatches, Step, check_fit, evaluator
from ftlib.training.loop import steps_for_epochs
from ftlib.training.optimizers import make_optimizer, schedule
from ftlib.training.team import is_main_process, process_count
from ftlib.training.tracking import tracker

CONFIG, METRICS, CARD, PLOT, SUMMARY = "config.yaml", "metrics.jsonl", "README.md", "loss.png", "summary.json"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Everything it left.
        history: Its steps, those before an interruption included.
        best: The checkpoint with the lowest evaluation loss; without evaluation the last one.
        last: The last checkpoint.
    """

    folder: Path
    history: list[Step]
    best: Checkpoint
    last: Checkpoint


def train(
    config: FinetuneConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    on_step: Callable[[Step, int], None] | None = None,
) -> Run:
    """Fine-tune as a configuration says, and keep everything in a folder.

    The folder holds the configuration, a line of metrics for each step, checkpoints, a picture of the loss and a card
    that says how to load the model. ``ftlib.load_model(folder)`` gives the best checkpoint.

    Args:
        config: What to do.
        folder: Made here; it may not hold a run already.
        resume: Go on with the run in the folder from its last checkpoint, with the same configuration. The result is,
            bit for bit on a processor, that of a run that was never stopped.
        on_step: Called after each step with the step and the number of the last one.

    Raises:
        TrainingError: The folder holds a run (or, to resume, none, or another one), or the training breaks down.
        ConfigError: Nothing would be trained.
        DataError: The data can't be used.
        ModelError: The model can't be loaded or frozen as asked.

    Taught in: chapters/08_config_driven_sft.ipynb
    """
    place = Path(folder).expanduser()
    start = None
    if resume:
        start = _where_it_stopped(place, config)
    else:
        _check_empty(place)
    model, tokenizer = _model(config, start)
    rows, eval_rows = _rows(config, tokenizer)
    job = _job(config, model, tokenizer, rows, eval_rows, first_step=start.step + 1 if start else 1)
    torch.manual_seed(config.train.seed)
    if start:
        load_state(start, job.optimizer)
    if not resume:
        _make_folder(place, config)
    recorder = _Recorder(place, config, tokenizer, job, after=start.step if start else 0, on_step=on_step)
    job.on_step = recorder.record
    if config.evaluate.before_training and not start:
        recorder.note_baseline()
    try:
        if job.first_step <= job.max_steps:
            importlib.import_module(f"ftlib.training.{config.engine}").run(job)
    finally:
        recorder.close()
    return _finish(place, config, count_parameters(model), len(rows), len(eval_rows) if eval_rows else 0)


def tokenized(config: FinetuneConfig, tokenizer: Any) -> tuple[Dataset, Dataset | None]:
    """Return the rows that a run trains on, and those that it is evaluated on."""
    return _rows(config, tokenizer)


def _check_empty(place: Path) -> None:
    """Refuse a folder that holds something: a run is never overwritten."""
    if place.exists() and (not place.is_dir() or any(path.suffix != ".partial" for path in place.iterdir())):
        raise TrainingError(
            f"{place}: holds something already, and a run is never overwritten: choose another folder, "
            "or go on with the run that is there (--resume)"
        )


def _make_folder(place: Path, config: FinetuneConfig) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        if is_main_process():
            write_whole(place / CONFIG, config.as_yaml())
    except OSError as error:
        raise TrainingError(f"{place}: can't be written ({error.strerror}): check permissions and room") from error


def _where_it_stopped(place: Path, config: FinetuneConfig) -> Checkpoint | None:
    """Return the last checkpoint of a run; none if it was stopped before its first."""
    described = place / CONFIG
    if not described.is_file():
        raise TrainingError(f"{place}: holds no run (no {CONFIG}): start one without --resume")
    if FinetuneConfig.from_yaml(described) != config:
        raise TrainingError(f"{place}: was begun with another configuration: resume with {described}, unchanged")
    if is_main_process():
        prune(place, config.checkpoint.keep)
    found = checkpoints(place)
    return found[-1] if found else None


def _model(config: FinetuneConfig, start: Checkpoint | None) -> tuple[Any, Any]:
    section = config.model
    adapters = section.lora is not None
    device = section.device
    if device is None and torch.cuda.is_available() and process_count() > 1:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    model, tokenizer = load_model(start.folder if start else section.name, device=device, trainable=True)
    if adapters and not start:
        assert section.lora  # noqa: S101 (told to mypy)
        wanted = section.lora
        model = add_lora(
            model,
            rank=wanted.rank,
            alpha=wanted.alpha,
            dropout=wanted.dropout,
            targets=wanted.targets,
            seed=config.train.seed,
        )
    if section.freeze or section.keep_layers or section.freeze_patterns:
        freeze(model, section.freeze, keep_layers=section.keep_layers, patterns=section.freeze_patterns)
    if section.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, tokenizer


def _rows(config: FinetuneConfig, tokenizer: Any) -> tuple[Dataset, Dataset | None]:
    section = config.data
    conversations = load_conversations(section.source, format=section.format, split=section.split)
    if section.max_rows is not None and section.max_rows < len(conversations):
        conversations = conversations.shuffle(seed=config.train.seed).select(range(section.max_rows))
    held_out: Dataset | None = None
    if section.validation is not None:
        held_out = load_conversations(section.validation, format=section.format, split=section.validation_split)
    elif round(section.validation_share * len(conversations)):
        parts = conversations.train_test_split(test_size=section.validation_share, seed=config.train.seed)
        conversations, held_out = parts["train"], parts["test"]
    template = _template(section.template, tokenizer)
    options: dict[str, Any] = {"template": template, "max_length": section.max_length}
    options["truncation_side"] = section.truncation_side
    rows = tokenize(conversations, tokenizer, **options)
    return rows, tokenize(held_out, tokenizer, **options) if held_out is not None else None


def _template(name: str, tokenizer: Any) -> Template:
    return ChatTemplate(tokenizer) if name == "tokenizer" else get_template(name)


def _job(
    config: FinetuneConfig, model: Any, tokenizer: Any, rows: Dataset, eval_rows: Dataset | None, *, first_step: int
) -> Job:
    section = config.train
    check_fit(rows, model)
    max_steps = section.max_steps or steps_for_epochs(
        len(rows), section.epochs or 1, section.batch_size, section.accumulation_steps
    )
    warmup = section.warmup_steps or round(section.warmup_share * max_steps)
    batches = MicroBatches(
        rows,
        pad_token_id=tokenizer.pad_token_id,
        batch_size=section.batch_size,
        accumulation_steps=section.accumulation_steps,
        first_step=first_step,
        max_steps=max_steps,
        order=section.batch_order,
        seed=section.seed,
    )
    optimizer = make_optimizer(
        model,
        section.optimizer,
        learning_rate=section.learning_rate,
        weight_decay=section.weight_decay,
        betas=section.betas,
    )
    nothing: Callable[[], float | None] = lambda: None  # noqa: E731
    measure = evaluator(model, eval_rows, pad_token_id=tokenizer.pad_token_id, batch_size=config.evaluate.batch_size)
    return Job(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        optimizer=optimizer,
        rate_share=lambda number: schedule(number, warmup, max_steps, section.schedule),
        learning_rate=section.learning_rate,
        max_steps=max_steps,
        max_gradient_norm=section.max_gradient_norm,
        precision=section.precision,
        evaluate=measure if is_main_process() else nothing,
        eval_every=config.evaluate.every_steps,
        first_step=first_step,
        seed=section.seed,
    )


class _Recorder:
    """Writes down what a job reports: metrics after every step, checkpoints when they are due."""

    def __init__(
        self,
        folder: Path,
        config: FinetuneConfig,
        tokenizer: Any,
        job: Job,
        *,
        after: int,
        on_step: Callable[[Step, int], None] | None,
    ) -> None:
        self.folder, self.config, self.tokenizer, self.job, self.on_step = folder, config, tokenizer, job, on_step
        self.is_main = is_main_process()
        if not self.is_main:
            return
        earlier = [step for step in read_metrics(folder) if step.number <= after]
        self.lowest = min((s.eval_loss for s in earlier if s.eval_loss is not None), default=float("inf"))
        write_whole(folder / METRICS, "".join(_line(step) for step in earlier))
        self.file = (folder / METRICS).open("a", encoding="utf-8")
        self.track, self.stop_tracking = tracker(config.tracking, folder, config.model_dump(mode="json"))

    def note_baseline(self) -> None:
        """Write down the evaluation loss before the first step."""
        if self.is_main:
            loss = self.job.evaluate()
            write_whole(self.folder / "before.json", json.dumps({"eval_loss": loss}) + "\n")

    def record(self, step: Step) -> None:
        """Write a step's line, then a checkpoint if one is due or the evaluation is the best so far."""
        if not self.is_main:
            return
        self.file.write(_line(step))
        self.file.flush()
        self.track(asdict(step))
        every = self.config.checkpoint.every_steps
        due = step.number == self.job.max_steps or (every > 0 and step.number % every == 0)
        best = step.eval_loss is not None and step.eval_loss < self.lowest
        if best:
            self.lowest = float(step.eval_loss or 0.0)
        if due or best:
            save_checkpoint(
                self.folder,
                self.job.model,
                self.tokenizer,
                self.job.optimizer,
                step=step.number,
                eval_loss=step.eval_loss,
            )
            prune(self.folder, self.config.checkpoint.keep)
        if self.on_step:
            self.on_step(step, self.job.max_steps)

    def close(self) -> None:
        """Close the files."""
        if self.is_main:
            self.file.close()
            self.stop_tracking()


def read_metrics(folder: str | Path) -> list[Step]:
    """Read the steps of a run; a last line that a crash cut off doesn't count.

    Args:
        folder: Of the run.
    """
    path = Path(folder) / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Step(**json.loads(line)) for line in lines[:-1]]


def _line(step: Step) -> str:
    return json.dumps(asdict(step)) + "\n"


def _finish(place: Path, config: FinetuneConfig, counts: dict[str, PartCount], rows: int, eval_rows: int) -> Run:
    found, history = checkpoints(place), read_metrics(place)
    best = best_of(found)
    assert best  # noqa: S101 (the last step is always saved)
    run = Run(place, history, best, found[-1])
    if is_main_process():
        summary = _summary(run, config, counts, rows, eval_rows)
        write_whole(place / SUMMARY, json.dumps(summary, indent=1) + "\n")
        write_whole(place / CARD, _card(run, config, summary))
        _plot(run)
    return run


def _summary(
    run: Run, config: FinetuneConfig, counts: dict[str, PartCount], rows: int, eval_rows: int
) -> dict[str, Any]:
    seconds, tokens = sum(s.seconds for s in run.history), sum(s.tokens for s in run.history)
    return {
        "model": config.model.name,
        "engine": config.engine,
        "parameters": counts["all"].total,
        "trainable_parameters": counts["all"].trainable,
        "rows": rows,
        "eval_rows": eval_rows,
        "steps": len(run.history),
        "tokens": tokens,
        "training_seconds": round(seconds, 2),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "first_loss": run.history[0].loss,
        "last_loss": run.history[-1].loss,
        "best_eval_loss": run.best.eval_loss,
        "best_step": run.best.step,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {_device_name()}",
        "versions": {"ftlib": ftlib.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"


def _card(run: Run, config: FinetuneConfig, summary: dict[str, Any]) -> str:
    measured = "not measured" if run.best.eval_loss is None else f"{run.best.eval_loss:.4f} nats per token"
    trained = f"{summary['trainable_parameters']:,} of {summary['parameters']:,}"
    return f"""# {run.folder.name}

{config.model.name}, fine-tuned on {config.data.source} ({summary["rows"]:,} rows) by the engine `{config.engine}`.

| | |
|---|---|
| parameters trained | {trained} |
| steps | {summary["steps"]:,} |
| tokens, padding not counted | {summary["tokens"]:,} |
| loss of the first and the last step | {summary["first_loss"]:.4f}, {summary["last_loss"]:.4f} |
| best evaluation loss | {measured} at step {run.best.step} |
| finished | {summary["finished"]} on {summary["machine"]} |

The best checkpoint is `checkpoints/{run.best.folder.name}`, the last one `checkpoints/{run.last.folder.name}`. To load
the best one, in the folder that holds this one:

```python
from ftlib import load_model

model, tokenizer = load_model("{run.folder.name}")
```

It was trained with the template `{config.data.template}`: ask it with the same. `config.yaml` repeats the run:

```
ftlib train {run.folder.name}/config.yaml --out another-folder
```

![Loss of each step](loss.png)
"""


def _plot(run: Run) -> None:
    import matplotlib.pyplot as plt

    from ftlib.plots import plot_curves

    evaluated = [step for step in run.history if step.eval_loss is not None]
    curves: dict[str, Any] = {"training": ([s.number for s in run.history], [s.loss for s in run.history])}
    if evaluated:
        curves["evaluation"] = ([s.number for s in evaluated], [s.eval_loss for s in evaluated])
    figure = plot_curves(curves, x="step", y="loss (nats per token)")
    figure.savefig(run.folder / PLOT, dpi=120)
    plt.close(figure)
