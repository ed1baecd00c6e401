"""The memory of generating completions, as GRPO does before each step: the key-value cache above all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ftlib.errors import ModelError
from ftlib.estimate.memory_tracker import Memory, MemoryTracker
from ftlib.estimate.step_memory import Device, like_on

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Generation:
    """What generating takes at most.

    Attributes:
        cache_bytes: Keys and values of all tokens in front of the last one.
        passing: The cache, what a pass needs beside it, and the scores of the last tokens.
    """

    cache_bytes: int
    passing: Memory

    def peak(self, *, weights: int, optimizer: int) -> Memory:
        """Return the fullest moment, with what is there as well: no gradients, since the step has not begun."""
        passing = self.passing
        return Memory(weights, 0, optimizer, passing.activations, passing.logits)


def generation_memory(
    model: PreTrainedModel | PeftModel, *, rows: int, length: int, generated: int, device: Device
) -> Generation:
    """Read the prompts and generate the last token of the longest completion, with all others in the cache.

    Args:
        model: On the meta device; its mode comes back.
        rows: Completions that are generated at once.
        length: Tokens of prompt and completion.
        generated: Those of the completion.
        device: Whose kernels to follow.

    Raises:
        ModelError: The model keeps no keys and values.
    """
    tracker, was_training = MemoryTracker(model.config.vocab_size), model.training
    for tensor in (*model.parameters(), *model.buffers()):
        tracker.label(tensor, "weights")
    model.eval()
    with torch.no_grad(), tracker, like_on(device):
        cache = _scored(model, torch.zeros(rows, length - generated, dtype=torch.int64, device=model.device))
        layers = list(_layers(cache, model))
        for layer in layers:
            _fill(layer, length - 1)
        kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        _scored(model, torch.zeros(rows, 1, dtype=torch.int64, device=model.device), past_key_values=cache)
    model.train(was_training)
    return Generation(kept, tracker.peak)


def _scored(model: PreTrainedModel | PeftModel, ids: torch.Tensor, **cache: Any) -> Any:
    """Read tokens and choose the next ones; scores of the last position alone."""
    read = model.base_model(input_ids=ids, use_cache=True, **cache)
    scores = model.get_output_embeddings()(read.last_hidden_state[:, -1]).float()
    scores = scores / 1.0  # the temperature, in a tensor of its own
    torch.softmax(scores, dim=-1)
    return read.past_key_values


def _layers(cache: Any, model: PreTrainedModel | PeftModel) -> Iterable[Any]:
    layers = [layer for layer in getattr(cache, "layers", ()) if getattr(layer, "keys", None) is not None]
    if not layers:
        raise ModelError(
            f"the family {model.config.model_type!r} keeps no keys and values of earlier tokens (or not where they can "
            "be seen): what generating takes can't be estimated"
        )
    return layers


def _fill(layer: Any, tokens: int) -> None:
    # A layer that looks back so far and no further keeps no more.
    window = getattr(layer, "sliding_window", None)
    kept = min(tokens, window - 1) if isinstance(window, int) else tokens
    for name in ("keys", "values"):
        old = getattr(layer, name)
        setattr(layer, name, old.new_empty(*old.shape[:-2], kept, old.shape[-1]))
