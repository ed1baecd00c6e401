"""What a run's folder says about the model in it, for whoever loads that model: training writes it, others read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ftlib.errors import ConfigError
from ftlib.text.chat_template import named_template
from ftlib.text.templates import Template, TextTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG = "config.yaml"
"""The file in which a run keeps its whole configuration."""


def run_config(name: str) -> Mapping[str, Any] | None:
    """Return the sections of the run that a name means, by its folder or by that of a checkpoint; else None.

    Raises:
        ConfigError: The file can't be read, or lacks the sections that every run writes.
    """
    folder = Path(name).expanduser()
    candidates = [folder, folder.parent.parent] if folder.parent.name == "checkpoints" else [folder]
    for candidate in candidates:
        if (candidate / CONFIG).is_file():
            return _read(candidate / CONFIG)
    return None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        data, model = sections["data"], sections["model"]
        is_whole = isinstance(data["template"], str) and isinstance(model["name"], str) and _own_template(data) in data
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not the configuration of a run: train again, or take it from a backup") from error
    if not is_whole:
        raise ConfigError(f"{path}: not the configuration of a run: data.template and model.name must be texts")
    return sections  # type: ignore[no-any-return]


def _own_template(data: Mapping[str, Any]) -> str:
    """Return the key under which a run keeps a template of its own: in the first edition it was called `frame`."""
    return "frame" if "frame" in data else "custom_template"


def template_of_run(tokenizer: PreTrainedTokenizerBase, config: Mapping[str, Any]) -> Template:
    """Return the template that a run put around its messages.

    Args:
        tokenizer: The model's.
        config: As :func:`run_config` gives it.

    Raises:
        ConfigError: The run's own template isn't one.
        DataError: Nothing is known of a template of that name.
    """
    key = _own_template(config["data"])
    own = config["data"][key]
    if own is None:
        return named_template(tokenizer, config["data"]["template"])
    try:
        return TextTemplate("your own", **own)
    except TypeError as error:
        raise ConfigError(f"{CONFIG}: data.{key}: {error}") from error
