"""What a training run will need, worked out from the configuration alone: no weights, no download."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from ftlib.errors import ModelError
from ftlib.ledger import Memory
from ftlib.memory import Device, Optimizer, step_memory
from ftlib.models import context_length, resolve_name
from ftlib.parts import blocks
from ftlib.skeleton import choose_trained, make_skeleton
from ftlib.smollm2 import HUB_ID as SMOLLM2_HUB_ID
from ftlib.smollm2 import NAME as SMOLLM2

_ARCHITECTURES = Path(__file__).resolve().parent / "assets" / "architectures.json"
_LONGEST_BY_DEFAULT = 2048

Precision = Literal["float32", "bfloat16", "mixed"]


@dataclass(frozen=True)
class Estimate:
    """Needs of one training run.

    Attributes:
        parameters: All weights of the model, adapters too.
        trainable_parameters: Those that training changes.
        parameters_without_embedding: Those that are multiplied: a table that is only looked up is left out.
        tokens_per_step: Tokens of one optimizer step, padding included.
        flops_per_token: Forward and backward.
        flops_per_step: For one optimizer step, with what gradient checkpointing computes a second time.
        flops_per_run: For all steps.
        weight_bytes: All weights: what ``model.get_memory_footprint()`` reports (it adds a few bytes of buffers).
        gradient_bytes: One number for each trainable weight.
        optimizer_bytes: What the optimizer keeps between steps and needs in passing.
        activation_bytes: At most, in a forward and backward pass.
        logit_bytes: Scores over the vocabulary, copies and gradients of them, at most.
        peak: What exists at the fullest moment of a step. Its total is less than the sum of the lines above,
            because gradients come into being while activations go.
    """

    parameters: int
    trainable_parameters: int
    parameters_without_embedding: int
    tokens_per_step: int
    flops_per_token: int
    flops_per_step: int
    flops_per_run: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    logit_bytes: int
    peak: Memory

    @property
    def state_bytes(self) -> int:
        """Weights, gradients and optimizer together: the memory that is there whatever the batch."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes


def architecture(name: str | Path) -> PretrainedConfig:
    """Configuration of a model without its weights; of the models that ftlib knows, offline.

    Args:
        name: One of :func:`known_architectures`, ``"nano"``, ``"smollm2"``, a folder with a model, or another Hub id,
            whose configuration is read from the local cache or the Hub.

    Raises:
        ModelError: There is no such model, or its configuration can't be read.

    >>> architecture("EleutherAI/pythia-70m").hidden_size
    512

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    known = _known()
    named = SMOLLM2_HUB_ID if str(name) == SMOLLM2 else str(name)  # what it needs is known without its packages
    if named in known:
        config: PretrainedConfig = AutoConfig.for_model(**known[named])
        return config
    shorter = {one.split("/")[-1]: one for one in known}
    near = difflib.get_close_matches(str(name).split("/")[-1], shorter, n=1)
    hint = f" Did you mean {shorter[near[0]]!r}?" if near else ""
    try:
        config = AutoConfig.from_pretrained(resolve_name(name))
    except ModelError as error:
        raise ModelError(f"{error}{hint and '.' + hint}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no configuration of {str(name)!r} is shipped, nor is one in the local cache, and the Hub can't be "
            f"reached or has none.{hint} known_architectures() lists the shipped ones; a config will do as well"
        ) from error
    return config


def known_architectures() -> list[str]:
    """Hub ids whose configuration ftlib ships.

    >>> known_architectures()[0]
    'EleutherAI/pythia-70m'
    """
    return list(_known())


def estimate(
    model: str | Path | PretrainedConfig,
    *,
    batch_size: int = 1,
    length: int | None = None,
    accumulation_steps: int = 1,
    steps: int = 1,
    precision: Precision = "float32",
    optimizer: Optimizer = "adamw",
    lora_rank: int | None = None,
    lora_targets: Sequence[str] = (),
    lora_upper_layers: int | None = None,
    frozen: Sequence[str] = (),
    gradient_checkpointing: bool = False,
    target_share: float | None = None,
    padded: bool = False,
    device: Device = "cuda",
) -> Estimate:
    """Work out parameters, floating-point operations and memory of a training run.

    FLOPs follow the rule of 6 for each trained weight and token (2 forward, 4 backward; Kaplan et al., 2020,
    https://arxiv.org/abs/2001.08361). A frozen weight has no gradient of its own: 4; in the blocks below the first one
    that is trained, where no backward pass comes: 2. The rule leaves out tables that are looked up, and the attention
    scores, which for short texts are small; it counts 4 for what stands in the first trained block before its first
    trained weight. What gradient checkpointing repeats counts 2 more, though
    PyTorch stops short of a layer's last product. Memory comes from one step on the meta device
    (:func:`ftlib.memory.step_memory`) and leaves out what is no tensor: the libraries' own buffers (on a GPU
    half a GiB or more) and gaps between tensors.

    Args:
        model: A name that :func:`architecture` knows, or any causal language model's configuration.
        batch_size: Rows of one forward pass.
        length: Tokens of each row, padding included; default: the model's context, 2,048 at most.
        accumulation_steps: Forward passes for one optimizer step.
        steps: Optimizer steps of the run.
        precision: Type of weights, activations, gradients and optimizer state (adapters stay in float32 in any
            case); ``"mixed"`` is float32 with matrices multiplied in bfloat16 (``torch.autocast``).
        optimizer: As in :func:`ftlib.memory.step_memory`.
        lora_rank: Train adapters of this rank and nothing else.
        lora_targets: Modules that get an adapter; default: PEFT's choice for the architecture (of attention, the
            matrices that make queries and values, or all three where they are one), or else every matrix.
        lora_upper_layers: Adapters in so many of the last blocks only; default: in all.
        frozen: Patterns such as ``"*.embed_in.*"`` of names of parameters that are not trained.
        gradient_checkpointing: Layers compute their activations a second time and don't keep them.
        target_share: Share of the tokens that are targets, if the loss makes logits for those alone, as ftlib's
            does (:func:`ftlib.metrics.summed_target_loss`); default: logits at every position.
        padded: Rows differ in length, so that attention needs a mask.
        device: Whose attention and dropout kernels to follow.

    Raises:
        ModelError: The model is unknown, or an argument can't be used.

    >>> need = estimate("EleutherAI/pythia-70m", batch_size=1, length=2048, accumulation_steps=4)
    >>> need.parameters, need.flops_per_step
    (70426624, 2195667812352)
    >>> round(need.peak.total / 2**30, 2)
    2.61

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    rank = 1 if lora_rank is None else lora_rank
    _check(batch_size=batch_size, accumulation_steps=accumulation_steps, steps=steps, lora_rank=rank)
    _check_choices(precision=(precision, Precision), optimizer=(optimizer, Optimizer), device=(device, Device))
    config = model if isinstance(model, PretrainedConfig) else architecture(model)
    skeleton = make_skeleton(config, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    if lora_upper_layers is not None and lora_rank is None:
        raise ModelError("lora_upper_layers says which blocks get adapters, and there are none: give lora_rank, too")
    layers = None if lora_upper_layers is None else _upper(skeleton, lora_upper_layers)
    choose_trained(skeleton, lora_rank=lora_rank, lora_targets=lora_targets, lora_layers=layers, frozen=frozen)
    row, share = _row_length(skeleton, length), _share(target_share)
    tokens = batch_size * row * accumulation_steps
    flops = flops_per_token(skeleton, target_share=share)
    per_step = tokens * (flops + (_repeated_flops_per_token(skeleton) if gradient_checkpointing else 0))
    peak, most = _memory(
        skeleton,
        batch_size=batch_size,
        length=row,
        optimizer=optimizer,
        accumulates=accumulation_steps > 1,
        targets=None if target_share is None else max(1, round(share * batch_size * (row - 1))),
        padded=padded,
        autocast=precision == "mixed",
        gradient_checkpointing=gradient_checkpointing,
        device=device,
    )
    return Estimate(
        **_counts(skeleton),
        tokens_per_step=tokens,
        flops_per_token=flops,
        flops_per_step=per_step,
        flops_per_run=per_step * steps,
        optimizer_bytes=most.optimizer,
        activation_bytes=most.activations,
        logit_bytes=most.logits,
        peak=peak,
    )


def flops_per_token(model: Any, *, target_share: float = 1.0) -> int:
    """Operations that training takes for each token, forward and backward, by the rule of :func:`estimate`.

    Args:
        model: A causal language model, with or without adapters or frozen parts, with or without weights.
        target_share: Share of the tokens that get logits.

    >>> flops_per_token(make_skeleton(architecture("EleutherAI/pythia-70m")))
    268025856
    """
    head, unreached = model.get_output_embeddings().weight, _unreached(model)
    shares = ((weight, target_share if weight is head else 1.0) for weight in _multiplied(model))
    times = {True: 6, False: 4}
    return round(sum(s * w.numel() * (2 if id(w) in unreached else times[w.requires_grad]) for w, s in shares))


def _unreached(model: Any) -> set[int]:
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


def _upper(skeleton: Any, count: int) -> range:
    """Return the numbers of the last so many blocks."""
    there = blocks(skeleton)[1]
    if not 1 <= count <= there:
        raise ModelError(f"lora_upper_layers must be at least 1 and at most the model's {there} blocks, not {count}")
    return range(there - count, there)


def _known() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(_ARCHITECTURES.read_text(encoding="utf-8"))
    return known


def _check(**positive: int) -> None:
    for name, value in positive.items():
        if value < 1:
            raise ModelError(f"{name} must be at least 1, not {value}")


def _check_choices(**choices: tuple[str, Any]) -> None:
    for name, (value, allowed) in choices.items():
        if value not in get_args(allowed):
            raise ModelError(f"{name} must be one of {', '.join(get_args(allowed))}, not {value!r}")


def _share(target_share: float | None) -> float:
    share = 1.0 if target_share is None else target_share
    if not 0 < share <= 1:
        raise ModelError(f"target_share must be above 0 and at most 1, not {share}")
    return share


def _row_length(skeleton: Any, length: int | None) -> int:
    context = context_length(skeleton)
    if length is None:
        return min(context, _LONGEST_BY_DEFAULT)
    if not 2 <= length <= context:
        raise ModelError(f"length must be at least 2 and at most the model's context of {context} tokens, not {length}")
    return length


def _memory(skeleton: Any, **arguments: Any) -> tuple[Memory, Memory]:
    try:
        return step_memory(skeleton, **arguments)
    except (RuntimeError, NotImplementedError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{type(skeleton).__name__} can't train on the meta device, so its memory can't be estimated: {first_line}"
        ) from error


def _counts(skeleton: Any) -> dict[str, int]:
    weights = list(skeleton.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "trainable_parameters": sum(weight.numel() for weight in trained),
        "parameters_without_embedding": sum(weight.numel() for weight in _multiplied(skeleton)),
        "weight_bytes": sum(weight.nbytes for weight in weights),
        "gradient_bytes": sum(weight.nbytes for weight in trained),
    }


def _multiplied(skeleton: Any) -> list[nn.Parameter]:
    head = skeleton.get_output_embeddings().weight
    tables = {id(module.weight) for module in skeleton.modules() if isinstance(module, nn.Embedding)}
    return [weight for weight in skeleton.parameters() if id(weight) not in tables or weight is head]


def _repeated_flops_per_token(skeleton: Any) -> int:
    head = skeleton.get_output_embeddings().weight
    return 2 * sum(weight.numel() for weight in _multiplied(skeleton) if weight is not head)
