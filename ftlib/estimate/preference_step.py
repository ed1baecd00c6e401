"""The passes of DPO and GRPO on tensors that hold no numbers: log-probabilities of a batch, and a reference's.

Follows TRL 1.16's trainers. With DPO both answers of a pair are rows of one batch, which the reference reads while the
activations of the policy are there, and keeps none of its own; with GRPO it has read it before. The scores over the
vocabulary exist in tiles only (4,096 tokens by 32,768 entries) and are made a second time for the backward pass
(trl/kernels/chunked_logprob.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ftlib.estimate.memory_tracker import MemoryTracker

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_TILE_TOKENS, _TILE_ENTRIES = 4096, 32768
# Bytes of what is made of each score in passing: a GPU works inside the tile.
_FOLDED = {"cuda": 0, "cpu": 13}
_FOLDED_BY_REFERENCE = {"cuda": 0, "cpu": 12}
_FOLDED_BACK = {"cuda": 0, "cpu": 29}


@dataclass(frozen=True)
class PreferenceLoss:
    """The loss of a step on preferences, as :func:`ftlib.estimate.step_memory.step_memory` takes it.

    Attributes:
        tracker: Is told which tensors are scores.
        device: Whose kernels to follow: a GPU scores the targets alone.
        targets: Tokens of the batch that are scored; None: all that follow another.
        reference: Reads the batch as well; None where it is the model itself with its adapters off.
        dtype: Of the scores; None: that of the hidden states.
        compares: The reference reads the batch within the step.
    """

    tracker: MemoryTracker
    device: str
    targets: int | None
    reference: PreTrainedModel | None = None
    dtype: torch.dtype | None = None
    compares: bool = True

    def __call__(self, model: PreTrainedModel | PeftModel, ids: Tensor) -> Tensor:
        """Take the forward passes.

        Args:
            model: The policy, on the meta device.
            ids: ``(rows, seq)``; of pairs all chosen answers, then all rejected ones.

        Returns:
            A number to go backward from.
        """
        scored = self._log_probs(model, ids, _FOLDED[self.device])
        if self.compares:
            off = without_adapters(model) if self.reference is None else contextlib.nullcontext()
            with torch.no_grad(), off:
                self._log_probs(self.reference or model, ids, _FOLDED_BY_REFERENCE[self.device])
        return scored.sum()

    def _log_probs(self, model: PreTrainedModel | PeftModel, ids: Tensor, folded: int) -> Tensor:
        body = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        hidden = body.last_hidden_state[:, :-1]
        if self.device == "cuda" and self.targets is not None:
            positions = torch.zeros(self.targets, dtype=torch.int64, device=ids.device)
            hidden = hidden[positions, positions]
        head = model.get_output_embeddings().weight
        result: Tensor = _LogProbs.apply(hidden.reshape(-1, hidden.shape[-1]), head, self, folded)  # type: ignore[no-untyped-call]
        return result

    def tile(self, hidden: Tensor, head: Tensor, folded: int, *, back: bool = False) -> None:
        """Make and drop a tile of scores, and what is made of it."""
        tokens, entries = min(len(hidden), _TILE_TOKENS), min(len(head), _TILE_ENTRIES)
        dtype = self.dtype or hidden.dtype
        as_scores = head[:entries].to(dtype), hidden[:tokens].to(dtype)
        with _counted_as_logits(self.tracker):
            tile = hidden.new_empty(tokens, _TILE_ENTRIES, dtype=dtype)
            passing = hidden.new_empty(tokens * entries * folded, dtype=torch.uint8)
            del passing
            if back and self.device == "cpu":  # the products of the gradients are in float32 there
                products = tile[:, :entries].float(), as_scores[0].float()
                del products
        del tile, as_scores


class _LogProbs(torch.autograd.Function):
    """Log-probabilities ``(tokens,)`` from hidden states ``(tokens, width)`` and a head ``(entries, width)``."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, loss: PreferenceLoss, folded: int) -> Tensor:
        ctx.loss = loss
        ctx.save_for_backward(hidden, head)
        loss.tile(hidden, head, folded)
        return hidden.new_empty(len(hidden), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True)
        found = [torch.zeros_like(one, dtype=torch.float32) if needed else None for one, needed in pairs]
        ctx.loss.tile(*ctx.saved_tensors, _FOLDED_BACK[ctx.loss.device], back=True)
        typed = (None if one is None else one.to(of.dtype) for one, of in zip(found, ctx.saved_tensors, strict=True))
        return *typed, None, None


@contextlib.contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Turn the adapters of a model off, as its reference has them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@contextlib.contextmanager
def _counted_as_logits(tracker: MemoryTracker) -> Iterator[None]:
    before, tracker.kind = tracker.kind, "logits"
    try:
        yield
    finally:
        tracker.kind = before
