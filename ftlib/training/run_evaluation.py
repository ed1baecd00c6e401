"""What a run measures on its evaluation rows: the loss, and scores beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.evaluation.metrics import answer_loss, corpus_bleu
from ftlib.evaluation.preferences import preference_scores
from ftlib.text.batches import padded_batches
from ftlib.training.groups import Rewards, measure_rewards
from ftlib.training.job import check_finite, evaluator
from ftlib.training.pairs import pair_batches, pair_evaluator
from ftlib.training.scores import scores

if TYPE_CHECKING:
    from peft import PeftModel


class RunEvaluation:
    """Measures a model on evaluation rows, if there are any.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        rows: Tokenised, or none.
        batch_size: Rows of one forward pass.
        metrics: Whether token accuracy, BLEU and ROUGE-L are measured too.
        metrics_rows: Rows whose answers are generated for BLEU, ROUGE-L and rewards.
        dpo_beta: DPO's beta, where the rows are pairs of answers; else None.
        rewards: What gives answers their rewards, where the objective has some.
        max_new_tokens: Tokens that an answer may have that is rewarded.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Dataset | None,
        *,
        batch_size: int = 16,
        metrics: bool = False,
        metrics_rows: int = 16,
        dpo_beta: float | None = None,
        rewards: Rewards | None = None,
        max_new_tokens: int = 256,
    ) -> None:
        """Keep what is needed; nothing is measured yet."""
        self.model, self.tokenizer, self.rows, self.batch_size = model, tokenizer, rows, batch_size
        self.metrics, self.metrics_rows, self.dpo_beta = metrics, metrics_rows, dpo_beta
        self.rewards, self.max_new_tokens = rewards or Rewards({}), max_new_tokens
        self.pad_token_id: int = tokenizer.pad_token_id
        self.loss = self._measure_of_loss()

    def _measure_of_loss(self) -> Callable[[], float | None]:
        if self.dpo_beta is None:
            return evaluator(self.model, self.rows, pad_token_id=self.pad_token_id, batch_size=self.batch_size)
        return pair_evaluator(
            self.model, self.rows, pad_token_id=self.pad_token_id, batch_size=self.batch_size, beta=self.dpo_beta
        )

    def scores(self) -> dict[str, float]:
        """Measure token accuracy, BLEU and ROUGE-L, if they are wanted, and rewards, if there are some."""
        return self._scores(self.rows, self.metrics_rows) if self.rows else {}

    def _scores(self, rows: Dataset, generated: int) -> dict[str, float]:
        found: dict[str, float] = {}
        if self.metrics:
            found |= scores(self.model, self.tokenizer, rows, generated_rows=generated, batch_size=self.batch_size)
        if self.rewards.functions:
            found |= measure_rewards(
                self.model,
                self.tokenizer,
                rows.select(range(min(len(rows), generated))),
                self.rewards,
                max_new_tokens=self.max_new_tokens,
                batch_size=self.batch_size,
            )
        return found

    def check(self, batches: int) -> None:
        """Evaluate the first few batches, and keep nothing.

        Args:
            batches: How many; -1: all.

        Raises:
            TrainingError: The loss is no number.
            MissingExtraError: A package that the scores need is not installed.
        """
        if self.metrics and self.rows:
            corpus_bleu(["text"], ["text"])  # is its package there?
        if not batches or not self.rows:
            return
        wanted = len(self.rows) if batches < 0 else batches * self.batch_size
        rows = self.rows.select(range(min(len(self.rows), wanted)))
        if self.dpo_beta is None:
            loss = answer_loss(self.model, padded_batches(rows, self.batch_size, pad_token_id=self.pad_token_id))
        else:
            pairs = pair_batches(rows, self.batch_size, pad_token_id=self.pad_token_id)
            losses = preference_scores(self.model, pairs).loss
            loss = sum(losses) / len(losses)
        check_finite(0, loss, 0.0)
        self._scores(rows, 1)
