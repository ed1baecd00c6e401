"""Linear layers with weights of 4 or 8 bits, as bitsandbytes keeps them, on tensors that hold no numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ftlib.errors import ModelError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Weights = Literal["4bit", "8bit"]

_BLOCK, _BLOCK_OF_SCALES = 64, 256
_CODES = 16  # values that four bits can name


def packed_bytes(rows: int, columns: int, weights: Weights) -> int:
    """Bytes of one matrix, its scales included.

    ``"4bit"`` is NF4 with double quantization, as QLoRA has it (Dettmers et al., 2023,
    https://arxiv.org/abs/2305.14314, section 3): half a byte for each weight; a scale for each block of 64, itself in 8
    bits; a float32 scale for each 256 of those, their mean, and the 16 values that four bits stand for. That comes to
    4.127 bits for each weight. ``"8bit"`` is LLM.int8() (Dettmers et al., 2022, https://arxiv.org/abs/2208.07339): a
    byte for each weight and a float32 scale for each row.

    Args:
        rows: Outputs of the layer.
        columns: Its inputs.
        weights: How they are kept.

    >>> round(8 * packed_bytes(4096, 4096, "4bit") / 4096**2, 3)
    4.127
    """
    if weights == "8bit":
        return rows * columns + 4 * rows
    blocks = math.ceil(rows * columns / _BLOCK)
    return math.ceil(rows * columns / 2) + blocks + 4 * (math.ceil(blocks / _BLOCK_OF_SCALES) + 1 + _CODES)


class QuantizedLinear(nn.Module):
    """A frozen linear layer whose matrix is made anew, in the type of the products, whenever it is needed.

    Args:
        layer: What it stands for.
        weights: How its matrix is kept.
        dtype: Of the products.
    """

    def __init__(self, layer: nn.Linear, weights: Weights, dtype: torch.dtype) -> None:
        """Keep the bytes; the bias stays as it is."""
        super().__init__()
        self.shape, self.dtype = layer.weight.shape, dtype
        count = packed_bytes(layer.out_features, layer.in_features, weights)
        packed = torch.empty(count, dtype=torch.uint8, device=layer.weight.device)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply ``(..., in)``; the result has the type of the inputs."""
        made: Tensor = _Product.apply(inputs.to(self.dtype), self.shape)  # type: ignore[no-untyped-call]
        result = made.to(inputs.dtype)
        return result if self.bias is None else result + self.bias.to(result.dtype)


class _Product(torch.autograd.Function):
    """A product whose matrix is made for each pass: nothing is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, shape: torch.Size) -> Tensor:
        ctx.shape = shape
        return inputs @ inputs.new_empty(shape).T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ gradient.new_empty(ctx.shape), None


def quantize(model: PreTrainedModel | PeftModel, weights: Weights, dtype: torch.dtype) -> None:
    """Keep the linear layers of a model in few bits, in place.

    What transformers leaves alone stays as it is: embeddings, norms, the output layer; and so do adapters.

    Args:
        model: On the meta device, with adapters.
        weights: How matrices are kept.
        dtype: Of the products.

    Raises:
        ModelError: A matrix would be trained, which few bits don't allow, or there is no linear layer.
    """
    head = model.get_output_embeddings()
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and child is not head and not isinstance(parent, nn.ModuleDict)
    ]
    if any(child.weight.requires_grad for _, _, child in found):
        raise ModelError(
            f"weights of {weights.removesuffix('bit')} bits can't be trained, only adapters beside them: "
            "give lora_rank, too"
        )
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no linear layers that could be kept in few bits: leave weights out"
        )
    for parent, name, child in found:
        setattr(parent, name, QuantizedLinear(child, weights, dtype))
