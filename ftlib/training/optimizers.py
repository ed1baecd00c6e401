"""Optimizers by name, and the schedules of their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import nn

from ftlib.argument_checks import a_model, at_least, checked, text
from ftlib.errors import ConfigError
from ftlib.muon import muon_and_adamw
from ftlib.nearest import one_of

OptimizerName = Literal["adamw", "muon", "adafactor", "sgd"]
ScheduleName = Literal["linear", "cosine", "constant", "constant_with_warmup"]
_RATES = ((10**7, 1e-3), (10**9, 5e-5))  # below so many weights
_RATE_OF_LARGE_MODELS = 2e-5
_ADAPTERS_LEARN_FASTER = 10


@checked(model=a_model, name=text, learning_rate=at_least(0))
def make_optimizer(
    model: nn.Module,
    name: OptimizerName = "adamw",
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Return an optimizer over the weights that are not frozen.

    Weight decay pulls matrices towards zero. Norms and biases are left out: they are few, and shrinking them
    does nothing against learning by heart.

    Args:
        model: The model.
        name: ``"adamw"``; ``"muon"`` (Muon for the matrices inside the network, with ten times the learning rate,
            AdamW for the rest); ``"adafactor"`` (without momentum: little memory) or ``"sgd"``.
        learning_rate: Peak rate.
        weight_decay: Decoupled weight decay.
        betas: AdamW's two decays, of the mean gradient and of its mean square.

    Raises:
        ConfigError: The name is unknown, or every weight is frozen.
    """
    if name not in get_args(OptimizerName):
        raise ConfigError(f"unknown optimizer {name!r}; {one_of(name, get_args(OptimizerName))}")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError("every weight is frozen: nothing is left to train")
    if name == "muon":
        rates = {"matrix_learning_rate": 10 * learning_rate, "other_learning_rate": learning_rate}
        decays = {"weight_decay": weight_decay, "vector_weight_decay": 0.0}
        return OptimizerPair(*muon_and_adamw(model, **rates, **decays, betas=betas))
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        # fused: one pass over the weights, several times as fast on a processor as the default.
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=learning_rate)
    return torch.optim.SGD(groups, lr=learning_rate)


def default_learning_rate(model: nn.Module, name: OptimizerName = "adamw") -> float:
    """Peak learning rate where none is given: a place to begin from, by what is trained.

    In full: 1e-3 below ten million weights (nano), 5e-5 below a billion (what the Trainer of transformers takes), and
    2e-5 above (Stanford Alpaca's, for seven billion). Adapters take ten times as much, which comes to the 2e-4 of QLoRA
    (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314, table 9). Try a few rates around it: the best one depends
    on the rows and on the number of steps.

    Args:
        model: With adapters or without.
        name: Of the optimizer. They hold for AdamW, and serve for Adafactor and Muon, whose steps are of a like size.

    Raises:
        ConfigError: The optimizer is SGD, whose rate depends on the size of the gradients.

    >>> from ftlib.models.loading import load_model
    >>> default_learning_rate(load_model("nano")[0])
    0.001
    """
    if name == "sgd":
        raise ConfigError("sgd has no learning rate that suits most models: give one (learning_rate)")
    weights = sum(parameter.numel() for parameter in model.parameters())
    in_full = next((rate for limit, rate in _RATES if weights < limit), _RATE_OF_LARGE_MODELS)
    return _ADAPTERS_LEARN_FASTER * in_full if hasattr(model, "peft_config") else in_full


class OptimizerPair(torch.optim.Optimizer):
    """Two optimizers, each over its own weights, that step as one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        """Share the groups of both: whoever sets a learning rate here sets it there."""
        self.pair = (first, second)
        super().__init__([*first.param_groups, *second.param_groups], {})
        self.param_groups = [*first.param_groups, *second.param_groups]
        self._share()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned; both go on with it."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        split = len(self.pair[0].param_groups)
        self.pair[0].param_groups, self.pair[1].param_groups = self.param_groups[:split], self.param_groups[split:]
        for optimizer in self.pair:
            optimizer.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Let both update their weights."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for optimizer in self.pair:
            optimizer.step()
        return loss


def schedule(
    number: int,
    warmup_steps: int,
    max_steps: int,
    kind: ScheduleName = "linear",
    *,
    decay_steps: int | None = None,
) -> float:
    """Share of the peak learning rate at a step, the first step being 1.

    A straight rise over the warm-up, in which already the first step uses a rate above zero; then a straight fall
    (``"linear"``) or half a cosine wave (``"cosine"``) that ends just above zero, or nothing
    (``"constant_with_warmup"``). ``"constant"`` has no warm-up.

    Args:
        number: Of the step.
        warmup_steps: Steps of the rise.
        max_steps: Number of the last step.
        kind: Of the fall.
        decay_steps: Steps of the fall, the last of the run, with the peak rate held until then (warmup-stable-decay);
            default: all after the warm-up.

    Raises:
        ConfigError: The kind is unknown, or ``"constant"`` is given a warm-up.

    >>> [round(schedule(number, 2, 6), 2) for number in range(1, 7)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> [round(schedule(number, 2, 6, decay_steps=2), 2) for number in range(1, 7)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.5]

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    if kind not in get_args(ScheduleName):
        raise ConfigError(f"unknown schedule {kind!r}; {one_of(kind, get_args(ScheduleName))}")
    if kind == "constant" and warmup_steps:
        raise ConfigError("the schedule 'constant' has no warm-up: choose 'constant_with_warmup', or warmup_steps 0")
    rise = min(1.0, number / max(1, warmup_steps))
    if kind.startswith("constant"):
        return rise
    length = max_steps - warmup_steps if decay_steps is None else decay_steps
    left = min(1.0, max(0.0, (max_steps - number + 1) / max(1, length)))
    return rise * (left if kind == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))


def set_rates(optimizer: torch.optim.Optimizer, share_of_peak: float) -> None:
    """Set the learning rate of every group to a share of what the group began with."""
    for group in optimizer.param_groups:
        group["lr"] = share_of_peak * group.setdefault("initial_lr", group["lr"])
