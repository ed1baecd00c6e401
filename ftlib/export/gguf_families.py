"""Families of models that a GGUF file can hold: what llama.cpp calls them, and the order it has their rows in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ftlib.errors import ExportError
from ftlib.models.loading import context_length

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Family:
    """How llama.cpp has a family of models.

    Attributes:
        architecture: What llama.cpp calls it.
        describe: Writes its sizes into the file: ``describe(writer, config)``.
        reorder: Puts the rows of a weight, a bias or a LoRA B into llama.cpp's order: ``reorder(name, rows, config)``.
        activations: What ``hidden_act`` may be.
        shares_embeddings: Whether an output layer that is tied to the embeddings may be left out of the file.
        takes_frequencies: Whether the file may hold factors of rotary frequencies.
    """

    architecture: str
    describe: Callable[[Any, PretrainedConfig], None]
    reorder: Callable[[str, Array, PretrainedConfig], Array]
    activations: tuple[str, ...] = ("silu", "swish")
    shares_embeddings: bool = True
    takes_frequencies: bool = False


def family_of(model: PreTrainedModel) -> Family:
    """Return the family of a model.

    Raises:
        ExportError: No GGUF file can hold it, with the families that one can.
    """
    config = model.config
    found = FAMILIES.get(config.model_type)
    if found is None:
        known = ", ".join(FAMILIES)
        raise ExportError(
            f"models of the family {config.model_type!r} can't be written as GGUF here, only those of {known}: take "
            "--to merged, and convert that folder with llama.cpp's convert_hf_to_gguf.py"
        )
    if config.hidden_act not in found.activations:
        raise ExportError(
            f"hidden_act is {config.hidden_act!r}, and llama.cpp computes {found.activations[0]!r} in models of this "
            "family: take --to merged"
        )
    if config.model_type == "gpt_neox" and not getattr(config, "attention_bias", True):
        raise ExportError("attention_bias is false, and llama.cpp's GPT-NeoX has those: take --to merged")
    return found


def interleave(rows: Array, heads: int) -> Array:
    """Put the rows of a query or key into the order of llama.cpp's rotary positions.

    A rotation turns pairs of numbers. transformers pairs the first half of a head with its second half; llama.cpp, for
    models of Llama's kind, pairs neighbours.

    Args:
        rows: (heads * head size, ...).
        heads: Of queries, or of keys where they are grouped.

    >>> interleave(np.arange(8), 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def split_fused(rows: Array, heads: int) -> Array:
    """Put the rows of GPT-NeoX's query_key_value, which stand head by head, behind each other: all q, all k, all v.

    >>> split_fused(np.arange(6), 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    by_head = rows.reshape(heads, 3, -1, *rows.shape[1:])
    return by_head.swapaxes(0, 1).reshape(rows.shape)


def _as_llama(name: str, rows: Array, config: PretrainedConfig) -> Array:
    for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
        if f".{part}." in f"{name}.":
            return interleave(rows, heads)
    return rows


def _as_gpt_neox(name: str, rows: Array, config: PretrainedConfig) -> Array:
    return split_fused(rows, config.num_attention_heads) if ".query_key_value." in f"{name}." else rows


def _as_it_is(name: str, rows: Array, config: PretrainedConfig) -> Array:
    return rows


def _sizes(writer: Any, config: PretrainedConfig) -> None:
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_rope_freq_base(float(_rotary(config, "rope_theta", "rotary_emb_base", default=10000.0)))


def _describe_llama(writer: Any, config: PretrainedConfig) -> None:
    _sizes(writer, config)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)


def _describe_gpt_neox(writer: Any, config: PretrainedConfig) -> None:
    _sizes(writer, config)
    turned = _rotary(config, "partial_rotary_factor", "rotary_pct", default=0.25)
    writer.add_rope_dimension_count(int(turned * (config.hidden_size // config.num_attention_heads)))
    writer.add_parallel_residual(config.use_parallel_residual)
    writer.add_layer_norm_eps(config.layer_norm_eps)


def _rotary(config: PretrainedConfig, *names: str, default: float) -> float:
    """Return a number about rotary positions: 5.x keeps them together, 4.x beside everything else."""
    told = getattr(config, "rope_parameters", None) or vars(config)
    return next((told[name] for name in names if told.get(name) is not None), default)


def usable_context(model: PreTrainedModel) -> int:
    """Return the tokens that the file may promise: no more than an attention window, which llama.cpp wouldn't keep."""
    window = getattr(model.config, "sliding_window", None)
    return min(context_length(model), window or context_length(model))


def frequency_factors(model: PreTrainedModel, family: Family) -> Array | None:
    """Return what rotary frequencies are divided by, where the configuration scales them; None where it doesn't.

    Raises:
        ExportError: They are scaled in a way that the file can't hold.
    """
    config = model.config
    told = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = told.get("rope_type", told.get("type", "default"))
    if kind == "default":
        return None
    if not family.takes_frequencies or kind not in ("linear", "llama3"):
        raise ExportError(f"rotary positions of the type {kind!r} can't be written for this family: take --to merged")
    rotary: Any = next(module for name, module in model.named_modules() if name.endswith("rotary_emb"))
    frequencies = rotary.inv_freq.float()
    base = _rotary(config, "rope_theta", default=10000.0)
    plain = base ** -(torch.arange(len(frequencies), dtype=torch.float32) / len(frequencies))
    factors: Array = (plain / frequencies.cpu()).numpy()
    return factors


_LLAMA = Family("llama", _describe_llama, _as_llama, takes_frequencies=True)
FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": Family("qwen2", _describe_llama, _as_it_is),
    "qwen3": Family("qwen3", _describe_llama, _as_it_is),
    "gpt_neox": Family(
        "gptneox",
        _describe_gpt_neox,
        _as_gpt_neox,
        activations=("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"),
        shares_embeddings=False,
    ),
}
"""Families by ``model_type``."""
