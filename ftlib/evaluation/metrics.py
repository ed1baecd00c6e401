"""How good is an answer, held against the right one: loss, accuracy, exact match, BLEU, ROUGE-L.

Each metric says its scale and which direction is better. Those of texts take predictions and references, and give a
number for each answer; :mod:`ftlib.evaluation.scores` gives them an interval. What needs no right answer is in
:mod:`ftlib.evaluation.text_metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from rouge_score.rouge_scorer import RougeScorer
from torch import Tensor, nn

from ftlib.argument_checks import a_model, at_least, checked
from ftlib.data.words import comparable, spaced, words
from ftlib.errors import DataError, MissingExtraError
from ftlib.models.gradients import evaluation_mode
from ftlib.models.target_logits import target_logits

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_WHY_NONE = (
    "there are no rows, every label is -100, or the batches were read before (what padded_batches returns can be gone "
    "through once: keep list(padded_batches(...)))"
)


def summed_target_loss(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
    """Negative log-likelihood of a batch's targets, and how many there are.

    The hidden state at position *i* predicts the token at *i + 1*. The model's own forward pass makes the scores; only
    positions whose next label is not -100 go through its output layer, which for a small model with a large vocabulary
    is most of the work. Where that changes the scores, which is checked on the first batch, all positions do
    (:func:`ftlib.models.target_logits.logits_path` tells).

    Args:
        model: A causal language model of transformers.
        batch: ``input_ids`` and ``labels``, each ``(batch, seq)``, and what else the model takes:
            ``attention_mask``, or ``position_ids`` of a packed batch.

    Returns:
        The loss summed over targets in nats (a scalar tensor), and the number of targets.

    Raises:
        DataError: Rows are packed, and the model mixes them.

    Taught in: chapters/11_four_trainers.ipynb
    """
    logits, targets = target_logits(model, batch)
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum"), len(targets)


@checked(model=a_model)
@torch.no_grad()
def answer_loss(model: PreTrainedModel | PeftModel, batches: Iterable[dict[str, Tensor]]) -> float:
    """Mean loss over all target tokens of some batches, in nats per token (0 and up; lower is better).

    Every token counts the same, however the rows are batched.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        batches: ``input_ids``, ``attention_mask`` and ``labels`` (:func:`ftlib.text.batches.padded_batches`).

    Raises:
        DataError: The batches hold no target.

    Taught in: chapters/05_instruction_tuning.ipynb
    """
    total, count = 0.0, 0
    with evaluation_mode(model):
        for batch in batches:
            loss, targets = summed_target_loss(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
            total, count = total + float(loss), count + targets
    if count == 0:
        raise DataError(f"no target tokens to measure a loss on: {_WHY_NONE}")
    return total / count


@checked(model=a_model)
@torch.no_grad()
def token_accuracy(model: PreTrainedModel | PeftModel, batches: Iterable[dict[str, Tensor]]) -> float:
    """Share of the target tokens that are the likeliest next token (0 to 1; higher is better).

    The prediction at a position is held against the token at the *next* one, and only where that is a target (its label
    is not -100). Each prediction sees the true tokens before it: what is measured is no text that the model wrote.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        batches: As for :func:`answer_loss`.

    Raises:
        DataError: The batches hold no target.

    Taught in: chapters/13_metrics_that_lie.ipynb
    """
    right = count = 0
    with evaluation_mode(model):
        for batch in batches:
            logits, targets = target_logits(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
            right, count = right + int((logits.argmax(-1) == targets).sum()), count + len(targets)
    if count == 0:
        raise DataError(f"no target tokens to compare with: {_WHY_NONE}")
    return right / count


@checked()
def perplexity(loss: float) -> float:
    """Exponential of a mean loss in nats (1 and up; lower is better).

    It can be read as the number of equally likely tokens among which the model wavers.

    >>> round(perplexity(math.log(4096)))
    4096

    Taught in: chapters/03_pretraining.ipynb
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


@checked(tokens=at_least(0), text_bytes=at_least(1))
def bits_per_byte(loss: float, *, tokens: int, text_bytes: int) -> float:
    """Loss in bits for each byte of text (0 and up; lower is better).

    Unlike loss per token, it compares models with different tokenizers.

    Args:
        loss: Mean loss in nats per token.
        tokens: Tokens that the mean is over.
        text_bytes: UTF-8 bytes of the text that these tokens write.

    >>> bits_per_byte(math.log(2), tokens=8, text_bytes=4)
    2.0

    Taught in: chapters/03_pretraining.ipynb
    """
    return loss / math.log(2) * tokens / text_bytes


def rouge_l(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-L F-measure of each answer against its reference (0 to 1; higher is better).

    It is built on the longest common subsequence of words: words in the same order, gaps allowed (Lin, 2004). Computed
    by Google's ``rouge_score``, without stemming, over words of any script (:func:`ftlib.data.words.words`; the
    package's own splitting keeps only a to z and digits). Punctuation and symbols don't count beside words, so that "2
    < 3" and "2 > 3" score 1 (:func:`exact_match` tells them apart); in a text without a word each symbol is one. An
    empty text scores 0.

    Args:
        predictions: What the model wrote.
        references: What it should have written, in the same order.

    Raises:
        DataError: The two have different lengths, or something in them is no text.

    >>> rouge_l(["the cat sat"], ["the cat slept"])
    [0.6666666666666666]
    >>> rouge_l(["今天天气好"], ["今天天气很好"])
    [0.9090909090909091]

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    check_pairs(predictions, references)
    scorer = RougeScorer(["rougeL"], tokenizer=_AnyScript())
    pairs = zip(references, predictions, strict=True)
    return [float(scorer.score(reference, prediction)["rougeL"].fmeasure) for reference, prediction in pairs]


class _AnyScript:
    """Splits texts for ``rouge_score``; on plain ASCII as its own tokenizer does."""

    def tokenize(self, text: str) -> list[str]:
        return words(text.replace("_", " ")) or list("".join(text.split()))


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """Whether each answer is its reference, word for word (0 or 1; 1 is better).

    Case, white space and the punctuation around words don't count; symbols do, and so do marks inside a word
    (:func:`ftlib.data.words.comparable`). On free answers it finds next to nothing: a right answer in other words is a
    0.

    Args:
        predictions: What the model wrote.
        references: What it should have written, in the same order.

    Raises:
        DataError: The two have different lengths, or something in them is no text.

    >>> exact_match(["A piece of text", "ids", "2 < 3"], ["a piece of  text.", "Ids, and a mask", "2 > 3"])
    [1.0, 0.0, 0.0]

    Taught in: chapters/13_metrics_that_lie.ipynb
    """
    check_pairs(predictions, references)
    return [float(comparable(one) == comparable(other)) for one, other in zip(predictions, references, strict=True)]


def bleu(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    """Sentence BLEU of each answer against its reference (0 to 100; higher is better).

    How many runs of one to four words are also in the reference, and a penalty if the answer is shorter (Papineni et
    al., 2002). It was made for whole corpora (:func:`corpus_bleu`): of one short answer it is rough, and smoothed.
    Computed by sacrebleu with its own settings; the two Unicode forms of an accent are the same, and where a script
    writes no spaces (Chinese, Japanese, Thai, ...) each character is a word.

    Args:
        predictions: What the model wrote.
        references: What it should have written, in the same order.

    Raises:
        DataError: The two have different lengths, or something in them is no text.
        MissingExtraError: sacrebleu is not installed.

    >>> [round(score) for score in bleu(["a cat sat on the mat", "no"], ["a cat sat on the mat", "a dog"])]
    [100, 0]
    """
    check_pairs(predictions, references)
    scorer = _sacrebleu().BLEU(effective_order=True)
    pairs = zip(predictions, references, strict=True)
    # sacrebleu's sums round to a little over 100 where the two are the same.
    return [
        min(100.0, scorer.sentence_score(spaced(prediction), [spaced(reference)]).score)
        for prediction, reference in pairs
    ]


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of all answers together (0 to 100; higher is better): n-grams counted over all, not a mean of sentences.

    Words are those of :func:`bleu`. Runs that are longer than every answer don't count: of answers of one word, only
    words are compared.

    Args:
        predictions: What the model wrote; at least one text.
        references: What it should have written, in the same order.

    Raises:
        DataError: There is no text, the two have different lengths, or something in them is no text.
        MissingExtraError: sacrebleu is not installed.

    >>> round(corpus_bleu(["a cat sat on the mat"], ["a cat sat on the mat"]))
    100
    """
    check_pairs(predictions, references)
    if not predictions:
        raise DataError("BLEU of no texts is not defined: give at least one prediction and its reference")
    scorer = _sacrebleu().BLEU(effective_order=True)
    score = scorer.corpus_score([spaced(text) for text in predictions], [[spaced(text) for text in references]]).score
    return min(100.0, float(score))


def check_pairs(predictions: Sequence[str], references: Sequence[str]) -> None:
    """Hold predictions and references to the same number, and to texts.

    Raises:
        DataError: There are more of one than of the other, one of the two is a single text, or a row is no text.
    """
    for name, texts in (("predictions", predictions), ("references", references)):
        if isinstance(texts, str):
            raise DataError(f"{name} must be a list of texts, not one text: put it in brackets")
        if not hasattr(texts, "__len__") or isinstance(texts, Mapping | bytes):
            raise DataError(f"{name} must be a list of texts, not {texts!r:.60}")
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"{name}, row {row} (from 0): a text was expected, not {text!r:.60}")
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions but {len(references)} references: give one for each")


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ModuleNotFoundError as error:
        raise MissingExtraError("BLEU needs the package sacrebleu: pip install 'ftlib[train]'") from error
    return sacrebleu
