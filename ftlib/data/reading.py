"""Instruction files in, conversations out.

Whatever a file looks like, everything behind this module sees one shape: a Hugging Face ``Dataset``
with one column, ``messages``, each a list of ``{"role", "content"}``.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO, overload

import jsonlines

import datasets
from datasets import Dataset, IterableDataset
from ftlib.argument_checks import at_least, checked
from ftlib.data.columns import warning_about
from ftlib.data.files import read_raw_rows
from ftlib.data.formats import FORMATS, candidates, read_whole_row
from ftlib.data.json_text import RawRow
from ftlib.data.lines import Report
from ftlib.data.message_checks import conversation_rows
from ftlib.data.messages import EXTRAS, Message, RowError
from ftlib.data.tables import without_missing
from ftlib.errors import ColumnWarning, DataError, SkippedRowWarning
from ftlib.files import check_target
from ftlib.nearest import and_ask, beside, one_of
from ftlib.paths import check_name, shipped

OnError = Literal["raise", "skip"]
_SAMPLE = 100
_PREFERENCES = (
    "the rows hold a better and a worse answer, as DPO takes them: to learn from both, train with objective: dpo "
    "(ftlib.data.load_preferences reads them); to learn the better one, rename 'chosen' to "
    "'completion' (or to 'messages', if it holds the whole conversation)"
)


def shipped_datasets() -> Path:
    """Return the folder of the course's own data."""
    return shipped("datasets")


@checked()
def dataset_path(path_or_name: str | Path, *, split: str | None = None) -> Path:
    """Find a data file: a path of yours, or the name of a shipped data set such as ``"faq"``.

    Args:
        path_or_name: A file, or a folder below the course's ``datasets/``.
        split: ``"train"`` or ``"test"`` of a shipped data set (default ``"train"``).

    Raises:
        DataError: There is no such file and no such data set.
    """
    check_name(path_or_name)
    path = Path(path_or_name).expanduser()
    if path.is_file():
        return path
    folder = shipped_datasets() / str(path_or_name)
    if path.parent == Path() and folder.is_dir():
        chosen = folder / f"{split or 'train'}.jsonl"
        if chosen.is_file():
            return chosen
        splits = sorted(file.stem for file in folder.glob("*.jsonl"))
        raise DataError(
            f"data set {str(path_or_name)!r} has no split {split!r}: it has {', '.join(splits)}"
            + and_ask(split, splits)
        )
    names = sorted(entry.name for entry in shipped_datasets().iterdir() if entry.is_dir())
    raise DataError(
        f"{path_or_name}: no such file, and no shipped data set of that name (shipped: {', '.join(names)})"
        + and_ask(path_or_name, [*names, *beside(path)])
    )


def source_file(source: str, *, split: str | None = None) -> Path | None:
    """Return the file that a source stands for; None for one that is no file here, such as a Hub id."""
    with contextlib.suppress(DataError):
        return dataset_path(source, split=split)
    return None


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
    rows = list(islice(_checked_rows(path_or_name, split, _report(on_error)), limit))
    if not rows:
        raise DataError(f"{path_or_name}: the file holds no rows")
    return rows


def _checked_rows(path_or_name: str | Path, split: str | None, report: Report) -> Iterator[dict[str, Any]]:
    for place, row in _file_rows(path_or_name, split, report):
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
        arguments = {"rows": rows, "extras": FORMATS[name].extras}
        return IterableDataset.from_generator(
            _filled_rows, features=_features(FORMATS[name].extras), gen_kwargs=arguments
        )
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
    report = _report(on_error)
    if format != "auto" and format not in FORMATS:
        raise DataError(f"unknown format {format!r}; {one_of(format, ['auto', *FORMATS])}")
    name = _detect(_sample(_opener(source, split), report), source) if format == "auto" else format
    return name, partial(_conversations, _opener(source, split, on_bytes), name, report)


def source_rows(
    source: Any, *, split: str | None = None, on_error: str = "raise", on_bytes: Callable[[int], None] | None = None
) -> tuple[Iterator[RawRow], Report]:
    """Open a source of any kind: its rows as they stand there, and what to tell of one that can't be used.

    Args:
        source: As for :func:`load_conversations`.
        split: Which split.
        on_error: ``"raise"`` or ``"skip"``.
        on_bytes: Is told from time to time how many bytes of the file have been read.

    Raises:
        DataError: There is no such source, some of it while the rows are read.
    """
    report = _report(on_error)
    return _opener(source, split, on_bytes)(report), report


@checked()
def to_conversations(rows: Iterable[dict[str, Any]]) -> Dataset:
    """Turn question-answer rows into conversations of two messages.

    >>> ds = to_conversations([{"question": "Why?", "answer": "Because."}])
    >>> ds[0]["messages"][1]
    {'role': 'assistant', 'content': 'Because.'}
    """
    return load_conversations(Dataset.from_list(list(rows)), format="question-answer")


@checked(conversations=conversation_rows)
def save_conversations(conversations: Iterable[Mapping[str, Any]], path: str | Path, *, format: str = "openai") -> int:
    """Write conversations to a file: all of them, or nothing.

    Args:
        conversations: Rows with ``messages``: a ``Dataset``, a streamed one, or a list.
        path: ``.jsonl`` (one row a line) or ``.json`` (a list), with ``.gz`` behind it to pack it.
        format: ``"openai"``, ``"sharegpt"``, ``"alpaca"``, ``"question-answer"`` or ``"prompt-completion"``.

    Returns:
        The number of rows written.

    Raises:
        DataError: A conversation holds something that the format can't carry, or the file can't be written.
    """
    writers = {one.name: one.write for one in FORMATS.values() if one.write}
    write = writers.get(format)
    if write is None:
        raise DataError(f"can't write the format {format!r}; {one_of(format, writers)}")
    path = check_target(path)
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in (".jsonl", ".json"):
        raise DataError(f"{path}: expected a name that ends with .jsonl or .json (or .gz behind it)")
    target = path.resolve()  # a link stays a link
    unfinished = target.with_name(target.name + ".partial")
    try:
        with _writable(unfinished, packed=path.name.endswith(".gz")) as file:
            count = _write_rows(file, _written(conversations, write), as_list=suffix == ".json")
        unfinished.replace(target)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror}): check folder and permissions") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def clean_message(message: Mapping[str, Any]) -> Message:
    """Drop the empty fields that a table adds to a message.

    Raises:
        DataError: It is no message.

    >>> clean_message({"role": "user", "content": "Why?", "name": None})
    {'role': 'user', 'content': 'Why?'}
    """
    if not isinstance(message, Mapping):
        raise DataError(f"a message must be an object with 'role' and 'content', not {message!r:.60}")
    return {k: v for k, v in message.items() if v is not None or k == "content"}  # type: ignore[return-value]


def _written(
    conversations: Iterable[Mapping[str, Any]], write: Callable[[list[Message]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(conversations):
        try:
            yield write([clean_message(message) for message in row["messages"]])
        except RowError as error:
            raise DataError(f"conversation {number}: {error}") from error


def _writable(path: Path, *, packed: bool) -> TextIO:
    if packed:
        return gzip.open(path, "wt", encoding="utf-8", errors="backslashreplace")
    return path.open("w", encoding="utf-8", errors="backslashreplace")


def _write_rows(file: TextIO, rows: Iterator[dict[str, Any]], *, as_list: bool) -> int:
    count = 0
    if not as_list:
        with jsonlines.Writer(file, dumps=_dumps) as writer:
            for row in rows:
                writer.write(row)
                count += 1
        return count
    file.write("[")
    for count, row in enumerate(rows, start=1):
        file.write(("\n" if count == 1 else ",\n") + _dumps(row))
    file.write("\n]\n")
    return count


def _dumps(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False)


def _label(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"


def _report(on_error: str) -> Report:
    if on_error not in ("raise", "skip"):
        raise DataError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    return _raise if on_error == "raise" else _warn


def _raise(error: DataError) -> None:
    raise error


def _warn(error: DataError) -> None:
    warnings.warn(f"skipped: {error}", SkippedRowWarning, stacklevel=2)


def _sample(open_rows: Callable[[Report], Iterator[RawRow]], report: Report) -> list[RawRow]:
    """Return the first rows, to find the format by; an error among them counts if it is to be raised at all."""
    errors: list[DataError] = []
    sample = list(islice(open_rows(errors.append), _SAMPLE))
    if errors and (report is _raise or not sample):
        raise errors[0]
    return sample


def _opener(
    source: Any, split: str | None, on_bytes: Callable[[int], None] | None = None
) -> Callable[[Report], Iterator[RawRow]]:
    """Return a function that begins to read the source; it can be called again for another pass."""
    if hasattr(source, "to_dict") and hasattr(source, "columns"):  # a DataFrame, without importing pandas
        filled = source.astype(object).where(source.notna(), None)
        return lambda report: _rows_of_table(filled.to_dict("records"))
    if isinstance(source, Dataset | IterableDataset):
        return lambda report: _rows_of_table(source)
    if isinstance(source, str) and _is_hub_id(source):
        from_hub = _load_from_hub(source, split)
        return lambda report: _rows_of_table(from_hub, f"{source}, ")
    if not isinstance(source, str | Path):
        raise DataError(f"can't read {type(source).__name__}: expected a file, a name, a DataFrame or a Dataset")
    dataset_path(source, split=split)
    return lambda report: _file_rows(source, split, report, on_bytes)


def _rows_of_table(rows: Iterable[Any], name: str = "") -> Iterator[RawRow]:
    return (RawRow(f"{name}row {i}", without_missing(row)) for i, row in enumerate(rows))


def _file_rows(
    source: str | Path, split: str | None, report: Report, on_bytes: Callable[[int], None] | None = None
) -> Iterator[RawRow]:
    path = dataset_path(source, split=split)
    shipped = not Path(source).expanduser().is_file()
    return read_raw_rows(path, split=None if shipped else split, on_error=report, on_bytes=on_bytes)


def _is_hub_id(name: str) -> bool:
    owner, slash, rest = name.partition("/")
    plain = bool(slash and owner and rest) and "/" not in rest and not name.startswith((".", "~"))
    return plain and not Path(name).exists() and not Path(name.removesuffix(".gz")).suffix.startswith((".json", ".csv"))


def _load_from_hub(name: str, split: str | None) -> Any:
    try:
        found = datasets.load_dataset(name, split=split, streaming=True)
    except (OSError, ValueError) as error:  # offline, unknown, private, no such split
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{name}: no such file, and the Hub gives no such data set ({reason})") from error
    if isinstance(found, datasets.IterableDatasetDict):
        if len(found) > 1:
            raise DataError(f"{name} has the splits {', '.join(map(str, found))}: choose one with split=")
        return next(iter(found.values()))
    return found


def _detect(sample: list[RawRow], source: Any) -> str:
    if not sample:
        raise DataError(f"{_label(source)}: holds no rows; expected one JSON object a line, say")
    found = {record.place: set(candidates(record.value)) for record in sample}
    known = {place: names for place, names in found.items() if names}
    if not known:
        place, value = sample[0]
        fields = ", ".join(map(repr, value)) if isinstance(value, Mapping) else type(value).__name__
        if isinstance(value, Mapping) and {"chosen", "rejected"} <= {str(name).lower() for name in value}:
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
