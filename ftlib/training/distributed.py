"""One process, or several that share each step (torchrun starts them, accelerate connects them)."""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ftlib.errors import TrainingError

_START = "start them with torchrun, or unset WORLD_SIZE to train in one"


class Processes:
    """The processes that share a step; here there is only this one, which does all the work.

    Attributes:
        size: How many processes there are.
        share: Which micro-batches of a step are this process's.
    """

    def __init__(self, micro_batches: int) -> None:
        """Take all micro-batches."""
        self.size, self.share = 1, range(micro_batches)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return what to call instead of the module."""
        return module

    def gradients_shared(self, module: nn.Module, *, now: bool) -> AbstractContextManager[Any]:
        """Return the context of a backward pass; ``now`` is false for all but the last micro-batch of a step."""
        return contextlib.nullcontext()

    def add(self, *numbers: float) -> list[float]:
        """Add up numbers over the processes."""
        return list(numbers)


class _SeveralProcesses(Processes):
    """Every process holds the whole model; their gradients are averaged once a step."""

    def __init__(self, micro_batches: int, device: torch.device) -> None:
        from accelerate import Accelerator

        count = process_count()
        if micro_batches % count:  # before they connect: who leaves while another is connecting makes that one fail
            raise TrainingError(
                f"{micro_batches} micro-batches a step can't be shared by {count} processes: "
                f"set train.accumulation_steps to a multiple of {count}"
            )
        # Not what Accelerate finds in the environment: the engine chooses the precision of each step itself.
        self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
        self.size, rank = self.accelerator.num_processes, self.accelerator.process_index
        self.share = range(rank, micro_batches, self.size)

    def wrap(self, module: nn.Module) -> nn.Module:
        wrapped: nn.Module = self.accelerator.prepare_model(module)
        return wrapped

    def gradients_shared(self, module: nn.Module, *, now: bool) -> AbstractContextManager[Any]:
        quiet: AbstractContextManager[Any] = self.accelerator.no_sync(module)
        return contextlib.nullcontext() if now else quiet

    def add(self, *numbers: float) -> list[float]:
        together = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        added: list[float] = self.accelerator.reduce(together, "sum").tolist()
        return added


def find_processes(micro_batches: int, device: torch.device) -> Processes:
    """Return the processes that torchrun started, or this one alone.

    Args:
        micro_batches: Of each step.
        device: Of the model.

    Raises:
        TrainingError: The micro-batches can't be shared evenly.
    """
    return _SeveralProcesses(micro_batches, device) if process_count() > 1 else Processes(micro_batches)


def process_count() -> int:
    """Return how many processes torchrun started; 1 without it.

    Raises:
        TrainingError: What is set is no such number, or is not all that torchrun sets.
    """
    count = _number("WORLD_SIZE", 1)
    for variable in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if count > 1 else ():
        if not os.environ.get(variable):
            raise TrainingError(f"WORLD_SIZE says {count} processes, and {variable} isn't set: {_START}")
    return count


def is_main_process() -> bool:
    """Tell whether this process reports and saves: of several, one does."""
    return _number("RANK", 0) == 0


def _number(variable: str, otherwise: int) -> int:
    told = os.environ.get(variable) or str(otherwise)
    if not told.isdecimal():
        raise TrainingError(f"the environment variable {variable} is {told!r}, where torchrun sets a number: {_START}")
    return int(told)
