"""Where rows come from: a file, a shipped data set, a table in memory, or the Hub."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import datasets
from datasets import Dataset, IterableDataset
from ftlib.argument_checks import checked
from ftlib.data.files import read_raw_rows
from ftlib.data.json_text import RawRow
from ftlib.data.lines import Report
from ftlib.data.tables import without_missing
from ftlib.errors import DataError, SkippedRowWarning
from ftlib.nearest import and_ask, beside
from ftlib.paths import check_name, shipped

OnError = Literal["raise", "skip"]
"""What to do with a row that can't be used."""


def shipped_datasets() -> Path:
    """Return the folder of the course's own data."""
    return shipped("datasets")


@checked()
def dataset_path(path_or_name: str | Path, *, split: str | None = None) -> Path:
    """Find a data file: a path of yours, or the name of a shipped data set such as ``"faq"``.

    Args:
        path_or_name: A file, or a folder below the course's ``datasets/``.
        split: ``"train"``, ``"test"`` or another file of a shipped data set (default ``"train"``).

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
    if path.is_dir():
        raise DataError(f"{path_or_name}: is a folder: name a file in it")
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
    report = report_for(on_error)
    return open_source(source, split, on_bytes)(report), report


def open_source(
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
    return lambda report: file_rows(source, split, report, on_bytes)


def _rows_of_table(rows: Iterable[Any], name: str = "") -> Iterator[RawRow]:
    return (RawRow(f"{name}row {i}", without_missing(row)) for i, row in enumerate(rows))


def file_rows(
    source: str | Path, split: str | None, report: Report, on_bytes: Callable[[int], None] | None = None
) -> Iterator[RawRow]:
    """Read the rows of a file or of a shipped data set, as they stand there."""
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


def report_for(on_error: str) -> Report:
    """Return what is to be done with the error of a row: it is raised, or told in a warning.

    Raises:
        DataError: ``on_error`` is neither ``"raise"`` nor ``"skip"``.
    """
    if on_error not in ("raise", "skip"):
        raise DataError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
    return raise_it if on_error == "raise" else _warn


def raise_it(error: DataError) -> None:
    """Let an unusable row end the reading."""
    raise error


def _warn(error: DataError) -> None:
    warnings.warn(f"skipped: {error}", SkippedRowWarning, stacklevel=2)
