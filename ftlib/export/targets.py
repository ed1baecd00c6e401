"""Where an export goes: something new, whole or not there at all; and what of a model is written."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from ftlib.errors import DataError, ExportError
from ftlib.files import check_folder, whole_file, whole_folder
from ftlib.models.chat_model import ChatModel, load_chat_model
from ftlib.models.loading import Dtype
from ftlib.text.chat_template import to_jinja


def new_place(path: str | Path) -> Path:
    """See that something new can be written at a path, before a model is loaded for it.

    Returns:
        The path.

    Raises:
        ExportError: There is something already, which is never overwritten, or it can't be written there.
    """
    place = Path(path).expanduser()
    if place.exists() or place.is_symlink():
        raise ExportError(f"{place}: is there already, and nothing is overwritten: name another place, or delete it")
    try:
        return check_folder(place.parent) / place.name
    except DataError as error:
        raise ExportError(str(error)) from error


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Fill a folder that appears whole or not at all.

    Yields:
        The folder to write into.

    Raises:
        ExportError: It can't be written.
    """
    try:
        with whole_folder(place) as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        raise write_failure(place, error) from error


@contextlib.contextmanager
def new_file(place: Path) -> Iterator[Path]:
    """Write a file that appears whole or not at all; yield the path to write to.

    Raises:
        ExportError: It can't be written.
    """
    try:
        with whole_file(place) as partial:
            yield partial
    except OSError as error:
        raise write_failure(place, error) from error


def write_failure(place: Path, error: Exception) -> ExportError:
    """Say that a place can't be written, and what to do."""
    reason = getattr(error, "strerror", None) or error
    return ExportError(f"{place}: can't be written ({reason}): free some space, or check permissions")


def load_merged(name: str, dtype: Dtype = "float32") -> ChatModel:
    """Load a model on the CPU with its adapter added into the weights, and a tokenizer that says its template.

    Args:
        name: As for :func:`ftlib.load_model`.
        dtype: Of the weights.

    Returns:
        Its tokenizer is a copy whose chat template is the template of training, as a Jinja program.

    Raises:
        ModelError: It can't be loaded.
        ConfigError: It is a run whose configuration can't be read.
        ExportError: It has an adapter that can't be added into the weights.
        DataError: Its template can't be written as a Jinja program.

    >>> "### Question" in load_merged("nano").tokenizer.chat_template
    True
    """
    found = load_chat_model(name, device="cpu", dtype=dtype)
    if type(found.model).__name__.startswith("Peft"):
        kinds = ", ".join(sorted(str(one.peft_type.value) for one in found.model.peft_config.values()))
        raise ExportError(
            f"{name}: its adapter ({kinds}) can't be added into the weights, and other programs don't know it: train "
            "with LoRA instead"
        )
    tokenizer = copy.deepcopy(found.tokenizer)
    tokenizer.chat_template = to_jinja(found.template, found.tokenizer)
    return ChatModel(name, found.model, tokenizer, found.template)


def export_name(name: str) -> str:
    """Return what an export is called after: the last part of the model's name, a run's name for its checkpoints.

    >>> export_name("runs/faq/"), export_name("runs/faq/checkpoints/step-00000040")
    ('faq', 'faq-step-00000040')
    >>> export_name("EleutherAI/pythia-70m")
    'pythia-70m'
    """
    path = Path(name).expanduser()
    if path.parent.name == "checkpoints" and path.parent.parent.name:
        return f"{path.parent.parent.name}-{path.name}"
    return path.name or path.resolve().name or "model"
