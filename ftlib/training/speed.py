"""How fast a run is: tokens a second, and what share of the processor's best goes into the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from datasets import Dataset
from ftlib.estimate.flops import flops_per_token, model_flops_utilization
from ftlib.estimate.throughput import matrix_product_flops_per_second
from ftlib.models.precision import Precision
from ftlib.text.row_maker import IGNORED
from ftlib.training.distributed import process_count

if TYPE_CHECKING:
    from peft import PeftModel

_GPU_MATRIX = 8192  # a smaller product doesn't keep a graphics card busy


@dataclass(frozen=True)
class Speed:
    """What turns tokens and seconds into figures.

    Attributes:
        flops_per_token: Operations of the model's own products, forward and backward
            (:func:`ftlib.estimate.flops.flops_per_token`); the output layer counts only where a token is a target.
        peak_flops: Operations a second that a product of two large matrices reached on this device when the run began,
            over all processes.
    """

    flops_per_token: int
    peak_flops: float

    def figures(self, tokens: int, seconds: float) -> dict[str, float]:
        """Return tokens a second and model FLOPs utilization (0 to 1), both without padding; higher is better.

        >>> Speed(flops_per_token=6_000_000, peak_flops=1e12).figures(tokens=10_000, seconds=0.5)
        {'tokens_per_second': 20000.0, 'model_flops_utilization': 0.12}
        """
        if seconds <= 0:
            return {}
        rate = tokens / seconds
        share = model_flops_utilization(rate, self.flops_per_token, self.peak_flops)
        return {"tokens_per_second": round(rate, 1), "model_flops_utilization": round(share, 4)}


def measure_speed(model: PreTrainedModel | PeftModel, rows: Dataset, precision: Precision) -> Speed:
    """Count a model's operations for rows like these, and measure what the device can do.

    Args:
        model: As it is trained: frozen weights and adapters count as what they are.
        rows: Tokenised, with ``labels``.
        precision: What the forward pass computes in.
    """
    labels = rows.with_format(None)["labels"]
    targets = sum(label != IGNORED for row in labels for label in row)
    share = targets / max(1, sum(map(len, labels)))
    size = 512 if model.device.type == "cpu" else _GPU_MATRIX  # a processor without bfloat16 is slow enough at that
    peak = matrix_product_flops_per_second(model.device, getattr(torch, precision), size=size)
    return Speed(flops_per_token(model, target_share=share), peak * process_count())
