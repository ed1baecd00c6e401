"""Engines that fine-tune a model on tokenised rows."""
