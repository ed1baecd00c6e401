"""Everything that decides a run, in one object: from a YAML file, a dictionary or keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError, model_validator

from ftlib.argument_checks import checked, each, text
from ftlib.errors import ConfigError
from ftlib.estimate.objectives import Objective
from ftlib.nearest import beside, did_you_mean
from ftlib.paths import shipped
from ftlib.training.changes import load_yaml, with_changes
from ftlib.training.config_errors import explain
from ftlib.training.config_sections import (
    CheckpointSection,
    DataSection,
    DpoSection,
    EvaluateSection,
    ModelSection,
    Section,
    TrainSection,
)
from ftlib.training.config_sections import (
    TrackingSection as TrackingSection,  # other modules ask here for every section
)
from ftlib.training.grpo_section import GrpoSection

Engine = Literal["loop", "hf", "lightning", "trl"]


class FinetuneConfig(Section):
    """Everything that decides a run.

    >>> config = FinetuneConfig.from_dict({"model": {"name": "nano"}, "train": {"learning_rate": 1e-4}})
    >>> config.train.learning_rate, config.engine
    (0.0001, 'loop')
    """

    engine: Engine = "loop"
    """Who takes the steps: loop, hf, lightning or trl."""
    objective: Objective = "sft"
    """What is learnt from: sft, the answers themselves; dpo, a chosen answer against a rejected one; grpo, rewards of
    the model's own answers."""
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    dpo: DpoSection | None = None
    grpo: GrpoSection | None = None
    evaluate: EvaluateSection = EvaluateSection()
    checkpoint: CheckpointSection = CheckpointSection()
    tracking: TrackingSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _rewards_decide_which_is_best(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("objective") != "grpo":
            return values
        section = values.get("checkpoint") or {}
        if isinstance(section, CheckpointSection):
            section = section.model_dump(exclude_unset=True)
        if not isinstance(section, Mapping) or "monitor" in section:
            return values
        return {**values, "checkpoint": {**section, "monitor": "reward"}}

    @model_validator(mode="after")
    def _weights_suit_the_training(self) -> FinetuneConfig:
        if self.model.dtype == "bfloat16" and self.train.precision == "float16":
            raise ValueError("train.precision float16 needs weights in float32: leave model.dtype out")
        if self.model.lora and (self.model.freeze or self.model.keep_layers or self.model.freeze_patterns):
            raise ValueError(
                "give model.lora or model.freeze (keep_layers, freeze_patterns), not both: beside adapters every other "
                "weight is frozen"
            )
        return self

    @model_validator(mode="after")
    def _objective_can_be_reached(self) -> FinetuneConfig:
        for name in ("dpo", "grpo"):
            if getattr(self, name) is not None and self.objective != name:
                raise ValueError(
                    f"the section {name} is for objective: {name}, not {self.objective}: set it, or leave it out"
                )
        if self.objective != "sft" and self.engine != "trl":
            raise ValueError(f"engine {self.engine} knows objective sft only: for {self.objective} set engine: trl")
        if self.has_reference and self.model.lora is None:
            raise ValueError(f"{self._with_beta} needs model.lora: its reference is the model with its adapters off")
        if self.has_reference and self.checkpoint.start_from is not None:
            raise ValueError(
                f"{self._with_beta} can't go on from checkpoint.start_from: the reference would be the model below the "
                "adapters, not the run that it starts from: merge that run's adapters and give the folder as model.name"
            )
        if self.objective == "dpo" and self.evaluate.metrics:
            raise ValueError("evaluate.metrics scores one answer a row; pairs have two: leave it out")
        return self

    @model_validator(mode="after")
    def _groups_are_whole(self) -> FinetuneConfig:
        if self.objective != "grpo":
            return self
        size, group = self.train.batch_size, self.rewarded.num_generations
        if size % group:
            raise ValueError(
                f"train.batch_size {size} counts answers, and grpo.num_generations {group} of them belong to a prompt: "
                f"set train.batch_size to a multiple of {group}, and train.accumulation_steps for more prompts a step"
            )
        if self.data.truncate == "end":
            raise ValueError("objective grpo can't cut rows at their end (data.truncate): the reward looks at answers")
        return self

    @property
    def rewarded(self) -> GrpoSection:
        """The section grpo, or its defaults."""
        return self.grpo or GrpoSection()

    @property
    def has_reference(self) -> bool:
        """Whether a model is held against what it was before: always with dpo, and with grpo where beta is above 0."""
        return self.objective == "dpo" or (self.objective == "grpo" and self.rewarded.beta > 0)

    @property
    def _with_beta(self) -> str:
        return "objective dpo" if self.objective == "dpo" else "objective grpo with grpo.beta above 0"

    @property
    def rows_per_batch(self) -> int:
        """Rows of the data that a batch reads: with grpo, each stands there `num_generations` times."""
        return self.train.batch_size // (self.rewarded.num_generations if self.objective == "grpo" else 1)

    @model_validator(mode="after")
    def _scores_are_measured(self) -> FinetuneConfig:
        if self.checkpoint.monitor == "reward":
            if self.objective != "grpo":
                raise ValueError(f"checkpoint.monitor reward is for objective: grpo, not {self.objective}")
        elif self.checkpoint.monitor not in ("eval_loss", "loss") and not self.evaluate.metrics:
            raise ValueError(f"checkpoint.monitor {self.checkpoint.monitor!r} needs evaluate.metrics: true")
        return self

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
            raise ConfigError(explain(error, cls, source)) from None

    @classmethod
    @checked(changes=each(text))
    def from_yaml(cls, path: str | Path, *, changes: Sequence[str] = ()) -> FinetuneConfig:
        """Read a YAML file with this library's keys (:func:`ftlib.training.sft_yaml.read_config` knows others too).

        Args:
            path: The file, or the name of a shipped one, such as ``"faq"``.
            changes: ``"train.learning_rate=1e-4"``: what to set otherwise than the file, in this library's keys. What
                a key stands instead of goes: ``"train.max_steps=2"`` takes the place of the file's `epochs`.

        Raises:
            ConfigError: The file can't be read, a key is unknown, or a value can't be used.
        """
        return cls.from_dict(with_changes(read_yaml(path), changes), source=str(path))

    def as_yaml(self) -> str:
        """Return the whole configuration as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path) -> Mapping[str, Any]:
    """Read the sections of a YAML file, unchecked.

    Args:
        path: The file, or the name of a shipped one.

    Raises:
        ConfigError: The file can't be read, or holds something else than sections.
    """
    try:
        place = config_path(path)
        if not place.exists():
            raise ConfigError(_no_such_config(place))
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: not UTF-8 text ({error.reason})") from error
    try:
        values = load_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(values, Mapping):
        found = "nothing (a file with {} alone has every default)" if values is None else type(values).__name__
        raise ConfigError(f"{path}: expected sections such as 'train:', found {found}")
    return values


def _no_such_config(path: Path) -> str:
    names = sorted(one.stem for one in shipped("configs").glob("*.yaml"))
    known = [*names, *(one for one in beside(path) if one.endswith((".yaml", ".yml")))]
    shown = f"{path}: no such file, and no shipped configuration of that name (shipped: {', '.join(names)})."
    return shown + did_you_mean(path, known)


def config_path(path_or_name: str | Path) -> Path:
    """Find a configuration: a file of yours, or one that travels with the course, by its name.

    >>> config_path("faq").name
    'faq.yaml'
    """
    path = Path(path_or_name).expanduser()
    named = shipped("configs") / f"{path_or_name}.yaml"
    return named if path.parent == Path() and not path.exists() and named.is_file() else path
