"""What a browser needs of a model that runs inside a page: its files, and what the page must know of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from ftlib.data.messages import user
from ftlib.models.loading import load_tokenizer
from ftlib.models.names import resolve_name
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import find_gguf
from ftlib.text.chat_template import template_of
from ftlib.text.ends import end_ids
from ftlib.text.templates import Template

CONTEXT_LIMIT = 2048
"""Tokens that a page lets a model see at once: keys and values of more would fill a phone's memory."""
_TEXTS = ("config.json", "tokenizer.json")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def publish(name: str, place: Path, *, adapter: Path | None = None) -> dict[str, Any]:
    """Copy a model's files into a folder of a site, and return what the page must know to run it.

    Args:
        name: ``"nano"`` or ``"smollm2"``, whose weights stay in the four-bit blocks that its package has.
        place: The folder; made if it isn't there.
        adapter: A folder of a LoRA adapter of this model, to lie beside it.

    Returns:
        Its name, whether it has an adapter, its files with their bytes, the template's text around a question, the
        tokens that end an answer.

    Raises:
        ModelError: The model isn't there.
    """
    place.mkdir(parents=True, exist_ok=True)
    source = Path(resolve_name(name))
    weights = find_gguf() if name == SMOLLM2 else source / "model.safetensors"
    kept = "model.gguf" if name == SMOLLM2 else "model.safetensors"
    for text in _TEXTS:
        shutil.copyfile(source / text, place / text)
    shutil.copyfile(weights, place / kept)
    for file in _ADAPTER if adapter else ():
        shutil.copyfile(Path(str(adapter)) / file, place / file)
    return {
        "name": name,
        "weights": kept,
        "tuned": adapter is not None,
        **_spoken(name),
        **_files(place, [*_TEXTS, kept, *_ADAPTER]),
    }


def _spoken(name: str) -> dict[str, Any]:
    tokenizer = load_tokenizer(name)
    template = template_of(tokenizer)
    config = json.loads((Path(resolve_name(name)) / "config.json").read_text(encoding="utf-8"))
    return {
        "context": min(config["max_position_embeddings"], CONTEXT_LIMIT),
        "prompt": around_question(template),
        "ends": end_ids(None, tokenizer, template),
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


def _files(place: Path, names: list[str]) -> dict[str, Any]:
    """List files with their bytes, and a version of them all: a browser keeps them until it changes."""
    there = [place / name for name in names if (place / name).is_file()]
    whole = hashlib.sha256()
    for path in there:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    files = [{"name": path.name, "bytes": path.stat().st_size} for path in there]
    return {"files": files, "version": whole.hexdigest()[:12]}
