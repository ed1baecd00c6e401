"""Instruction files in, conversations out.

Whatever a file looks like, everything behind this module sees one shape: a Hugging Face ``Dataset``
with one column, ``messages``, each a list of ``{"role", "content"}``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import datasets
from datasets import Dataset, IterableDataset
from ftlib.argument_checks import at_least, checked
from ftlib.cache import writable_cache
from ftlib.data.columns import warning_about
from ftlib.data.formats import FORMATS, candidates, read_whole_row
from ftlib.data.json_text import RawRow
from ftlib.data.lines import Report
from ftlib.data.messages import EXTRAS, Message, RowError
from ftlib.data.sources import OnError, file_rows, open_source, raise_it, report_for
from ftlib.errors import ColumnWarning, DataError
from ftlib.nearest import one_of

_SAMPLE = 100
_STREAM_BYTES = 1_000_000  # no more than folders and a lock
_PREFERENCES = (
    "the rows hold a better and a worse answer, as DPO takes them: to learn from both, train with objective: dpo "
    "(ftlib.data.load_preferences reads them); to learn the better one, rename 'chosen' to "
    "'completion' (or to 'messages', if it holds the whole conversation)"
)


@checked(limit=at_least(0))
def read_rows(
    path_or_name: str | Path, *, split: str | None = None, limit: int | None = None, on_error: OnError = "raise"
) -> list[dict[str, Any]]:
    """Read a file of question-answer rows, and check every row.

    Args:
        path_or_name: A file, or the name of a shipped data set.
        split: Split of a shipped data set, or of a file that has splits.
        limit: Only so many rows; what stands behind them is not read.
        on_error: ``"raise"`` at the first unusable row, or ``"skip"`` it with a warning of its own.

    Returns:
        The rows as they stand in the file, further columns included.

    Raises:
        DataError: The file is missing, unreadable or empty, or a row lacks text under ``question`` or
            ``answer``. The message names file, line and field.

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    rows = list(islice(_checked_rows(path_or_name, split, report_for(on_error)), limit))
    if not rows:
        raise DataError(f"{path_or_name}: the file holds no rows")
    return rows


def _checked_rows(path_or_name: str | Path, split: str | None, report: Report) -> Iterator[dict[str, Any]]:
    for place, row in file_rows(path_or_name, split, report):
        try:
            _messages(place, row, "question-answer")
        except DataError as error:
            report(error)
        else:
            yield dict(row)


@overload
def load_conversations(
    source: Any,
    *,
    format: str = ...,
    split: str | None = ...,
    streaming: Literal[False] = ...,
    on_error: OnError = ...,
) -> Dataset: ...


@overload
def load_conversations(
    source: Any, *, format: str = ..., split: str | None = ..., streaming: Literal[True], on_error: OnError = ...
) -> IterableDataset: ...


@checked()
def load_conversations(
    source: Any,
    *,
    format: str = "auto",
    split: str | None = None,
    streaming: bool = False,
    on_error: OnError = "raise",
) -> Dataset | IterableDataset:
    """Read instructions of any format as conversations.

    Args:
        source: A file (JSON, JSON Lines, CSV, TSV or Parquet, gzipped or not), the name of a shipped data
            set (``"faq"``), a Hub id (``"owner/name"``), a pandas ``DataFrame`` or a ``Dataset``.
        format: A name of :data:`ftlib.data.formats.FORMATS`, or ``"auto"``: found from the first 100 rows.
        split: Which split of a shipped data set, of a Hub data set, or of a file that holds several.
        streaming: Read row by row while the data is used, in memory that doesn't grow with the file.
        on_error: ``"raise"`` at the first unusable row, or ``"skip"`` it with a warning of its own.

    Returns:
        A ``Dataset`` (streaming: an ``IterableDataset``) with one column, ``messages``.

    Raises:
        DataError: The data is missing, unreadable, empty, of no known format or of more than one, or a row
            is unusable. The message names file, line and field, and what to do.

    Warns:
        ColumnWarning: A column that may change what should be learnt (scores, tools, ...) is left out.

    >>> load_conversations("faq", split="test")[0]["messages"][0]["role"]
    'user'

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    name, rows = _chosen(source, format, split, on_error)
    if streaming:
        return _streamed(rows, FORMATS[name].extras)
    conversations = list(rows())
    if not conversations:
        raise DataError(f"{_label(source)}: holds no rows that can be used")
    used = {field for messages in conversations for message in messages for field in message}
    extras = tuple(extra for extra in EXTRAS if extra in used)
    filled = [{"messages": _filled(messages, extras)} for messages in conversations]
    return Dataset.from_list(filled, features=_features(extras))


@checked()
def iter_conversations(
    source: Any,
    *,
    format: str = "auto",
    split: str | None = None,
    on_error: OnError = "raise",
    on_bytes: Callable[[int], None] | None = None,
) -> tuple[str, Iterator[list[Message]]]:
    """Read conversations one at a time, as plain lists of messages, in memory that doesn't grow with the file.

    Args:
        source: As for :func:`load_conversations`, and so are the other arguments.
        format: A name, or ``"auto"``.
        split: Which split.
        on_error: ``"raise"`` or ``"skip"``.
        on_bytes: Is told from time to time how many bytes of the file have been read.

    Returns:
        The name of the format, and an iterator of conversations.

    Raises:
        DataError: As :func:`load_conversations`, some of it while the iterator is used.

    >>> name, conversations = iter_conversations("faq", split="test")
    >>> name, next(conversations)[0]["role"]
    ('question-answer', 'user')
    """
    name, rows = _chosen(source, format, split, on_error, on_bytes)
    return name, rows()


def _chosen(
    source: Any, format: str, split: str | None, on_error: str, on_bytes: Callable[[int], None] | None = None
) -> tuple[str, Callable[[], Iterator[list[Message]]]]:
    """Return the format's name and a function that begins to read the conversations."""
    report = report_for(on_error)
    if format != "auto" and format not in FORMATS:
        raise DataError(f"unknown format {format!r}; {one_of(format, ['auto', *FORMATS])}")
    name = _detect(_sample(open_source(source, split), report), source) if format == "auto" else format
    return name, partial(_conversations, open_source(source, split, on_bytes), name, report)


@checked()
def to_conversations(rows: Iterable[dict[str, Any]]) -> Dataset:
    """Turn question-answer rows into conversations of two messages.

    >>> ds = to_conversations([{"question": "Why?", "answer": "Because."}])
    >>> ds[0]["messages"][1]
    {'role': 'assistant', 'content': 'Because.'}
    """
    return load_conversations(Dataset.from_list(list(rows)), format="question-answer")


def _streamed(rows: Callable[[], Iterator[list[Message]]], extras: tuple[str, ...]) -> IterableDataset:
    told: dict[str, Any] = {"features": _features(extras), "gen_kwargs": {"rows": rows, "extras": extras}}
    try:
        return IterableDataset.from_generator(_filled_rows, **told)
    except OSError:  # datasets makes a folder in its cache, for rows that are streamed, too: where it can't, in ours
        from datasets.io.generator import GeneratorDatasetInputStream

        cache = writable_cache("streamed rows need a folder", _STREAM_BYTES, error=DataError) / "datasets"
        return GeneratorDatasetInputStream(_filled_rows, cache_dir=str(cache), streaming=True, **told).read()


def _label(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"


def _sample(open_rows: Callable[[Report], Iterator[RawRow]], report: Report) -> list[RawRow]:
    """Return the first rows, to find the format by; an error among them counts if it is to be raised at all."""
    errors: list[DataError] = []
    sample = list(islice(open_rows(errors.append), _SAMPLE))
    if errors and (report is raise_it or not sample):
        raise errors[0]
    return sample


def _detect(sample: list[RawRow], source: Any) -> str:
    if not sample:
        raise DataError(f"{_label(source)}: holds no rows; expected one JSON object a line, say")
    found = {record.place: set(candidates(record.value)) for record in sample}
    known = {place: names for place, names in found.items() if names}
    if not known:
        place, value = sample[0]
        if not isinstance(value, Mapping):
            wanted = 'a row is an object such as {"question": "...", "answer": "..."}'
            raise DataError(f"{place}: {wanted}, and here stands {type(value).__name__}")
        fields = ", ".join(map(repr, value))
        if {"chosen", "rejected"} <= {str(name).lower() for name in value}:
            raise DataError(f"{place}: {_PREFERENCES}; found the fields {fields}")
        raise DataError(
            f"{place}: no known format has these fields: {fields}; choose one with format= ({', '.join(FORMATS)}), or "
            "rename the columns, to 'question' and 'answer' say"
        )
    common = set.intersection(*known.values())
    if len(common) == 1:
        return common.pop()
    if common:
        raise DataError(f"{_label(source)}: the rows fit several formats: choose with format= one of {sorted(common)}")
    first_place, first = next(iter(known.items()))
    other_place, other = next((place, names) for place, names in known.items() if not names & first)
    raise DataError(
        f"{other_place}: looks like {', '.join(sorted(other))}, but {first_place} looks like "
        f"{', '.join(sorted(first))}: keep one format a file, or choose with format= and on_error='skip'"
    )


def _conversations(
    open_rows: Callable[[Report], Iterator[RawRow]], name: str, report: Report
) -> Iterator[list[Message]]:
    told: set[str] = set()
    for place, row in open_rows(report):
        try:
            messages, left = _messages(place, row, name)
        except DataError as error:
            report(error)
            continue
        if new := [column for column in left if column not in told]:
            told.update(new)
            warnings.warn(warning_about(place, new), ColumnWarning, stacklevel=2)
        yield messages


def _filled_rows(rows: Callable[[], Iterator[list[Message]]], extras: Sequence[str]) -> Iterator[dict[str, Any]]:
    for messages in rows():
        yield {"messages": _filled(messages, extras)}


def _filled(messages: Sequence[Message], extras: Sequence[str]) -> list[dict[str, Any]]:
    """Give every message the same fields, as a table needs it."""
    return [{field: message.get(field) for field in ("role", "content", *extras)} for message in messages]


def _messages(place: str, row: Any, name: str) -> tuple[list[Message], list[str]]:
    try:
        return read_whole_row(row, name)
    except RowError as error:
        raise DataError(f"{place}: {error}") from error
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply to be a row of data: expected one flat object") from error


def _features(extras: Sequence[str]) -> datasets.Features:
    text = datasets.Value("string")
    call = {"id": text, "type": text, "function": {"name": text, "arguments": text}}
    kinds = {"name": text, "weight": datasets.Value("int64"), "tool_calls": [call]}
    kinds |= {"tool_call_id": text, "context": text}
    fields = {"role": text, "content": text} | {extra: kinds[extra] for extra in extras}
    return datasets.Features({"messages": [fields]})
