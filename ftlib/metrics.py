"""How good is an answer: loss, perplexity, ROUGE-L.

Each metric says its scale and which direction is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor, nn

from ftlib.errors import DataError


def summed_target_loss(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
    """Negative log-likelihood of a batch's targets, and how many there are.

    The hidden state at position *i* predicts the token at *i + 1*. Only positions whose next label is
    not -100 go through the output layer, which for a small model with a large vocabulary is most of
    the work.

    Args:
        model: A causal language model of transformers.
        batch: ``input_ids`` and ``labels``, each ``(batch, seq)``, and what else the model takes:
            ``attention_mask``, or ``position_ids`` of a packed batch.

    Returns:
        The loss summed over targets in nats (a scalar tensor), and the number of targets.

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    # An adapter stands in the layers of the model that it was put on: that one is called.
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state
    targets = batch["labels"][:, 1:]
    kept = targets != -100
    logits = model.get_output_embeddings()(hidden[:, :-1][kept])
    return nn.functional.cross_entropy(logits.float(), targets[kept], reduction="sum"), int(kept.sum())


@torch.no_grad()
def answer_loss(model: Any, batches: Iterable[dict[str, Tensor]]) -> float:
    """Mean loss over all target tokens of some batches, in nats per token (0 and up; lower is better).

    Every token counts the same, however the rows are batched.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        batches: ``input_ids``, ``attention_mask`` and ``labels`` (:func:`ftlib.batches.padded_batches`).

    Raises:
        DataError: The batches hold no target.

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        for batch in batches:
            loss, targets = summed_target_loss(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
            total, count = total + float(loss), count + targets
    finally:
        model.train(was_training)
    if count == 0:
        raise DataError("no target tokens to measure a loss on: there are no rows, or every label is -100")
    return total / count


def perplexity(loss: float) -> float:
    """Exponential of a mean loss in nats (1 and up; lower is better).

    It can be read as the number of equally likely tokens among which the model wavers.

    >>> round(perplexity(math.log(4096)))
    4096

    Taught in: chapters/02_pretraining.ipynb
    """
    return math.exp(loss)


def bits_per_byte(loss: float, *, tokens: int, text_bytes: int) -> float:
    """Loss in bits for each byte of text (0 and up; lower is better).

    Unlike loss per token, it compares models with different tokenizers.

    Args:
        loss: Mean loss in nats per token.
        tokens: Tokens that the mean is over.
        text_bytes: UTF-8 bytes of the text that these tokens write.

    >>> bits_per_byte(math.log(2), tokens=8, text_bytes=4)
    2.0

    Taught in: chapters/02_pretraining.ipynb
    """
    return loss / math.log(2) * tokens / text_bytes


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-L F-measure of each answer against its reference (0 to 1; higher is better).

    It is built on the longest common subsequence of words: words in the same order, gaps allowed
    (Lin, 2004). Computed by Google's ``rouge_score``, without stemming.

    Args:
        predictions: What the model wrote.
        references: What it should have written, in the same order.

    Raises:
        DataError: The two have different lengths.

    >>> rouge_l(["the cat sat"], ["the cat slept"])
    [0.6666666666666666]

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions but {len(references)} references: give one for each")
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = zip(references, predictions, strict=True)
    return [scorer.score(reference, prediction)["rougeL"].fmeasure for reference, prediction in pairs]
