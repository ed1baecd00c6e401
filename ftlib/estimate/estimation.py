"""What a training run will need, worked out from the configuration alone: no weights, no download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ftlib.errors import ModelError
from ftlib.estimate.estimate_checks import (
    check_choices,
    check_positive,
    checked_generated,
    checked_length,
    checked_share,
    names_are_text,
)
from ftlib.estimate.flops import flops_per_token, forward_flops_per_token, multiplied, repeated_flops_per_token
from ftlib.estimate.generation_memory import generation_memory
from ftlib.estimate.memory_tracker import Memory
from ftlib.estimate.meta_model import make_meta_model
from ftlib.estimate.objectives import Objective, Passes
from ftlib.estimate.optimizer_memory import Optimizer
from ftlib.estimate.quantized import Weights, quantize
from ftlib.estimate.step_memory import Device, step_memory
from ftlib.models import smollm2
from ftlib.models.gradients import gradients_on
from ftlib.models.loading import context_length
from ftlib.models.names import resolve_name
from ftlib.models.trainable import add_lora, freeze_named
from ftlib.nearest import nearest
from ftlib.paths import architectures_file

PlannedDtype = Literal["float32", "bfloat16"]
PlannedPrecision = Literal["float32", "bfloat16", "float16", "mixed"]


@dataclass(frozen=True)
class Estimate:
    """Needs of one training run.

    Attributes:
        parameters: All weights of the model, adapters too.
        trainable_parameters: Those that training changes.
        parameters_without_embedding: Those that are multiplied: a table that is only looked up is left out.
        tokens_per_step: Tokens of one optimizer step, padding included.
        flops_per_token: Forward and backward, with the forward pass of a reference.
        flops_per_step: For one optimizer step, with what gradient checkpointing computes a second time.
        flops_per_run: For all steps.
        cache_bytes: Keys and values that GRPO keeps of what all completions of a step have read.
        reference_bytes: Weights of a reference that is a model of its own; they count in `peak` as weights.
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
    reference_bytes: int = 0
    cache_bytes: int = 0

    @property
    def state_bytes(self) -> int:
        """Weights (a reference's too), gradients and optimizer: the memory that is there whatever the batch."""
        return self.weight_bytes + self.reference_bytes + self.gradient_bytes + self.optimizer_bytes


def architecture(name: str | Path) -> PretrainedConfig:
    """Configuration of a model without its weights; of the models that ftlib knows, offline.

    Args:
        name: One of :func:`known_architectures`, ``"nano"``, ``"smollm2"``, a folder with a model, or another Hub id,
            whose configuration is read from the local cache or the Hub.

    Raises:
        ModelError: There is no such model, or its configuration can't be read.

    >>> architecture("EleutherAI/pythia-70m").hidden_size
    512

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    known = _known()
    named = smollm2.HUB_ID if str(name) == smollm2.NAME else str(name)  # what it needs is known without its packages
    if named in known:
        config: PretrainedConfig = AutoConfig.for_model(**known[named])
        return config
    shorter = {one.split("/")[-1]: one for one in known}
    near = nearest(str(name).split("/")[-1], shorter)
    hint = f" Did you mean {shorter[near]!r}?" if near else ""
    try:
        config = AutoConfig.from_pretrained(resolve_name(name))
    except ModelError as error:
        raise ModelError(str(error) if "Did you mean" in str(error) else f"{error}{hint and '.' + hint}") from error
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


@names_are_text
@gradients_on()
def estimate(
    model: str | Path | PretrainedConfig,
    *,
    batch_size: int = 1,
    length: int | None = None,
    accumulation_steps: int = 1,
    steps: int = 1,
    dtype: PlannedDtype = "float32",
    weights: Weights | None = None,
    precision: PlannedPrecision = "float32",
    optimizer: Optimizer = "adamw",
    lora_rank: int | None = None,
    lora_targets: Literal["attention", "blocks"] | Sequence[str] = "attention",
    lora_upper_layers: int | None = None,
    frozen: Sequence[str] = (),
    gradient_checkpointing: bool = False,
    target_share: float | None = None,
    padded: bool = False,
    device: Device = "cuda",
    objective: Objective = "sft",
    generated: int | None = None,
    reference: bool = False,
) -> Estimate:
    """Work out parameters, floating-point operations and memory of a training run.

    FLOPs follow the rule of 6 for each trained weight and token (2 forward, 4 backward; Kaplan et al., 2020,
    https://arxiv.org/abs/2001.08361). A frozen weight has no gradient of its own: 4; in the blocks below the first one
    that is trained, where no backward pass comes: 2. The rule leaves out tables that are looked up, the experts of a
    mixture that a token doesn't go to, and the attention scores, which for short texts are small; it counts 4 for what
    stands in the first trained block before its first trained weight. What gradient checkpointing repeats counts 2
    more, though PyTorch stops short of a layer's last product. Memory comes from one step on the meta device
    (:func:`ftlib.estimate.step_memory.step_memory`) and leaves out what is no tensor: the libraries' own buffers (on a
    GPU half a GiB or more) and gaps between tensors.

    Args:
        model: A name that :func:`architecture` knows, or any causal language model's configuration.
        batch_size: Rows of one forward pass; with the objective dpo pairs, two rows each.
        length: Tokens of each row, padding included; default: the model's context, 2,048 at most.
        accumulation_steps: Forward passes for one optimizer step.
        steps: Optimizer steps of the run.
        dtype: Type of the weights, as in :func:`ftlib.load_model` and `model.dtype` of a configuration; and so of their
            gradients and of the optimizer's state. Adapters stay in float32 in any case.
        weights: ``"4bit"`` or ``"8bit"`` keeps the linear layers of the blocks in few bits, as bitsandbytes does
            (:func:`ftlib.estimate.quantized.packed_bytes`); only adapters can be trained then. What isn't packed has
            `dtype`. GPT-2's layers are of another class and stay as they are.
        precision: What matrices are multiplied in, as in `train.precision`: ``"float32"`` casts nothing (weights that
            are bfloat16 are multiplied as such), the others cast to 16 bits (``torch.autocast``) and leave the weights
            as they are; ``"mixed"`` is whichever of the two the device has.
        optimizer: As in :func:`ftlib.estimate.step_memory.step_memory`.
        lora_rank: Train adapters of this rank and nothing else.
        lora_targets: Which matrices get an adapter, as in :func:`ftlib.models.trainable.add_lora`.
        lora_upper_layers: Adapters in so many of the last blocks only; default: in all.
        frozen: Patterns such as ``"*.embed_in.*"`` of names of parameters that are not trained.
        gradient_checkpointing: Layers compute their activations a second time and don't keep them.
        target_share: Share of the tokens that are targets, if the loss makes logits for those alone, as ftlib's
            does (:func:`ftlib.evaluation.metrics.summed_target_loss`); default: logits at every position.
        padded: Rows differ in length, so that attention needs a mask.
        device: Whose attention and dropout kernels to follow.
        objective: As in a configuration. ``"dpo"`` reads both answers of a pair, and the reference reads them too (2
            operations for each weight and token): with adapters it is the model without them, else a second copy of the
            weights. Memory follows TRL's DPOTrainer (:mod:`ftlib.estimate.preference_step`), which makes the logits in
            tiles, twice (counted once). ``"grpo"`` generates a step's completions before it learns from them.
        generated: Tokens of a row that GRPO generates, 1 less than `length` at most; the others are the prompt.
        reference: GRPO has a reference too, as with its beta above 0.

    Raises:
        ModelError: The model is unknown, can't be run without numbers, or an argument can't be used.

    Warns:
        AdapterWarning: As :func:`ftlib.models.trainable.add_lora`.

    >>> need = estimate("EleutherAI/pythia-70m", batch_size=1, length=2048, accumulation_steps=4)
    >>> need.parameters, need.flops_per_step
    (70426624, 2195667812352)
    >>> round(need.peak.total / 2**30, 2)
    2.61

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    rank = 1 if lora_rank is None else lora_rank
    check_positive(batch_size=batch_size, accumulation_steps=accumulation_steps, steps=steps, lora_rank=rank)
    check_choices(dtype=(dtype, PlannedDtype), precision=(precision, PlannedPrecision))
    check_choices(optimizer=(optimizer, Optimizer), device=(device, Device), objective=(objective, Objective))
    if weights is not None:
        check_choices(weights=(weights, Weights))
    config = model if isinstance(model, PretrainedConfig) else architecture(model)
    meta_model = make_meta_model(config, getattr(torch, dtype))
    if lora_upper_layers is not None and lora_rank is None:
        raise ModelError("lora_upper_layers says which blocks get adapters, and there are none: give lora_rank, too")
    passes = Passes.of(meta_model, objective, has_adapters=lora_rank is not None, reference=reference)
    if lora_rank is not None:
        with torch.device("meta"):
            add_lora(meta_model, rank=lora_rank, targets=lora_targets, upper_layers=lora_upper_layers)  # in place
    freeze_named(meta_model, frozen)
    row = checked_length(context_length(meta_model), length)
    new = checked_generated(objective, generated, row)
    target_share = new / row if new else target_share
    share = checked_share(target_share)
    rows = batch_size * passes.rows_each
    tokens = rows * row * accumulation_steps
    counts = _counts(meta_model)
    flops = flops_per_token(meta_model, target_share=share)
    flops += passes.further * forward_flops_per_token(meta_model, target_share=share)
    per_step = tokens * (flops + (repeated_flops_per_token(meta_model) if gradient_checkpointing else 0))
    if weights is not None:
        quantize(meta_model, weights, getattr(torch, dtype if precision == "float32" else "bfloat16"))
    made = new and generation_memory(
        meta_model, rows=batch_size * accumulation_steps, length=row, generated=new, device=device
    )
    scored = None if target_share is None else max(1, round(share * rows * (row - 1)))
    peak, most = _memory(
        meta_model,
        batch_size=rows,
        length=row,
        optimizer=optimizer,
        accumulates=accumulation_steps > 1,
        targets=scored,
        padded=padded,
        autocast=precision != "float32",
        gradient_checkpointing=gradient_checkpointing,
        device=device,
        **passes.arguments(meta_model, device=device, targets=scored, autocast=precision != "float32"),
    )
    if made:
        peak = max(peak, made.peak(weights=most.weights, optimizer=most.optimizer), key=lambda memory: memory.total)
    return Estimate(
        **counts,
        weight_bytes=sum(weight.nbytes for weight in meta_model.parameters()),
        tokens_per_step=tokens,
        flops_per_token=flops,
        flops_per_step=per_step,
        flops_per_run=per_step * steps,
        optimizer_bytes=most.optimizer,
        activation_bytes=most.activations,
        logit_bytes=most.logits,
        peak=peak,
        reference_bytes=passes.reference_bytes,
        cache_bytes=made.cache_bytes if made else 0,
    )


def _known() -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = json.loads(architectures_file().read_text(encoding="utf-8"))
    return known


def _memory(meta_model: PreTrainedModel, **arguments: Any) -> tuple[Memory, Memory]:
    try:
        return step_memory(meta_model, **arguments)
    except (RuntimeError, NotImplementedError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"the family {meta_model.config.model_type!r} ({type(meta_model).__name__}) can't be estimated, because "
            f"its step depends on numbers, and a model on the meta device has none: {first_line} "
            "(ftlib.training.measured_steps.try_steps measures a few real steps)"
        ) from error


def _counts(meta_model: PreTrainedModel) -> dict[str, int]:
    weights = list(meta_model.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "trainable_parameters": sum(weight.numel() for weight in trained),
        "parameters_without_embedding": sum(weight.numel() for weight in multiplied(meta_model)),
        "gradient_bytes": sum(weight.nbytes for weight in trained),
    }
