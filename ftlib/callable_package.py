"""A package that can be called like its best-known function.

``ftlib.estimate`` is a package and a function; so is ``ftlib.inference``. Python binds a package's name to whatever was
imported last, so that one of the two would be hidden, depending on the order of imports. A callable package is both.
(A module's class may be set: https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access.)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package whose call is that of one function in it."""

    _called: tuple[str, str]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        module, function = self._called
        return getattr(importlib.import_module(module), function)(*arguments, **named)


def make_callable(package: str, module: str, function: str) -> None:
    """Let a package be called.

    Args:
        package: Its name.
        module: The module in it with the function.
        function: What a call of the package calls.
    """
    found = sys.modules[package]
    found.__class__ = CallablePackage
    found._called = (f"{package}.{module}", function)  # type: ignore[attr-defined]
