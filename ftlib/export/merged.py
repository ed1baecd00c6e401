"""A model as a plain folder of transformers: merged weights, tokenizer with its template, and where texts end."""

from __future__ import annotations

import copy
from pathlib import Path

from transformers import GenerationConfig

from ftlib.argument_checks import checked, text, unchecked
from ftlib.export.targets import load_merged, new_folder, new_place
from ftlib.models.chat_model import ChatModel
from ftlib.models.loading import Dtype, save_quietly
from ftlib.text.ends import set_ends


@checked(name=unchecked, dtype=text)
def export_merged(name: str, folder: str | Path, *, dtype: Dtype = "float32") -> Path:
    """Write a model into a folder that any program reads which knows transformers' format.

    An adapter is added into the weights. ``chat_template`` is the template of training, and ``generation_config.json``
    names the token that ends its turns, so that a program that knows neither the run nor its base model stops where it
    should. The sum of matrix and adapter is computed in the type of the weights; float32 loses nothing.

    Args:
        name: As for :func:`ftlib.load_model`: a run, a checkpoint, an adapter, a model.
        folder: New; it appears whole or not at all.
        dtype: Of the weights. bfloat16 and float16 take half of the space.

    Returns:
        The folder.

    Raises:
        ExportError: The folder is there already or can't be written, or the adapter is of a kind that can't be merged.
        ModelError: There is no such model.
    """
    place = new_place(folder)
    model = load_merged(name, dtype)
    with new_folder(place) as partial:
        write_folder(model, partial)
    return place


def write_folder(model: ChatModel, folder: Path) -> None:
    """Write a model of :func:`~ftlib.export.targets.load_merged` into a folder that is there."""
    save_quietly(model.model, folder)
    model.tokenizer.save_pretrained(folder)
    ends_of(model).save_pretrained(folder)  # over what the model has just written of itself


def ends_of(model: ChatModel) -> GenerationConfig:
    """Return a model's ``generation_config`` with the end of its template's turns; the model's own stays as it is."""
    settings: GenerationConfig = copy.deepcopy(getattr(model.model, "generation_config", None)) or GenerationConfig()
    set_ends(model.tokenizer, settings, model.template)
    return settings
