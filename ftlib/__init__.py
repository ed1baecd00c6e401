"""ftlib: the companion library of the course.

Names load on first use, so that ``import ftlib`` costs milliseconds and no heavy package.
"""

import importlib
import sys
from typing import Any

import lazy_loader

from ftlib.first_edition import Moved

__version__ = "0.1.0"

_CALLABLE = {"estimate", "inference"}  # packages that can be called: ftlib.callable_package says why
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
sys.meta_path.append(Moved())


def __getattr__(name: str) -> Any:
    try:
        return importlib.import_module(f"ftlib.{name}") if name in _CALLABLE else _load(name)
    except AttributeError:
        raise AttributeError(f"module 'ftlib' has no attribute {name!r}; it offers {', '.join(__all__)}") from None
    except ModuleNotFoundError as error:
        from ftlib.errors import MissingExtraError

        command = "pip install 'ftlib[train]'"
        raise MissingExtraError(f"ftlib.{name} needs the package {error.name!r}: install it with {command}") from error
