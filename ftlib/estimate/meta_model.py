"""A model without numbers: its modules, shapes and types on PyTorch's meta device, which stores nothing."""

from __future__ import annotations

import copy

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

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
