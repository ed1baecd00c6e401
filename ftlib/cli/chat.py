"""``ftlib chat``: talk to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ftlib.cli import completion
from ftlib.cli.options import DeviceOption, DtypeOption, SeedOption, TemperatureOption, completed_argument

EXAMPLES = (
    "ftlib chat",
    "ftlib chat runs/faq --compare --open",
    "ftlib chat nano runs/faq --port 8000",
    "ftlib chat runs/faq --compare --terminal --temperature 0",
    "ftlib chat smollm2 --notes faq --note-score 2.5",
    "ftlib chat runs/help_desk --notes faq",
)
STATUSES = {0: "closed, with Ctrl-C or /quit"}


def chat(
    models: Annotated[
        list[str] | None,
        completed_argument(
            "MODEL",
            "nano, smollm2, a Hub id, the folder of a run, of an adapter or of a model; default: nano.",
            completion.models,
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Let two models answer: these, or one and what it was tuned from.")
    ] = False,
    terminal: Annotated[bool, typer.Option("--terminal", help="Talk in the terminal, without a page.")] = False,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65535, help="Of the page; default: the first free one from 7860."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    temperature: TemperatureOption = 0.7,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The most tokens of an answer.")] = 64,
    seed: SeedOption = None,
    feedback: Annotated[
        Path, typer.Option(metavar="FILE", help="File that the page keeps rated answers in; ftlib data reads it.")
    ] = Path("chat_feedback.jsonl"),
    notes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Look up a note for each question: in a file with a note in each line or row; or faq.",
        ),
    ] = None,
    note_score: Annotated[
        float, typer.Option(metavar="X", min=0, help="A note that scores less than this isn't taken; see --notes.")
    ] = 0.0,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Talk to a model, on a page or in the terminal.

    Questions stand in the template that the model was trained in. The page is bound to 127.0.0.1: nobody on
    another machine reaches it.
    """
    from ftlib.chat import Settings, launch, talk
    from ftlib.inference.notes import read_notes

    settings = Settings(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
    chosen = models or ["nano"]
    weights: Any = dtype  # load_model says which there are
    looked_up = read_notes(notes, least_score=note_score) if notes else None
    if not terminal:
        launch(
            chosen,
            compare=compare,
            port=port,
            settings=settings,
            feedback=feedback,
            device=device,
            dtype=weights,
            notes=looked_up,
            open_browser=open_browser,
        )
    else:
        talk(chosen, compare=compare, settings=settings, device=device, dtype=weights, notes=looked_up)
