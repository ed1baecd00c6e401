"""From text as it is found to a base model: the corpus, the run, and nano."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
