"""What an objective adds to a training step: rows, passes and weights of a reference."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ftlib.errors import ModelError
from ftlib.estimate.memory_tracker import MemoryTracker
from ftlib.estimate.preference_step import PreferenceLoss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Objective = Literal["sft", "dpo", "grpo"]
ROWS_EACH: dict[Objective, int] = {"sft": 1, "dpo": 2, "grpo": 1}
"""Rows for each that a batch counts: two answers are a pair."""


@dataclass(frozen=True)
class Passes:
    """How an objective goes through the model.

    Attributes:
        objective: Which one.
        further: Forward passes beside the one that is followed by a backward pass: the reference's, and GRPO generates.
        reference: A model of its own, frozen, on the meta device; None where there is none.
    """

    objective: Objective
    further: int = 0
    reference: PreTrainedModel | None = None

    @classmethod
    def of(cls, model: PreTrainedModel, objective: Objective, *, has_adapters: bool, reference: bool) -> Passes:
        """Look at a model before it gets adapters.

        Args:
            model: On the meta device. TRL's DPO trains without dropout, and so its dropout goes, in place.
            objective: What it is trained for.
            has_adapters: It will have some, so that its reference is what is below them.
            reference: GRPO has one.

        Raises:
            ModelError: The objective has no choice about a reference.
        """
        if reference and objective != "grpo":
            raise ModelError(f"reference is grpo's choice (its beta above 0), not that of {objective}: leave it out")
        if objective == "sft" or (objective == "grpo" and not reference):
            return cls(objective, further=int(objective == "grpo"))
        if objective == "dpo":  # before the reference is copied, which has none either
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
        copied = None if has_adapters else copy.deepcopy(model).requires_grad_(False)
        return cls(objective, further=1 if objective == "dpo" else 2, reference=copied)

    @property
    def rows_each(self) -> int:
        """Rows for each that a batch counts."""
        return ROWS_EACH[self.objective]

    @property
    def reference_bytes(self) -> int:
        """Weights of the reference."""
        return 0 if self.reference is None else sum(weight.nbytes for weight in self.reference.parameters())

    def arguments(self, model: PreTrainedModel, *, device: str, targets: int | None, autocast: bool) -> dict[str, Any]:
        """Further arguments of :func:`ftlib.estimate.step_memory.step_memory`.

        Args:
            model: What is trained.
            device: As there.
            targets: As there.
            autocast: As there.
        """
        if self.objective == "sft":
            return {}
        tracker = MemoryTracker(model.config.vocab_size)
        if self.reference is not None:
            for tensor in (*self.reference.parameters(), *self.reference.buffers()):
                tracker.label(tensor, "weights")
        dtype = torch.bfloat16 if autocast else None
        loss = PreferenceLoss(tracker, device, targets, self.reference, dtype, compares=self.objective == "dpo")
        return {"tracker": tracker, "loss": loss}
