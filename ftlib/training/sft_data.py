"""Where the splits of a data folder are: train, val and test, in one file or in three."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, overload

from ftlib.data.sources import shipped_datasets
from ftlib.errors import ConfigError

_NAMES = {"train": ("train",), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}
Place = tuple[str, str | None]


@overload
def find_split(data_dir: str, split: str, *, optional: Literal[False] = ...) -> Place: ...
@overload
def find_split(data_dir: str, split: str, *, optional: bool) -> Place | None: ...


def find_split(data_dir: str, split: str, *, optional: bool = False) -> Place | None:
    """Find a split: what to read, and which split of it.

    Args:
        data_dir: A JSON file ``{"train": [...], "val": [...], "test": [...]}``, a folder with such a file or with a
            file for each split, or the name of a shipped data set.
        split: ``"train"``, ``"val"`` (also called valid, validation or dev) or ``"test"``.
        optional: Return nothing if there is none, instead of raising.

    Raises:
        ConfigError: There is no such file or folder, or no such split in it.

    >>> find_split("faq", "test")
    ('faq', 'test')
    """
    names, place = _NAMES.get(split, (split,)), Path(data_dir).expanduser()
    candidates = dict(_splits(place, data_dir))
    for name in names:
        if name in candidates:
            return candidates[name]
    if optional and candidates:
        return None
    if not candidates:
        raise ConfigError(
            f"data.data_dir {data_dir}: no splits there: expected a JSON file {{'train': [...], 'val': [...]}}, a "
            "folder with such a file or with train.json and val.json, or a shipped data set such as 'faq'"
        )
    raise ConfigError(f"data.data_dir {data_dir}: has no split {split!r}: it has {', '.join(candidates)}")


def _splits(place: Path, name: str) -> Iterator[tuple[str, Place]]:
    """Go through the splits that are there; one of a later file takes the place of an earlier one's."""
    known = {one for names in _NAMES.values() for one in names}
    if place.is_file():
        yield from _inside(place)
    elif place.is_dir():
        for file in sorted(place.glob("*.json")):
            yield from _inside(file)
        for file in sorted([*place.glob("*.json"), *place.glob("*.jsonl")]):
            if file.stem in known:
                yield file.stem, (str(file), file.stem if file.stem in dict(_inside(file)) else None)
    elif place.parent == Path():
        for file in sorted((shipped_datasets() / name).glob("*.jsonl")):
            yield file.stem, (name, file.stem)


def _inside(file: Path) -> Iterator[tuple[str, Place]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if file.suffix == ".jsonl":
            return
        raise ConfigError(f"data.data_dir: {file} can't be read as JSON: {error}") from error
    if isinstance(content, dict):
        yield from ((split, (str(file), split)) for split, rows in content.items() if isinstance(rows, list))
