"""The training file of a config-driven fine-tune with PyTorch Lightning's names, under its own spelling.

Such a file has the sections ``data``, ``model_name``, ``seed``, ``model_params``, ``trainer`` and ``wandb``. It is
translated into a :class:`~ftlib.training.config.FinetuneConfig`, so that what it asks for is done by the same code as
everything else. What it leaves out has this library's default. Its second file, for testing, is read by
:mod:`ftlib.training.sft_testing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlib.training.config import FinetuneConfig
from ftlib.training.sft_keys import translate


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
    return FinetuneConfig.from_dict(translate(values, source=source), source=source)
