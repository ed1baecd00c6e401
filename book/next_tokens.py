"""Record which tokens a model expects next in the texts of the pages.

A page shows that with the directive ``next-token`` (``book/_extensions/next_token.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from book.chapters import BookError
from book.staged import markdown_of
from book.talks import laid_out

RECORDED = Path("book") / "next_tokens.json"
"""Below the staged sources: what the directive reads."""
SHOWN = 10
"""How many of the likeliest tokens."""
_ASKED = re.compile(r"^```\{next-token\} *(\S+)\n(?::token: *(\d+)\n)?(.*?)\n```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Place:
    """A token of a text, by its number from 1, after which a model says what may come."""

    model: str
    text: str
    token: int


def places_in(text: str) -> Iterator[Place]:
    r"""Find what a page of Markdown shows.

    >>> list(places_in("```{next-token} nano\n:token: 2\nWhat is a\n```\n"))
    [Place(model='nano', text='What is a', token=2)]
    """
    for model, token, shown in _ASKED.findall(text):
        yield Place(model, shown.strip(), int(token or 1))


def record(root: Path, stage: Path) -> None:
    """Write what the staged pages need: the tokens of each text, what is expected, and the model's facts.

    Args:
        root: The course's folder, in whose ``_build/talks/models`` the models are laid out.
        stage: The folder with the sources of the pages.

    Raises:
        BookError: A model that a page asks isn't there, or a text has no such token.
    """
    places = [place for text in markdown_of(stage) for place in places_in(text)]
    if not places:
        return
    told = [asdict(place) | {"about": laid_out(root, place.model)} | _expected(place) for place in places]
    (stage / RECORDED).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _expected(place: Place) -> dict[str, Any]:
    """Return the tokens of a text, and the likeliest ones behind one of them with their probabilities."""
    # Only where a page shows them: they take PyTorch.
    import torch

    from ftlib.models.loading import load_model
    from ftlib.text.encoding import encode_segments
    from ftlib.text.templates import Segment

    model, tokenizer = load_model(place.model, device="cpu")
    ids = encode_segments(tokenizer, [Segment(place.text)])
    if not 1 <= place.token <= len(ids):
        raise BookError(f"a page shows what comes after token {place.token} of {place.text!r}, which has {len(ids)}")
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, place.token - 1]
    likeliest = logits.float().softmax(-1).topk(SHOWN)
    names = [tokenizer.decode([one]) for one in likeliest.indices.tolist()]
    shares = [round(share, 6) for share in likeliest.values.tolist()]
    return {
        "tokens": [tokenizer.decode([one]) for one in ids],
        "likeliest": [{"text": name, "share": share} for name, share in zip(names, shares, strict=True)],
    }
