"""The sections of a run's configuration: every field with its unit, checked when it is read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from ftlib.evaluation.scores import LOSS_SCORES, SCORES, LossScore, Score
from ftlib.models.precision import WantedPrecision
from ftlib.models.trainable import ModuleKind
from ftlib.text.templates import TextTemplate
from ftlib.training.changes import with_new_names
from ftlib.training.job import BatchOrder
from ftlib.training.optimizers import OptimizerName, ScheduleName

WeightDtype = Literal["float32", "bfloat16"]
Monitor = Literal["eval_loss", "loss", "token_accuracy", "bleu", "rouge_l", "reward"]


class Section(BaseModel):
    """A part of a configuration: it can't be changed, and knows no other keys than its own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


class LoraSection(Section):
    """Low-rank adapters instead of all weights."""

    rank: int = Field(8, ge=1)
    """Rows of A and columns of B."""
    alpha: float | None = Field(None, gt=0)
    """Scale of the update; default: twice the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs that are dropped in training."""
    targets: Literal["attention", "blocks"] | tuple[str, ...] = "attention"
    """Which matrices get an adapter: those of the attention, all inside the blocks, or these names."""
    upper_layers: int | None = Field(None, ge=1)
    """Adapters in so many of the last blocks only: no backward pass goes below them. Default: in all."""


class ModelSection(Section):
    """What is trained."""

    name: str = "auto"
    """nano, smollm2, a Hub id, or a folder; auto reads FTLIB_MODEL and falls back to nano."""
    device: str | None = None
    """cpu, cuda or mps; default: the best that is there."""
    dtype: WeightDtype = "float32"
    """Type of the weights in memory, so of their gradients and of the optimizer's state; adapters stay in float32.
    bfloat16 takes half, and rounds small updates away: it suits frozen weights under adapters."""
    freeze: tuple[ModuleKind, ...] = ()
    """Kinds of modules that are not trained: embeddings, norms, attention, feed_forward, other."""
    keep_layers: tuple[int, ...] = ()
    """Numbers of blocks that are trained whole all the same; -1 is the last."""
    freeze_patterns: tuple[str, ...] = ()
    """Further parameters that are not trained, by name, with * for any text."""
    lora: LoraSection | None = None
    """Low-rank adapters; then everything else is frozen."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    use_cache: bool = True
    """Keep keys and values of earlier tokens when text is generated, in this run's scores and by its checkpoints."""


class TemplateSection(Section):
    """A template of your own around questions and answers."""

    before_user: str
    """Text in front of each question."""
    before_assistant: str
    """Text between question and answer; the prompt ends with it."""
    opening: str = ""
    """Text in front of everything."""
    between_turns: str = "\n\n"
    """Text behind an answer when another question follows."""
    end_marker: str = ""
    """Text that the model learns to write behind each answer."""

    def template(self) -> TextTemplate:
        """Return it as a template."""
        return TextTemplate("your own", **self.model_dump())


class DataSection(Section):
    """What it is trained on."""

    source: str = "faq"
    """A file, a shipped data set, or a Hub id."""
    format: str = "auto"
    """Format of the rows."""
    on_error: Literal["raise", "skip"] = "raise"
    """What a row that can't be used does: end the run before it begins, or be left out with a warning of its own."""
    split: str | None = None
    """Which split to train on, where there are several."""
    validation: str | None = None
    """A file or name to evaluate on; default: a share of the source."""
    validation_split: str | None = None
    """Which split of it."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of the rows that is held back for evaluation when `validation` is not given (0 to 1)."""
    template: str = "auto"
    """The template around the messages; `tokenizer`: the tokenizer's own chat template; `auto`: that one if it has
    one, and else `question-answer`."""
    custom_template: TemplateSection | None = None
    """A template of your own, instead of `template`. The first edition called this key `frame`, which still works."""
    max_length: int | None = Field(None, ge=2)
    """Tokens that a row may have; default: the model's context."""
    truncation_side: Literal["left", "right"] = "left"
    """Which end of a row that is too long is cut."""
    truncate: Literal["prompt", "end"] = "prompt"
    """What a row that is too long loses: words of its questions (answers stay whole), or whatever is at its end."""
    max_rows: int | None = Field(None, ge=1)
    """Rows to use at most, drawn with the seed."""
    overfit_batches: int | float = Field(0, ge=0)
    """Learn only the first so many batches by heart, as a check (2), or this share of them (0.1), in order; of the
    rows to evaluate on as many stay. 0: all rows."""

    @model_validator(mode="before")
    @classmethod
    def _names_of_the_first_edition(cls, values: Any) -> Any:
        return with_new_names(values) if isinstance(values, Mapping) else values

    @property
    def frame(self) -> TemplateSection | None:
        """What `custom_template` was called in the first edition."""
        warnings.warn("data.frame is data.custom_template since the second edition", DeprecationWarning, stacklevel=2)
        return self.custom_template

    @field_validator("overfit_batches")
    @classmethod
    def _a_share_is_at_most_all(cls, batches: float) -> float:
        if isinstance(batches, float) and batches > 1:
            raise ValueError("is a share of all batches if it has a point: write a whole number of batches, or 1.0")
        return batches


class DpoSection(Section):
    """Direct preference optimisation, where `objective` is dpo."""

    beta: float = Field(0.1, gt=0)
    """How dearly a step away from the model as it was is paid: the higher, the nearer it stays."""


class TrainSection(Section):
    """How it is trained."""

    epochs: float | None = Field(None, gt=0)
    """How often every row is read; default 1, unless `max_steps` says when to stop."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps; instead of `epochs`."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate. Default, by what is trained: in full 1e-3 below 10 million weights, 5e-5 below a billion,
    2e-5 above; adapters ten times as much. sgd has none."""
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
    max_gradient_norm: float = Field(1.0, gt=0, allow_inf_nan=True)
    """Longer gradients are shortened to this length; `.inf`: never."""
    precision: WantedPrecision = "float32"
    """What matrices are multiplied in: float32 (nothing is cast), bfloat16, float16 (a graphics card's; a processor
    takes bfloat16 instead), mixed (the one of the two that is the device's own), or auto (bfloat16 where the device has
    instructions for it, and else float32). The weights keep their `model.dtype`."""
    batch_order: BatchOrder = "by_length"
    """by_length, shuffled or as_given."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the split, the order of the rows, dropout and new adapters."""
    log_every_steps: int = Field(1, ge=1)
    """Steps of one line of metrics and of tracking: loss and gradient of the last of them, tokens and seconds of all.
    An evaluation and a checkpoint end a line too."""

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> TrainSection:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give epochs or max_steps, not both")
        if self.warmup_steps and self.warmup_share:
            raise ValueError("give warmup_steps or warmup_share, not both")
        if self.schedule == "constant" and (self.warmup_steps or self.warmup_share):
            raise ValueError("the schedule 'constant' has no warm-up: choose 'constant_with_warmup'")
        if self.optimizer == "sgd" and self.learning_rate is None:
            raise ValueError("sgd has no default learning rate: give learning_rate")
        if self.betas[0] >= 1 or self.betas[1] >= 1 or min(self.betas) < 0:
            raise ValueError("betas are decays: each at least 0 and below 1")
        return self


class EvaluateSection(Section):
    """When it is evaluated, and how."""

    every_steps: int = Field(0, ge=0)
    """Steps between two evaluations. With none of the three intervals: after the last step only."""
    every_batches: int = Field(0, ge=0)
    """Batches of `batch_size` rows between two; the step that holds the batch is finished first."""
    every_epochs: float = Field(0, ge=0)
    """Times that the rows are read between two: 1 is after every epoch, 0.25 four times in each."""
    before_training: bool = False
    """Evaluate once before the first step."""
    sanity_batches: int = Field(0, ge=-1)
    """Batches (-1: all) to evaluate before the first step, only to see that it works: a fault shows at once."""
    batch_size: int = Field(16, ge=1)
    """Rows of one forward pass."""
    metrics: bool = False
    """Measure token accuracy, BLEU and ROUGE-L too."""
    metrics_rows: int = Field(16, ge=1)
    """Rows whose answers are generated for BLEU, ROUGE-L and rewards, the first ones: generating takes time."""

    @model_validator(mode="after")
    def _one_interval(self) -> EvaluateSection:
        if sum(map(bool, (self.every_steps, self.every_batches, self.every_epochs))) > 1:
            raise ValueError("give one of every_steps, every_batches and every_epochs")
        return self


class CheckpointSection(Section):
    """When it is saved, and what is called best."""

    every_steps: int = Field(0, ge=0)
    """Steps between two checkpoints. With neither interval: after the last step only."""
    every_epochs: float = Field(0, ge=0)
    """Times that the rows are read between two: 1 is after every epoch."""
    keep: int = Field(1, ge=1)
    """How many of the last checkpoints stay, beside the best one."""
    monitor: Monitor = "eval_loss"
    """What decides which one is best: eval_loss, loss (of training; compared where one is due), token_accuracy, bleu,
    rouge_l, or reward, which is grpo's default."""
    mode: Literal["min", "max"] = "min"
    """Whether the best value is the lowest or the highest; default: as `monitor` has it, min for a loss and max for a
    score."""
    folder: str | None = None
    """Folder of the run, where the caller names none."""
    start_from: str | None = None
    """A folder to start from: a checkpoint or a run (weights, optimizer and step, as after a stop), or a model (its
    weights)."""

    @model_validator(mode="before")
    @classmethod
    def _direction_of_the_score(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("mode") is not None:
            return values
        return {**values, "mode": "max" if _higher_is_better(values.get("monitor")) else "min"}

    @model_validator(mode="after")
    def _best_is_not_worst(self) -> CheckpointSection:
        if self.mode == "min" and _higher_is_better(self.monitor):
            raise ValueError(f"of {self.monitor} the highest is best: set mode to max, or leave it out")
        return self

    @model_validator(mode="after")
    def _one_interval(self) -> CheckpointSection:
        if self.every_steps and self.every_epochs:
            raise ValueError("give every_steps or every_epochs, not both")
        return self


def _higher_is_better(monitor: Any) -> bool:
    known: dict[str, Score | LossScore] = {**SCORES, **LOSS_SCORES}
    return monitor == "reward" or (str(monitor) in known and known[str(monitor)].better == "higher")


class TrackingSection(Section):
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
    api_key: SecretStr | None = Field(None, exclude=True, repr=False)
    """The key, where WANDB_API_KEY isn't set; never printed and never written. The variable is the better place."""
