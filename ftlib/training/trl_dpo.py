"""The steps of a run on pairs of answers, taken by TRL's DPOTrainer with TRL's own loss."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from datasets import Dataset
from ftlib.training.hf import planned_arguments, precision_of_this_run_only
from ftlib.training.pairs import PreferenceJob, completion_batch
from ftlib.training.randomness import random_states
from ftlib.training.trl_steps import TRLSteps, model_kept, quiet_arguments, without_recomputation

if TYPE_CHECKING:
    from peft import PeftModel

_KEPT = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


def run(job: PreferenceJob) -> None:
    """Take the steps of a job with TRL's DPOTrainer; the reference is the model with its adapters off."""
    states = random_states()
    with tempfile.TemporaryDirectory() as folder, precision_of_this_run_only(), model_kept(job.model):
        arguments = DPOConfig(**planned_arguments(job, folder), **_further_arguments(job.beta))
        _DPOTrainer(job.model, arguments, job=job, states=states).train()


def trl_loss(model: PeftModel, tokenizer: PreTrainedTokenizerBase, pairs: Dataset, *, beta: float = 0.1) -> float:
    """Return the loss that TRL's DPOTrainer computes for some pairs, in nats a pair: to hold one's own against it.

    Args:
        model: With adapters; it stays as it is.
        tokenizer: Its tokenizer, with a padding token.
        pairs: From :func:`ftlib.training.pairs.tokenize_pairs`; they make one batch.
        beta: As in :func:`ftlib.evaluation.preferences.dpo_loss`.

    Taught in: chapters/14_preferences.ipynb
    """
    with tempfile.TemporaryDirectory() as folder, model_kept(model), torch.no_grad():
        arguments = DPOConfig(**quiet_arguments(model, folder), **_further_arguments(beta))
        trainer = _Untokenised(model, args=arguments, train_dataset=pairs, processing_class=tokenizer)
        model.eval()
        batch = completion_batch(pairs, tokenizer.pad_token_id)
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        return float(trainer.compute_loss(model, inputs))  # type: ignore[no-untyped-call]


def _further_arguments(beta: float) -> dict[str, Any]:
    return {"beta": beta, "max_length": None, **without_recomputation(DPOConfig)}


class _Untokenised(DPOTrainer):
    """A DPOTrainer whose rows are tokenised already, in the run's template, and whose reference has no adapters."""

    def __init__(self, model: PreTrainedModel | PeftModel, **arguments: Any) -> None:
        super().__init__(model, **arguments)
        # A copy of the adapters as they are now: of a run that goes on, those of its last checkpoint. That would move
        # the reference at each resume; without the copy, DPOTrainer takes the model with its adapters off.
        if "ref" in model.peft_config:
            model.delete_adapter("ref")

    def _prepare_dataset(self, dataset: Any, *unused: Any, **also_unused: Any) -> Any:
        return dataset


class _DPOTrainer(TRLSteps, _Untokenised):
    def rewards(self, logs: dict[str, float]) -> dict[str, float]:
        """Keep what DPOTrainer says of the step's rewards."""
        return {name.removeprefix("rewards/"): float(logs[name]) for name in _KEPT if name in logs}
