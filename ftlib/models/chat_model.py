"""A model that talks: its weights, its tokenizer, and the template that it was trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlib.errors import ModelError
from ftlib.models.loading import Dtype, load_model
from ftlib.models.names import base_of_adapter, resolve_name
from ftlib.models.run_folder import run_config, template_of_run
from ftlib.models.trainable import merge_lora
from ftlib.text.chat_template import template_of
from ftlib.text.templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ChatModel:
    """Somebody to talk to.

    Attributes:
        name: What the page calls it.
        model: A causal language model.
        tokenizer: The model's tokenizer.
        template: The template that training put around questions.
    """

    name: str
    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    template: Template


def load_chat_model(name: str, *, device: str | None = None, dtype: Dtype = "float32") -> ChatModel:
    """Load a model to talk to, with the template that it was trained in; an adapter is merged into its base model.

    Args:
        name: As for :func:`ftlib.load_model`: nano, smollm2, a Hub id, a folder, that of an adapter or of a run.
        device: As there.
        dtype: As there.

    Raises:
        ModelError: It can't be loaded.
        ConfigError: It is a run whose configuration can't be read.

    >>> load_chat_model("nano").template.name
    'question-answer'
    """
    model, tokenizer = load_model(name, device=device, dtype=dtype)
    return ChatModel(name, merge_lora(model), tokenizer, training_template(tokenizer, name))


def load_chat_models(
    models: str | ChatModel | Sequence[str | ChatModel],
    *,
    compare: bool = False,
    device: str | None = None,
    dtype: Dtype = "float32",
) -> list[ChatModel]:
    """Load several models to talk to; those that are loaded already are taken as they are.

    Args:
        models: One, or different ones: names as for :func:`load_chat_model`, or loaded models.
        compare: There must be two: those named, or the only one behind the model that it was tuned from.
        device: As for :func:`ftlib.load_model`.
        dtype: As there.

    Raises:
        ModelError: One can't be loaded, there is none or one twice, or there are not two to compare.
        ConfigError: One is a run whose configuration can't be read.
    """
    named = [models] if isinstance(models, str | ChatModel) else list(models)
    chosen = _pair(named) if compare else named
    names = [model.name if isinstance(model, ChatModel) else model for model in chosen]
    if not names or len(set(names)) < len(names):
        raise ModelError(f"a chat needs one model or several different ones, not {names}")
    how: dict[str, Any] = {"device": device, "dtype": dtype}
    return [model if isinstance(model, ChatModel) else load_chat_model(model, **how) for model in chosen]


def _pair(models: Sequence[str | ChatModel]) -> list[str | ChatModel]:
    if len(models) == 1 and isinstance(models[0], str):
        return [base_of(models[0]), models[0]]
    if len(models) != 2:
        raise ModelError(f"two models can be compared, not {len(models)}: name a base model and a tuned one")
    return list(models)


def training_template(tokenizer: PreTrainedTokenizerBase, name: str) -> Template:
    """Find the template that a model was trained in.

    What a run's configuration says comes first, then the tokenizer's own chat template, then question and answer.

    Args:
        tokenizer: The model's tokenizer.
        name: As for :func:`load_chat_model`.

    Raises:
        ConfigError: A run's configuration can't be read.
    """
    config = run_config(name)
    return template_of(tokenizer) if config is None else template_of_run(tokenizer, config)


def base_of(name: str) -> str:
    """Name the model that another one was tuned from: the base of an adapter, or what a run began with.

    Raises:
        ModelError: Nothing says what it was.
    """
    config = run_config(name)
    if config is not None:
        return str(config["model"]["name"])
    base = base_of_adapter(Path(resolve_name(name)))
    if base is not None:
        return base
    raise ModelError(f"{name}: nothing says which model it was tuned from: give two models to compare")
