"""Which of the weights that were to get an adapter have none in the end."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ftlib.errors import AdapterWarning


def weights_wanted(model: nn.Module, chosen: Sequence[str], *, experts_in: str | None) -> dict[str, int]:
    """Count the weights of what is to get an adapter: linear layers, and stacks of a mixture's experts.

    Experts lie on top of each other in one tensor of three dimensions, which is no linear layer.

    Args:
        model: Before it has adapters.
        chosen: Full names of the linear layers.
        experts_in: How the names of experts begin that are wanted too; None: no expert is.
    """
    sizes = {name: _size(model.get_submodule(name)) for name in chosen}
    if experts_in is not None:
        within = {name: weight for name, weight in model.named_parameters() if name.startswith(experts_in)}
        sizes |= {name: w.numel() for name, w in within.items() if w.ndim == 3 and min(w.shape) > 1}
    return sizes


def _size(layer: Any) -> int:
    """Count the weights of a matrix; a packed one has no tensor of that size."""
    return int(layer.in_features * layer.out_features if isinstance(layer, nn.Linear) else layer.weight.numel())


def warn_of_left_out(model: nn.Module, wanted: Mapping[str, int]) -> None:
    """Warn of what has no adapter in the end: PEFT may also move an adapter from one matrix to another of its name.

    Args:
        model: With its adapters.
        wanted: From :func:`weights_wanted`.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = set()
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            parameter = getattr(module, "parameter_name", None)
            place = name.replace(".base_layer", "")
            found.add(f"{place}.{parameter}" if parameter else place)
    left = [name for name in wanted if name not in found]
    if left:
        names = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in left})
        share = sum(wanted[name] for name in left) / sum(wanted.values())
        message = (
            f"LoRA on {type(model).__name__} leaves out {', '.join(names)}: {share:.0%} of the weights that were asked "
            "for, such as experts that share one tensor, get no adapter and stay as they are"
        )
        warnings.warn(message, AdapterWarning, stacklevel=3)
