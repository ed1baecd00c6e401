"""``ftlib export``: a trained model for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ftlib.cli import completion
from ftlib.cli.options import completed_argument, completed_option
from ftlib.cli.usage import WrongUsage
from ftlib.nearest import one_of

EXAMPLES = (
    "ftlib export runs/faq --to merged --dtype bfloat16",
    "ftlib export runs/faq --to gguf --quantization q8_0 --out faq.gguf",
    "ftlib export runs/faq --to gguf --adapter-only",
    "ftlib export runs/faq --to ollama --quantization q8_0",
    'ftlib export runs/support_mail --to page --question "Where is my parcel?"',
)
STATUSES = {1: "an error, such as a place where something is already"}
# The formats that take an option.
_TAKES = {
    "--dtype": ("merged", "vllm"),
    "--quantization": ("gguf", "ollama"),
    "--adapter-only": ("gguf",),
    "--question": ("page",),
    "--max-new-tokens": ("page",),
}


def export(
    model: Annotated[
        str,
        completed_argument(
            "MODEL",
            "The folder of a run, a checkpoint, an adapter or a model; nano, smollm2, or a Hub id.",
            completion.models,
        ),
    ],
    to: Annotated[
        str,
        completed_option(
            "merged: a folder for transformers and all that reads its format; gguf: a file for llama.cpp; "
            "ollama: that and a Modelfile; vllm: a merged folder and a configuration; page: a folder for any web "
            "server, in which the reader's browser runs the model.",
            completion.EXPORTS,
            "--to",
            metavar="FORMAT",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Where to; default: named after the model, here.")
    ] = None,
    dtype: Annotated[
        str | None,
        completed_option(
            "Of merged weights: float32, bfloat16 or float16; default: float32, for vllm bfloat16.",
            completion.WEIGHT_DTYPES,
            metavar="TYPE",
        ),
    ] = None,
    quantization: Annotated[
        str | None,
        completed_option(
            "Of GGUF: f16 (the default), q8_0 or q4_0: 16, 8 or 4 bits a weight.", completion.QUANTIZATIONS
        ),
    ] = None,
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Write the LoRA adapter alone as GGUF, to load beside its base.")
    ] = False,
    questions: Annotated[
        list[str] | None,
        typer.Option("--question", metavar="TEXT", help="A button of the page, with recorded answers; any number."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The most tokens of an answer on the page; default: 64.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a model, its template and its ends for other programs.

    An adapter is added into the weights, except for a page, where it can be switched
    off. Nothing is overwritten, and a folder or a file appears whole or not at all.
    """
    options: dict[str, tuple[str, Any]] = {
        "--dtype": ("dtype", dtype),
        "--quantization": ("quantization", quantization),
        "--adapter-only": ("adapter_only", adapter_only),
        "--question": ("questions", questions),
        "--max-new-tokens": ("max_new_tokens", max_new_tokens),
    }
    given = {option: named for option, named in options.items() if named[1]}
    _check_usage(to, list(given))
    place = _written(model, to, out, **dict(given.values()))
    _tell(place, to, as_json=as_json)


def _check_usage(to: str, options: list[str]) -> None:
    if to not in completion.EXPORTS:
        raise WrongUsage(f"unknown format {to!r}; {one_of(to, completion.EXPORTS)}")
    for option in options:
        if to not in _TAKES[option]:
            raise WrongUsage(f"{option} goes with --to {' or '.join(_TAKES[option])}")


def _written(model: str, to: str, out: Path | None, *, adapter_only: bool = False, **options: Any) -> Path:
    from ftlib.export.gguf_adapter import export_adapter
    from ftlib.export.gguf_file import export_gguf
    from ftlib.export.merged import export_merged
    from ftlib.export.ollama import export_ollama
    from ftlib.export.page import export_page
    from ftlib.export.targets import export_name
    from ftlib.export.vllm import export_vllm

    named = export_name(model)
    if adapter_only:
        return export_adapter(model, out or Path(f"{named}-lora.gguf"))
    if to == "gguf":
        return export_gguf(model, out or Path(f"{named}-{options.get('quantization', 'f16')}.gguf"), **options)
    export: Any = {"merged": export_merged, "ollama": export_ollama, "vllm": export_vllm, "page": export_page}[to]
    return Path(export(model, out or Path(f"{named}-{to}"), **options))


def _tell(place: Path, to: str, *, as_json: bool) -> None:
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    written = {str(path): path.stat().st_size for path in files}
    if as_json:
        typer.echo(json.dumps({"format": to, "path": str(place), "bytes": written}))
        return
    from ftlib.cli.output import print_export

    print_export(str(place), written)
