"""The names of a fine-tuning tutorial's ``utilities.py`` of 2023, for notebooks that begin by importing it.

``from ftlib.compat.utilities import *`` takes that file's place. Each docstring says what was wrong then.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.compat.trainer import MendedTrainer, trainer_arguments
from ftlib.errors import DataError
from ftlib.estimate.throughput import Throughput, ThroughputCallback
from ftlib.inference.generation import answer, inference
from ftlib.text.batches import pad_batch
from ftlib.text.tokenization import tokenize_and_split

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import TrainingArguments

__all__ = ["Trainer", "compare_models", "inference", "is_exact_match", "sample_history", "tokenize_and_split_data"]


def tokenize_and_split_data(
    training_config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[Dataset, Dataset]:
    """Tokenise the file that a configuration names, and keep a tenth of the rows for testing (seed 123).

    Then: no row was ever shortened to ``max_length``, the labels held the prompt, no row ended with an end-of-text
    token, the last odd row was dropped, and the tokenizer came back with another padding token and truncation side.

    Args:
        training_config: ``{"model": {"max_length": 2048}, "datasets": {"path": "faq"}}``.
        tokenizer: Any tokenizer with an end-of-sequence token; it is not changed.

    Returns:
        Training and test rows with ``question``, ``answer``, ``input_ids``, ``attention_mask`` and ``labels``.

    Raises:
        DataError: As :func:`ftlib.tokenize_and_split`.

    Taught in: chapters/17_tutorial_of_2023.ipynb
    """
    split = tokenize_and_split(tokenizer, training_config)
    return split.train, split.test


class Trainer(MendedTrainer, transformers.Trainer):
    """A Trainer that logs ``iter_time``, ``flops`` and ``remaining_time``.

    Then: the time of a step held evaluation and saving; ``flops`` took every row for as long as ``max_length``, which
    made it 24 times too high; and with transformers of today the gradients of accumulated batches add up undivided,
    because the step was written for an earlier one. Here the step is the Trainer's own.

    Taught in: chapters/17_tutorial_of_2023.ipynb
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        model_flops: float = 0,
        total_steps: int | None = None,
        args: TrainingArguments | None = None,
        **names: Any,
    ) -> None:
        """Build the Trainer.

        Args:
            model: The model to train.
            model_flops: Floating-point operations that were planned for an optimizer step, padding included:
                ``model.floating_point_ops`` times the accumulation steps, say. Logged as ``planned_flops``, a second.
            total_steps: Not used: the Trainer counts its steps itself.
            args: From :func:`ftlib.compat.trainer.training_arguments`.
            **names: Any other argument of the Trainer in any release. Without a ``data_collator`` rows are padded to
                the longest of a batch.

        Raises:
            CompatError: No release of transformers has an argument of that name.
        """
        names = trainer_arguments(transformers.Trainer, **names)
        names["callbacks"] = [_Times(model_flops), *(names.get("callbacks") or [])]
        if names.get("data_collator") is None:
            # Any id will do: the mask hides it, and its label is -100.
            pad_token_id = getattr(model.config, "pad_token_id", None) or 0
            names["data_collator"] = functools.partial(pad_batch, pad_token_id=pad_token_id)
        super().__init__(model=model, args=args, **names)


class _Times(ThroughputCallback):
    def __init__(self, planned_flops_per_step: float) -> None:
        super().__init__()
        self._planned = planned_flops_per_step

    def figures(self, throughput: Throughput) -> dict[str, float]:
        seconds_per_step = throughput.seconds / throughput.steps
        figures = {"iter_time": seconds_per_step, "flops": throughput.flops_per_second}
        if self._planned:
            figures["planned_flops"] = self._planned / seconds_per_step
        return {**figures, "remaining_time": throughput.remaining_seconds}


def sample_history(history: Sequence[Any], limit: int = 100) -> list[Any]:
    """Thin out a log to at most ``limit`` entries, evenly spaced, the first and the last included.

    Then: the last entry, which says how the training ended, was mostly lost.

    >>> sample_history(range(1000), limit=4)
    [0, 333, 666, 999]
    """
    if limit < 2:
        raise DataError(f"limit must be at least 2 (the first entry and the last), not {limit}")
    if len(history) <= limit:
        return list(history)
    return [history[number * (len(history) - 1) // (limit - 1)] for number in range(limit)]


def compare_models(
    questions: Sequence[str],
    tuned: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_output_tokens: int = 100,
) -> list[dict[str, str]]:
    """Answer questions with two models: rows of ``question``, ``trained model`` and ``base model`` for a table.

    Then: one question at a time, one more row than asked for, and both columns filled from the variable of one model.

    Raises:
        PromptTooLongError: A question leaves no room for its answer.
    """
    answers = [answer(model, tokenizer, questions, max_new_tokens=max_output_tokens) for model in (tuned, base)]
    columns = ("question", "trained model", "base model")
    return [dict(zip(columns, row, strict=True)) for row in zip(questions, *answers, strict=True)]


def is_exact_match(first: str, second: str) -> bool:
    """Say whether two answers are word for word the same.

    Then it was the only metric, and it found nothing in 140 answers: :func:`ftlib.rouge_l` sees what is nearly right.

    >>> is_exact_match("A piece of  text.", "A piece of text. ")
    True

    Taught in: chapters/17_tutorial_of_2023.ipynb
    """
    return first.split() == second.split()
