"""Every difference between transformers 4.41 and today's release that the course can meet.

The rest of ftlib is written for today's release. Arguments of any release are translated for the installed one, in both
directions; what changed is data (:mod:`ftlib.compat.api_changes`). A shim says since when it is needed and when it can
go.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from ftlib.compat.api_changes import FROM_PRETRAINED, TRAINER, TRAINING_ARGUMENTS, Rename
from ftlib.compat.installed import dtype_argument, is_before, name_of, no_progress_bar
from ftlib.compat.translate import Release, translate_arguments
from ftlib.errors import ModelError

_warned: set[str] = set()


class CompatWarning(UserWarning):
    """An argument was translated for the installed transformers, or left out; the message says why."""


def training_arguments(*, arguments_class: type = TrainingArguments, warn: bool = True, **names: Any) -> Any:
    """Build ``TrainingArguments`` from the names of any release.

    Nothing is reported to a tracking service unless ``report_to`` asks for it, as in 5.0 and later; 4.x would report
    to every one that is installed.

    Args:
        arguments_class: ``TrainingArguments`` or a subclass.
        warn: Warn of each name that is translated or left out, once in a process.
        **names: Arguments, as any release from 4.25 to today's calls them.

    Raises:
        CompatError: No release knows a name (the nearest one is given), two names mean the same but say different
            things, or the installed release can't do what is asked.

    >>> training_arguments(output_dir="out", evaluation_strategy="epoch", warn=False).eval_strategy.value
    'epoch'
    """
    known = {field.name for field in dataclasses.fields(arguments_class) if field.init}
    arguments = arguments_class(**({"report_to": "none"} | _translated(names, TRAINING_ARGUMENTS, known, warn=warn)))
    if names.get("logging_dir") and "logging_dir" not in known:  # the trainer of make_trainer looks here
        arguments.logging_dir = str(names["logging_dir"])
    return arguments


def pretrained_arguments(*, warn: bool = True, **names: Any) -> dict[str, Any]:
    """Translate arguments of ``from_pretrained``: ``torch_dtype`` or ``dtype``, ``use_auth_token`` or ``token``.

    >>> pretrained_arguments(use_auth_token="a secret", warn=False)
    {'token': 'a secret'}
    """
    # from_pretrained takes whatever a configuration may hold: only the names of the table can be judged.
    known = set(names) - {name for row in FROM_PRETRAINED for name in (row.old, row.new)}
    known |= {name_of(row) for row in FROM_PRETRAINED}
    return _translated(names, FROM_PRETRAINED, known, warn=warn)


def trainer_arguments(trainer_class: type = transformers.Trainer, *, warn: bool = True, **names: Any) -> dict[str, Any]:
    """Translate arguments of a Trainer (without ``model`` and ``args``) for the installed release.

    Before 5.4 a callback is added that evaluates after the last step. It can go when 5.3 is no longer supported.

    Raises:
        CompatError: As for :func:`training_arguments`.
    """
    names = _translated(names, TRAINER, _parameters(trainer_class), warn=warn)
    if is_before("5.4"):
        names["callbacks"] = [*(names.get("callbacks") or []), _EvaluateAtTheEnd()]
    return names


def make_trainer(
    model: nn.Module,
    args: TrainingArguments,
    *,
    trainer_class: type = transformers.Trainer,
    warn: bool = True,
    **names: Any,
) -> Any:
    """Build a Trainer from the names of any release.

    On all of them it evaluates after the last step, and does right what some do wrong (:class:`MendedTrainer`).

    Args:
        model: The model to train.
        args: From :func:`training_arguments`.
        trainer_class: ``transformers.Trainer`` or a subclass.
        warn: Warn of each name that is translated or left out, once in a process.
        **names: The Trainer's other arguments, as any release calls them: ``tokenizer`` or ``processing_class``, say.

    Raises:
        CompatError: As for :func:`training_arguments`.
    """
    names = trainer_arguments(trainer_class, warn=warn, **names)
    if not issubclass(trainer_class, MendedTrainer):
        trainer_class = type(trainer_class.__name__, (MendedTrainer, trainer_class), {})
    return trainer_class(model=model, args=args, **names)


def load_best(trainer: Any) -> Path:
    """Put the best checkpoint's weights into the trainer's model: all of them, the output layer included.

    Since 5.14 the output layer of GPT-NeoX is called ``lm_head`` in memory and ``embed_out`` in a file. The Trainer
    looks for a file's names as they are, so its ``load_best_model_at_end`` leaves the last step's output layer on the
    best step's body, with no more than a line about missing keys. ``from_pretrained`` knows both names. Can go when
    the Trainer renames too.

    Returns:
        The folder of the best checkpoint.

    Raises:
        ModelError: No checkpoint is the best, or it lacks weights of the model.
    """
    best = trainer.state.best_model_checkpoint
    if best is None and trainer.args.metric_for_best_model is None:
        raise ModelError(
            "there is no best checkpoint, because nothing says what is best: set metric_for_best_model='eval_loss' "
            "(load_best_model_at_end=True does so, too)"
        )
    if best is None:
        raise ModelError(
            "there is no best checkpoint, because no step was both evaluated and saved: set eval_strategy and "
            "save_strategy alike, and eval_steps and save_steps no higher than the number of steps"
        )
    _load_weights(trainer.model, Path(best))
    return Path(best)


class MendedTrainer:
    """Goes in front of a Trainer class, and does right what some releases do wrong.

    The best checkpoint, and the one to resume from, are loaded whole: a resumed run would meet the trap of
    :func:`load_best` as well, and begin with the output layer from before the run. Adapters, FSDP and DeepSpeed have
    checkpoints of their own kind; these are left to the Trainer.
    """

    model: Any
    state: Any
    args: Any
    accelerator: Any
    callback_handler: Any

    def train(self, *args: Any, **names: Any) -> Any:
        """Train as the Trainer does, with gradients of the right size."""
        # 4.46 and 4.47 add up the gradients of accumulated batches and divide by nothing, for models whose forward
        # pass takes no num_items_in_batch. Can go when 4.47 is no longer supported.
        if not is_before("4.46") and is_before("4.48") and not getattr(self, "model_accepts_loss_kwargs", False):
            self.accelerator.gradient_accumulation_steps = self.args.gradient_accumulation_steps
        # Since 5.15 TensorBoard's callback reads its folder from the environment, which is everybody's.
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and getattr(self.args, "logging_dir", None):
                callback.logging_dir = str(Path(self.args.logging_dir).expanduser())
        return super().train(*args, **names)  # type: ignore[misc]

    def _load_best_model(self) -> None:
        if self._is_plain(self.state.best_model_checkpoint):
            load_best(self)
        else:
            super()._load_best_model()  # type: ignore[misc]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._is_plain(resume_from_checkpoint):
            _load_weights(self.model if model is None else model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        # Before 4.47 the Trainer reads the state of numpy's random numbers with torch.load and names no types, which
        # torch refuses since 2.6. Can go when 4.46 is no longer supported.
        numbers = np.zeros(0, np.uint32)
        types: list[Any] = [numbers.__reduce__()[0], np.ndarray, np.dtype, type(numbers.dtype)]
        with torch.serialization.safe_globals(types) if is_before("4.47") else contextlib.nullcontext():
            super()._load_rng_state(checkpoint)  # type: ignore[misc]

    def _is_plain(self, folder: str) -> bool:
        shared_out = getattr(self, "is_fsdp_enabled", False) or getattr(self, "is_deepspeed_enabled", False)
        return isinstance(self.model, PreTrainedModel) and (Path(folder) / "config.json").is_file() and not shared_out


def floating_point_ops(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, exclude_embeddings: bool = True
) -> int:
    """Count the operations of a forward *and* a backward pass, as ``model.floating_point_ops`` did until 5.0.

    Six for each weight and token (Kaplan et al., 2020). Padding counts like any token, attention scores don't count,
    and where embeddings are tied ``exclude_embeddings`` leaves out the output layer too.

    Args:
        model: A model of transformers.
        inputs: ``input_ids``, shape ``(batch, seq)``; nothing else is read.
        exclude_embeddings: Leave out embeddings, which are looked up and not multiplied.
    """
    return 6 * int(model.num_parameters(exclude_embeddings=exclude_embeddings)) * inputs["input_ids"].numel()


def as_target(tokenizer: PreTrainedTokenizerBase, texts: str | Sequence[str], **options: Any) -> Any:
    """Encode texts as targets, as was done inside ``with tokenizer.as_target_tokenizer()`` until 5.0.

    It is meant for models with an encoder. One that continues text learns nothing from a target that was encoded apart
    from its prompt: :func:`ftlib.tokenize` makes its labels.
    """
    return tokenizer(text_target=texts, **options)


class _EvaluateAtTheEnd(TrainerCallback):
    # Before 5.4 a run with evaluation every so many steps didn't evaluate its last one, unless that was due.
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step >= state.max_steps and args.eval_strategy == "steps":
            control.should_evaluate = args.eval_delay <= state.global_step
        return control


def _load_weights(model: PreTrainedModel, folder: Path) -> None:
    with no_progress_bar():
        how: dict[str, Any] = {**dtype_argument(model.dtype), "output_loading_info": True}
        loaded: Any = type(model).from_pretrained(folder, **how)
    stored, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: the checkpoint lacks weights of the model ({missing[0]}, say): was it another one?"
        )
    model.load_state_dict(stored.state_dict())


def _translated(names: dict[str, Any], rows: Iterable[Rename], known: set[Any], *, warn: bool) -> dict[str, Any]:
    translated, changes = translate_arguments(names, rows, Release(transformers.__version__, known))
    variables = {row.old: row.variable for row in rows if row.variable}
    for name, change in changes.items():
        done = f"translated to {change.name}" if change.name else "left out"
        if name in variables and change.value is not None:
            done = f"kept for the trainer of make_trainer (for another one set {variables[name]} in the environment)"
        if warn and name not in _warned:
            _warned.add(name)
            message = f"{name}: {done}, {change.reason} (transformers {transformers.__version__} is installed)"
            warnings.warn(message, CompatWarning, stacklevel=3)
    return translated


def _parameters(trainer_class: type) -> set[str]:
    """Names that a trainer class takes; one that hands on ``**kwargs`` takes its parents' names too."""
    names: set[str] = set()
    for parent in trainer_class.__mro__:
        if "__init__" in vars(parent):
            parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
            names |= {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
    return names - {"self", "model", "args"}
