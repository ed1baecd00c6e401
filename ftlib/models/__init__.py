"""A name to a model and its tokenizer; which template it was trained in; freezing and LoRA."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
