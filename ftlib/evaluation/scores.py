"""The scores of an evaluation: for each what it is called, its scale, which direction is better, how it is worked out.

A score begins with a row of numbers for each answer. Added up and finished, they give the score of a run; resampled,
its interval (:mod:`ftlib.evaluation.confidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ftlib.data.words import spaced
from ftlib.evaluation.confidence import Array, Finish, Interval, bootstrap, mean
from ftlib.evaluation.metrics import bleu, check_pairs, exact_match, rouge_l
from ftlib.evaluation.text_metrics import distinct_each, refuses, repeats

Each = Callable[[Sequence[str], Sequence[str]], list[float]]


@dataclass(frozen=True)
class Column:
    """A column of a summary: what every score says of itself, whatever it is worked out from.

    Attributes:
        name: Of the column.
        title: How a page calls it.
        scale: Its least and greatest value.
        better: Which direction is better.
        off_topic: Whether it is of the questions off the subject, or of those on it; None: of all.
    """

    name: str
    title: str
    scale: tuple[float, float]
    better: Literal["higher", "lower"]
    off_topic: bool | None = field(default=None, kw_only=True)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that a score has in a summary; two runs are compared by the first."""
        return (self,)

    def counts(self, off_topic: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which rows count, ``(rows,)``, by whether each is off the subject."""
        return np.ones_like(off_topic) if self.off_topic is None else off_topic == self.off_topic


@dataclass(frozen=True)
class Score(Column):
    """A score of answers; it has the attributes of :class:`Column`.

    Attributes:
        each: A number for each answer.
        statistics: Predictions and references to ``(rows, k)``; default: what ``each`` gives.
        finish: Sums of these to the score of a run; default: the mean.
        split: Its columns, where what is better depends on the question; default: one, of all rows.
    """

    each: Each
    statistics: Callable[[Sequence[str], Sequence[str]], Array] | None = None
    finish: Finish = mean
    split: tuple[Column, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """As of every score."""
        return self.split or (self,)

    def rows(self, predictions: Sequence[str], references: Sequence[str]) -> Array:
        """Return the numbers of each answer that add up to the score, ``(rows, k)``.

        Raises:
            DataError: The two have different lengths.
        """
        check_pairs(predictions, references)
        if self.statistics:
            return self.statistics(predictions, references)
        return np.array(self.each(predictions, references), dtype=np.float64).reshape(-1, 1)

    def interval(self, predictions: Sequence[str], references: Sequence[str]) -> Interval:
        """Return the score of a run with its 95 % bootstrap interval.

        >>> SCORES["exact_match"].interval(["a", "b"], ["a", "b"])
        Interval(value=1.0, low=1.0, high=1.0)
        """
        return bootstrap(self.rows(predictions, references), self.finish)


def _bleu_counts(predictions: Sequence[str], references: Sequence[str]) -> Array:
    """N-grams found, n-grams there (four of each), words of the answer and of its reference: ``(rows, 10)``."""
    from sacrebleu.metrics.bleu import BLEU

    scorer, pairs = BLEU(), zip(predictions, references, strict=True)
    scores: list[Any] = [scorer.corpus_score([spaced(one)], [[spaced(other)]]) for one, other in pairs]
    return np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], dtype=float)


def _bleu_of_counts(sums: Array, rows: int) -> Array:
    from sacrebleu.metrics.bleu import BLEU

    def one(counts: Array) -> float:
        found, there, (written, wanted) = counts[:4], counts[4:8], counts[8:]
        score = BLEU.compute_bleu(list(found), list(there), int(written), int(wanted), effective_order=True)
        return min(100.0, float(score.score))

    return np.apply_along_axis(one, -1, sums)


def _alone(function: Callable[[Sequence[str]], list[float]]) -> Each:
    return lambda predictions, references: function(predictions)


@dataclass(frozen=True)
class LossScore(Column):
    """A score of the probabilities that a model gives the right answers; it has the attributes of :class:`Column`.

    Attributes:
        finish: Sums of :data:`LOSS_COLUMNS` to the score of a run.
    """

    finish: Finish


LOSS_COLUMNS = ("nats", "tokens", "right_tokens", "answer_bytes")
"""What the loss scores add up for each answer: the loss of its tokens, how many there are, how many of them were the
likeliest, and the UTF-8 bytes of the text that they stand for (:func:`ftlib.evaluation.likelihood.answer_statistics`).
"""

LOSS_SCORES = {
    one.name: one
    for one in (
        LossScore("loss", "answer loss (nats per token)", (0, np.inf), "lower", lambda s, _: s[..., 0] / s[..., 1]),
        LossScore("perplexity", "perplexity", (1, np.inf), "lower", lambda s, _: np.exp(s[..., 0] / s[..., 1])),
        LossScore("bits_per_byte", "bits per byte", (0, np.inf), "lower", lambda s, _: _bits(s) / s[..., 3]),
        LossScore("token_accuracy", "token accuracy", (0, 1), "higher", lambda s, _: s[..., 2] / s[..., 1]),
    )
}
"""The scores of a model whose probabilities are known, by name.

:meta hide-value:
"""


def _bits(sums: Array) -> Array:
    return np.asarray(sums[..., 0] / np.log(2))


_REFUSALS = (
    Column("refuses", "refusal rate, on the subject", (0, 1), "lower", off_topic=False),
    Column("refuses_off_topic", "refusal rate, off the subject", (0, 1), "higher", off_topic=True),
)
SCORES = {
    one.name: one
    for one in (
        Score("rouge_l", "ROUGE-L", (0, 1), "higher", rouge_l),
        Score("bleu", "BLEU", (0, 100), "higher", bleu, _bleu_counts, _bleu_of_counts),
        Score("exact_match", "exact match", (0, 1), "higher", exact_match),
        Score("distinct_2", "distinct-2", (0, 1), "higher", _alone(distinct_each)),
        Score("repeats", "repetition rate", (0, 1), "lower", _alone(repeats)),
        Score("refuses", "refusal rate", (0, 1), "lower", _alone(refuses), split=_REFUSALS),
    )
}
"""Every score of an evaluation by name. BLEU of one answer is smoothed; that of a run is of all answers together.

:meta hide-value:
"""
