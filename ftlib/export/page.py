"""A model as a page: one folder for any static host, in which a reader's own browser runs the model."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from ftlib.argument_checks import checked, unchecked
from ftlib.errors import ExportError
from ftlib.export.page_model import ADAPTER_WEIGHTS, TOKENIZER_FILE, publish
from ftlib.export.page_section import talk_section
from ftlib.export.targets import export_name, new_folder, new_place
from ftlib.inference.generation import answer
from ftlib.models.chat_model import training_template
from ftlib.models.loading import load_model
from ftlib.models.names import base_of_adapter, holds_model, resolve_name
from ftlib.models.run_folder import run_config
from ftlib.models.smollm2 import NAME as SMOLLM2
from ftlib.models.smollm2 import find_gguf, is_smollm2
from ftlib.paths import assets_folder, nano_folder, talk_folder

NANO = "nano"
_PART_OF_LORA = (".lora_A.weight", ".lora_B.weight")
# What makes a model of nano's kind: its layers are computed, and its texts are cut into tokens, as nano's.
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")


class PageSource(NamedTuple):
    """What a page is made of: the model before training, and what training made of it."""

    base: str
    tuned: str | None


@checked(name=unchecked)
def export_page(name: str, folder: str | Path, *, questions: Iterable[str] = (), max_new_tokens: int = 64) -> Path:
    """Write a folder with a page on which anybody can ask a model, and see what it said before it was tuned.

    The page is plain HTML and JavaScript and asks no other host for anything. Before the model is loaded, and without
    JavaScript, the recorded answers stand there.

    Args:
        name: A run, a checkpoint or an adapter of nano or smollm2; a fully trained or merged nano; or one of the two
            itself, which is a page with one column.
        folder: New; it appears whole or not at all.
        questions: Each becomes a button, and its greedy answers are recorded.
        max_new_tokens: The most that an answer has; a reader may choose another limit for their own.

    Returns:
        The folder.

    Raises:
        ExportError: A page can't run this model, a question is empty, or the folder is there already or can't be
            written.
        PromptTooLongError: A question and its answer don't fit into the model's context.
        ModelError: There is no such model.
        MissingExtraError: It is smollm2's, whose packages aren't installed.
    """
    place = new_place(folder)
    source = page_source(name)
    asked = _checked(questions)
    recorded = record(source, asked, max_new_tokens=max_new_tokens)
    with new_folder(place) as partial:
        shutil.copytree(talk_folder(), partial, dirs_exist_ok=True)
        about = publish(source.base, partial / "lm" / "models" / source.base, tuned=source.tuned)
        section = talk_section(source.base, about, max_new_tokens, recorded)
        shutil.copyfile(assets_folder() / "page" / "page.css", partial / "page.css")
        (partial / "index.html").write_text(_page(name, source, section), encoding="utf-8")
    return place


def page_source(name: str) -> PageSource:
    """Say what a page of a model is made of, and see that a browser can run it.

    Args:
        name: As for :func:`export_page`.

    Raises:
        ExportError: A page can't run it.
        ModelError: There is no such model.
        MissingExtraError: It is smollm2's, whose packages aren't installed.

    >>> page_source("nano")
    PageSource(base='nano', tuned=None)
    """
    _check_trained(name)
    folder = Path(resolve_name(name))
    if own := _shipped_name(folder):
        source = PageSource(own, None)
    elif (base := base_of_adapter(folder)) is not None:
        source = PageSource(_base_for(base, name), name)
        _check_adapter(folder, name)
    else:
        _check_is_nano(folder, name)
        source = PageSource(NANO, name)
    if source.base == SMOLLM2:
        find_gguf()
    return source


def record(source: PageSource, questions: Sequence[str], *, max_new_tokens: int) -> list[tuple[str, list[str]]]:
    """Ask questions, and return each with its greedy answers: of the base, and of the tuned model if there is one.

    Each model is asked in the template that it was trained in.

    Args:
        source: As :func:`page_source` gives it.
        questions: Texts.
        max_new_tokens: The most that an answer has.
    """
    if not questions:
        return []
    sides = [one for one in source if one is not None]
    answers = [_answers(one, questions, max_new_tokens) for one in sides]
    return [(question, list(said)) for question, *said in zip(questions, *answers, strict=True)]


def _answers(name: str, questions: Sequence[str], max_new_tokens: int) -> list[str]:
    model, tokenizer = load_model(name, device="cpu")
    template = training_template(tokenizer, name)
    return answer(model, tokenizer, questions, template=template, max_new_tokens=max_new_tokens)


def _checked(questions: Iterable[str]) -> list[str]:
    """Return questions as a page gives them back: a browser knows one kind of line break."""
    asked = list(dict.fromkeys(one.replace("\r\n", "\n").replace("\r", "\n").strip() for one in questions))
    if "" in asked:
        raise ExportError("a question is empty: leave it out, or write what shall be asked")
    return asked


def _check_trained(name: str) -> None:
    """Refuse a run that was stopped before it wrote a checkpoint."""
    folder = Path(name).expanduser()
    if not folder.is_dir() or holds_model(folder) or run_config(name) is None:
        return
    if not any((folder / "checkpoints").glob("step-*")):
        raise ExportError(
            f"{name}: the run has no weights yet, since no checkpoint was written: let `ftlib train` go on until the "
            "first one, or to its end"
        )


def _shipped_name(folder: Path) -> str | None:
    """Name the model of the course that lies in a folder."""
    if folder == nano_folder():
        return NANO
    return SMOLLM2 if is_smollm2(folder) else None


def _base_for(base: str, name: str) -> str:
    """Return the model of a page's that an adapter lies on."""
    known = base if base in (NANO, SMOLLM2) else _shipped_name(Path(base))
    if known is None:
        raise ExportError(
            f"{name}: its adapter belongs to {base}, and a page runs {NANO} and {SMOLLM2}: write it for a program that "
            "runs other models, with --to merged, gguf, ollama or vllm"
        )
    return known


def _check_adapter(folder: Path, name: str) -> None:
    """Refuse an adapter that is more than pairs of matrices beside linear layers."""
    told = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    faults = {
        f"is of the type {told.get('peft_type')}": told.get("peft_type") != "LORA",
        "uses DoRA": bool(told.get("use_dora")),
        "works from certain tokens on": bool(told.get("alora_invocation_tokens")),
        "changes more than linear layers": not all(one.endswith(_PART_OF_LORA) for one in _tensors(folder, name)),
    }
    if found := [what for what, is_so in faults.items() if is_so]:
        raise ExportError(
            f"{name}: the adapter {' and '.join(found)}, which a page can't compute: train with plain LoRA, or add it "
            "into the weights with --to merged"
        )


def _tensors(folder: Path, name: str) -> list[str]:
    """List what an adapter's file holds."""
    try:
        with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise ExportError(
            f"{name}: there is no whole {ADAPTER_WEIGHTS} in {folder} ({error}): save the adapter again"
        ) from error


def _check_is_nano(folder: Path, name: str) -> None:
    """Refuse weights of another model than nano: they'd be too large for a page, or computed otherwise."""
    theirs, ours = [_facts(place) for place in (folder, nano_folder())]
    if theirs != ours or not (folder / SAFE_WEIGHTS_NAME).is_file():
        raise ExportError(
            f"{name}: a page runs {NANO}, also with weights of its own, and LoRA adapters of {NANO} and {SMOLLM2}; "
            "this is another model: write it for a program that runs it, with --to merged, gguf, ollama or vllm"
        )


def _facts(folder: Path) -> list[Any]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        rules = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
        merges = [one if isinstance(one, str) else " ".join(one) for one in rules["model"]["merges"]]  # as it was saved
        return [*(config.get(key) for key in _SHAPE), rules["model"]["vocab"], merges]
    return []


def _page(name: str, source: PageSource, section: str) -> str:
    """Return the text of the page."""
    title = export_name(name)
    about = f"The language model {source.base}"
    if source.tuned:
        about += ", twice: base is the model before fine-tuning, and tuned is the same model after it"
    layout = Template((assets_folder() / "page" / "index.html").read_text(encoding="utf-8"))
    return layout.substitute(title=escape(title), about=escape(about) + ".", section=section)
