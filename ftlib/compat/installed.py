"""What the installed transformers is called and asks for, in each release since 4.41.

It imports nothing of ours but the table of releases, so that whatever loads or builds a model may use it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.utils import logging as transformers_logging

from ftlib.compat.api_changes import TORCH_DTYPE, Rename
from ftlib.compat.translate import Release

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel


def is_before(version: str) -> bool:
    """Say whether the installed transformers is older than a release.

    >>> is_before("4.41")
    False
    """
    return Release(transformers.__version__, ()).is_before(version)


def name_of(row: Rename) -> str:
    """Name an argument as the installed release does.

    >>> name_of(TORCH_DTYPE)
    'dtype'
    """
    return str(row.old if is_before(str(row.since)) else row.new)


def dtype_argument(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Name the precision for ``from_pretrained`` as the installed release does.

    Always give it: left out, 4.x loads float32 and 5.x whatever
    the file holds. Can go when 4.55 is no longer supported.
    """
    return {name_of(TORCH_DTYPE): dtype}


def gguf_file_arguments(file: str) -> dict[str, Any]:
    """Name a GGUF file for ``from_pretrained``, whose weights are to be numbers and not blocks of bits.

    Releases that have ``GgufConfig`` (5.23, say) may leave the blocks as they are on some devices, unless it says
    otherwise; earlier ones never do. Can go when every release has it.
    """
    config = getattr(transformers, "GgufConfig", None)
    return {"gguf_file": file} | ({} if config is None else {"quantization_config": config(dequantize=True)})


def enable_checkpointing(model: PreTrainedModel | PeftModel, **options: Any) -> None:
    """Compute activations a second time on the way back instead of storing them.

    The method is ``activation_checkpointing_enable`` since 5.23, and ``gradient_checkpointing_enable`` before; the old
    name goes in version 6. Can go when no release has only the old one.

    Args:
        model: A model of transformers.
        options: Of ``torch.utils.checkpoint.checkpoint``; the variant is the one that needs no inputs with gradients.
    """
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, **options})
    if getattr(model, "_require_grads_hook", None) is not None:
        # For the other variant's sake the embeddings' output would need gradients now, and with it every frozen block.
        model.disable_input_require_grads()


def text_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the part of a model's configuration that its text is about: of a model of text, all of it.

    Releases before 4.45 have no ``get_text_config``. Can go when 4.44 is no longer supported.
    """
    return config.get_text_config() if hasattr(config, "get_text_config") else config


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Load without a progress bar: one for a file of 15 MB is noise in a notebook. Other calls keep theirs."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
