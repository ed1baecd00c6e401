"""How fast a Trainer really trains: tokens that count, in time that was spent on training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import TrainerCallback

from ftlib.errors import ModelError
from ftlib.estimate.flops import flops_per_token, model_flops_utilization
from ftlib.models.target_logits import adapted_model

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Throughput:
    """What a run has done so far, in this process.

    Attributes:
        steps: Optimizer steps, those before a resume not counted.
        tokens: Tokens that the model read in them, padding not counted.
        seconds: Time they took: data, forward, backward and update, but no evaluation and no saving.
        flops_per_token: Forward and backward.
        steps_left: Optimizer steps to the end of the run.
        peak_flops_per_second: What the device could do at best; None where it isn't known.
    """

    steps: int
    tokens: int
    seconds: float
    flops_per_token: int
    steps_left: int
    peak_flops_per_second: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Useful tokens each second (higher is better)."""
        return self.tokens / self.seconds

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations each second that went into useful tokens (higher is better)."""
        return self.flops_per_token * self.tokens_per_second

    @property
    def utilization(self) -> float | None:
        """Model FLOPs utilisation: share of the device's peak (0 to 1; higher is better); None without a peak."""
        peak = self.peak_flops_per_second
        return model_flops_utilization(self.tokens_per_second, self.flops_per_token, peak) if peak else None

    @property
    def remaining_seconds(self) -> float:
        """Training time to the end of the run; evaluation and saving come on top."""
        return self.steps_left * self.seconds / self.steps


class ThroughputCallback(TrainerCallback):
    """Adds tokens per second, FLOP/s, utilisation and the time left to what a Trainer logs.

    Tokens are counted where they enter the model, by ``attention_mask``: padding is not work that anybody wanted. Rows
    without a mask (packed ones) count whole. Each process of several counts its own.

    FLOPs are those of :func:`ftlib.estimate.flops.flops_per_token`: six for each token and weight that is multiplied
    and trained, fewer where weights are frozen, as with LoRA; attention scores are left out.

    >>> ThroughputCallback(peak_flops_per_second=1e12).throughput is None
    True
    """

    def __init__(self, peak_flops_per_second: float | Literal["measure"] | None = None) -> None:
        """Set the yardstick.

        Args:
            peak_flops_per_second: Of one device, from its data sheet; ``"measure"`` multiplies matrices for a moment
                when the training begins; None leaves the utilisation out.

        Raises:
            ModelError: The peak is not above 0.
        """
        if isinstance(peak_flops_per_second, float | int) and peak_flops_per_second <= 0:
            raise ModelError(f"peak_flops_per_second must be above 0, not {peak_flops_per_second}")
        self._peak = peak_flops_per_second
        self._hook: Any = None
        self._state: Any = None
        self._start(0)

    def _start(self, flops_per_token: int) -> None:
        self._steps, self._seconds, self._flops_per_token = 0, 0.0, flops_per_token
        self._tokens: int | torch.Tensor = 0
        self._counted_until = time.perf_counter()

    @property
    def throughput(self) -> Throughput | None:
        """What has been done so far; None before the first step has ended."""
        if not self._steps:
            return None
        peak = None if self._peak == "measure" else self._peak
        left = self._state.max_steps - self._state.global_step
        return Throughput(self._steps, int(self._tokens), self._seconds, self._flops_per_token, left, peak)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Begin to count."""
        if self._peak == "measure":
            dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else model.dtype
            self._peak = matrix_product_flops_per_second(model.device, dtype)
        self._stop_counting()
        self._hook = _body(model).register_forward_pre_hook(self._count, with_kwargs=True)
        self._state = state
        self._start(flops_per_token(model))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Count the time since the last step, or since what came between."""
        if control.should_evaluate or control.should_save:
            _wait_for(model.device)
        now = time.perf_counter()
        self._state, self._steps = state, self._steps + 1
        self._seconds, self._counted_until = self._seconds + now - self._counted_until, now

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave out the time that went by since the last step."""
        self._counted_until = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave out the time that went by since the last step."""
        self._counted_until = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Add the figures to what is logged about training."""
        if logs is None or "loss" not in logs or self.throughput is None:
            return
        figures = self.figures(self.throughput)
        logs.update(figures)
        state.log_history[-1].update(figures)

    def figures(self, throughput: Throughput) -> dict[str, float]:
        """Name what is logged; a subclass may choose other names."""
        names = ("tokens", "tokens_per_second", "flops_per_second", "utilization", "remaining_seconds")
        return {name: value for name in names if (value := getattr(throughput, name)) is not None}

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the model as it was."""
        self._stop_counting()

    def _stop_counting(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _count(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not module.training:
            return
        mask = kwargs.get("attention_mask")
        if mask is None:
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            self._tokens += ids.numel()
        else:
            self._tokens += mask.sum()  # stays on the device: reading it would make the device wait


def matrix_product_flops_per_second(
    device: torch.device | str, dtype: torch.dtype = torch.float32, *, size: int = 1024, repeats: int = 5
) -> float:
    """Measure what a device does at its best: the product of two square matrices, two operations for each term.

    Args:
        device: Where to multiply.
        dtype: Precision of the matrices.
        size: Rows and columns; a GPU needs 8192 or so to show what it can do.
        repeats: The fastest of so many products counts.

    Returns:
        Floating-point operations each second.
    """
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    fastest = float("inf")
    for _ in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        matrix @ matrix
        _wait_for(matrix.device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * size**3 / fastest


def _body(model: PreTrainedModel | PeftModel) -> nn.Module:
    # Both ways through a model pass here: its own forward, and a loss that computes only the logits it needs.
    whole = adapted_model(model)
    body: nn.Module = getattr(whole, "base_model", whole)
    return body


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
