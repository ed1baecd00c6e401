"""Scores of a model on evaluation rows, beside the loss: token accuracy, BLEU and ROUGE-L.

Two things make such scores lie. Comparing the prediction at a position with the token *at* that position, and not the
next one, measures nothing. And text put together from predictions that each saw the true answer so far is no text that
the model wrote. So: accuracy is shifted by one, and BLEU and ROUGE-L are of generated answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.evaluation.metrics import corpus_bleu, rouge_l, token_accuracy
from ftlib.inference.decoding import Sampling, continue_ids
from ftlib.models.loading import context_length
from ftlib.text.batches import padded_batches
from ftlib.text.ends import end_ids
from ftlib.text.row_maker import IGNORED

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def scores(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    *,
    generated_rows: int = 16,
    batch_size: int = 16,
) -> dict[str, float]:
    """Measure token accuracy on all rows, and BLEU and ROUGE-L on answers to the first ones.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's.
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        generated_rows: Rows whose last answer is generated (greedily) and compared.
        batch_size: Rows of one forward pass.

    Returns:
        ``token_accuracy`` (0 to 1), ``bleu`` (0 to 100) and ``rouge_l`` (0 to 1); higher is better.

    Raises:
        MissingExtraError: sacrebleu is not installed.
    """
    accuracy = token_accuracy(model, padded_batches(rows, batch_size, pad_token_id=tokenizer.pad_token_id))
    first = rows.select(range(min(len(rows), generated_rows)))
    predictions, references = greedy_answers(model, tokenizer, first, batch_size)
    return {"token_accuracy": accuracy, **bleu_and_rouge(predictions, references)}


def bleu_and_rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Compare texts: ``bleu`` of all together (0 to 100, sacrebleu's own settings) and mean ``rouge_l`` (0 to 1).

    Args:
        predictions: What a model wrote; at least one text.
        references: What it should have written, in the same order.

    Raises:
        MissingExtraError: sacrebleu is not installed.
        DataError: The two have different lengths.

    >>> scores = bleu_and_rouge(["a cat sat on the mat"], ["a cat sat on the mat"])
    >>> round(scores["bleu"]), scores["rouge_l"]
    (100, 1.0)
    """
    each = rouge_l(predictions, references)
    return {"bleu": corpus_bleu(predictions, references), "rouge_l": sum(each) / len(each)}


def greedy_answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    batch_size: int,
    *,
    max_new_tokens: int | None = None,
) -> tuple[list[str], list[str]]:
    """Generate the last answer of each row from what stands before it; return it beside the true one.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's.
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        batch_size: Rows of one forward pass.
        max_new_tokens: Tokens that an answer may have; default: as many as the longest true one of its batch.
    """
    pairs = [last_answer(row["input_ids"], row["labels"]) for row in rows]
    choose, ends = Sampling().chooser(model.device), frozenset(end_ids(model, tokenizer))
    written: list[list[int]] = []
    for start in range(0, len(pairs), batch_size):
        some = pairs[start : start + batch_size]
        prompts = [prompt for prompt, _ in some]
        wanted = max_new_tokens or max(len(target) for _, target in some)
        limit = max(1, min(wanted, context_length(model) - max(map(len, prompts))))
        cached = model.config.use_cache
        written += continue_ids(model, prompts, choose, max_new_tokens=limit, end_ids=ends, use_cache=cached)
    targets = [target for _, target in pairs]
    predictions, references = (tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in (written, targets))
    return [text.strip() for text in predictions], [text.strip() for text in references]


def last_answer(ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """Split the ids of a row at its last answer.

    Args:
        ids: Of the row.
        labels: -100 where nothing is learnt.

    >>> last_answer([5, 6, 7, 8], [-100, -100, 7, 8])
    ([5, 6], [7, 8])
    """
    end = max((i + 1 for i, label in enumerate(labels) if label != IGNORED), default=len(ids))
    start = max((i + 1 for i, label in enumerate(labels[:end]) if label == IGNORED), default=0)
    # A prompt of no token can't be continued: the first token of the answer is given then.
    start = max(1, start)
    return ids[:start], ids[start:end]
