"""What a model and torch are switched to for a while, and back: gradients for training, evaluation mode for a look."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def gradients_on() -> Iterator[None]:
    """Record gradients within, though the caller has switched them off (``torch.no_grad``, ``torch.inference_mode``).

    >>> with torch.no_grad(), gradients_on():
    ...     torch.is_grad_enabled()
    True
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch a model's dropout and the like off within; afterwards it is in the mode that it was in.

    >>> layer = nn.Dropout()
    >>> with evaluation_mode(layer):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
