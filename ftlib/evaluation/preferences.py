"""DPO's loss and what is measured with it: how much likelier each of two answers has become."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ftlib.argument_checks import a_model, checked
from ftlib.errors import DataError, ModelError
from ftlib.models.gradients import evaluation_mode
from ftlib.text.row_maker import IGNORED

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class PreferenceScores:
    """What a model makes of pairs of answers, pair by pair.

    Attributes:
        loss: DPO's loss of each pair, in nats; ln 2 where model and reference are the same.
        chosen: Reward of the chosen answer: beta times how much likelier it is than to the reference, in nats.
        rejected: The same of the rejected one.
        log_odds: Log-probability of the chosen answer minus that of the rejected one, in nats; no reference in it.
    """

    loss: list[float]
    chosen: list[float]
    rejected: list[float]
    log_odds: list[float]

    @property
    def accuracy(self) -> float:
        """Share of the pairs whose chosen answer has the higher reward (0 to 1; higher is better); a tie is none."""
        return sum(map(float.__gt__, self.chosen, self.rejected)) / len(self.loss)

    @property
    def preferred(self) -> float:
        """Share of the pairs whose chosen answer is the likelier one (0 to 1); short answers have it easier."""
        return sum(odds > 0 for odds in self.log_odds) / len(self.log_odds)


def answer_log_probs(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the log-probability of each row's targets, added up, in nats.

    Args:
        model: A causal language model.
        batch: ``input_ids``, ``attention_mask``, ``labels``, each ``(batch, seq)``; -100 is no target.

    Returns:
        ``(batch,)``, with gradients where they are on.

    Taught in: chapters/14_preferences.ipynb
    """
    labels = batch["labels"][:, 1:]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
    losses = functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return -losses.sum(dim=1)


def dpo_loss(policy: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor], beta: float = 0.1) -> Tensor:
    """Return DPO's loss of some pairs, in nats (0 and up; ln 2 at the start).

    -ln sigmoid(beta * (how much likelier the chosen answer became - how much likelier the rejected one did)), as in
    Rafailov et al., 2023, equation 7.

    Args:
        policy: Log-probabilities ``(pairs,)`` of the chosen and of the rejected answers, by the model that is trained.
        reference: The same by the model as it was.
        beta: How dearly a step away from the reference is paid.

    >>> same = (torch.tensor([-5.0]), torch.tensor([-9.0]))
    >>> round(float(dpo_loss(same, same)[0]), 4)
    0.6931

    Taught in: chapters/14_preferences.ipynb
    """
    chosen, rejected = (new - old for new, old in zip(policy, reference, strict=True))
    return -functional.logsigmoid(beta * (chosen - rejected))


def adapters_off(model: PreTrainedModel | PeftModel) -> contextlib.AbstractContextManager[None]:
    """Return a context in which a model with adapters is what it was without them.

    Raises:
        ModelError: It has none.
    """
    off = getattr(model, "disable_adapter", None)
    if off is None:
        raise ModelError(
            f"{type(model).__name__} has no adapters: the reference of DPO is the model with its adapters off: add "
            "some with ftlib.models.add_lora (model.lora in a configuration)"
        )
    without: contextlib.AbstractContextManager[None] = off()
    return without


@checked(model=a_model)
@torch.no_grad()
def preference_scores(
    model: PreTrainedModel | PeftModel, batches: Iterable[dict[str, Tensor]], *, beta: float = 0.1
) -> PreferenceScores:
    """Score pairs of answers with a model and with its reference, which is the model with its adapters off.

    Args:
        model: With adapters; its training mode is restored afterwards.
        batches: ``input_ids``, ``attention_mask`` and ``labels``, each ``(2 * pairs, seq)``: the chosen answers first.
        beta: As in :func:`dpo_loss`.

    Raises:
        ModelError: The model has no adapters.
        DataError: There are no pairs.

    Taught in: chapters/14_preferences.ipynb
    """
    found: list[Tensor] = []
    with evaluation_mode(model):
        for batch in batches:
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            policy = _halves(answer_log_probs(model, inputs))
            with adapters_off(model):
                reference = _halves(answer_log_probs(model, inputs))
            rewards = [beta * (new - old) for new, old in zip(policy, reference, strict=True)]
            found.append(torch.stack([dpo_loss(policy, reference, beta), *rewards, policy[0] - policy[1]]))
    if not found:
        raise DataError("no pairs to score: check the file or the split")
    return PreferenceScores(*torch.cat(found, dim=1).tolist())


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Take what was worked out for ``(2 * pairs,)`` rows apart: the chosen answers', and the rejected ones'."""
    middle = len(values) // 2
    return values[:middle], values[middle:]
