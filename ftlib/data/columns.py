"""Columns beside the conversation: which of them say what should be learnt, and which are only said about a row."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ftlib.data.messages import Message, RowError

SYSTEM = ("system", "system_prompt", "system_message", "systemprompt")
"""Columns whose text becomes the system message."""

_GOOD = {"label", "kto_tag", "correct", "accepted", "desirable", "preferred", "approved", "helpful", "good", "chosen"}
_BAD = {"wrong", "incorrect", "rejected", "bad", "undesirable", "deleted"}
_MEDIA = {"image", "images", "audio", "audios", "video", "videos"}

_ABOUT_MEDIA = re.compile(
    r"(image|img|picture|photo|figure|screenshot|audio|speech|video)s?_(urls?|ids?|paths?|files?|filenames?|names?)"
)
_HELD_OUT = {"test", "validation", "valid", "val", "dev", "eval", "evaluation", "heldout", "held-out", "holdout"}

_ASIDE_WORDS = """
    id ids uuid uid guid idx index no nr number key hash md5 sha sha256 row row_number __index_level_0__ source sources
    url link dataset origin file filename path license author annotator annotators user username date time timestamp
    created created_at updated_at year version category categories topic topics task task_type task_name type subset
    split domain subject tag tags keywords title fact intent language lang locale country difficulty level length turns
    tokens model model_name generator meta metadata info comment note notes redacted parallel_tool_calls hashed_ip state
    conversation_hash timezone
"""
_ASIDE = {*_ASIDE_WORDS.split(), "unnamed: 0"}
_ASIDE_ENDS = re.compile(r"(^(num|n|nb)_)|(_(id|ids|idx|index|hash|url|count|length|len|date|tokens)$)")

_JUDGED = "every row counts the same: leave bad rows out beforehand, or give their messages a weight of 0"
_REMEDIES = [
    (r"tools?|functions?|available_tools", "the model is not shown what it can call: write it into the system message"),
    (
        r".*(reason|think|thought|rationale|cot$|chain_of).*",
        "it is not learnt: write it into the answer if it should be",
    ),
    (r"(rejected|chosen|worse|better).*", "only the answer is learnt; two answers to choose from are for DPO"),
    (r"(is_|was_)?(label|kto_tag|correct|accepted|desirable|preferred|approved|helpful|good)", _JUDGED),
    (r".*(score|rank|rating|reward|quality|votes?|likes|weight|preference|feedback|judg|grade).*", _JUDGED),
    (_ABOUT_MEDIA.pattern, "only text is learnt: delete rows that can't be answered without it"),
    (r"split", "rows of every split are read alike: take out those that should not be trained on"),
    (r"history", "turns before the question stand in the messages, or nowhere: put them there"),
]
_OTHERWISE = "write it into the messages if it should be learnt, and take it out of the rows if not"


def check_judgement(row: Mapping[str, Any], messages: Sequence[Message], read: Collection[str] = ()) -> None:
    """Refuse a row that says of itself that its answer is a bad one, or that a text alone is not the whole of it.

    Args:
        row: The row.
        messages: What was read from it; where they have weights, it is settled what is learnt.
        read: Columns that the conversation was read from.

    Raises:
        RowError: The row should not be learnt as it is.

    >>> check_judgement({"question": "Why?", "answer": "So.", "label": True}, [])
    """
    weighted = any(message.get("weight") is not None for message in messages)
    for name, value in row.items():
        plain = str(name).lower()
        if value is None or plain in read:
            continue
        said = _said(plain)
        verdict = _verdict(value) if said in _GOOD | _BAD else None
        if verdict is not None and verdict == (said in _BAD) and not weighted:
            raise RowError(
                f"{str(name)!r} is {value!r}: the answer is a bad one, and training would teach it: delete the row, or "
                "keep it for a method that learns from both (KTO, DPO)"
            )
        if plain in _MEDIA and _holds(value):
            raise RowError(
                f"{str(name)!r} holds {_kind(value)}: only text is learnt, and without it the text teaches something "
                "else: delete the row, or the column"
            )


def left_out(row: Mapping[str, Any], read: Collection[str], messages: Sequence[Message]) -> list[str]:
    """Name the columns of a row that may say what should be learnt, and are not read.

    Ids, sources, categories, dates and the like are not among them, nor is what is empty or stands in the messages.

    Args:
        row: The row.
        read: Columns that the conversation was read from, in lower case.
        messages: What was read.

    >>> left_out({"question": "a", "answer": "b", "topic": "c", "score": 2, "tools": []}, {"question", "answer"}, [])
    ['score']
    """
    names = (*_telling(tuple(map(str, row)), frozenset(read)), *_held_out(row))
    if not names:
        return []
    texts = {message["content"] for message in messages}
    weighted = any(message.get("weight") is not None for message in messages)
    values = {str(name): value for name, value in row.items()}
    return [
        name
        for name in names
        if _holds(values[name])
        and not (isinstance(values[name], str) and values[name] in texts)
        and not (remedy(name) == _JUDGED and weighted)
        and not (_said(name) in _GOOD | _BAD and _verdict(values[name]) is not None)
    ]


def remedy(column: str) -> str:
    """Say what to do about a column that is left out.

    >>> remedy("score")[:29]
    'every row counts the same: le'
    """
    return next((told for pattern, told in _REMEDIES if re.fullmatch(pattern, column.lower())), _OTHERWISE)


def warning_about(place: str, columns: Iterable[str]) -> str:
    """Word the warning about columns that are left out, from the row where they stand first."""
    told = "; ".join(f"{column!r} ({remedy(column)})" for column in columns)
    return f"{place}: left out, here and in further rows: {told}"


@functools.lru_cache(maxsize=1024)
def _telling(names: tuple[str, ...], read: frozenset[str]) -> tuple[str, ...]:
    """Names of columns, of all rows that have the same ones, whose values have to be looked at."""
    return tuple(name for name in names if name.lower() not in read and not _is_aside(name.lower()))


def _is_aside(name: str) -> bool:
    spelt = re.sub(r"[ .-]+", "_", name.strip())
    if _ABOUT_MEDIA.fullmatch(spelt):
        return False
    return not spelt or name in _ASIDE or spelt in _ASIDE or bool(_ASIDE_ENDS.search(spelt))


def _held_out(row: Mapping[str, Any]) -> list[str]:
    """Return the column that says that a row was kept for testing."""
    value = row.get("split")
    return ["split"] if isinstance(value, str) and value.strip().lower() in _HELD_OUT else []


def _said(name: str) -> str:
    return name.lower().removeprefix("is_").removeprefix("was_")


def _verdict(value: Any) -> bool | None:
    """Return a yes or no, also where a table holds it as text; ``None`` for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def _holds(value: Any) -> bool:
    """Whether there is anything in a value: no null, no empty list or text, nor one that a table writes as text."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "[]", "{}", "null", "none", "nan")
    if isinstance(value, list | tuple | dict):
        return any(map(_holds, value.values() if isinstance(value, dict) else value))
    return value is not None


def _kind(value: Any) -> str:
    return f"{len(value)} of them" if isinstance(value, list) else f"{str(value)[:40]!r}"
