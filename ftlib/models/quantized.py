"""Weights of 4 bits that really take 4 bits: NF4 in blocks of 64, frozen, with adapters trained beside them (QLoRA)."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ftlib.argument_checks import a_model, checked
from ftlib.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 64
"""Weights that share a scale."""
_BLOCK_OF_SCALES = 256


def evenly_spaced(bits: int) -> Tensor:
    """Return the values that absmax rounding has: from -1 to 1, equally far apart, and 0 among them.

    Args:
        bits: Of a code, 2 to 8. One code is left over, so that 0 is in the middle.

    Raises:
        ModelError: The bits are fewer or more.

    >>> evenly_spaced(3).tolist()
    [-1.0, -0.6666666865348816, -0.3333333432674408, 0.0, 0.3333333432674408, 0.6666666865348816, 1.0]

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    if not 2 <= bits <= 8:
        raise ModelError(f"{bits} bits: a code has at least 2 and at most 8")
    most = 2 ** (bits - 1) - 1
    return torch.arange(-most, most + 1).div(most)


def nf4_values() -> Tensor:
    """Return the 16 values of NF4, ascending from -1 to 1: quantiles of the normal distribution.

    Between two neighbours lies about the same share of normally distributed numbers, so the values are dense where
    weights are. Seven values are negative, eight positive, and 0 is exact. The outermost quantile is halfway between
    1/30 and 1/32 from the edge (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314, section 3).

    >>> [round(value, 3) for value in nf4_values().tolist()[6:10]]
    [-0.091, 0.0, 0.08, 0.161]

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    edge = 1 - (1 / 30 + 1 / 32) / 2
    positive = [NormalDist().inv_cdf(float(share)) for share in torch.linspace(0.5, edge, 9).double()[1:]]
    negative = [-NormalDist().inv_cdf(float(share)) for share in torch.linspace(0.5, edge, 8).double()[1:]]
    return torch.tensor([*reversed(negative), 0.0, *positive]) / positive[-1]


def nearest_codes(weight: Tensor, values: Tensor, block_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Name the nearest value for each weight, after a division by the largest absolute weight of its block.

    Args:
        weight: Of any shape, with numbers as a float type has them.
        values: Ascending, from -1 to 1, 256 at most.
        block_size: Weights that share a scale, row by row; default: all of them.

    Returns:
        Codes, uint8 in the shape of the weight; and a scale for each block, float32 (the last block may be short).

    Raises:
        ModelError: The size of a block is below 1.

    >>> codes, scales = nearest_codes(torch.tensor([[0.6, -1.0], [0.1, 0.2]]), evenly_spaced(3), block_size=2)
    >>> codes.tolist(), [round(scale, 3) for scale in scales.tolist()]
    ([[5, 0], [4, 6]], [1.0, 0.2])

    """
    rows, count = _in_blocks(weight, block_size)
    scales = rows.abs().amax(1)
    shares = rows / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    between = (values[1:] + values[:-1]) / 2
    codes = torch.bucketize(shares, between.to(shares)).to(torch.uint8)
    return codes.flatten()[:count].view(weight.shape), scales


def rounded(weight: Tensor, values: Tensor, block_size: int | None = None) -> Tensor:
    """Return the weights as they come back from their codes.

    Args:
        weight: As for :func:`nearest_codes`, like the other arguments.
        values: What a code can stand for.
        block_size: Weights that share a scale; default: all.

    Raises:
        ModelError: The size of a block is below 1.

    >>> rounded(torch.tensor([1.0, -0.4, 0.2]), evenly_spaced(2)).tolist()
    [1.0, 0.0, 0.0]

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    codes, scales = nearest_codes(weight, values, block_size)
    blocks, count = _in_blocks(values.to(weight.device)[codes.int()], block_size)
    return (blocks * scales[:, None]).flatten()[:count].view(weight.shape).to(weight.dtype)


def _in_blocks(weight: Tensor, block_size: int | None) -> tuple[Tensor, int]:
    """Lay weights out as ``(blocks, block_size)`` in float32, zeros at the end; and count them."""
    flat = weight.detach().float().flatten()
    size = flat.numel() if block_size is None else block_size
    if size < 1:
        raise ModelError(f"a block has at least one weight, not {size}")
    short = -flat.numel() % size
    return (functional.pad(flat, (0, short)) if short else flat).view(-1, size), flat.numel()


class _ReadOnly(Tensor):
    """Numbers that were made to be read: what PEFT's own merge wrote into them would be lost without a word."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        """Refuse what PEFT writes through."""
        raise ModelError("weights of 4 bits can't be changed: ftlib.models.merge_lora unpacks them first")


class Linear4bit(nn.Linear):
    """A frozen linear layer whose matrix lies in memory as NF4, and is unpacked for each product.

    Two codes share a byte. Each block of 64 weights has a scale, and the scales are kept in 8 bits themselves: their
    mean is taken off, and each 256 of them share a float32 scale ("double quantization"). That comes to 4.127 bits for
    each weight in a large matrix, as :func:`ftlib.estimate.quantized.packed_bytes` counts them. The gradient goes
    through to the inputs; the matrix itself can't be trained. Its ``weight`` is unpacked when it is asked for, and
    can't be written to: an adapter is added in with :func:`ftlib.models.trainable.merge_lora`, which unpacks first.

    Args:
        layer: What it stands for; left as it is.

    >>> layer = nn.Linear(64, 32)
    >>> packed = Linear4bit(layer)
    >>> packed.packed_bytes, 4 * layer.weight.numel()
    (1128, 8192)
    >>> bool((packed.matrix() - layer.weight).abs().max() < 0.02)
    True

    """

    codes: Tensor
    scales: Tensor
    scales_of_scales: Tensor
    mean_scale: Tensor
    values: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        """Pack the matrix; the bias stays as it is."""
        nn.Module.__init__(self)  # and not nn.Linear's, which would make a matrix
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        values = nf4_values().to(layer.weight.device)
        codes, scales = nearest_codes(layer.weight, values, BLOCK)
        pairs = functional.pad(codes.flatten(), (0, codes.numel() % 2)).view(-1, 2)
        mean = scales.mean()
        small, of_small = nearest_codes(scales - mean, evenly_spaced(8).to(values), _BLOCK_OF_SCALES)
        packed = {"codes": pairs[:, 0] * 16 + pairs[:, 1], "scales": small, "scales_of_scales": of_small}
        for name, tensor in {**packed, "mean_scale": mean, "values": values}.items():
            self.register_buffer(name, tensor)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix unpacked, to be read; PEFT asks it for its device and type."""
        return self.matrix().as_subclass(_ReadOnly)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the matrix, with its scales and the 16 values."""
        return sum(tensor.nbytes for tensor in self.buffers(recurse=False))

    def matrix(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Unpack the matrix, ``(out, in)``; nobody keeps it."""
        table = torch.cartesian_prod(self.values, self.values).float()  # both values of each byte
        # Looked up as one number of 64 bits, a pair takes a third of the time.
        pairs = torch.index_select(table.view(torch.int64).flatten(), 0, self.codes.int())
        count = self.in_features * self.out_features
        blocks, _ = _in_blocks(pairs.view(torch.float32)[:count], BLOCK)
        return (blocks * self._scales()[:, None]).flatten()[:count].view(self.out_features, -1).to(dtype)

    def _scales(self) -> Tensor:
        """Unpack the scale of each block."""
        shares = (self.scales.float() - 127) / 127
        of_each = self.scales_of_scales.repeat_interleave(_BLOCK_OF_SCALES)[: len(shares)]
        return shares * of_each + self.mean_scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply ``(..., in)`` and give ``(..., out)``, in the type of the inputs or in autocast's."""
        device = inputs.device.type
        if torch.is_autocast_enabled(device):
            inputs = inputs.to(torch.get_autocast_dtype(device))
        made: Tensor = _Product.apply(inputs, self)  # type: ignore[no-untyped-call]
        return made if self.bias is None else made + self.bias.to(made.dtype)

    def unpacked(self) -> nn.Linear:
        """Return a plain layer that computes the same, with a matrix in float32."""
        layer = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.weight = nn.Parameter(self.matrix(), requires_grad=False)
        layer.bias = self.bias
        return layer.train(self.training)


class _Product(torch.autograd.Function):
    """A product that unpacks its matrix again in the backward pass: left to itself, PyTorch would keep it till then."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: Linear4bit) -> Tensor:
        ctx.layer = layer
        return inputs @ layer.matrix(inputs.dtype).T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.matrix(gradient.dtype), None


@checked(model=a_model)
def quantize_4bit(model: PreTrainedModel) -> int:
    """Pack the linear layers of a model into NF4, in place, as the base of QLoRA; then :func:`ftlib.add_lora` it.

    Embeddings, norms and the output layer stay as they are, and are frozen like all the rest.

    Args:
        model: A causal language model without adapters.

    Returns:
        How many layers were packed.

    Raises:
        ModelError: It has adapters already, or no linear layers.

    >>> from ftlib.models import load_model
    >>> model, _ = load_model("nano", device="cpu")
    >>> before = model_bytes(model)
    >>> quantize_4bit(model), model_bytes(model) < before
    (16, True)

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    if hasattr(model, "peft_config"):
        raise ModelError("the model has adapters already: pack it first, and add them then")
    head = model.get_output_embeddings()
    found = [
        (parent, name, child)
        for parent, name, child in _children(model)
        if type(child) is nn.Linear and child is not head
    ]
    if not found:
        raise ModelError(f"{type(model).__name__} has no linear layers that could be packed: leave it as it is")
    model.requires_grad_(False)
    for parent, name, child in found:
        setattr(parent, name, Linear4bit(child).train(child.training))
    return len(found)


def unpack_4bit(model: nn.Module) -> None:
    """Put plain layers where packed ones are, in place: what an adapter needs before it can be added in."""
    for parent, name, child in _children(model):
        if isinstance(child, Linear4bit):
            setattr(parent, name, child.unpacked())


def _children(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    return [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]


def model_bytes(model: nn.Module) -> int:
    """Count the bytes of a model's weights, packed ones and adapters included; what two modules share counts once.

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    buffers = [b for module in model.modules() if isinstance(module, Linear4bit) for b in module.buffers(recurse=False)]
    return sum(tensor.nbytes for tensor in [*model.parameters(), *buffers])
