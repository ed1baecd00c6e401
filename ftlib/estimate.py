"""What a training run will need, worked out from the configuration alone: no weights, no download."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from ftlib.errors import ModelError

_ARCHITECTURES = Path(__file__).resolve().parent / "assets" / "architectures.json"
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Estimate:
    """Needs of one training run.

    Attributes:
        parameters: All weights of the model.
        parameters_without_embedding: Less the input embedding, which is looked up and not multiplied.
        tokens_per_step: Tokens of one optimizer step, padding included.
        flops_per_token: Forward and backward.
        flops_per_step: For one optimizer step.
        weight_bytes: float32 weights: what ``model.get_memory_footprint()`` reports.
        gradient_bytes: One float32 number per weight.
        optimizer_bytes: AdamW's two float32 numbers per weight.
        logit_bytes: float32 scores over the vocabulary, and their gradient, for one micro-batch.
    """

    parameters: int
    parameters_without_embedding: int
    tokens_per_step: int
    flops_per_token: int
    flops_per_step: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    logit_bytes: int

    @property
    def state_bytes(self) -> int:
        """Weights, gradients and optimizer together: the memory that is there whatever the batch."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes


def architecture(name: str) -> PretrainedConfig:
    """Configuration of a published model from the facts that ftlib ships: offline, without weights.

    Args:
        name: A Hub id of the Pythia family, such as ``"EleutherAI/pythia-70m"``.

    Raises:
        ModelError: ftlib ships no facts about that model.

    >>> architecture("EleutherAI/pythia-70m").hidden_size
    512

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    known: dict[str, dict[str, Any]] = json.loads(_ARCHITECTURES.read_text(encoding="utf-8"))
    if name not in known:
        raise ModelError(f"no configuration of {name!r} is shipped: choose from {', '.join(known)}, or pass a config")
    return AutoConfig.for_model(**known[name])


def estimate(
    model: str | PretrainedConfig, *, batch_size: int = 1, length: int = 2048, accumulation_steps: int = 1
) -> Estimate:
    """Work out parameters, floating-point operations and memory of full fine-tuning in float32 with AdamW.

    FLOPs follow the rule of 6 per weight and token (2 forward, 4 backward; Kaplan et al., 2020). It
    leaves out the input embedding, which is a look-up, and the attention scores, which for short
    texts are small. Memory leaves out activations: they depend on the implementation and come on top.

    Args:
        model: A shipped architecture's Hub id, or any causal language model's configuration.
        batch_size: Rows of one forward pass.
        length: Tokens of each row, padding included.
        accumulation_steps: Forward passes for one optimizer step.

    Raises:
        ModelError: The name is unknown, or an argument is not positive.

    >>> need = estimate("EleutherAI/pythia-70m", batch_size=1, length=2048, accumulation_steps=4)
    >>> need.parameters, need.flops_per_step
    (70426624, 2195667812352)

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    for argument, value in {
        "batch_size": batch_size,
        "length": length,
        "accumulation_steps": accumulation_steps,
    }.items():
        if value < 1:
            raise ModelError(f"{argument} must be at least 1, not {value}")
    config = architecture(model) if isinstance(model, str) else model
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    parameters = skeleton.num_parameters()
    multiplied = parameters - skeleton.get_input_embeddings().weight.numel()
    tokens = batch_size * length * accumulation_steps
    return Estimate(
        parameters=parameters,
        parameters_without_embedding=multiplied,
        tokens_per_step=tokens,
        flops_per_token=6 * multiplied,
        flops_per_step=6 * multiplied * tokens,
        weight_bytes=_FLOAT32_BYTES * parameters,
        gradient_bytes=_FLOAT32_BYTES * parameters,
        optimizer_bytes=2 * _FLOAT32_BYTES * parameters,
        logit_bytes=2 * _FLOAT32_BYTES * batch_size * length * int(config.vocab_size),
    )
