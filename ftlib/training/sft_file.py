"""What may stand in the training file of a config-driven fine-tune with PyTorch Lightning's names.

Each field says what it becomes in this library's configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator

from ftlib.nearest import one_of
from ftlib.training.config_sections import Section

_MONITORS = {"val_loss": "eval_loss", "train_loss": "loss", "val_accuracy": "token_accuracy"}
_MONITORS |= {"val_bleu": "bleu", "val_rouge": "rouge_l", "val_rouge_l": "rouge_l"}
_PRECISIONS = {"16": "float16", "16-mixed": "float16", "bf16": "bfloat16", "bf16-mixed": "bfloat16"}
_PRECISIONS |= {"32": "float32", "32-true": "float32"}
_DEVICES = {"gpu": "cuda", "cuda": "cuda", "cpu": "cpu", "mps": "mps", "auto": None}


class SftData(Section):
    """What such a file says about data."""

    data_dir: str
    """A file or folder with the splits train, val and test, or the name of a shipped data set."""
    batch_size: int | None = None
    """`train.batch_size`, and `evaluate.batch_size`."""
    max_length: int | None = None
    """`data.max_length`."""
    on_tpu: bool = False
    """Must be false: there is no code for TPUs here."""
    truncate_promt: bool = Field(True, validation_alias=AliasChoices("truncate_promt", "truncate_prompt"))
    """`data.truncate`: of a row that is too long, the prompt is shortened (true), or the end cut off (false)."""

    @field_validator("on_tpu")
    @classmethod
    def _no_tpu(cls, wanted: bool) -> bool:
        if wanted:
            raise ValueError("TPUs are not supported: set it to false and train on a processor or a graphics card")
        return wanted


class SftModelParams(Section):
    """What such a file says about optimizer, metrics and frozen modules."""

    adam_betas: tuple[float, float] | None = None
    """`train.betas`."""
    do_compute_metrics: bool | None = None
    """`evaluate.metrics`."""
    learning_rate: float | None = None
    """`train.learning_rate`."""
    use_cache: bool | None = None
    """`model.use_cache`."""
    warmup_steps_per_cent: float | None = Field(None, ge=0)
    """`train.warmup_share`: in spite of its name a fraction, 0.01 for one per cent."""
    weight_decay: float | None = None
    """`train.weight_decay`."""
    do_freeze: bool = False
    """Whether the following are heeded."""
    freeze_emb: bool = False
    """`model.freeze`: embeddings."""
    freeze_ln: bool = False
    """`model.freeze`: norms."""
    freeze_attn: bool = False
    """`model.freeze`: attention."""
    freeze_ff: bool = False
    """`model.freeze`: feed_forward."""
    freeze_other: bool = False
    """`model.freeze`: other."""
    layers_not_to_freeze: tuple[int, ...] = ()
    """`model.keep_layers`."""

    @field_validator("warmup_steps_per_cent")
    @classmethod
    def _fraction(cls, share: float | None) -> float | None:
        if share is not None and share > 1:
            raise ValueError(f"is a fraction of all steps in spite of its name: write {share / 100:g} for {share:g} %")
        return share


class SftCheckpoint(Section):
    """What such a file says about checkpoints."""

    dirpath: str | None = None
    """`checkpoint.folder`."""
    every_n_train_steps: int | None = None
    """`checkpoint.every_steps`."""
    log_obg: str | None = Field(None, validation_alias=AliasChoices("log_obg", "log_obj"))
    """`checkpoint.monitor`: val_loss, train_loss, val_accuracy, val_bleu or val_rouge."""
    mode: Literal["min", "max"] | None = None
    """`checkpoint.mode`."""

    @field_validator("log_obg")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return None if name is None else _chosen(name, _MONITORS)


class SftTrainerParams(Section):
    """Arguments of Lightning's Trainer."""

    accelerator: str | None = None
    """`model.device`: gpu, cpu, mps or auto."""
    accumulate_grad_batches: int | None = None
    """`train.accumulation_steps`."""
    gradient_clip_val: float | None = Field(None, ge=0)
    """`train.max_gradient_norm`; 0 and nothing at all are no clipping, as in Lightning."""
    log_every_n_steps: int | None = None
    """`train.log_every_steps`."""
    max_epochs: float | None = None
    """`train.epochs`."""
    num_sanity_val_steps: int | None = None
    """`evaluate.sanity_batches`."""
    overfit_batches: int | float | None = None
    """`data.overfit_batches`."""
    precision: int | str | None = None
    """`train.precision`: 16, bf16 or 32."""
    val_check_interval: int | float | None = Field(None, gt=0)
    """`evaluate.every_batches` for a whole number, `evaluate.every_epochs` for one with a point: 1 is every batch, 1.0
    every epoch. Batches are counted on from epoch to epoch; Lightning would begin again with each."""

    @field_validator("accelerator")
    @classmethod
    def _known_device(cls, name: str | None) -> str | None:
        if name == "tpu":
            raise ValueError("TPUs are not supported: choose gpu, cpu, mps or auto")
        return None if name is None or _chosen(name, _DEVICES) is None else _DEVICES[name]

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, name: int | str | None) -> str | None:
        return None if name is None else _chosen(str(name), _PRECISIONS)


class SftTrainer(Section):
    """What such a file says about the run."""

    checkpoint: SftCheckpoint = Field(default_factory=SftCheckpoint)
    ckpt_path: str | None = None
    """`checkpoint.start_from`."""
    params: SftTrainerParams = Field(default_factory=SftTrainerParams)


class SftWandbArgs(Section):
    """Where a run is tracked."""

    project_name: str
    """`tracking.project`."""
    name: str | None = None
    """`tracking.name`."""
    group: str | None = None
    """`tracking.group`."""
    job_type: str | None = None
    """`tracking.job_type`."""


class SftWandb(Section):
    """Weights & Biases: with a key it is sent there, without one it is written into the folder of the run."""

    api: SecretStr | None = Field(None, exclude=True, repr=False)
    """`tracking.api_key`, used where the environment variable WANDB_API_KEY isn't set, which is the better place;
    `$WANDB_API_KEY` says to take it from there. It is never printed and never written."""
    args: SftWandbArgs

    def tracking(self) -> dict[str, Any]:
        """Return the values of a `tracking` section."""
        key = self.api.get_secret_value() if self.api else ""
        values = self.args.model_dump(exclude_none=True)
        values["project"] = values.pop("project_name")
        if key and not key.startswith("$"):
            values["api_key"] = self.api
        return {**values, "mode": "online" if key else "offline"}


class SftFile(Section):
    """The whole training file."""

    data: SftData
    model_name: str = "auto"
    """`model.name`."""
    seed: int | None = None
    """`train.seed`."""
    model_params: SftModelParams = Field(default_factory=SftModelParams)
    trainer: SftTrainer = Field(default_factory=SftTrainer)
    wandb: SftWandb | None = None


def _chosen(name: str, known: Mapping[str, str | None]) -> str | None:
    if name in known or name in known.values():
        return known.get(name, name)
    raise ValueError(f"unknown; {one_of(name, known)}")
