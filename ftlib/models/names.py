"""What a model may be called: nano, smollm2, an id of the Hub, or a folder of yours."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from ftlib.errors import DataError, ModelError
from ftlib.files import read_note
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import smollm2_folder
from ftlib.nearest import beside, did_you_mean, nearest
from ftlib.paths import architectures_file, check_name, nano_folder

MODEL_VARIABLE = "FTLIB_MODEL"
_ADAPTER = "adapter_config.json"
CHECKPOINT_LOST = "delete the folder of this checkpoint, or take the file from a backup"
# Models from the early days of the Hub, whose id has no owner in front of a slash.
_HUB_IDS_WITHOUT_OWNER = ("distilgpt2", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")


def resolve_name(name: str | Path) -> str:
    """Turn a name into what transformers loads: a folder's path or a Hub id.

    Raises:
        ModelError: The name is neither, or the folder holds no model.

    >>> resolve_name("EleutherAI/pythia-70m")
    'EleutherAI/pythia-70m'
    """
    text = str(name)
    if text == "auto":
        text = os.environ.get(MODEL_VARIABLE) or "nano"
    if text == "nano":
        return str(nano_folder())
    if text == SMOLLM2:
        return str(smollm2_folder())
    try:
        check_name(text)
    except DataError as error:
        raise ModelError(str(error)) from None
    folder = Path(text).expanduser()
    if text and folder.is_dir():
        folder = best_checkpoint(folder) or folder
        if not holds_model(folder):
            raise ModelError(f"{folder}: the folder holds no model (no config.json): save one with save_pretrained")
        return str(folder)
    if text.lower().endswith(".gguf"):
        raise ModelError(f"{text}: a GGUF file is for llama.cpp, and can be served: ftlib serve {text}")
    if _is_hub_id(text) and not _is_meant_as_folder(text):
        return text
    is_path = "/" in text and folder.parent.is_dir()
    what = f"{text}: no such folder, nor a model of that name" if is_path else f"unknown model {text!r}"
    raise ModelError(
        f"{what}.{meant_model(text)} Give 'nano', 'smollm2', a Hub id such as 'EleutherAI/pythia-70m', or an "
        "existing folder"
    )


def _is_hub_id(text: str) -> bool:
    return text in _HUB_IDS_WITHOUT_OWNER or (
        text.count("/") == 1 and text[0] not in "./~" and not text.endswith("/") and "\\" not in text
    )


def _is_meant_as_folder(text: str) -> bool:
    """Whether a name with a slash lies beside models of this machine, so that it is no owner's at the Hub.

    What was downloaded from the Hub already is asked for there all the same.
    """
    parent = Path(text).parent
    if parent == Path() or not parent.is_dir() or isinstance(try_to_load_from_cache(text, "config.json"), str):
        return False
    return any(holds_model(one) or (one / "checkpoints").is_dir() for one in parent.iterdir() if one.is_dir())


def meant_model(text: str, *, cutoff: float = 0.6) -> str:
    """Return a question to end a message with: what a model's name that isn't known may have meant.

    Looked at are nano, smollm2, the models of the Hub whose shape ftlib knows, the runs below ``runs/``, and folders
    beside the one that was named.
    """
    architectures = json.loads(architectures_file().read_text(encoding="utf-8"))
    if text in architectures:
        return ""  # it is spelt right
    folder = Path(text).expanduser()
    runs = [str(path) for path in sorted(Path("runs").glob("*")) if path.is_dir()]
    beside_it = [one for one in beside(folder) if Path(one).is_dir()]
    by_name = {Path(one).name: one for one in [*runs, *(beside_it if folder.parent.is_dir() else ())]}
    if near := nearest(folder.name, by_name, cutoff=cutoff):
        return f" Did you mean {by_name[near]!r}?"
    elsewhere = [] if folder.parent.is_dir() else beside_it
    return did_you_mean(
        text, ["nano", SMOLLM2, "auto", *_HUB_IDS_WITHOUT_OWNER, *architectures, *elsewhere], cutoff=cutoff
    )


def best_checkpoint(run_folder: Path) -> Path | None:
    """Return the checkpoint of a run that ranks best (lowest loss, as a rule), or the last if none was evaluated."""
    found = []
    for state in sorted((run_folder / "checkpoints").glob("step-*/training_state.json")):
        told = read_note(state, "step", "rank", error=ModelError, way_out=CHECKPOINT_LOST)
        rank = told["rank"]
        found.append((rank if rank is not None else math.inf, -told["step"] if rank is None else told["step"], state))
    return min(found)[2].parent if found else None


def base_of_adapter(folder: Path) -> str | None:
    """Name the model that the adapter in a folder belongs to; None if there is no adapter.

    Raises:
        ModelError: Its ``adapter_config.json`` can't be read, or names no model.
    """
    noted, name = folder / _ADAPTER, "base_model_name_or_path"
    if not noted.is_file():
        return None
    found = read_note(noted, name, error=ModelError, way_out="save the adapter again with save_pretrained")[name]
    if not isinstance(found, str) or not found:
        raise ModelError(f"{noted}: {name} is {found!r}: write there the name or the folder of the adapter's model")
    return found


def holds_model(folder: Path) -> bool:
    """Tell whether a folder holds a model or an adapter."""
    return any((folder / name).is_file() for name in ("config.json", _ADAPTER))
