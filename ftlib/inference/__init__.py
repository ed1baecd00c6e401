"""The one way to generate text."""

import lazy_loader

from ftlib.callable_package import make_callable

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
make_callable(__name__, "generation", "inference")
