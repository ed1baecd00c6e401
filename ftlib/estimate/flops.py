"""Floating-point operations of training, by the rule of six for each trained weight and token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ftlib.compat.installed import text_config
from ftlib.errors import ModelError
from ftlib.models.trainable import blocks

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def flops_per_token(model: PreTrainedModel | PeftModel, *, target_share: float = 1.0) -> int:
    """Operations that training takes for each token, by the rule of :func:`ftlib.estimate.estimation.estimate`.

    Forward and backward pass together.

    Args:
        model: A causal language model, with or without adapters or frozen modules, with or without weights.
        target_share: Share of the tokens that get logits.

    >>> from ftlib.estimate.estimation import architecture
    >>> from ftlib.estimate.meta_model import make_meta_model
    >>> flops_per_token(make_meta_model(architecture("EleutherAI/pythia-70m")))
    268025856
    """
    head = model.get_output_embeddings().weight
    shares = _active_shares(model) | {id(head): target_share}
    unreached = _unreached(model)
    each = (
        (2 if id(weight) in unreached else 6 if weight.requires_grad else 4, weight) for weight in multiplied(model)
    )
    return round(sum(operations * shares.get(id(weight), 1.0) * weight.numel() for operations, weight in each))


def multiplied(model: PreTrainedModel | PeftModel) -> list[nn.Parameter]:
    """Return the weights of a model without the tables that are only looked up."""
    head = model.get_output_embeddings().weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    return [weight for weight in model.parameters() if id(weight) not in tables or weight is head]


def forward_flops_per_token(model: PreTrainedModel | PeftModel, *, target_share: float = 1.0) -> int:
    """Operations of one more forward pass without adapters, for each token: 2 for each weight that is multiplied.

    Args:
        model: As for :func:`flops_per_token`.
        target_share: As for :func:`flops_per_token`.

    >>> from ftlib.estimate.estimation import architecture
    >>> from ftlib.estimate.meta_model import make_meta_model
    >>> forward_flops_per_token(make_meta_model(architecture("EleutherAI/pythia-70m")))
    89341952
    """
    adapters = {id(weight) for name, weight in model.named_parameters() if "lora_" in name}
    own = [weight for weight in multiplied(model) if id(weight) not in adapters]
    return _forward(model, own, target_share)


def repeated_flops_per_token(model: PreTrainedModel | PeftModel) -> int:
    """Operations that gradient checkpointing repeats for each token: a forward pass without the output layer."""
    return _forward(model, multiplied(model), 0.0)


def _forward(model: PreTrainedModel | PeftModel, weights: list[nn.Parameter], target_share: float) -> int:
    shares = _active_shares(model) | {id(model.get_output_embeddings().weight): target_share}
    return round(2 * sum(shares.get(id(weight), 1.0) * weight.numel() for weight in weights))


def model_flops_utilization(tokens_per_second: float, flops_per_token: float, peak_flops: float) -> float:
    """Share of a device's peak that goes into the model's own multiplications (0 to 1; higher is better).

    As defined with PaLM (Chowdhery et al., 2022, https://arxiv.org/abs/2204.02311, appendix B): what gradient
    checkpointing computes a second time doesn't count, and neither does padding, if the tokens leave it out.
    Well-tuned runs on many GPUs reach 0.3 to 0.5.

    Args:
        tokens_per_second: Tokens really read, padding not counted.
        flops_per_token: Forward and backward (:attr:`ftlib.estimate.estimation.Estimate.flops_per_token`).
        peak_flops: What the device could do, operations per second.

    >>> model_flops_utilization(1000, flops_per_token=6e9, peak_flops=60e12)
    0.1

    Taught in: chapters/16_best_practices_and_scale.ipynb
    """
    return tokens_per_second * flops_per_token / peak_flops


def _active_shares(model: PreTrainedModel | PeftModel) -> dict[int, float]:
    """Share of the tokens that each stack of a mixture's experts sees: a token goes to a few of them."""
    chosen = getattr(text_config(model.config), "num_experts_per_tok", None)
    if not isinstance(chosen, int):
        return {}
    stacks = (module for module in model.modules() if "experts" in type(module).__name__.lower())
    weights = (weight for module in stacks for weight in module.parameters(recurse=False) if weight.ndim == 3)
    return {id(weight): min(1.0, chosen / weight.shape[0]) for weight in weights}


def _unreached(model: PreTrainedModel | PeftModel) -> set[int]:
    """Return the weights of the blocks below the first one that is trained: no gradient is needed there."""
    try:
        prefix, _ = blocks(model)
    except ModelError:  # no list of equal blocks
        return set()
    in_blocks: list[tuple[str, int]] = []
    for name, weight in model.named_parameters():
        block = name[len(prefix) + 1 :].partition(".")[0] if name.startswith(f"{prefix}.") else ""
        if weight.requires_grad:  # parameters stand in the order in which they are used
            return {one for number, one in in_blocks if number != block}
        in_blocks += [(block, id(weight))] if block else []
    return set()
