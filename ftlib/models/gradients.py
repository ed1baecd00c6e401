"""Training and its estimate need gradients, wherever they are called from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def gradients_on() -> Iterator[None]:
    """Record gradients within, though the caller has switched them off (``torch.no_grad``, ``torch.inference_mode``).

    >>> with torch.no_grad(), gradients_on():
    ...     torch.is_grad_enabled()
    True
    """
    with torch.inference_mode(False), torch.enable_grad():
        yield
