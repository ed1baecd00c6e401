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
    ("data.template", "data.custom_template"),
    ("data.validation_share", "data.validation"),
    *(("model.lora", f"model.{key}") for key in ("freeze", "keep_layers", "freeze_patterns")),
)
"""Keys that stand for each other."""

_RENAMED = {"frame": "custom_template"}
"""Keys of the section `data` that were called otherwise in the first edition, each with its name now."""

_BELONGS_TO = {
    "checkpoint.monitor": {"checkpoint.mode"},
    "data.validation_share": {"data.validation_split"},
    "train.schedule=constant": {"train.warmup_steps", "train.warmup_share"},
}
"""What makes no sense any more when a key is set (to a value)."""


class Loader(yaml.SafeLoader):
    """YAML as people write configurations: 1e-4 is a number without a point, too, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice, of which the parser would keep the last in silence."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in {other.value for other in keys[:number]}:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands twice: keep one", key.start_mark)
        return super().construct_mapping(node, deep=deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def load_yaml(text: str) -> Any:
    """Read a text as YAML.

    Raises:
        ConfigError: It is none. The message quotes nothing of the text: it may hold a key.
    """
    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", "no text that YAML knows")
        raise ConfigError(f"not YAML: {where}{reason}") from None
    except ValueError:  # of Python: a date in month 13, a whole number of thousands of digits
        raise ConfigError("not YAML: a number or a date that can't be: put it in quotes, or correct it") from None
    except RecursionError:
        raise ConfigError("not YAML: nested too deeply to be a configuration") from None


def with_new_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `data` with the keys of the first edition under their names of today.

    >>> with_new_names({"source": "faq", "frame": None})
    {'source': 'faq', 'custom_template': None}
    """
    return {(key if _RENAMED.get(key) in data else _RENAMED.get(key, key)): value for key, value in data.items()}


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
    if isinstance(changed.get("data"), Mapping):
        changed["data"] = with_new_names(changed["data"])
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
    try:
        return _with_new_name(path), load_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"--set {path}: the value is {error}") from None


def _with_new_name(path: str) -> str:
    section, *keys = path.split(".")
    if section == "data" and keys:
        keys[0] = _RENAMED.get(keys[0], keys[0])
    return ".".join([section, *keys])


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
