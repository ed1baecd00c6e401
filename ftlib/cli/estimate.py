"""``ftlib estimate``: what a training run will need."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ftlib.cli import completion
from ftlib.cli.options import completed_argument, completed_option

EXAMPLES = (
    "ftlib estimate EleutherAI/pythia-1b --batch 8 --length 512",
    "ftlib estimate EleutherAI/pythia-1b --lora-rank 8 --gpu T4",
    "ftlib estimate smollm2 --lora-rank 8 --upper-layers 15 --batch 8 --length 64",
    "ftlib estimate meta-llama/Llama-2-7b-hf --weights 4bit --lora-rank 16",
    "ftlib estimate smollm2 --objective dpo --lora-rank 8 --batch 4 --length 256",
    "ftlib estimate smollm2 --objective grpo --lora-rank 8 --batch 8 --length 256 --generated 128",
    "ftlib estimate nano --batch 16 --json",
)
STATUSES = {0: "worked out, whether it fits or not"}


def estimate(
    model: Annotated[
        str,
        completed_argument(
            "MODEL", "A Hub id such as EleutherAI/pythia-1b, nano, smollm2, or a folder.", completion.architectures
        ),
    ],
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Rows of one forward pass; pairs with --objective dpo.")
    ] = 1,
    length: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens of a row; default: the context, 2,048 at most.")
    ] = None,
    accumulation: Annotated[int, typer.Option(metavar="N", min=1, help="Forward passes of one optimizer step.")] = 1,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Optimizer steps of the run.")] = 1,
    dtype: Annotated[str, completed_option("Type of the weights: float32 or bfloat16.", completion.DTYPES)] = "float32",
    weights: Annotated[
        str | None, completed_option("Pack linear layers: 4bit or 8bit.", completion.WEIGHT_NAMES)
    ] = None,
    precision: Annotated[
        str,
        completed_option(
            "What matrices are multiplied in: float32, bfloat16, float16, or mixed (16 bits of the card's kind).",
            completion.PRECISION_NAMES,
        ),
    ] = "float32",
    optimizer: Annotated[str, completed_option("adamw, adafactor, muon or sgd.", completion.OPTIMIZERS)] = "adamw",
    lora_rank: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Train adapters of this rank instead.")
    ] = None,
    lora_targets: Annotated[
        str, typer.Option(metavar="NAMES", help="Which matrices get one: attention, blocks, or names with commas.")
    ] = "attention",
    upper_layers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Adapters in so many of the last blocks only; default: all.")
    ] = None,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Compute activations twice.")] = False,
    objective: Annotated[
        str, completed_option("sft, dpo (pairs, a reference) or grpo (generates first).", completion.OBJECTIVES)
    ] = "sft",
    generated: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Tokens of a row that grpo generates; the others are the prompt."),
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="GRPO keeps a reference: its beta is above 0.")
    ] = False,
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Say what would make it fit on this card; default: the smallest it doesn't fit."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Tell what a training run will need, before it starts.

    Parameters, operations, memory, and the cards where it fits: worked out from the configuration alone. Nothing is
    downloaded for the models that the course knows.
    """
    from ftlib.cli.output import print_estimate
    from ftlib.estimate.cards import GPUS, fits, suggest
    from ftlib.estimate.cards import gpu as find_card
    from ftlib.estimate.estimation import architecture
    from ftlib.estimate.estimation import estimate as work_out

    arguments: dict[str, Any] = {"batch_size": batch, "length": length, "accumulation_steps": accumulation}
    arguments |= {"steps": steps, "dtype": dtype, "precision": precision, "optimizer": optimizer}
    named = lora_targets if lora_targets in ("attention", "blocks") else lora_targets.split(",")
    arguments |= {"lora_rank": lora_rank, "lora_targets": named, "lora_upper_layers": upper_layers}
    arguments |= {"gradient_checkpointing": checkpointing, "weights": weights, "objective": objective}
    arguments |= {"generated": generated, "reference": reference}
    config = architecture(model)
    need = work_out(config, **arguments)
    too_small = sorted((card for card in GPUS if not fits(need, card)), key=lambda card: card.memory_bytes)
    card = find_card(gpu) if gpu else next(iter(too_small), None)
    found = suggest(config, [card], **arguments)[0] if card else None
    cards = {one.name: fits(need, one) for one in GPUS}
    if as_json:
        advice = {"gpu": card and card.name, "changes": found and found.changes}
        typer.echo(json.dumps({"model": model, **asdict(need), "fits": cards, "suggestion": advice}))
    else:
        print_estimate(model, need, cards, card.name if card else None, found)
