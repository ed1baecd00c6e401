"""One name, one model: nano, smollm2, a model of the Hugging Face Hub, or a folder of yours."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME

from ftlib.argument_checks import a_model, checked, text, unchecked
from ftlib.compat.installed import dtype_argument, no_progress_bar, text_config
from ftlib.errors import DataError, ModelError
from ftlib.files import check_folder
from ftlib.models.names import base_of_adapter, holds_model, resolve_name
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import is_smollm2
from ftlib.models.tokenizer import first_line, why_not_loaded
from ftlib.models.tokenizer import load_tokenizer as load_tokenizer
from ftlib.nearest import one_of
from ftlib.paths import nano_folder
from ftlib.text.chat_template import template_of
from ftlib.text.ends import set_ends

if TYPE_CHECKING:
    from peft import PeftModel

# What configurations call it; the last two are BLOOM's and MPT's, which could read more.
DEVICE_VARIABLE = "FTLIB_DEVICE"
_CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_target_positions", "seq_length", "max_seq_len")
NO_CONTEXT_LIMIT = sys.maxsize
"""The context of a model whose positions have no limit."""

Dtype = Literal["float32", "bfloat16", "float16"]
"""Types that weights can be held in."""


@checked(name=unchecked, device=text, dtype=text)
def load_model(
    name: str | Path = "auto", *, device: str | None = None, dtype: Dtype = "float32", trainable: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model and its tokenizer.

    Args:
        name: ``"auto"`` (the environment variable FTLIB_MODEL, or else nano), ``"nano"``, ``"smollm2"`` (whose first
            use unpacks it: :mod:`ftlib.models.smollm2`), a Hub id such as ``"EleutherAI/pythia-70m"``, or a folder: one
            that ``save_pretrained`` wrote, also of an adapter (it is put on its base model), or that of a run (its best
            checkpoint). Only a Hub id can cause a download, and HF_HUB_OFFLINE=1 forbids even that.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; default: what the environment variable FTLIB_DEVICE says, or else
            the best one that is there.
        dtype: Dtype of the weights in memory.
        trainable: Whether an adapter's weights can be trained further.

    Returns:
        ``(model, tokenizer)``; the model is in evaluation mode, the tokenizer has a padding token.

    Raises:
        ModelError: The name, the type or the device is unknown, the folder holds no model, or the Hub can't be reached.
        MissingExtraError: It is smollm2, whose packages aren't installed.

    >>> model, tokenizer = load_model("nano")
    >>> model.config.vocab_size, tokenizer.pad_token
    (4096, '<|padding|>')

    Taught in: chapters/03_pretraining.ipynb
    """
    if dtype not in get_args(Dtype):
        raise ModelError(f"unknown dtype {dtype!r}; {one_of(dtype, get_args(Dtype))}")
    chosen = check_device(device)
    place = resolve_name(name)
    tokenizer = load_tokenizer(place)
    base = base_of_adapter(Path(place))
    if base is not None:
        adapted: Any = load_adapter(place, base, device=device, dtype=dtype, trainable=trainable)
        return adapted, tokenizer  # PEFT's hands on what the model below it has
    try:
        with no_progress_bar():
            model: Any = AutoModelForCausalLM.from_pretrained(
                place, **dtype_argument(getattr(torch, dtype)), use_safetensors=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(why_not_loaded(place, error)) from error
    return model.to(chosen).eval(), tokenizer


def load_adapter(
    place: str, base_name: str, *, device: str | None = None, dtype: Dtype = "float32", trainable: bool = False
) -> PeftModel:
    """Load the model that an adapter was trained on, and put the adapter on it.

    Args:
        place: The adapter's folder.
        base_name: As for :func:`load_model`.
        device: As there.
        dtype: As there.
        trainable: As there.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: The base model can't be loaded, or the adapter is not one of that model's.
    """
    base, _ = load_model(base_name, device=device, dtype=dtype)
    try:
        return _put_on(base, place, trainable=trainable)
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{place}: the adapter can't be put on {base_name} ({first_line(error)}): is it that model's, and whole? "
            "Save it again with save_pretrained"
        ) from error


def _put_on(base: PreTrainedModel, place: str, *, trainable: bool) -> PeftModel:
    from peft import PeftModel

    rows = _rows_of_adapter(Path(place), base)
    if rows is not None and rows != embedding_rows(base):
        base.resize_token_embeddings(rows, mean_resizing=False)  # its rows are those of the adapter's file
    if (Path(place) / GENERATION_CONFIG_NAME).is_file():  # what ends a text may be another token than the base model's
        base.generation_config = GenerationConfig.from_pretrained(place)
    with quiet_peft():
        return PeftModel.from_pretrained(base, place, is_trainable=trainable).eval()


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Leave out warnings that are not the caller's.

    peft 0.21 asks transformers 5.23 for a property by its old name, and remarks on settings for experts that it made
    itself out of the names of other layers (:func:`ftlib.models.trainable.add_lora` says what has no adapter).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*_pattern keys did not match any targeted module.*")
        warnings.filterwarnings("ignore", message=".*were set but no parameter was matched.*")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*is deprecated.*")
        yield


@checked(model=a_model)
def save_model(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Path:
    """Write model and tokenizer into a folder that :func:`load_model` reads; weights as safetensors.

    What ends a turn of the tokenizer's chat template is written into ``generation_config.json``, so that any program
    that loads the model stops there.

    Args:
        model: The model.
        tokenizer: Its tokenizer: a model is of no use with another one.
        folder: Made if it isn't there.

    Returns:
        The folder.

    Raises:
        ModelError: The folder holds a model already, and nothing is overwritten; or it can't be written.

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    try:
        place = check_folder(folder)
    except DataError as error:
        raise ModelError(str(error)) from error
    if holds_model(place):
        raise ModelError(f"{place}: the folder holds a model already: choose another one, or delete it first")
    save_quietly(model, place)
    tokenizer.save_pretrained(place)
    if tokenizer.chat_template and getattr(model, "generation_config", None) is not None:
        settings = copy.deepcopy(model.generation_config)
        with contextlib.suppress(DataError):  # a template that takes no plain question and answer tells no end
            set_ends(tokenizer, settings, template_of(tokenizer))
        settings.save_pretrained(place)
    return place


def save_quietly(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """Write a model's configuration and weights without a progress bar."""
    adapters: dict[str, Any] = getattr(model, "peft_config", {})
    options: dict[str, Any] = {}
    for adapter in adapters.values():
        adapter.base_model_name_or_path = _portable(adapter.base_model_name_or_path)
    if adapters:
        base_name = next(iter(adapters.values())).base_model_name_or_path
        # Left to itself, peft would look for the base model on the Hub.
        options["save_embedding_layers"] = _embeddings_grew(model, base_name)
    with no_progress_bar():
        model.save_pretrained(str(folder), **options)
    if adapters:  # peft leaves it out; the ends that training taught are in it
        model.generation_config.save_pretrained(folder)


def _portable(place: str) -> str:
    """Return the name of a model that comes with the course: where it lies differs from machine to machine."""
    if place == str(nano_folder()):
        return "nano"
    return SMOLLM2 if place and is_smollm2(place) else place


def _embeddings_grew(model: PreTrainedModel | PeftModel, base_name: str) -> bool:
    """Whether a model with adapters has other rows of embeddings than its base model on disk: for added tokens, say."""
    try:
        config = text_config(AutoConfig.from_pretrained(resolve_name(base_name)))
    except (ModelError, OSError, ValueError):
        return False  # it was built here and has no base to be loaded from: whoever loads it brings the embeddings
    return bool(config.vocab_size != embedding_rows(model))


def embedding_rows(model: PreTrainedModel | PeftModel) -> int:
    """Count the rows of a model's embeddings: its vocabulary, with what fills it up to a round number."""
    table: Any = model.get_input_embeddings()
    return int(table.weight.shape[0])


def _rows_of_adapter(adapter: Path, base: PreTrainedModel) -> int | None:
    """Rows of the embeddings, or of the output layer, that lie in an adapter's file, if there are any."""
    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        return None
    tables = (base.get_input_embeddings(), base.get_output_embeddings())
    wanted = tuple(f".{name}.weight" for name, module in base.named_modules() if module in tables)
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.endswith(wanted)]  # noqa: SIM118
        return max((tensors.get_slice(name).get_shape()[0] for name in names), default=None)


def default_device() -> str:
    """Name the device that FTLIB_DEVICE sets, or else the best that is there: ``"cuda"``, ``"mps"`` or ``"cpu"``.

    Raises:
        ModelError: FTLIB_DEVICE names one that isn't there.
    """
    if wanted := os.environ.get(DEVICE_VARIABLE):
        return check_device(wanted)
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(name: str | None) -> str:
    """Return a device that is there: the one that is named, or the best.

    Raises:
        ModelError: There is none of this name.

    >>> check_device("cpu")
    'cpu'
    """
    if name is None:
        return default_device()
    kinds = ("cpu", "cuda", "mps")
    try:
        if str(name).partition(":")[0] != "meta":  # which holds no numbers
            torch.empty(0, device=name)
            return name
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        if str(name).partition(":")[0] in kinds:
            reason = (str(error).splitlines() or [""])[0]
            raise ModelError(
                f"device {name!r} can't be used here ({reason}): leave it out, and the best that is there is taken"
            ) from error
    raise ModelError(f"unknown device {name!r}; {one_of(name, kinds)}")


def context_length(model: PreTrainedModel | PeftModel) -> int:
    """Tokens that a model can see at once (prompt and answer together).

    Where positions are no table (the distances of BLOOM, the state of a Mamba) that is as many as there is memory for:
    :data:`NO_CONTEXT_LIMIT`, unless the configuration says how many it was trained with.
    """
    config = text_config(model.config)
    found = (getattr(config, field, None) for field in _CONTEXT_FIELDS)
    return next((int(tokens) for tokens in found if tokens and tokens > 0), NO_CONTEXT_LIMIT)
