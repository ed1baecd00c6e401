"""A tiny model of every causal family that transformers knows: two layers, 32 numbers wide, random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 96
# What configurations call the same few things.
_SIZES = {
    32: "hidden_size n_embd d_model dim embedding_size word_embed_proj_dim lru_width",
    48: "intermediate_size ffn_dim n_inner d_ff dff encoder_ffn_dim decoder_ffn_dim ffn_hidden_size",
    16: "moe_intermediate_size shared_expert_intermediate_size q_lora_rank kv_lora_rank index_head_dim mamba_d_head "
    "mamba_head_dim dim_head",
    8: "head_dim qk_nope_head_dim qk_rope_head_dim v_head_dim rotary_dim index_topk mamba_d_state ssm_state_size d_kv "
    "linear_key_head_dim linear_value_head_dim kv_channels hidden_size_per_layer_input",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads num_experts "
    "num_encoder_attention_heads num_decoder_attention_heads num_local_experts n_routed_experts mamba_n_heads "
    "mamba_num_heads",
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers "
    "num_decoder_layers num_key_value_heads num_experts_per_tok index_n_heads linear_num_key_heads "
    "linear_num_value_heads eos_token_id",
    1: "n_shared_experts num_dense_layers bos_token_id",
    0: "pad_token_id",
    64: "max_position_embeddings n_positions n_ctx max_seq_len",
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
}
SMALL: dict[str, Any] = {name: size for size, names in _SIZES.items() for name in names.split()} | {"is_decoder": True}
# What a forward pass does to its scores, turned up until leaving it out would show.
_SCALES = {"logits_scaling": 4.0, "logit_scale": 0.25, "final_logit_softcapping": 3.0, "lm_head_multiplier": 0.5}
_OTHER: dict[str, dict[str, Any]] = {
    "axk1": {"topk_group": 1, "n_group": 1},
    "axk2": {"num_key_value_heads": 4},
    "bamba": {"mamba_d_head": "auto"},
    "deepseek_v2": {"topk_group": 1, "n_group": 1},
    "dots1": {"topk_group": 1, "n_group": 1},
    "falcon": {"head_dim": None},
    "falcon_h1": {"mamba_d_ssm": 64},
    "granitemoehybrid": {"mamba_d_head": "auto"},
    "minicpm3": {"logits_scaling": None, "dim_model_base": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 4},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "mamba2": {"num_heads": 8},
    "nemotron_h": {"n_groups": 1},
    "prophetnet": {"num_hidden_layers": None},
    "xlnet": {"max_position_embeddings": None, "n_ctx": None},
    "zaya": {"num_experts_per_tok": 1},
}
_SEES = "it belongs to a model that also sees or hears, whose other parts make it large"
_LAYERS = "what its layers are is listed one by one, for many more than two"
REFUSED = {
    "afmoe": "its default of 200,192 tokens is built before it is made smaller",
    "blt": "it reads bytes through four models of their own",
    "cohere_compass_text": "its rotary positions are set for each kind of layer",
    "cpmant": "its prompts and segments are arguments of their own, and it is built large",
    "dbrx": "its attention has a configuration of its own",
    "deepseek_v32": "it is built large: 29 million weights",
    "dots3_note": _SEES,
    "dots3_note_text": _LAYERS,
    "emu3": _SEES,
    "fuyu": _SEES,
    "gemma3": _SEES,
    "gemma3n": _SEES,
    "gemma4": _SEES,
    "gemma3n_text": _LAYERS,
    "gemma4_assistant": _LAYERS,
    "gemma4_text": _LAYERS,
    "gemma4_unified": _SEES,
    "gemma4_unified_assistant": _LAYERS,
    "gemma4_unified_text": _LAYERS,
    "git": _SEES,
    "got_ocr2": _SEES,
    "kimi_linear": "a forward pass of its reference code takes half a minute",
    "llama4": _SEES,
    "mllama": _SEES,
    "moss_transcribe_diarize": _SEES,
    "musicgen": _SEES,
    "musicgen_melody": _SEES,
    "phi4_multimodal": _SEES,
    "qwen3_5": _SEES,
    "qwen3_5_moe": _SEES,
    "qwen4_exp": _SEES,
    "reformer": "it has gradients in training mode only, where it hashes at random",
    "xlstm": "its memory has sizes that must be multiples of 64",
    "xmod": "a language must be chosen before it reads anything",
    "zamba": _LAYERS,
    "zamba2": _LAYERS,
}
"""Families that are not tried, and why."""


def families() -> list[str]:
    """Name the families of ``AutoModelForCausalLM`` that are tried."""
    return [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in REFUSED]


def tiny_causal(family: str, *, head_scale: float = 40.0, **more: Any) -> Any:
    """Build a tiny model of a family whose scores differ a lot from token to token.

    Args:
        family: As ``AutoConfig.for_model`` calls it.
        head_scale: What the output layer is multiplied by.
        more: Further values of its configuration.
    """
    configuration = CONFIG_MAPPING[family]
    usual = configuration()
    values = {name: value for name, value in SMALL.items() if hasattr(usual, name)}
    values |= {name: value for name, value in _SCALES.items() if getattr(usual, name, None) is not None}
    if hasattr(usual, "kv_lora_rank"):
        values["num_key_value_heads"] = 4
    values |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    values |= _OTHER.get(family, {}) | more
    config = configuration(**{name: value for name, value in values.items() if value is not None})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(head_scale)
    return model
