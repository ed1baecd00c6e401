"""A trained model for other programs: one folder or one file that holds weights, tokenizer, template and ends."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
