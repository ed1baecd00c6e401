"""The error of a call that doesn't fit a command: the wrong options together, or none where some are needed."""

from __future__ import annotations

from typing import Any

import typer

# typer raises it and doesn't export it; its child is exported, and says "Invalid value" in front.
WrongUsage: Any = typer.BadParameter.__mro__[1]
