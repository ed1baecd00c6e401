"""A model of your own behind OpenAI's protocol, on this computer alone: a server, started and stopped.

A model of transformers is served by ``transformers serve``, a GGUF file by llama.cpp's server. The same client then
asks the tuned model and a hosted one, over the same protocol, and no key is needed.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from ftlib.errors import ConfigError, MissingExtraError, ModelError
from ftlib.hosted.server_process import FOLDER_PREFIX, running
from ftlib.loopback import HOST, keep_off_proxies
from ftlib.models.loading import check_device, load_model, save_quietly
from ftlib.models.names import resolve_name
from ftlib.models.tokenizer import load_tokenizer
from ftlib.text.chat_template import template_of, to_jinja
from ftlib.text.ends import end_ids
from ftlib.text.templates import Template

if TYPE_CHECKING:
    from peft import PeftModel

_TRANSFORMERS_PACKAGES = ("fastapi", "uvicorn", "pydantic", "openai")
_GGUF_PACKAGES = ("xllamacpp",)
_GGUF_MAGIC = b"GGUF"
_LONGEST_NAME = 96


@dataclass(frozen=True)
class LocalServer:
    """A server that runs.

    Attributes:
        base_url: Its address, for ``ask("local", ..., base_url=...)`` or any client of OpenAI's protocol.
        model: Name of the one model that it serves.
    """

    base_url: str
    model: str


@contextlib.contextmanager
def local_server(
    model: str | Path | PreTrainedModel | PeftModel = "auto",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    template: Template | None = None,
    name: str | None = None,
    port: int | None = None,
    device: str | None = None,
    wait_seconds: float = 600.0,
) -> Iterator[LocalServer]:
    """Serve a model over OpenAI's protocol for as long as the ``with`` block lasts.

    The server listens on 127.0.0.1 alone, needs no network, answers for this one model, and ends with the process
    that started it, however that ends. ``transformers serve`` computes in float32, as :func:`ftlib.load_model` does,
    and llama.cpp with the weights that are in the file.

    Args:
        model: A name or folder that :func:`ftlib.load_model` knows, or a model, or a GGUF file
            (:func:`ftlib.export.gguf_file.export_gguf`), which brings its tokenizer and its template.
        tokenizer: The tokenizer that belongs to a model; not needed for a name.
        template: The template that the model was trained with; default: what its tokenizer tells
            (:func:`ftlib.text.chat_template.template_of`).
        name: What the model is called: letters, digits and ``._-``, also as ``"owner/name"``; default: the name of the
            folder or file, or ``"model"``.
        port: Default: a free one.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; default: the best one that is there. For a GGUF file ``"cpu"``, or
            what the installed llama.cpp was built for.
        wait_seconds: How long loading may take.

    Yields:
        Address and model name, once the server answers.

    Raises:
        MissingExtraError: The extra ``serving`` isn't installed.
        ModelError: The model can't be loaded, or the server doesn't start (the message holds what it printed); or this
            is Windows.
        ConfigError: The name can't be used, or a GGUF file is to have another tokenizer, template or device.

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    if os.name != "posix":
        raise ModelError("the local server runs on Linux and macOS: on Windows start it inside WSL")
    name = _short_name(model) if name is None else _checked_name(name)
    keep_off_proxies()
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX) as folder:
        place = Path(folder)
        if is_gguf(model):
            _check_no_other({"tokenizer": tokenizer, "template": template}, device)
            module, arguments = "serve_gguf", gguf_arguments(model, name, port or 0, device)
        else:
            module, arguments = "serve_transformers", _transformers_arguments(name, port or 0, device)
            _lay_out(place / name, model, tokenizer, template)
        with running(f"ftlib.hosted.{module}", arguments, folder=place, wait_seconds=wait_seconds) as answers_at:
            yield LocalServer(f"http://{HOST}:{answers_at}/v1", name)


def is_gguf(model: object) -> TypeGuard[str | Path]:
    """Say whether a model is named by a GGUF file.

    >>> is_gguf("faq-q8_0.gguf"), is_gguf("runs/faq")
    (True, False)
    """
    return isinstance(model, (str, Path)) and Path(model).suffix.lower() == ".gguf"


def gguf_arguments(file: str | Path, name: str, port: int = 0, device: str | None = None) -> list[str]:
    """Return what ``ftlib.hosted.serve_gguf`` is called with, for a file that is one.

    Raises:
        MissingExtraError: llama.cpp isn't installed.
        ModelError: There is no such file, or it is no GGUF file.
    """
    _check_installed(_GGUF_PACKAGES)
    path = Path(file).expanduser().resolve()
    try:
        with path.open("rb") as opened:
            begins = opened.read(len(_GGUF_MAGIC))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}: write one with ftlib export RUN --to gguf") from error
    if begins != _GGUF_MAGIC:
        raise ModelError(f"{path} is no GGUF file: it begins with {begins!r}. Was it downloaded whole?")
    return [str(path), name, str(port), device or "any"]


def _check_no_other(given: dict[str, Any], device: str | None) -> None:
    for what, value in given.items():
        if value is not None:
            raise ConfigError(f"{what}: a GGUF file brings its own; to change it, export the model anew")
    if device not in (None, "cpu"):
        raise ConfigError(f"device {device!r}: a GGUF file is served on the cpu, or by default on what llama.cpp finds")


def _transformers_arguments(name: str, port: int, device: str | None) -> list[str]:
    """Return the command line of ``transformers serve``; the working directory holds the model, so it needs no path."""
    _check_installed(_TRANSFORMERS_PACKAGES)
    options = {"--host": HOST, "--port": str(port), "--device": check_device(device), "--dtype": "float32"}
    return ["serve", name, *(word for option in options.items() for word in option)]


def _lay_out(
    place: Path,
    model: str | Path | PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase | None,
    template: Template | None,
) -> None:
    """Make a folder for the server: weights (linked where they lie in a folder), tokenizer, settings."""
    place.mkdir(parents=True)
    if tokenizer is None:
        if not isinstance(model, (str, Path)):
            raise ModelError("a model was given without its tokenizer: pass tokenizer= as well")
        tokenizer = load_tokenizer(model)
    folder = Path(resolve_name(model)) if isinstance(model, (str, Path)) else None
    told: PreTrainedModel | PeftModel | GenerationConfig | None = None
    if folder is not None and (folder / "config.json").is_file():
        for file in folder.iterdir():
            # Nothing else: what is written anew below must not be written through a link into the caller's folder.
            if file.name == "config.json" or ".safetensors" in file.name:
                (place / file.name).symlink_to(file.resolve())
        if (folder / GENERATION_CONFIG_NAME).is_file():
            told = GenerationConfig.from_pretrained(folder)
    else:
        whole = told = load_model(model, device="cpu")[0] if isinstance(model, (str, Path)) else model
        # Adapters are put into the weights: the server knows nothing of them. The caller's model stays as it is.
        save_quietly(_merged(whole), place)
    # Written last: saving a model writes a generation_config.json of its own.
    template = template or template_of(tokenizer)
    _write_tokenizer(place, tokenizer, template)
    _write_settings(place, tokenizer, end_ids(told, tokenizer, template))


def _write_tokenizer(place: Path, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    kept = tokenizer.chat_template
    tokenizer.chat_template = to_jinja(template, tokenizer)
    try:
        tokenizer.save_pretrained(place)
    finally:
        tokenizer.chat_template = kept


def _write_settings(place: Path, tokenizer: PreTrainedTokenizerBase, ends: list[int]) -> None:
    # The server switches drawing off at temperature 0, but never on.
    settings = {"do_sample": True, "top_k": 0, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    settings |= {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    (place / GENERATION_CONFIG_NAME).write_text(json.dumps(settings), encoding="utf-8")


def _merged(model: Any) -> PreTrainedModel:
    whole: PreTrainedModel = copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
    return whole


def _short_name(model: object) -> str:
    if not isinstance(model, (str, Path)):
        return "model"
    place = Path(model).expanduser()
    if not place.is_dir() and not is_gguf(model):
        place = Path(resolve_name(model))
    return (
        re.sub(r"[^A-Za-z0-9._-]", "-", place.stem if is_gguf(model) else place.name).lstrip(".-_")[:_LONGEST_NAME]
        or "model"
    )


def _checked_name(name: str) -> str:
    """Hold a name to what can be a folder's below the server's own, and no option of its command line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", name) or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"name {name[:40]!r}: expected at most {_LONGEST_NAME} letters, digits and '._-', such as 'faq' or 'me/faq'"
        )
    return name


def _check_installed(packages: tuple[str, ...]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the local server needs {', '.join(missing)}: install it with pip install 'ftlib[serving]'"
        )
