"""A model without numbers: its modules, shapes and types on PyTorch's meta device, which stores nothing."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from ftlib.argument_checks import each, text
from ftlib.errors import ModelError


def make_meta_model(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build a causal language model on the meta device, in training mode.

    Args:
        config: Its configuration, which stays as it is.
        dtype: Type of the weights.

    Raises:
        ModelError: The configuration is not that of a causal language model.

    >>> from transformers import GPT2Config
    >>> make_meta_model(GPT2Config(n_layer=1)).device
    device(type='meta')
    """
    try:
        with torch.device("meta"):
            # A copy, because transformers writes into the configuration.
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    except ValueError as error:
        raise ModelError(f"{config.model_type!r} is no causal language model that transformers knows") from error
    model.loss_type = "ForCausalLM"  # transformers infers it from the class's name, and of GPT-2's complains
    meta_model: PreTrainedModel = model.to(dtype).train()
    return meta_model


def freeze_named(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze parameters by name, in place; what is frozen already stays so.

    Args:
        model: A model on the meta device.
        patterns: Such as ``"*.embed_in.*"``.

    Raises:
        ModelError: A pattern fits nothing, or nothing is left to train.
        DataError: The patterns are no list.
    """
    for pattern in each(text)("frozen", patterns):
        names = fnmatch.filter((name for name, _ in model.named_parameters()), pattern)
        if not names:
            example = next(name for name, _ in model.named_parameters())
            raise ModelError(f"no parameter has a name like {pattern!r}; names look like {example!r}")
        for name in names:
            model.get_parameter(name).requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ModelError("every parameter is frozen, nothing is left to train: freeze fewer")
