"""Every number that decides what a pretraining makes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Every number that decides what nano becomes.

    Attributes:
        vocabulary_size: Entries of the tokenizer, special tokens included.
        layers: Transformer blocks.
        width: Size of the hidden state.
        heads: Attention heads per block; ``width`` is a multiple of it.
        context: Tokens the model sees at once, and the length of a training window.
        batch_windows: Windows per optimizer step.
        micro_windows: Windows per forward pass; gradients add up over a step.
        total_tokens: Tokens to train on; the corpus is read again (in a new order) when it runs out.
        warmup_fraction: Share of the steps with a rising learning rate.
        decay_fraction: Share of the steps, at the end, with a falling learning rate. The plateau before it is what
            makes a longer run cheap: stop before the fall, and go on with a larger ``total_tokens``.
        matrix_learning_rate: Peak rate of Muon, which trains the matrices inside the blocks.
        other_learning_rate: Peak rate of AdamW, which trains embeddings, head, norms and biases.
        weight_decay: Decoupled weight decay of both optimizers.
        seed: Seed of the initial weights and of the order of the windows.
    """

    vocabulary_size: int = 4096
    layers: int = 4
    width: int = 192
    heads: int = 4
    context: int = 256
    batch_windows: int = 32
    micro_windows: int = 4
    total_tokens: int = 30_000_000
    warmup_fraction: float = 0.01
    decay_fraction: float = 0.4
    matrix_learning_rate: float = 0.02
    other_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return math.ceil(self.total_tokens / (self.batch_windows * self.context))

    @property
    def warmup_steps(self) -> int:
        """Steps with a rising learning rate, at least one."""
        return max(1, round(self.total_steps * self.warmup_fraction))

    @property
    def decay_steps(self) -> int:
        """Steps with a falling learning rate, at least one."""
        return max(1, round(self.total_steps * self.decay_fraction))
