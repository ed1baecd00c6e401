"""The tokenizer of a model, alone: who only counts tokens needn't wait until PyTorch and the model are there."""

from __future__ import annotations

import os
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ftlib.errors import ModelError
from ftlib.locales import why_unreadable
from ftlib.models.names import meant_model, resolve_name

_PYTHIA_PADDING = "<|padding|>"


def load_tokenizer(name: str | Path = "auto") -> PreTrainedTokenizerBase:
    """Load only the tokenizer of a model; the names are those of :func:`ftlib.models.loading.load_model`.

    Raises:
        ModelError: It isn't there, or can't be read.

    >>> load_tokenizer("nano")("padding")["input_ids"] != []
    True

    Taught in: chapters/13_metrics_that_lie.ipynb
    """
    place = resolve_name(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ModelError(why_not_loaded(place, error)) from error
    if tokenizer.pad_token_id is None:
        # Pythia's tokenizer knows a padding token but doesn't name it. Models without one pad with their
        # end token: safe here, because padding is masked by position and never by the token's id.
        known = tokenizer.get_vocab()
        tokenizer.pad_token = _PYTHIA_PADDING if _PYTHIA_PADDING in known else tokenizer.eos_token
    return tokenizer


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def why_not_loaded(place: str, error: Exception) -> str:
    """Say why a model or a tokenizer can't be loaded, and what to do.

    Args:
        place: A folder, or an id of the Hub.
        error: What transformers says.
    """
    reason = first_line(error)
    if unreadable := why_unreadable(place):
        return f"{place!a}: {unreadable}"
    if Path(place).is_dir():
        expected = "config.json, model.safetensors and a tokenizer"
        return f"{place}: the folder can't be loaded: {reason}. Expected {expected}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    cause = "HF_HUB_OFFLINE forbids the network" if offline else "the Hub can't be reached or has no such model"
    if Path(place).parts[:1] == ("runs",):  # where every example puts its runs, and nobody's name on the Hub here
        name = Path(place).name
        return f"no such folder: {place}. A run is there once it is trained: ftlib train {name} --out {place}"
    return (
        f"model {place!r} is not in the local cache, and {cause}. Go online once to download it, check the "
        f"spelling, or use 'nano', which needs no network.{meant_model(place, cutoff=0.8)} ({reason})"
    )
