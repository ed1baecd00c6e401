"""ftlib: the companion library of the course.

Names load on first use, so that ``import ftlib`` costs milliseconds and no heavy package.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "FtlibError": "errors",
    "QUESTION_ANSWER": "templates",
    "answer_loss": "metrics",
    "architecture": "estimate",
    "finetune": "training.loop",
    "generate": "inference",
    "load_conversations": "data",
    "load_model": "models",
    "pad_batch": "batches",
    "perplexity": "metrics",
    "read_rows": "data",
    "rouge_l": "metrics",
    "save_conversations": "data",
    "save_model": "models",
    "tokenize": "tokenization",
    "tokenize_and_split": "tokenization",
}

__all__ = [
    "QUESTION_ANSWER",
    "FtlibError",
    "answer_loss",
    "architecture",
    "finetune",
    "generate",
    "load_conversations",
    "load_model",
    "pad_batch",
    "perplexity",
    "read_rows",
    "rouge_l",
    "save_conversations",
    "save_model",
    "tokenize",
    "tokenize_and_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ftlib' has no attribute {name!r}; it offers {', '.join(__all__)}")
    try:
        module = importlib.import_module(f"ftlib.{_HOME[name]}")
    except ModuleNotFoundError as error:
        from ftlib.errors import MissingExtraError

        command = "pip install 'ftlib[train]'"
        raise MissingExtraError(f"ftlib.{name} needs the package {error.name!r}: install it with {command}") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
