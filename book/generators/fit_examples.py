"""The parts of the page "Will it fit?" that a program makes: its examples as buttons and as a table.

``python -m book.generators.fit_examples book/will_it_fit.md`` renews what stands between the markers in this file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from book.fit.table import PRECISIONS
from book.generators.sections import renewed
from ftlib.estimate.cards import GPUS, fits
from ftlib.estimate.estimation import Estimate, estimate
from ftlib.files import write_whole

Settings = dict[str, Any]
"""What the page asks for, by the names of its fields."""

DEFAULTS: Settings = {
    "model": "EleutherAI/pythia-70m",
    "device": "cuda",
    "rows": 8,
    "length": 512,
    "steps": 1000,
    "precision": "float32",
    "optimizer": "adamw",
    "adapters": "none",
    "rank": 8,
    "checkpointing": False,
    "price": 1.0,
}
_LARGE = {"precision": "bfloat16", "adapters": "blocks", "rank": 16, "checkpointing": True, "rows": 4, "length": 1024}
EXAMPLES: dict[str, Settings] = {
    "Pythia-70M on a laptop": {"device": "cpu", "rows": 4},
    "Pythia-1.4B with LoRA on a T4": {"model": "EleutherAI/pythia-1.4b", "adapters": "blocks", "checkpointing": True},
    "Pythia-1.4B in full": {"model": "EleutherAI/pythia-1.4b", "precision": "mixed", "checkpointing": True},
    "7B in full": {"model": "meta-llama/Llama-2-7b-hf", "rows": 1, "precision": "mixed"},
    "7B with LoRA on 24 GB": {"model": "meta-llama/Llama-2-7b-hf", **_LARGE},
}
"""Names of buttons, and in what they differ from :data:`DEFAULTS`."""


def arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of :func:`ftlib.estimate` for what the page asks for.

    >>> arguments(DEFAULTS)["lora_rank"] is None
    True
    """
    adapters = settings["adapters"] != "none"
    return {
        "batch_size": settings["rows"],
        "length": settings["length"],
        "steps": settings["steps"],
        **PRECISIONS[settings["precision"]],
        "optimizer": settings["optimizer"],
        "lora_rank": settings["rank"] if adapters else None,
        "lora_targets": settings["adapters"] if adapters else "attention",
        "gradient_checkpointing": settings["checkpointing"],
        "device": settings["device"],
    }


def buttons() -> str:
    """Return a button for each example, as HTML."""
    lines = (
        f'<button type="button" data-settings="{urlencode(changes).replace("&", "&amp;")}">{name}</button>'
        for name, changes in EXAMPLES.items()
    )
    return "\n".join(
        ["```{raw} html", '<div class="fit-examples" role="group" aria-label="Examples">', *lines, "</div>", "```"]
    )


def examples() -> str:
    """Return the memory of each example as a table of Markdown."""
    head = ["run", "parameters", "trained", "peak of a step", "smallest card"]
    lines = [f"| {' | '.join(head)} |", "|---|--:|--:|--:|---|"]
    for name, changes in EXAMPLES.items():
        settings = {**DEFAULTS, **changes}
        need = estimate(settings["model"], **arguments(settings))
        where = "a processor" if settings["device"] == "cpu" else _smallest(need, settings["precision"])
        counts = f"{need.parameters / 1e6:,.1f} M | {need.trainable_parameters / 1e6:,.1f} M"
        lines.append(f"| {name} | {counts} | {need.peak.total / 2**30:,.2f} GiB | {where} |")
    return "\n".join(lines)


def _smallest(need: Estimate, precision: str) -> str:
    room = [card for card in GPUS if fits(need, card) and (card.has_bfloat16 or precision != "bfloat16")]
    return min(room, key=lambda card: card.memory_bytes).name if room else "none of the list"


def current(page: str | Path) -> str:
    """Return the text of a page with the buttons and the table of today.

    Raises:
        DataError: See :func:`book.generators.sections.renewed`.
    """
    return renewed(page, {"buttons": buttons(), "examples": examples()})


def main() -> None:
    """Renew the page that is named on the command line."""
    for path in map(Path, sys.argv[1:]):
        write_whole(path, current(path))


if __name__ == "__main__":
    main()
