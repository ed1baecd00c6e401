"""The names of a fine-tuning tutorial's ``utilities.py`` of 2023, for notebooks that begin by importing it.

``from ftlib.utilities import *`` takes that file's place. Each docstring says what was wrong then.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.batches import pad_batch
from ftlib.compat import MendedTrainer, trainer_arguments
from ftlib.errors import DataError, PromptTooLongError, TruncationWarning
from ftlib.inference import answer, generate
from ftlib.messages import Message
from ftlib.models import context_length
from ftlib.templates import QUESTION_ANSWER, Segment, Template
from ftlib.throughput import Throughput, ThroughputCallback
from ftlib.tokenization import encode_segments, tokenize_and_split

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
    """
    split = tokenize_and_split(training_config, tokenizer)
    return split.train, split.test


def inference(
    text: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_input_tokens: int = 1000,
    max_output_tokens: int = 100,
    *,
    template: Template | None = QUESTION_ANSWER,
) -> str:
    """Ask one question.

    Then: the prompt counted as output, so that one of more than ``max_output_tokens`` raised an error; there was no
    attention mask; the question went in without the frame that training used; and the prompt was taken off the answer
    by its number of characters, which a shortened prompt no longer has.

    Args:
        text: The question, without a frame.
        model: A causal language model.
        tokenizer: The model's tokenizer.
        max_input_tokens: A prompt of more tokens loses the beginning of its question. So does one that leaves no room
            for the answer in the model's context. A :class:`~ftlib.errors.TruncationWarning` says so.
        max_output_tokens: The most tokens to write.
        template: The frame that training used; None continues the text as it stands.

    Raises:
        PromptTooLongError: Even without a question there is no room.
    """
    text = _shorten(text, tokenizer, template, min(max_input_tokens, context_length(model) - max_output_tokens))
    if template is None:
        return generate(model, tokenizer, [text], max_new_tokens=max_output_tokens)[0]
    return answer(model, tokenizer, [text], template=template, max_new_tokens=max_output_tokens)[0]


class Trainer(MendedTrainer, transformers.Trainer):
    """A Trainer that logs ``iter_time``, ``flops`` and ``remaining_time``.

    Then: the time of a step held evaluation and saving; ``flops`` took every row for as long as ``max_length``, which
    made it 24 times too high; and with transformers of today the gradients of accumulated batches add up undivided,
    because the step was written for an earlier one. Here the step is the Trainer's own.
    """

    def __init__(
        self, model: Any, model_flops: float = 0, total_steps: int | None = None, args: Any = None, **names: Any
    ) -> None:
        """Build the Trainer.

        Args:
            model: The model to train.
            model_flops: Floating-point operations that were planned for an optimizer step, padding included:
                ``model.floating_point_ops`` times the accumulation steps, say. Logged as ``planned_flops``, a second.
            total_steps: Not used: the Trainer counts its steps itself.
            args: From :func:`ftlib.compat.training_arguments`.
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
    """
    return first.split() == second.split()


def _shorten(text: str, tokenizer: PreTrainedTokenizerBase, template: Template | None, room: int) -> str:
    shorter = text
    while (excess := _prompt_length(shorter, tokenizer, template) - room) > 0:
        starts = [start for start, _ in tokenizer(shorter, return_offsets_mapping=True)["offset_mapping"]]
        if excess >= len(starts):
            raise PromptTooLongError(
                f"no room for a question: the prompt may have {room} tokens, its frame included. "
                "Raise max_input_tokens or lower max_output_tokens"
            )
        shorter = shorter[max(1, starts[excess]) :]
    if shorter != text:
        lost = len(text) - len(shorter)
        message = f"the question lost its first {lost} characters: a prompt may have {room} tokens here"
        warnings.warn(message, TruncationWarning, stacklevel=3)
    return shorter


def _prompt_length(text: str, tokenizer: PreTrainedTokenizerBase, template: Template | None) -> int:
    messages = [Message(role="user", content=text)]
    segments = template.render_prompt(messages) if template else [Segment(text)]
    return len(encode_segments(segments, tokenizer))
