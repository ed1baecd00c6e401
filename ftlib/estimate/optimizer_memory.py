"""What an optimizer keeps between steps and needs in passing, counted on tensors that hold no numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import nn
from transformers.optimization import Adafactor

from ftlib.estimate.memory_tracker import MemoryTracker
from ftlib.muon import muon_and_adamw

Optimizer = Literal["adamw", "adafactor", "sgd", "muon"]


def make_gradients(trained: Iterable[nn.Parameter], tracker: MemoryTracker) -> None:
    """Give each weight a gradient, and label it."""
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
        tracker.label(parameter.grad, "gradients")


def optimizers_of(model: nn.Module, name: Optimizer) -> list[torch.optim.Optimizer]:
    """Make what trains the weights of a model that are not frozen: Muon comes with an AdamW."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "muon":
        return muon_and_adamw(model, matrix_learning_rate=0.0, other_learning_rate=0.0, weight_decay=0.0)
    if name == "adafactor":
        return [Adafactor(trained, lr=0.0, scale_parameter=False, relative_step=False)]
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW if name == "adamw" else torch.optim.SGD
    return [make(trained, lr=0.0, fused=True)]


def update(optimizers: Iterable[torch.optim.Optimizer], tracker: MemoryTracker) -> None:
    """Take the update of a step, the tracker counting; the first one makes what the optimizer keeps."""
    tracker.kind = "optimizer"
    for optimizer in optimizers:
        if not optimizer.defaults.get("fused"):
            optimizer.step()
        elif isinstance(optimizer, torch.optim.AdamW) and not optimizer.state:
            # The fused kernels exist for real devices only. They change numbers in place: two for each weight.
            for parameter in itertools.chain(*(group["params"] for group in optimizer.param_groups)):
                optimizer.state[parameter] = {n: torch.zeros_like(parameter) for n in ("exp_avg", "exp_avg_sq")}
    tracker.kind = "activations"
