"""The file that OpenAI's fine-tuning takes: written from conversations, and checked before it is sent.

Each line is a JSON object with ``messages``. A mistake that is found here costs nothing; found by the service it
costs an upload and a job.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftlib.argument_checks import at_least, checked, each
from ftlib.data.message_checks import message_list
from ftlib.data.messages import Message
from ftlib.errors import DataError
from ftlib.files import check_target, write_checked
from ftlib.hosted.finetuning_row import FIELDS, read_row, text_of

FEWEST_ROWS = 10
MOST_BYTES = 512 * 2**20
MOST_TOKENS_PER_ROW = 65_536
# What the service puts around each message and row, in tokens.
_TOKENS_PER_MESSAGE = 3


@dataclass(frozen=True)
class FileReport:
    """What is in a fine-tuning file.

    Attributes:
        rows: Conversations.
        tokens: Tokens of all of them, as counted or estimated.
        learnt_tokens: Those in the assistant's messages whose weight isn't 0.
        longest_row_tokens: Tokens of the longest conversation.
        file_bytes: Size of the file.
        epochs: Passes over the file that the cost is for.
        cost_usd: US dollars for these, or None without a price.
        problems: What the service would refuse, each with its line.
    """

    rows: int
    tokens: int
    learnt_tokens: int
    longest_row_tokens: int
    file_bytes: int
    epochs: int
    cost_usd: float | None
    problems: tuple[str, ...]


@checked()
def about_tokens(text: str) -> int:
    """Estimate tokens without a tokenizer: four bytes each, the rule of thumb for English (often 10 to 20 % off).

    >>> about_tokens("What is a token?")
    4
    """
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 4)


@checked(conversations=each(message_list))
def write_finetuning_file(conversations: Iterable[Sequence[Message]], path: str | Path) -> Path:
    """Write conversations as OpenAI's chat format for fine-tuning, one in each line.

    Args:
        conversations: Messages of each.
        path: A name that ends with ``.jsonl``; an existing file is replaced.

    Returns:
        The path.

    Raises:
        DataError: A conversation can't be written, or the file can't.

    Taught in: chapters/16_best_practices_and_scale.ipynb
    """
    place = check_target(path)
    lines = [
        json.dumps({"messages": [_written(m) for m in messages]}, ensure_ascii=False) for messages in conversations
    ]
    for number, line in enumerate(lines):
        if any("\ud800" <= sign <= "\udfff" for sign in line):
            raise DataError(f"conversation {number} holds half of a surrogate pair: write the whole character")
    return write_checked(place, "".join(f"{line}\n" for line in lines))


@checked(epochs=at_least(1), usd_per_million_tokens=at_least(0))
def check_finetuning_file(
    path: str | Path,
    *,
    count_tokens: Callable[[str], int] = about_tokens,
    epochs: int = 3,
    usd_per_million_tokens: float | None = None,
) -> FileReport:
    """Read a fine-tuning file as the service would, and list all that it would refuse.

    Roles and their order, names, weights, empty texts, unknown fields, tools that are offered, called and answered,
    rows that are too long (the service cuts them), too few rows, and size. The service bills every token of the file,
    once for each epoch.

    Args:
        path: The file.
        count_tokens: Counts the tokens of a text; default: an estimate.
        epochs: Passes over the file.
        usd_per_million_tokens: Price of training a million tokens, from the provider's page.

    Returns:
        Counts, cost and problems; a file without problems can be uploaded.

    Raises:
        DataError: There is no such file.

    Taught in: chapters/16_best_practices_and_scale.ipynb
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise DataError(f"{place}: there is no such file: write it with write_finetuning_file")
    problems: list[str] = []
    sizes: list[tuple[int, int]] = []
    for number, line in enumerate(place.read_bytes().split(b"\n"), start=1):
        if line.strip():
            row, found = read_row(line)
            problems += [f"line {number}: {problem}" for problem in found]
            sizes.append(_sizes(row, count_tokens))
            if sizes[-1][0] > MOST_TOKENS_PER_ROW:
                problems.append(f"line {number}: {sizes[-1][0]} tokens, and {MOST_TOKENS_PER_ROW} is the most")
    if len(sizes) < FEWEST_ROWS:
        problems.append(f"the file has {len(sizes)} rows, and {FEWEST_ROWS} is the least")
    if place.stat().st_size > MOST_BYTES:
        problems.append(f"the file has {place.stat().st_size} bytes, and {MOST_BYTES} is the most")
    tokens = sum(size for size, _ in sizes)
    return FileReport(
        rows=len(sizes),
        tokens=tokens,
        learnt_tokens=sum(learnt for _, learnt in sizes),
        longest_row_tokens=max((size for size, _ in sizes), default=0),
        file_bytes=place.stat().st_size,
        epochs=epochs,
        cost_usd=None if usd_per_million_tokens is None else tokens * epochs * usd_per_million_tokens / 1e6,
        problems=tuple(problems),
    )


def _written(message: Message) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key in FIELDS and (value is not None or key == "content")}


def _sizes(row: Mapping[str, Any], count_tokens: Callable[[str], int]) -> tuple[int, int]:
    """Tokens of a row, and those of them that are learnt."""
    total = count_tokens(json.dumps(row["tools"])) if row.get("tools") else 0
    learnt = 0
    for message in row.get("messages", ()):
        calls = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
        tokens = count_tokens(f"{text_of(message.get('content')) or ''}{calls}")
        total += tokens + _TOKENS_PER_MESSAGE
        if message.get("role") == "assistant" and message.get("weight") != 0:
            learnt += tokens
    return total + _TOKENS_PER_MESSAGE, learnt
