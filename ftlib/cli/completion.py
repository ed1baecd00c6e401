"""What the shell offers for an argument. Nothing heavy is imported: a person waits for it with a finger on the key."""

from __future__ import annotations

import json
from pathlib import Path

from ftlib.paths import architectures_file, shipped

ENGINES = ("loop", "hf", "lightning", "trl")
DTYPES = ("float32", "bfloat16")
PRECISION_NAMES = ("float32", "bfloat16", "float16", "mixed")
OBJECTIVES = ("sft", "dpo", "grpo")
OPTIMIZERS = ("adamw", "adafactor", "muon", "sgd")
WEIGHT_NAMES = ("4bit", "8bit")
PROVIDER_NAMES = ("openai", "deepseek", "lamini")
EXPORTS = ("merged", "gguf", "ollama", "vllm", "page")
QUANTIZATIONS = ("f16", "q8_0", "q4_0")
WEIGHT_DTYPES = ("float32", "bfloat16", "float16")
SCORE_NAMES = (
    *("rouge_l", "bleu", "exact_match", "distinct_2", "repeats", "refuses", "json_valid", "json_match"),
    *("loss", "perplexity", "bits_per_byte", "token_accuracy"),
)


def data_sets() -> list[str]:
    """Name the shipped data sets."""
    return sorted(path.name for path in shipped("datasets").iterdir() if path.is_dir())


def configs() -> list[str]:
    """Name the shipped configurations that train."""
    return [name for name in _configs() if not _is_test(name)]


def question_sources() -> list[str]:
    """Name what ``evaluate`` takes: the shipped data sets, and the configurations that test."""
    return [*data_sets(), *test_configs()]


def test_configs() -> list[str]:
    """Name the shipped configurations that test a model."""
    return [name for name in _configs() if _is_test(name)]


def formats() -> list[str]:
    """Name the formats that rows can have."""
    from ftlib.data.formats import FORMATS

    return ["auto", *FORMATS]


def written_formats() -> list[str]:
    """Name the formats that rows can be written in."""
    from ftlib.data.formats import FORMATS

    return [name for name, one in FORMATS.items() if one.write]


def templates() -> list[str]:
    """Name the text templates."""
    from ftlib.text.templates import TEMPLATES

    return list(TEMPLATES)


def models() -> list[str]:
    """Name nano, smollm2, and the runs and models below ``runs/``."""
    return ["nano", "smollm2", *(str(path.parent) for path in sorted(Path("runs").glob("*/config.*")))]


def architectures() -> list[str]:
    """Name nano, smollm2 and the models of the Hub whose architecture is shipped."""
    return ["nano", "smollm2", *json.loads(architectures_file().read_text(encoding="utf-8"))]


def _configs() -> list[str]:
    return sorted(path.stem for path in shipped("configs").glob("*.yaml"))


def _is_test(name: str) -> bool:
    return name.endswith("_test")
