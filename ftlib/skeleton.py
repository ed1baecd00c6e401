"""A model without numbers: its modules, shapes and types on PyTorch's meta device, which stores nothing."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from ftlib.errors import ModelError


def make_skeleton(config: PretrainedConfig, dtype: torch.dtype = torch.float32) -> Any:
    """Build a causal language model on the meta device, in training mode.

    Args:
        config: Its configuration, which stays as it is.
        dtype: Type of the weights.

    Raises:
        ModelError: The configuration is not that of a causal language model.

    >>> from transformers import GPT2Config
    >>> make_skeleton(GPT2Config(n_layer=1)).device
    device(type='meta')
    """
    try:
        with torch.device("meta"):
            # A copy, because transformers writes into the configuration.
            skeleton = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    except ValueError as error:
        raise ModelError(f"{config.model_type!r} is no causal language model that transformers knows") from error
    skeleton.loss_type = "ForCausalLM"  # transformers infers it from the class's name, and of GPT-2's complains
    return skeleton.to(dtype).train()


def choose_trained(
    skeleton: Any,
    *,
    lora_rank: int | None = None,
    lora_targets: Sequence[str] = (),
    lora_layers: Sequence[int] | None = None,
    frozen: Sequence[str] = (),
) -> None:
    """Add adapters and freeze parameters, in place.

    Args:
        skeleton: A model on the meta device.
        lora_rank: Rank of the adapters; everything else is frozen then. Default: none are added.
        lora_targets: Names of the modules that get one; default: PEFT's choice for the architecture.
        lora_layers: Numbers of the blocks that get them; default: all.
        frozen: Patterns of names of parameters to freeze.

    Raises:
        ModelError: A name or pattern fits nothing, or nothing is left to train.
    """
    if lora_rank is not None:
        _add_adapters(skeleton, lora_rank, lora_targets, lora_layers)
    for pattern in frozen:
        names = fnmatch.filter((name for name, _ in skeleton.named_parameters()), pattern)
        if not names:
            example = next(name for name, _ in skeleton.named_parameters())
            raise ModelError(f"no parameter has a name like {pattern!r}; names look like {example!r}")
        for name in names:
            skeleton.get_parameter(name).requires_grad_(False)
    if not any(weight.requires_grad for weight in skeleton.parameters()):
        raise ModelError("every parameter is frozen, nothing is left to train: freeze fewer")


def _add_adapters(skeleton: Any, rank: int, targets: Sequence[str], layers: Sequence[int] | None) -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    # GPT-2 keeps its matrices the other way round.
    transposed = any(isinstance(module, Conv1D) for module in skeleton.modules())
    usual = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(skeleton.config.model_type, ())
    names = list(targets) or list(usual) or "all-linear"
    which = None if layers is None else list(layers)
    config = LoraConfig(r=rank, target_modules=names, layers_to_transform=which, fan_in_fan_out=transposed)
    try:
        with torch.device("meta"):
            inject_adapter_in_model(config, skeleton)
    except ValueError as error:
        raise ModelError(f"no adapter can be added: {error}") from error
    for weight in skeleton.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # as get_peft_model does
