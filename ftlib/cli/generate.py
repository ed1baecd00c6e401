"""``ftlib generate``: texts from a model."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from ftlib.cli import completion
from ftlib.cli.options import DeviceOption, DtypeOption, SeedOption, TemperatureOption, completed_option
from ftlib.cli.usage import WrongUsage
from ftlib.errors import DataError
from ftlib.locales import typed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ftlib.text.templates import Template

    Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]

EXAMPLES = (
    'ftlib generate "A tokenizer turns text into"',
    'ftlib generate --chat --model runs/faq --stream "What is padding?"',
    "ftlib generate --chat --file questions.txt --json",
    'echo "What is a token?" | ftlib generate --template alpaca',
)
STATUSES = {1: "an error, such as a prompt that is too long"}


def generate(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="Texts to continue, or questions; default: the lines of standard input."),
    ] = None,
    model: Annotated[
        str, completed_option("nano, smollm2, a Hub id, or the folder of a run or a model.", completion.models)
    ] = "auto",
    file: Annotated[
        typer.FileText | None,
        typer.Option(
            metavar="FILE", encoding="utf-8", help="Read the prompts from this file, one a line; - is standard input."
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Ask them as questions, in the template that the model was trained in.")
    ] = False,
    template: Annotated[
        str | None, completed_option("Ask them as questions, in this template.", completion.templates)
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The most tokens to write for each.")] = 64,
    temperature: TemperatureOption = 0.0,
    top_k: Annotated[
        int, typer.Option(metavar="N", min=0, help="Draw from so many likeliest tokens; 0: from all.")
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, max=1, help="Draw from the likeliest tokens with this share of the probability."
        ),
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(metavar="X", help="Above 1, tokens that occurred are less likely.")
    ] = 1.0,
    seed: SeedOption = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Prompts computed at once.")] = 64,
    stream: Annotated[bool, typer.Option("--stream", help="Show each answer while it is written.")] = False,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print prompts and texts as JSON.")] = False,
) -> None:
    """Let a model continue prompts or answer questions.

    Without --chat or --template the model goes on from the prompt as it stands. Only what is new is printed.
    """
    if stream and (as_json or not (chat or template)):
        raise WrongUsage("--stream goes with --chat or --template, and not with --json")
    if chat and template:
        raise WrongUsage("--chat finds the template by itself: give it or --template")
    texts = _read(prompts or [], file)
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k}
    options |= {"top_p": top_p, "repetition_penalty": repetition_penalty, "seed": seed}
    question_template, loaded = _load(model, device, dtype, chat=chat, template=template)
    if stream:
        _stream(texts, loaded, question_template, options)
        return
    answers = _generate(texts, loaded, question_template, {**options, "batch_size": batch_size})
    if as_json:
        rows = [{"prompt": prompt, "text": text} for prompt, text in zip(texts, answers, strict=True)]
        typer.echo(json.dumps({"model": model, "rows": rows}))
    else:
        from ftlib.cli.output import print_texts

        print_texts(texts, answers)


def _read(prompts: list[str], file: TextIO | None) -> list[str]:
    if prompts and file:
        raise WrongUsage("give prompts or --file, not both")
    if prompts:
        return [typed(prompt) for prompt in prompts]
    if file is None and sys.stdin.isatty():
        raise WrongUsage("give a prompt, --file, or lines on standard input")
    source = file or sys.stdin
    try:
        found = [typed(line) for line in source.read().split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{source.name}: not UTF-8 text ({error.reason}): save it as UTF-8") from error
    if not found:
        raise WrongUsage("there is no prompt: every line is empty")
    return found


def _load(
    name: str, device: str | None, dtype: Any, *, chat: bool, template: str | None
) -> tuple[Template | None, Loaded]:
    """Return the template of questions (None: no template), and the model with its tokenizer."""
    from ftlib.models.loading import load_model
    from ftlib.models.trainable import merge_lora
    from ftlib.text.templates import get_template

    question_template = get_template(template) if template else None
    model, tokenizer = load_model(name, device=device, dtype=dtype)
    loaded = merge_lora(model), tokenizer
    if chat:
        from ftlib.models.chat_model import training_template

        question_template = training_template(loaded[1], name)
    return question_template, loaded


def _generate(
    texts: list[str], loaded: Loaded, question_template: Template | None, options: dict[str, Any]
) -> list[str]:
    from ftlib.cli import progress
    from ftlib.inference.generation import answer
    from ftlib.inference.generation import generate as continue_texts

    with progress.counting("prompts") as on_done:
        if question_template is None:
            return continue_texts(*loaded, texts, on_done=on_done, **options)
        return answer(*loaded, texts, template=question_template, on_done=on_done, **options)


def _stream(texts: list[str], loaded: Loaded, question_template: Template | None, options: dict[str, Any]) -> None:
    from ftlib.inference.generation import stream
    from ftlib.locales import printable

    for number, text in enumerate(texts):
        if len(texts) > 1:
            typer.echo(f"{'' if number == 0 else chr(10)}> {printable(text)}")
        for chunk in stream(*loaded, text, template=question_template, **options):
            typer.echo(printable(chunk), nl=False)
        typer.echo()
