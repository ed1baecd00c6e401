"""Peak memory of a training step, found by running the step on tensors that have a shape but hold no numbers.

PyTorch's meta device works out shapes and types and stores nothing, so one training step of a model of any size
takes it a second or two and no memory. Autograd keeps and frees the same tensors there as in a real run, and a
tracker (:mod:`ftlib.estimate.memory_tracker`) counts them: nothing is assumed about the architecture.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from ftlib.compat.installed import enable_checkpointing
from ftlib.compat.meta_device import autocast_on_meta
from ftlib.estimate.memory_tracker import Memory, MemoryTracker
from ftlib.estimate.optimizer_memory import Optimizer, make_gradients, optimizers_of, update
from ftlib.models.gradients import gradients_on
from ftlib.models.target_logits import given_to

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Device = Literal["cpu", "cuda"]

# What autocast computes in bfloat16, and what (on a GPU) in float32, of the functions that language models call:
# https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference
_PRODUCTS = ["addbmm", "addmm", "baddbmm", "bmm", "matmul", "mm"]
_IN_BFLOAT16 = {getattr(place, name) for place in (torch, Tensor) for name in _PRODUCTS} | {
    Tensor.__matmul__,
    nn.functional.conv1d,
    nn.functional.linear,
    nn.functional.scaled_dot_product_attention,
    torch.einsum,
}
_IN_FLOAT32 = {nn.functional.layer_norm, nn.functional.softmax, torch.pow, torch.rsqrt, Tensor.pow, Tensor.__pow__}

# A mixture's experts, all in one product; the meta device knows it of bfloat16 alone.
_GROUPED = {getattr(nn.functional, "grouped_mm", None), getattr(torch, "_grouped_mm", None)} - {None}


class _Kernels(TorchFunctionMode):
    """Has the meta device run what the target device would run: its attention, its dropout, autocast's casts.

    Args:
        device: The target device.
        padded: Attention needs a mask.
        autocast: Matrices are multiplied in bfloat16.
    """

    def __init__(self, device: Device, *, padded: bool, autocast: bool) -> None:
        super().__init__()
        self._device = device
        self._padded = padded
        self._autocast = autocast
        self.remember_cast_weights()

    def remember_cast_weights(self) -> None:
        """Do as autocast at its beginning."""
        self._cast_weights: dict[int, Tensor] | None = {}

    def forget_cast_weights(self) -> None:
        """Do as autocast at its end: what it cast once for the whole forward pass is no longer kept for that."""
        self._cast_weights = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._autocast and func in _IN_BFLOAT16:
            args, kwargs = tree_map(self._to_bfloat16, (args, kwargs))
        elif self._autocast and func in _IN_FLOAT32 and self._device == "cuda":
            args, kwargs = tree_map(_to_float32, (args, kwargs))
        if func is Tensor.__bool__:  # the one question that transformers asks: is nothing padding?
            return not self._padded
        if func is nn.functional.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func in _GROUPED:
            return _ProductsOfExperts.apply(*args[:2])  # type: ignore[no-untyped-call]
        if func is nn.functional.dropout and self._device == "cuda":
            return _dropout_on_cuda(*args, **kwargs)
        return func(*args, **kwargs)

    def _to_bfloat16(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if self._cast_weights is None or not (value.is_leaf and value.requires_grad):
            return value.to(torch.bfloat16)
        if id(value) not in self._cast_weights:
            self._cast_weights[id(value)] = value.to(torch.bfloat16)
        return self._cast_weights[id(value)]

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        # A mask of yes and no becomes numbers to add, in every layer anew, and stays for the way back.
        added = attn_mask
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            added = torch.zeros_like(attn_mask, dtype=query.dtype)
        aten, on_gpu = torch.ops.aten, self._device == "cuda"
        result: Tensor
        attend: Callable[..., Any]
        if _needs_every_score(query, key, value, added, on_gpu=on_gpu, shares=enable_gqa, dropout=dropout_p):
            attend = nn.functional.scaled_dot_product_attention
            result = attend(query, key, value, added, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        elif on_gpu and enable_gqa:  # in 16 bits and without a mask: the only kernel that shares keys among heads
            attend = aten._scaled_dot_product_flash_attention
            result = attend(query, key, value, dropout_p, is_causal, scale=scale)[0]
        elif on_gpu:
            attend = aten._scaled_dot_product_efficient_attention
            result = attend(query, key, value, added, True, dropout_p, is_causal, scale=scale)[0]
        else:
            attend = aten._scaled_dot_product_flash_attention_for_cpu
            result = attend(query, key, value, 0.0, is_causal, attn_mask=added, scale=scale)[0]
        return result


def like_on(device: Device) -> TorchFunctionMode:
    """Run what is inside as a device would, on tensors that hold no numbers: rows of one length, nothing cast.

    Args:
        device: Whose kernels to follow.
    """
    return _Kernels(device, padded=False, autocast=False)


def _needs_every_score(
    query: Tensor, key: Tensor, value: Tensor, added: Tensor | None, *, on_gpu: bool, shares: bool, dropout: float
) -> bool:
    """Whether no fused kernel does it, so that attention goes the general way, which keeps every score."""
    if key.shape[:2] != query.shape[:2] and not shares:  # Falcon's one key for all heads, spread over them
        return True
    if on_gpu:
        return shares and query.dtype == torch.float32
    learnt = added is not None and added.requires_grad  # Inkling's distances
    return dropout > 0 or learnt or value.shape[-1] != query.shape[-1]  # the last: DeepSeek's narrower values


class _ProductsOfExperts(torch.autograd.Function):
    """Shapes of a grouped product: ``(tokens, in)`` by ``(experts, in, out)`` is ``(tokens, out)``."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, experts: Tensor) -> Tensor:
        ctx.shapes = tokens.shape, experts.shape
        pairs = zip((experts, tokens), ctx.needs_input_grad, strict=True)
        ctx.save_for_backward(*(tensor for tensor, needed in pairs if needed))  # each for the other's gradient
        return tokens.new_empty(tokens.shape[0], experts.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pairs = zip(ctx.shapes, ctx.needs_input_grad, strict=True)
        return tuple(gradient.new_empty(shape) if needed else None for shape, needed in pairs)


def _to_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


def _dropout_on_cuda(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    # One byte for each number says what was dropped; the processor keeps a factor of the input's type instead.
    kept: Tensor = torch.native_dropout(input, p, training)[0] if training and p > 0 else input
    return kept


@gradients_on()
def step_memory(
    model: PreTrainedModel | PeftModel,
    *,
    batch_size: int,
    length: int,
    optimizer: Optimizer = "adamw",
    accumulates: bool = False,
    targets: int | None = None,
    padded: bool = False,
    autocast: bool = False,
    gradient_checkpointing: bool = False,
    device: Device = "cuda",
    tracker: MemoryTracker | None = None,
    loss: Callable[[Any, Tensor], Tensor] | None = None,
) -> tuple[Memory, Memory]:
    """Run one training step, not the first, and report how much memory it took.

    Args:
        model: A causal language model of transformers on the meta device, in training mode. It is used up:
            gradients and checkpointing stay as the step left them.
        batch_size: Rows of one forward pass.
        length: Tokens of each row, padding included.
        optimizer: AdamW is PyTorch's fused one, Adafactor that of transformers with a given learning rate,
            SGD has no momentum, Muon is :func:`ftlib.muon.muon_and_adamw`.
        accumulates: The pass is not the first of its step: gradients are there when it begins.
        targets: Positions that have a target, if logits are made for them alone; default: logits everywhere,
            as transformers' own loss makes them.
        padded: Rows differ in length, so that attention needs a mask.
        autocast: Matrices are multiplied in bfloat16, though the weights are float32.
        gradient_checkpointing: Each layer keeps its input alone and runs a second time on the way back.
        device: Whose kernels to follow; the model's own may be another.
        tracker: A new one that counts; default: one that is made here.
        loss: Takes model and ids ``(batch, length)`` to the loss; default: that of the next token.

    Returns:
        What there was at the fullest moment, and the most that there ever was of each kind.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    reached: set[nn.Parameter] = set()
    tracker = tracker or MemoryTracker(model.config.vocab_size)
    _label_weights(tracker, model, trained, reached)
    kernels = _Kernels(device, padded=padded, autocast=autocast)
    loss = loss or partial(_loss, targets=targets)
    if gradient_checkpointing:
        _checkpoint(model, kernels)
    with tracker:
        ids = torch.zeros(batch_size, length, dtype=torch.int64, device=model.device)
        optimizers = optimizers_of(model, optimizer)
        make_gradients(trained, tracker)
        update(optimizers, tracker)  # the first step makes the optimizer's state
        for again in (False, True):
            if not accumulates:
                model.zero_grad()
            tracker.start_measuring()
            with kernels, autocast_on_meta():  # and not around the update, which nobody runs in autocast
                _backward(model, ids, loss, kernels)
            update(optimizers, tracker)
            if again or not _forget(set(trained) - reached, optimizers):
                break
    return tracker.peak, tracker.most


def _backward(
    model: PreTrainedModel | PeftModel, ids: Tensor, loss: Callable[[Any, Tensor], Tensor], kernels: _Kernels
) -> None:
    kernels.remember_cast_weights()
    found = loss(model, ids)
    kernels.forget_cast_weights()
    found.backward()


def _forget(unused: set[nn.Parameter], optimizers: Iterable[torch.optim.Optimizer]) -> bool:
    """Drop gradients and optimizer state of what no gradient reaches: a decoder's look at an encoder that isn't there.

    Returns:
        Whether there was any.
    """
    for parameter in unused:
        parameter.grad = None
        for optimizer in optimizers:
            optimizer.state.pop(parameter, None)
    return bool(unused)


def _label_weights(
    tracker: MemoryTracker, model: nn.Module, trained: Iterable[nn.Parameter], reached: set[nn.Parameter]
) -> None:
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        tracker.label(tensor, "weights")
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(partial(_label_gradient, tracker, reached))


def _checkpoint(model: PreTrainedModel | PeftModel, kernels: _Kernels) -> None:
    # To a mode such as _Kernels the whole backward pass is one call, inside of which it is not active.
    enable_checkpointing(model, context_fn=lambda: (contextlib.nullcontext(), kernels))


def _label_gradient(tracker: MemoryTracker, reached: set[nn.Parameter], parameter: nn.Parameter) -> None:
    reached.add(parameter)
    if parameter.grad is not None:
        tracker.label(parameter.grad, "gradients")


def _loss(model: PreTrainedModel | PeftModel, ids: Tensor, targets: int | None) -> Tensor:
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    if targets is None:
        loss: Tensor = model(**inputs, labels=ids).loss
        return loss
    positions = torch.zeros(targets, dtype=torch.int64, device=ids.device)
    with given_to(model.get_output_embeddings(), lambda hidden: hidden[:, :-1][positions, positions][None]):
        logits = model(**inputs).logits[0]
    return nn.functional.cross_entropy(logits.float(), positions, reduction="sum")
