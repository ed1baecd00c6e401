"""The training file of a config-driven fine-tune with PyTorch Lightning's names, under its own spelling.

Such a file has the sections ``data``, ``model_name``, ``seed``, ``model_params``, ``trainer`` and ``wandb``. It is
translated into a :class:`~ftlib.training.config.FinetuneConfig`, so that what it asks for is done by the same code as
everything else. What it leaves out has this library's default. Its second file, for testing, is read by
:mod:`ftlib.training.sft_testing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ftlib.training.changes import with_changes
from ftlib.training.config import FinetuneConfig, read_yaml
from ftlib.training.sft_keys import as_sections, is_sft_yaml


def from_sft_yaml(values: Mapping[str, Any], *, source: str = "the training file") -> FinetuneConfig:
    """Translate a training file with Lightning's names into a configuration of this library.

    Args:
        values: As in the YAML file.
        source: Where they come from, for errors.

    Raises:
        ConfigError: A key is unknown, or a value can't be used.

    >>> config = from_sft_yaml({"data": {"data_dir": "faq"}, "trainer": {"params": {"val_check_interval": 104}}})
    >>> config.engine, config.evaluate.every_batches
    ('lightning', 104)
    """
    return FinetuneConfig.from_dict(as_sections(values, source=source), source=source)


def read_config(path: str | Path, *, changes: Sequence[str] = ()) -> FinetuneConfig:
    """Read a YAML file with this library's keys, or with Lightning's names.

    Args:
        path: The file, or the name of a shipped one, such as ``"faq"``.
        changes: As for :meth:`~ftlib.training.config.FinetuneConfig.from_yaml`, in this library's keys.

    Raises:
        ConfigError: The file can't be read, a key is unknown, or a value can't be used.

    >>> read_config("sft_freezing_train", changes=["engine=loop"]).engine
    'loop'

    Taught in: chapters/09_config_driven_sft.ipynb
    """
    values = read_yaml(path)
    if not is_sft_yaml(values):
        return FinetuneConfig.from_yaml(path, changes=changes)
    sections = with_changes(as_sections(values, source=str(path)), changes)
    return FinetuneConfig.from_dict(sections, source=str(path))
