"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: ``"ok"``; ``"note"``: worth knowing, and the course runs; ``"broken"``: the course can't run.
        found: What there is.
        remedy: What to do about it, where something can be done.
        value: What a program wants to know: operations each second, whether a key is set.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""
    value: float | bool | None = None
