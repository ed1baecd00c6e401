"""Everything that decides a run, in one object: from a YAML file, a dictionary or keywords."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ftlib.data import shipped
from ftlib.errors import ConfigError
from ftlib.parts import Part
from ftlib.training.job import BatchOrder, Precision
from ftlib.training.optimizers import OptimizerName, ScheduleName

Engine = Literal["loop", "hf", "lightning", "trl"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class LoraSection(_Section):
    """Low-rank adapters instead of all weights."""

    rank: int = Field(8, ge=1)
    """Rows of A and columns of B."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update; default: twice the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs that are dropped in training."""
    targets: Literal["attention", "blocks"] | tuple[str, ...] = "attention"
    """Which matrices get an adapter: those of the attention, all inside the blocks, or these names."""


class ModelSection(_Section):
    """What is trained."""

    name: str = "auto"
    """nano, a Hub id, or a folder; auto reads FTLIB_MODEL and falls back to nano."""
    device: str | None = None
    """cpu, cuda or mps; default: the best that is there."""
    freeze: tuple[Part, ...] = ()
    """Parts that are not trained: embeddings, norms, attention, feed_forward, other."""
    keep_layers: tuple[int, ...] = ()
    """Numbers of blocks that are trained whole all the same; -1 is the last."""
    freeze_patterns: tuple[str, ...] = ()
    """Further parameters that are not trained, by name, with * for any text."""
    lora: LoraSection | None = None
    """Low-rank adapters; then everything else is frozen."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""


class DataSection(_Section):
    """What it is trained on."""

    source: str = "faq"
    """A file, a shipped data set, or a Hub id."""
    format: str = "auto"
    """Format of the rows."""
    split: str | None = None
    """Which split to train on, where there are several."""
    validation: str | None = None
    """A file or name to evaluate on; default: a share of the source."""
    validation_split: str | None = None
    """Which split of it."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of the rows that is held back for evaluation when `validation` is not given (0 to 1)."""
    template: str = "question-answer"
    """The frame around the messages; `tokenizer`: the tokenizer's own chat template."""
    max_length: int | None = Field(None, ge=2)
    """Tokens that a row may have; default: the model's context."""
    truncation_side: Literal["left", "right"] = "left"
    """Which end of a row that is too long is cut."""
    max_rows: int | None = Field(None, ge=1)
    """Rows to use at most, drawn with the seed."""


class TrainSection(_Section):
    """How it is trained."""

    epochs: float | None = Field(None, gt=0)
    """How often every row is read; default 1, unless `max_steps` says when to stop."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps; instead of `epochs`."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    batch_size: int = Field(8, ge=1)
    """Rows of one forward pass."""
    accumulation_steps: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    optimizer: OptimizerName = "adamw"
    """adamw, muon, adafactor or sgd."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decays, of the mean gradient and of its mean square."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled decay of the matrices."""
    schedule: ScheduleName = "linear"
    """How the learning rate goes on after the warm-up: linear, cosine, constant or constant_with_warmup."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the rate rises."""
    warmup_share: float = Field(0.0, ge=0, le=1)
    """The same as a share of all steps (0 to 1); instead of `warmup_steps`."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Longer gradients are shortened to this length."""
    precision: Precision = "float32"
    """What is computed in: float32, bfloat16, float16 (graphics cards only); weights stay float32."""
    batch_order: BatchOrder = "by_length"
    """by_length, shuffled or as_given."""
    seed: int = 0
    """Of the split, the order of the rows, dropout and new adapters."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> TrainSection:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give epochs or max_steps, not both")
        if self.warmup_steps and self.warmup_share:
            raise ValueError("give warmup_steps or warmup_share, not both")
        if self.schedule == "constant" and (self.warmup_steps or self.warmup_share):
            raise ValueError("the schedule 'constant' has no warm-up: choose 'constant_with_warmup'")
        return self


class EvaluateSection(_Section):
    """When it is evaluated."""

    every_steps: int = Field(0, ge=0)
    """Steps between two evaluations; 0: after the last step only."""
    before_training: bool = False
    """Evaluate once before the first step."""
    batch_size: int = Field(16, ge=1)
    """Rows of one forward pass."""


class CheckpointSection(_Section):
    """When it is saved."""

    every_steps: int = Field(0, ge=0)
    """Steps between two checkpoints; 0: after the last step only."""
    keep: int = Field(1, ge=1)
    """How many of the last checkpoints stay, beside the best one."""


class TrackingSection(_Section):
    """Weights & Biases, if it is wanted. Nothing leaves the machine unless `mode` says online."""

    project: str
    """Name of the project there."""
    name: str | None = None
    """Name of the run."""
    group: str | None = None
    """Name of a group of runs."""
    job_type: str | None = None
    """Kind of run."""
    mode: Literal["offline", "online"] = "offline"
    """offline writes into the run folder; online sends (the key is read from WANDB_API_KEY)."""


class FinetuneConfig(_Section):
    """Everything that decides a run.

    >>> config = FinetuneConfig.from_dict({"model": {"name": "nano"}, "train": {"learning_rate": 1e-4}})
    >>> config.train.learning_rate, config.engine
    (0.0001, 'loop')

    Taught in: chapters/08_config_driven_sft.ipynb
    """

    engine: Engine = "loop"
    """Who takes the steps: loop, hf, lightning or trl."""
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    checkpoint: CheckpointSection = CheckpointSection()
    tracking: TrackingSection | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "the configuration") -> FinetuneConfig:
        """Check a dictionary of dictionaries.

        Args:
            values: As in the YAML file.
            source: Where they come from, for errors.

        Raises:
            ConfigError: A key is unknown or a value can't be used.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{source}: expected sections such as 'train:', found {type(values).__name__}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_explain(error, cls, source)) from None

    @classmethod
    def from_yaml(cls, path: str | Path, *, changes: Sequence[str] = ()) -> FinetuneConfig:
        """Read a YAML file.

        Args:
            path: The file, or the name of a shipped one, such as ``"faq"``.
            changes: ``"train.learning_rate=1e-4"``: what to set otherwise than the file.

        Raises:
            ConfigError: The file can't be read, a key is unknown, or a value can't be used.
        """
        try:
            values = yaml.load(config_path(path).read_text(encoding="utf-8"), _Loader) or {}  # noqa: S506 (a SafeLoader)
        except OSError as error:
            raise ConfigError(f"{path}: can't be read ({error.strerror}): check the path") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path}: expected sections such as 'train:', found {type(values).__name__}")
        for change in changes:
            values = _changed(values, change)
        return cls.from_dict(values, source=str(path))

    def as_yaml(self) -> str:
        """Return the whole configuration as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_path(path_or_name: str | Path) -> Path:
    """Find a configuration: a file of yours, or one that travels with the course, by its name.

    >>> config_path("faq").name
    'faq.yaml'
    """
    path = Path(path_or_name).expanduser()
    named = shipped("configs") / f"{path_or_name}.yaml"
    return named if path.parent == Path() and not path.exists() and named.is_file() else path


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text because it has no point; people write learning rates that way."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _changed(values: Mapping[str, Any], change: str) -> dict[str, Any]:
    """Return a copy with one value set: ``"section.key=value"``."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {change}: expected section.key=value, such as train.learning_rate=1e-4")
    value = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    for key in reversed(path.split(".")):
        value = {key: value}
    return _merged(values, value)


def _merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in others.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _explain(error: ValidationError, top: type[BaseModel], source: str) -> str:
    lines = []
    for fault in error.errors():
        path = [part for part in fault["loc"] if isinstance(part, str)]
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        if fault["type"] == "extra_forbidden":
            names = _fields_at(top, path[:-1])
            near = difflib.get_close_matches(path[-1], names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
            lines.append(f"unknown key {where!r}; {hint}")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {message[0].lower()}{message[1:]} (found {fault['input']!r})")
    return f"{source}: " + "; ".join(lines)


def _fields_at(section: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        found = section.model_fields[name].annotation
        options = [found, *getattr(found, "__args__", ())]
        section = next(one for one in options if isinstance(one, type) and issubclass(one, BaseModel))
    return list(section.model_fields)
