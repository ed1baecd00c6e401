"""What releases before 5.1 need to run a model on the meta device."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

from ftlib.compat.installed import is_before

_lock = threading.Lock()
_here: Any = threading.local()
_users: list[tuple[Any, Any]] = []


@contextlib.contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Let a model run on the meta device though it asks there for autocast, of which torch knows nothing there.

    Rotary embeddings of 4.42 to 4.57 switch it off, and those of 5.0 ask whether it is on. Since 5.1 nothing is done.
    Before, torch answers otherwise in this thread only and of the meta device only; to all others it answers as ever,
    and the last one to leave puts torch back as it was. Can go when 5.0 is no longer supported.
    """
    if not is_before("5.1"):
        yield
        return
    with _lock:
        _users.append(_users[0] if _users else (torch.autocast, torch.is_autocast_enabled))
        torch.autocast, torch.is_autocast_enabled = _autocast, _is_enabled  # type: ignore[assignment, misc]
    depth: int = getattr(_here, "depth", 0)
    _here.depth = depth + 1
    try:
        yield
    finally:
        _here.depth = depth
        with _lock:
            own = _users.pop()
            if not _users:
                torch.autocast, torch.is_autocast_enabled = own  # type: ignore[misc]


def _autocast(device_type: str, *arguments: Any, **options: Any) -> Any:
    if device_type == "meta" and getattr(_here, "depth", False):
        return contextlib.nullcontext()
    return torch.amp.autocast_mode.autocast(device_type, *arguments, **options)


def _is_enabled(*device_type: str) -> bool:
    return device_type != ("meta",) and bool(torch._C.is_autocast_enabled(*device_type))
