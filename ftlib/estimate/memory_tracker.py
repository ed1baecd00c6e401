"""A tracker of tensors: how many bytes exist at each moment of a computation, and what they are for."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MemoryKind = Literal["weights", "gradients", "optimizer", "activations", "logits"]


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for.

    Attributes:
        weights: Parameters and buffers, frozen ones and adapters too.
        gradients: Of the parameters.
        optimizer: What it keeps between steps, and what it needs in passing.
        activations: What the forward pass stores for the backward pass, and what passes through either.
        logits: Scores over the vocabulary, copies and gradients of them.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(asdict(self).values())


class MemoryTracker(TorchDispatchMode):
    """Counts, while it is active, the bytes of all tensors that exist, by what they are for.

    A tensor that nobody labelled is logits if its last dimension is the vocabulary, or else of the tracker's
    current ``kind``. It works for real tensors as for those of the meta device.

    Args:
        vocabulary: Entries of the output layer.
    """

    def __init__(self, vocabulary: int) -> None:
        """Start with nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind: MemoryKind = "activations"
        self._vocabulary = vocabulary
        self._known: dict[int, tuple[MemoryKind, int, Any]] = {}
        self._live: dict[MemoryKind, int] = dict.fromkeys(get_args(MemoryKind), 0)
        self.start_measuring()

    @property
    def peak(self) -> Memory:
        """What existed at the fullest moment."""
        return Memory(**self._peak)

    @property
    def most(self) -> Memory:
        """What existed of each kind at the moment when there was most of it: not one and the same moment."""
        return Memory(**self._most)

    def start_measuring(self) -> None:
        """Forget how full it was before; what exists stays counted."""
        self._peak, self._most = dict(self._live), dict(self._live)

    def label(self, tensor: Tensor, kind: MemoryKind) -> None:
        """Say what a tensor is for."""
        storage = tensor.untyped_storage()
        if id(storage) in self._known:
            old, size, reference = self._known[id(storage)]
            self.change(old, -size)
            self._known[id(storage)] = kind, size, reference
        else:
            size = storage.nbytes()
            self._known[id(storage)] = kind, size, weakref.ref(storage, partial(self._gone, id(storage)))
        self.change(kind, size)
        self._most[kind] = max(self._most[kind], self._live[kind])
        if sum(self._live.values()) > sum(self._peak.values()):
            self._peak = dict(self._live)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(tensor.untyped_storage()) not in self._known:
                scores = tensor.ndim > 1 and tensor.shape[-1] == self._vocabulary
                self.label(tensor, "logits" if scores and self.kind == "activations" else self.kind)
        return result

    def _gone(self, key: int, _: object) -> None:
        kind, size, _ = self._known.pop(key)
        self.change(kind, -size)

    def change(self, kind: MemoryKind, count: int) -> None:
        """Count bytes that came, or went where the number is below 0."""
        self._live[kind] += count
