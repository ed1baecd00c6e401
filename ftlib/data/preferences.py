"""Preference rows: a prompt and two answers, of which one was preferred; however a data set spells that.

Four spellings are read: a prompt beside two texts or two lists of messages (TRL), two whole conversations that begin
alike (TRL's implicit prompt, UltraFeedback's with the prompt beside them), and two transcripts (Anthropic's hh).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypedDict

from datasets import Dataset
from ftlib.argument_checks import checked
from ftlib.data.messages import Message, RowError, assistant, check_order, checked_text, user
from ftlib.data.sources import OnError, source_rows
from ftlib.data.turns import listed, read_turns
from ftlib.errors import DataError, SkippedRowWarning

SIDES = ("chosen", "rejected")
_TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")
_EXPECTED = "expected 'prompt', 'chosen' and 'rejected' (or the whole conversation in 'chosen' and in 'rejected')"


class Preference(TypedDict):
    """A prompt and two ways to go on.

    ``prompt`` ends with what the user says; ``chosen`` and ``rejected`` are what may follow, beginning with an answer.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def looks_like_preferences(row: Any) -> bool:
    """Whether a row holds a better and a worse answer.

    >>> looks_like_preferences({"prompt": "Why?", "chosen": "So.", "rejected": "No."})
    True
    """
    return isinstance(row, Mapping) and {str(name).lower() for name in row}.issuperset(SIDES)


def read_preference(row: Any) -> Preference:
    r"""Turn a row into a prompt and two answers.

    Raises:
        RowError: A field is missing, wrong or empty, both answers are the same, or the row is of another kind.

    >>> read_preference({"prompt": "Why?", "chosen": "So.", "rejected": "No."})["rejected"]
    [{'role': 'assistant', 'content': 'No.'}]
    >>> turns = "\n\nHuman: Why?\n\nAssistant: "
    >>> read_preference({"chosen": turns + "So.", "rejected": turns + "No."})["prompt"]
    [{'role': 'user', 'content': 'Why?'}]
    """
    if not isinstance(row, Mapping):
        raise RowError(f"expected an object with fields, found {type(row).__name__}; {_EXPECTED}")
    values = {str(name).lower(): value for name, value in row.items()}
    _check_kind(values)
    prompt = _prompt(values.get("prompt"))
    chosen, rejected = (_side(values[side], side, has_prompt=bool(prompt)) for side in SIDES)
    given, chosen, rejected = _apart(prompt, chosen, rejected)
    for side, answer in zip(SIDES, (chosen, rejected), strict=True):
        if not answer or answer[0]["role"] != "assistant" or answer[-1]["role"] != "assistant":
            raise RowError(f"{side!r}: what follows the prompt must begin and end with an answer of the assistant")
        check_order([*given, *answer])
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' say the same: nothing is preferred to anything: delete the row")
    return Preference(prompt=given, chosen=chosen, rejected=rejected)


def _check_kind(values: Mapping[str, Any]) -> None:
    if "label" in values and "completion" in values and not set(SIDES) <= values.keys():
        raise RowError(
            "a completion with a 'label', as KTO takes it, is no pair: DPO needs 'chosen' and 'rejected' for one "
            "prompt: join a good and a bad completion of one, or train on the good ones alone (objective: sft)"
        )
    for side in SIDES:
        if values.get(side) is None:
            raise RowError(f"no field {side!r}; found {', '.join(map(repr, values)) or 'none'}: {_EXPECTED}")


def _prompt(value: Any) -> list[Message]:
    if value is None:
        return []
    if (turns := listed(value)) is not None and not isinstance(value, str):
        found = read_turns(turns, "prompt")
        if not found or found[-1]["role"] == "assistant":
            raise RowError("'prompt' must end with what the user says, and not with an answer")
        return found
    text = checked_text(value, "'prompt'")
    return _transcript(text, "prompt") if _TRANSCRIPT.match(text) else [user(text)]


def _side(value: Any, side: str, *, has_prompt: bool) -> list[Message]:
    if (turns := listed(value)) is not None and not isinstance(value, str):
        found = read_turns(turns, side)
        if not found:
            raise RowError(f"{side!r} is an empty list: expected messages")
        return found
    if isinstance(value, Mapping):
        return read_turns([value], side)
    text = checked_text(value, repr(side))
    if _TRANSCRIPT.match(text):
        return _transcript(text, side)
    if not has_prompt:
        raise RowError(
            f"{side!r} is a text without a prompt: expected a field 'prompt' beside it, a list of messages, or a "
            r"transcript that begins with '\n\nHuman:'"
        )
    return [assistant(text)]


def _transcript(text: str, field: str) -> list[Message]:
    """Read the text of an hh row: turns that begin with ``Human:`` or ``Assistant:`` behind an empty line."""
    parts = _TRANSCRIPT.split(text)[1:]
    if parts and parts[-2] == "Assistant" and field == "prompt" and not parts[-1].strip():
        parts = parts[:-2]  # a prompt may end with the word that the answer follows
    spoken = zip(parts[::2], parts[1::2], strict=True)
    return [
        (user if who == "Human" else assistant)(checked_text(said.strip(), f"{field!r}: turn {number} ({who})"))
        for number, (who, said) in enumerate(spoken)
    ]


def _apart(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Take the prompt off both sides, where they hold it; without a prompt, it is what they have in common."""
    if not prompt:
        same = 0
        while same < min(len(chosen), len(rejected)) - 1 and chosen[same] == rejected[same]:
            same += 1
        prompt = chosen[:same]
        if not prompt or prompt[-1]["role"] == "assistant":
            raise RowError(
                "'chosen' and 'rejected' must begin with the same prompt and differ from an answer of the "
                f"assistant on: they part at turn {same}"
            )
    cut = []
    for side, turns in zip(SIDES, (chosen, rejected), strict=True):
        whole = turns[0]["role"] != "assistant"
        start = next((at for at in range(len(turns)) if turns[at : at + len(prompt)] == prompt), None) if whole else 0
        if start is None or (start and turns[0]["role"] != "system"):
            raise RowError(f"{side!r} begins with another prompt than the row's: {turns[0]['content']!r:.60}")
        if start:
            prompt = [*turns[:start], *prompt]
        cut.append(turns[len(prompt) :] if whole else turns)
    return prompt, cut[0], cut[1]


@checked()
def iter_preferences(
    source: Any,
    *,
    split: str | None = None,
    on_error: OnError = "raise",
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Preference]:
    """Read preference rows one at a time.

    Args:
        source: A file, a shipped data set (``"preferences"``), a Hub id, a ``DataFrame`` or a ``Dataset``.
        split: Which split, where there are several.
        on_error: ``"raise"`` at the first unusable row, or ``"skip"`` it with a warning of its own.
        on_bytes: Is told from time to time how many bytes of the file have been read.

    Raises:
        DataError: The source can't be read, or a row is unusable; the message names file, row and field.

    >>> next(iter_preferences("preferences", split="test"))["prompt"][0]["role"]
    'user'
    """
    rows, report = source_rows(source, split=split, on_error=on_error, on_bytes=on_bytes)
    for place, row in rows:
        try:
            found = read_preference(row)
        except RowError as error:
            report(_placed(place, error))
            continue
        yield found


def _placed(place: str, error: RowError) -> DataError:
    placed = DataError(f"{place}: {error}")
    placed.__cause__ = error
    return placed


@checked()
def load_preferences(source: Any, *, split: str | None = None, on_error: OnError = "raise") -> Dataset:
    """Read preference rows of any spelling as TRL's conversational one.

    Args:
        source: As for :func:`iter_preferences`.
        split: Which split, where there are several.
        on_error: ``"raise"`` or ``"skip"``.

    Returns:
        A ``Dataset`` with the columns ``prompt``, ``chosen`` and ``rejected``, each a list of messages.

    Raises:
        DataError: As :func:`iter_preferences`, or no row can be used.

    >>> load_preferences("preferences", split="test").column_names
    ['prompt', 'chosen', 'rejected']

    Taught in: chapters/14_preferences.ipynb
    """
    rows = [
        {name: [_plain(message) for message in row[name]] for name in ("prompt", *SIDES)}  # type: ignore[literal-required]
        for row in iter_preferences(source, split=split, on_error=on_error)
    ]
    if not rows:
        raise DataError(f"{source}: holds no preference rows that can be used; {_EXPECTED}")
    return Dataset.from_list(rows)


def _plain(message: Message) -> dict[str, str]:
    if message["content"] is None:
        raise DataError("a message of a preference row calls a tool and says nothing: only text can be compared")
    return {"role": message["role"], "content": message["content"]}


def first_is_preference(source: Any, *, split: str | None = None) -> bool:
    """Whether the first row of a source that can be read holds a better and a worse answer.

    Raises:
        DataError: There is no such source.

    >>> first_is_preference("preferences"), first_is_preference("faq")
    (True, False)
    """
    with warnings.catch_warnings():  # whoever reads the rows afterwards reports what can't be read
        warnings.simplefilter("ignore", SkippedRowWarning)
        rows, _ = source_rows(source, split=split, on_error="skip")
        return any(looks_like_preferences(value) for _, value in islice(rows, 1))
