"""Before you train: parameters, FLOPs, the memory of a step, and the cards that it fits on."""

import lazy_loader

from ftlib.callable_package import make_callable

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
make_callable(__name__, "estimation", "estimate")
