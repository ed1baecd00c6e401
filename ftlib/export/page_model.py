"""What a browser needs of a model that runs inside a page: its files, and what the page must know of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from transformers import GenerationConfig
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from ftlib.data.messages import user
from ftlib.models.chat_model import training_template
from ftlib.models.loading import load_tokenizer
from ftlib.models.names import resolve_name
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import find_gguf
from ftlib.text.ends import end_ids
from ftlib.text.templates import Template

CONTEXT_LIMIT = 2048
"""Tokens that a page lets a model see at once: keys and values of more would fill a phone's memory."""
TOKENIZER_FILE, BASE_WEIGHTS = "tokenizer.json", "base.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is left out of a configuration tells where somebody's files lay, and nothing that a page needs.
_PRIVATE = ("_name_or_path", "base_model_name_or_path")


def publish(name: str, place: Path, *, tuned: str | Path | None = None, shelf: str = "adapter") -> dict[str, Any]:
    """Copy a model's files into a folder of a site, and return what the page must know to run it.

    Args:
        name: ``"nano"`` or ``"smollm2"``, whose weights stay in the four-bit blocks that its package has.
        place: The folder; made if it isn't there.
        tuned: A run, or a folder with a LoRA adapter of this model or with the model's weights after training.
        shelf: The folder in ``place`` for the adapter.

    Returns:
        Its name, whether there is a tuned one, its files with their bytes, the template's text around a question, the
        tokens that end an answer; and what of this is another thing for the model before training.

    Raises:
        ModelError: The model isn't there.
    """
    files = _sources(name)
    config = json.loads(files[CONFIG_NAME].read_text(encoding="utf-8"))
    told = {"name": name, "weights": next(reversed(files)), "tuned": tuned is not None, **_spoken(name)}
    told["context"] = min(config["max_position_embeddings"], CONTEXT_LIMIT)
    if tuned is not None:
        told |= _tuned(told, files, tuned, shelf)
    return told | {"files": [_put(source, place / one, one) for one, source in files.items()]}


def _tuned(told: dict[str, Any], files: dict[str, Path], tuned: str | Path, shelf: str) -> dict[str, Any]:
    """Add the files of a tuned model to those of its base, and say what is true of it; under "base", what it was."""
    folder = Path(resolve_name(tuned))
    own = _spoken(tuned) if (folder / TOKENIZER_FILE).is_file() else {}
    base = {key: told[key] for key in own if told[key] != own[key]}
    if (folder / ADAPTER_CONFIG).is_file():
        files |= {f"{shelf}/{one}": folder / one for one in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
        return {**own, "adapter": shelf, "base": base}
    files |= {
        BASE_WEIGHTS: files[SAFE_WEIGHTS_NAME],
        **{one: folder / one for one in (CONFIG_NAME, TOKENIZER_FILE, SAFE_WEIGHTS_NAME)},
    }
    return {**own, "base": base | {"weights": BASE_WEIGHTS}}


def _sources(name: str) -> dict[str, Path]:
    """Say which files a page needs of a model, by their names there; the weights are the last."""
    source = Path(resolve_name(name))
    weights = {"model.gguf": find_gguf()} if name == SMOLLM2 else {SAFE_WEIGHTS_NAME: source / SAFE_WEIGHTS_NAME}
    return {CONFIG_NAME: source / CONFIG_NAME, TOKENIZER_FILE: source / TOKENIZER_FILE, **weights}


def _spoken(name: str | Path) -> dict[str, Any]:
    """Say how a model is spoken to: the markup around a question, and what ends an answer."""
    tokenizer = load_tokenizer(name)
    template = training_template(tokenizer, str(name))
    noted = Path(resolve_name(name)) / "generation_config.json"
    settings = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {}
    return {
        "prompt": around_question(template),
        "ends": end_ids(GenerationConfig(eos_token_id=settings.get("eos_token_id")), tokenizer, template),
        "endMarker": template.end_marker,
    }


def around_question(template: Template) -> list[str]:
    r"""Return the markup before and behind a question, as training lays it out.

    >>> from ftlib.text.templates import QUESTION_ANSWER
    >>> around_question(QUESTION_ANSWER)
    ['### Question:\n', '\n\n### Answer:\n']
    """
    segments = template.render_prompt([user("?")])
    (question,) = [number for number, segment in enumerate(segments) if not segment.is_markup]
    return ["".join(segment.text for segment in part) for part in (segments[:question], segments[question + 1 :])]


def _put(source: Path, target: Path, name: str) -> dict[str, Any]:
    """Copy a file; tell its bytes, and a version of it: a browser keeps it until that changes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.name in (CONFIG_NAME, ADAPTER_CONFIG):
        facts = json.loads(source.read_text(encoding="utf-8"))
        target.write_text(json.dumps({key: facts[key] for key in facts if key not in _PRIVATE}), encoding="utf-8")
    else:
        shutil.copyfile(source, target)
    content = target.read_bytes()
    return {"name": name, "bytes": len(content), "version": hashlib.sha256(content).hexdigest()[:12]}
