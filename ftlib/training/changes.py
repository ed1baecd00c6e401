"""What is set otherwise than a configuration's file says: ``--set section.key=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ftlib.errors import ConfigError

_ALTERNATIVES = (
    ("train.epochs", "train.max_steps"),
    ("train.warmup_steps", "train.warmup_share"),
    ("evaluate.every_steps", "evaluate.every_batches", "evaluate.every_epochs"),
    ("checkpoint.every_steps", "checkpoint.every_epochs"),
    ("data.template", "data.frame"),
    ("data.validation_share", "data.validation"),
    *(("model.lora", f"model.{key}") for key in ("freeze", "keep_layers", "freeze_patterns")),
)
"""Keys that stand for each other."""

_BELONGS_TO = {
    "checkpoint.monitor": {"checkpoint.mode"},
    "data.validation_share": {"data.validation_split"},
    "train.schedule=constant": {"train.warmup_steps", "train.warmup_share"},
}
"""What makes no sense any more when a key is set (to a value)."""


class Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text because it has no point; people write learning rates that way."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def with_changes(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a copy with values set; what each of them replaces is unset.

    Args:
        values: Sections, as in a file.
        changes: ``"section.key=value"``.

    Raises:
        ConfigError: A change has another form.

    >>> with_changes({"train": {"epochs": 3}}, ["train.max_steps=2"])
    {'train': {'max_steps': 2}}
    """
    pairs = [_pair(change) for change in changes]
    changed = dict(values)
    for path, value in pairs:
        for other in _replaced(_key(path), value) - {_key(path) for path, _ in pairs}:
            changed = _without(changed, other)
    for path, value in pairs:
        for key in reversed(path.split(".")):
            value = {key: value}
        changed = _merged(changed, value)
    return changed


def _pair(change: str) -> tuple[str, Any]:
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {change}: expected section.key=value, such as train.learning_rate=1e-4")
    return path, yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)


def _key(path: str) -> str:
    return ".".join(path.split(".")[:2])


def _replaced(key: str, value: Any) -> set[str]:
    """Name what a key replaces; what is switched off replaces nothing."""
    if not value:
        return set()
    others = {other for line in _ALTERNATIVES if key in line for other in line if other != key}
    return others | _BELONGS_TO.get(key, set()) | _BELONGS_TO.get(f"{key}={value}", set())


def _without(values: dict[str, Any], path: str) -> dict[str, Any]:
    section, key = path.split(".")
    if not isinstance(values.get(section), Mapping):
        return values
    return {**values, section: {name: value for name, value in values[section].items() if name != key}}


def _merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in others.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
