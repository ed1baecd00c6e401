"""The modules of a model by kind (embeddings, norms, attention, feed-forward, other): freezing some, or adding LoRA.

The kind is found by what a module is, not by how one architecture names it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ftlib.argument_checks import a_model, checked, each, text, unchecked, whole
from ftlib.errors import ModelError
from ftlib.models.adapter_coverage import warn_of_left_out, weights_wanted
from ftlib.models.loading import quiet_peft
from ftlib.models.quantized import unpack_4bit
from ftlib.nearest import and_ask, one_of
from ftlib.old_calls import renamed_argument

ModuleKind = Literal["embeddings", "norms", "attention", "feed_forward", "other"]
MODULE_KINDS: tuple[ModuleKind, ...] = get_args(ModuleKind)


class ParameterCount(NamedTuple):
    """Weights in modules of one kind: all of them, and those that are trained."""

    total: int
    trainable: int


@checked(model=a_model)
def count_parameters(model: nn.Module) -> dict[str, ParameterCount]:
    """Count the weights in each kind of module of a model, and in all together (``"all"``).

    A tensor that two modules share (an output layer tied to the embedding) counts once, where it stands first.

    Args:
        model: A causal language model.
    """
    counts = {kind: [0, 0] for kind in (*MODULE_KINDS, "all")}
    for name, parameter in model.named_parameters():
        for key in (module_kind(model, name), "all"):
            counts[key][0] += parameter.numel()
            counts[key][1] += parameter.numel() if parameter.requires_grad else 0
    return {kind: ParameterCount(*both) for kind, both in counts.items()}


def module_kind(model: nn.Module, name: str) -> ModuleKind:
    """Tell the kind of module that a parameter belongs to.

    Args:
        model: The model.
        name: As in ``model.named_parameters()``.
    """
    path = name.split(".")[:-1]
    modules = [model.get_submodule(".".join(path[: i + 1])) for i in range(len(path))]
    classes = [type(module).__name__.lower() for module in modules]
    if modules and isinstance(modules[-1], nn.Embedding):
        return "embeddings"
    if classes and "norm" in classes[-1]:
        return "norms"
    if any("attention" in one for one in classes):
        return "attention"
    return "feed_forward" if any(map(_is_feed_forward, classes)) else "other"


def _is_feed_forward(name: str) -> bool:
    """Whether a class is called like a feed-forward network, or like a mixture's experts or their router."""
    words = ("mlp", "feedforward", "experts", "sparsemoe", "router")
    return name.endswith("moe") or any(word in name for word in words)


def blocks(model: nn.Module) -> tuple[str, int]:
    """Find the transformer blocks: the name of their list, and how many there are.

    Raises:
        ModelError: The model has no list of equal blocks.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len({type(block) for block in module}) == 1:
            return name, len(module)
    raise ModelError(f"{type(model).__name__}: no list of transformer blocks found")


@renamed_argument("parts", "modules")
@checked(model=a_model, modules=unchecked, keep_layers=each(whole), patterns=unchecked)
def freeze(
    model: nn.Module,
    modules: Sequence[ModuleKind] = (),
    *,
    keep_layers: Sequence[int] = (),
    patterns: Sequence[str] = (),
) -> dict[str, ParameterCount]:
    """Keep some weights from being trained.

    Args:
        model: Changed in place: ``requires_grad`` of each weight is set anew.
        modules: Which kinds of modules to freeze.
        keep_layers: Numbers of transformer blocks that are trained whole all the same; -1 is the last.
        patterns: Further parameters to freeze, by name: ``"*.dense.bias"``.

    Returns:
        As :func:`count_parameters`, after freezing.

    Raises:
        ModelError: A kind of module is unknown or the model has none, a layer doesn't exist, a pattern matches no
            parameter, or nothing is left to train.
        DataError: Modules or patterns are no list.
    """
    names = [name for name, _ in model.named_parameters()]
    kinds = _checked(model, modules, names)
    frozen = {name for name in names if module_kind(model, name) in kinds}
    frozen -= set(_in_layers(model, keep_layers, names))
    frozen |= _matched(names, each(text)("patterns", patterns))
    _train_all_but(model, frozen)
    return count_parameters(model)


def freeze_named(model: nn.Module, frozen: Sequence[str]) -> None:
    """Keep further weights from being trained, by name; what is frozen already, as beside adapters, stays so.

    Args:
        model: Changed in place.
        frozen: Patterns such as ``"*.embed_in.*"``.

    Raises:
        ModelError: A pattern matches no parameter, or nothing is left to train.
        DataError: The patterns are no list.
    """
    weights = dict(model.named_parameters())
    already = {name for name, weight in weights.items() if not weight.requires_grad}
    _train_all_but(model, already | _matched(list(weights), each(text)("frozen", frozen)))


def _matched(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            some = ", ".join(names[:: max(1, len(names) // 4)][:4])
            raise ModelError(f"the pattern {pattern!r} matches no parameter; names look like {some}")
        found |= set(matched)
    return found


def _train_all_but(model: nn.Module, frozen: set[str]) -> None:
    weights = dict(model.named_parameters())
    if frozen >= set(weights):
        raise ModelError(
            "every weight would be frozen, and nothing is left to train: leave a kind of module or a pattern out, or "
            "keep a layer"
        )
    for name, weight in weights.items():
        weight.requires_grad_(name not in frozen)


def linear_layers(model: nn.Module, where: Literal["attention", "blocks"] = "attention") -> list[str]:
    """Full names of the matrices in the attention, or everywhere inside the transformer blocks.

    Args:
        model: A causal language model.
        where: ``"attention"`` or ``"blocks"``.
    """
    inside = blocks(model)[0] + "."
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and n.startswith(inside)]
    return [name for name in names if where == "blocks" or module_kind(model, f"{name}.weight") == "attention"]


@checked(model=a_model)
def add_lora(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: Literal["attention", "blocks"] | Sequence[str] = "attention",
    upper_layers: int | None = None,
    seed: int = 0,
) -> Any:
    """Freeze a model and put a trainable low-rank pair of matrices beside some of its own (Hu et al., 2021).

    A matrix W of shape (out, in) becomes W + alpha / rank * B A, with A (rank, in) and B (out, rank). B begins
    with zeros: at first nothing changes.

    Args:
        model: A causal language model; its layers are wrapped in place.
        rank: Rows of A and columns of B.
        alpha: Scale; default: twice the rank.
        dropout: Share of the inputs to A that are dropped in training.
        targets: ``"attention"``, ``"blocks"`` (attention and feed-forward), or names of modules.
        upper_layers: Adapters in so many of the last blocks only, so that no backward pass goes below them; default:
            in all.
        seed: Of A's random start.

    Returns:
        A ``peft.PeftModel``.

    Warns:
        AdapterWarning: The blocks hold matrices that can't have an adapter: a mixture's experts, all in one tensor.

    Raises:
        ModelError: The rank is below 1, no module has one of the names, or the model has no such matrices or fewer
            blocks.
    """
    from peft import LoraConfig, get_peft_model

    if rank < 1:
        raise ModelError(f"the rank must be at least 1, not {rank}")
    chosen = linear_layers(model, targets) if isinstance(targets, str) else _named_linear(model, targets)  # type: ignore[arg-type]
    in_blocks = isinstance(targets, str) and targets == "blocks"
    chosen = _in_upper(model, chosen, upper_layers)
    if not chosen:
        there = sorted({name.rsplit(".", 1)[1] for name in linear_layers(model, "blocks")})
        raise ModelError(f"{type(model).__name__} has no linear layers in its {targets}; it has {', '.join(there)}")
    wanted = weights_wanted(model, chosen, experts_in=f"{blocks(model)[0]}." if in_blocks else None)
    wanted = {name: wanted[name] for name in _in_upper(model, list(wanted), upper_layers)}
    transposed = isinstance(model.get_submodule(chosen[0]), Conv1D)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=chosen,
        fan_in_fan_out=transposed,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), quiet_peft():
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:  # matrices of Mamba's that PEFT can't adapt
            raise ModelError(
                f"{error} (targets may be names of modules, such as {chosen[0].rsplit('.', 1)[1]!r})"
            ) from error
    warn_of_left_out(model, wanted)
    return adapted


def _in_upper(model: nn.Module, names: list[str], count: int | None) -> list[str]:
    """Leave out what is not inside the last so many blocks."""
    if count is None:
        return names
    prefix, there = blocks(model)
    if not 1 <= count <= there:
        raise ModelError(f"upper_layers must be at least 1 and at most the model's {there} blocks, not {count}")
    allowed = tuple(f"{prefix}.{number}." for number in range(there - count, there))
    return [name for name in names if name.startswith(allowed)]


@checked(model=a_model)
def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Add the low-rank pairs into the matrices they stand beside, and return the plain model.

    It computes what the adapter computed, up to rounding, as fast as before. A model without adapters that can be added
    in is returned as it is. Weights of 4 bits are unpacked first, since a sum has no 4 bits.
    """
    unpack_4bit(model)
    return getattr(model, "merge_and_unload", lambda: model)()


def _checked(model: nn.Module, kinds: Sequence[ModuleKind], names: Sequence[str]) -> set[str]:
    there = {module_kind(model, name) for name in names}
    for kind in each(text)("modules", kinds):
        if kind not in MODULE_KINDS:
            raise ModelError(f"unknown kind of module {kind!r}; {one_of(kind, MODULE_KINDS)}")
        if kind not in there:
            raise ModelError(f"{type(model).__name__} has no weights in {kind!r}: nothing to freeze there")
    return set(kinds)


def _in_layers(model: nn.Module, layers: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    if not len(layers):
        return
    prefix, count = blocks(model)
    for layer in layers:
        if not -count <= layer < count:
            raise ModelError(f"layer {layer} doesn't exist: the model has the layers 0 to {count - 1}")
        yield from (name for name in names if name.startswith(f"{prefix}.{layer % count}."))


def _named_linear(model: nn.Module, wanted: Sequence[str]) -> list[str]:
    found = []
    everywhere = linear_layers(model, "blocks")
    for name in each(text)("targets", wanted):
        matched = [full for full in everywhere if full == name or full.endswith(f".{name}")]
        if not matched:
            leaves = sorted({full.rsplit(".", 1)[1] for full in everywhere})
            raise ModelError(
                f"no linear layer is called {name!r}; this model has {', '.join(leaves)}{and_ask(name, leaves)}"
            )
        found += matched
    return found
