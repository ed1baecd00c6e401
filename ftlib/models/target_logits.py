"""Logits in front of targets, as the model's own forward pass makes them.

What a family does to its scores (scaling, capping, a bias, a shared matrix) is done in its forward pass, so that pass
is always the one that runs. Only the output layer may be given fewer positions: those whose next token is a target.
Where that doesn't give the model's own logits, which is checked on the first batch, all positions are computed.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ftlib.errors import DataError
from ftlib.models.rounding import agree, rounding_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Path = Literal["targets alone", "all positions"]


_IGNORED = -100
_ROWS, _TOKENS = 2, 16  # of the first batch, for the check
_log = logging.getLogger(__name__)
_paths: WeakKeyDictionary[nn.Module, dict[Any, Path]] = WeakKeyDictionary()
_packs: WeakKeyDictionary[nn.Module, set[Any]] = WeakKeyDictionary()


class TargetScores(NamedTuple):
    """What a forward pass says of a batch's targets.

    Attributes:
        logits: ``(targets, vocabulary)``, row after row.
        targets: Token ids, ``(targets,)``.
        output: All that the model returned.
    """

    logits: Tensor
    targets: Tensor
    output: Any


def target_logits(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of the positions in front of targets, and the targets.

    Args:
        model: As for :func:`ftlib.evaluation.metrics.summed_target_loss`.
        batch: The same.

    Returns:
        Logits ``(targets, vocabulary)`` and token ids ``(targets,)``, row after row.

    Raises:
        DataError: Rows are packed, and the model mixes them.
    """
    scored = score_targets(model, batch)
    return scored.logits, scored.targets


def score_targets(model: nn.Module, batch: dict[str, Tensor]) -> TargetScores:
    """Run the model on a batch and keep the logits in front of its targets.

    Args:
        model: A causal language model of transformers, with or without adapters.
        batch: ``input_ids`` and ``labels``, each ``(batch, seq)``, and what else the model takes. Rows that are padded
            on the left are moved, so that positions count from their first token.

    Raises:
        DataError: Rows are packed, and the model mixes them.
    """
    batch = padded_on_the_right(batch)
    labels, inputs = batch["labels"][:, 1:], model_inputs(model, batch)
    _check_packing(model, batch, inputs)
    kept = labels != _IGNORED
    path = _path(model, inputs)
    run = _of_targets_alone if path == "targets alone" else _of_all_positions
    logits, output = run(model, inputs, kept)
    return TargetScores(logits, labels[kept], output)


def logits_path(model: nn.Module) -> Path | None:
    """Tell what the model's last loss computed: ``"targets alone"`` or ``"all positions"``; none before the first."""
    return next(reversed(_paths.get(model, {}).values()), None)


def model_inputs(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the model's forward pass takes of a batch, the labels left out, and that nothing is cached.

    A model that names no ``attention_mask`` needs none: with padding on the right no token sees any of it.
    """
    inputs: dict[str, Any] = {name: tensor for name, tensor in batch.items() if name != "labels"}
    takes = _taken(_own_forward(model))
    return {name: value for name, value in {**inputs, "use_cache": False}.items() if takes is None or name in takes}


def padded_on_the_right(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move rows that are padded on the left to the left edge; others stay.

    The same tokens get the same positions then as in a row alone, whatever kind of positions a model has.

    >>> batch = {"input_ids": torch.tensor([[1, 7]]), "attention_mask": torch.tensor([[0, 1]])}
    >>> padded_on_the_right(batch)["input_ids"].tolist()
    [[7, 1]]
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or "position_ids" in batch or bool(mask[:, 0].all()):
        return batch
    length = mask.shape[1]
    first = (mask != 0).int().argmax(1, keepdim=True)
    order = (torch.arange(length, device=mask.device) + first) % length
    return {name: tensor.gather(1, order) for name, tensor in batch.items()}


@contextlib.contextmanager
def given_to(head: nn.Module, choose: Callable[[Tensor], Tensor]) -> Iterator[list[int]]:
    """Let the output layer see only a part of the hidden states.

    Args:
        head: The output layer.
        choose: Hidden states ``(batch, seq, width)`` to those that it is given, ``(1, kept, width)``.

    Yields:
        A list that grows by one at each call of the layer.
    """
    calls: list[int] = []

    def replace(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        calls.append(len(given))
        return (choose(given[0]), *given[1:]) if given else given

    handle = head.register_forward_pre_hook(replace)
    try:
        yield calls
    finally:
        handle.remove()


@contextlib.contextmanager
def looked_at(model: nn.Module) -> Iterator[None]:
    """Run a model without dropout and gradients, and leave modes and random numbers as they were."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    cards = [device] if device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=cards), torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def first_rows(batch: dict[str, Any]) -> dict[str, Any]:
    """Cut a batch down to a few rows of a few tokens, enough for a check."""
    return {name: value[:_ROWS, :_TOKENS] if isinstance(value, Tensor) else value for name, value in batch.items()}


class _OtherShapeError(Exception):
    """The output layer isn't called once on hidden states, or its scores are not what the model returns."""


def _of_targets_alone(model: nn.Module, inputs: dict[str, Any], kept: Tensor) -> tuple[Tensor, Any]:
    def choose(hidden: Tensor) -> Tensor:
        return hidden[:, -inputs["input_ids"].shape[1] :][:, :-1][kept][None]  # a prompt that is learnt stands in front

    with given_to(_head(model), choose) as calls:
        output = model(**inputs)
    logits = _logits(output)
    if len(calls) != 1 or logits.shape[:-1] != (1, int(kept.sum())):
        raise _OtherShapeError
    return logits[0], output


def _of_all_positions(model: nn.Module, inputs: dict[str, Any], kept: Tensor) -> tuple[Tensor, Any]:
    output = model(**inputs)
    return _logits(output)[:, -inputs["input_ids"].shape[1] :][:, :-1][kept], output


def _path(model: nn.Module, inputs: dict[str, Any]) -> Path:
    """Choose a path, by a check the first time that this model is met in this way."""
    head, known = _head(model), _paths.setdefault(model, {})
    device = inputs["input_ids"].device.type
    cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    key = (id(head), cast, tuple(inputs), id(_own_forward(model)))
    if key not in known:
        if inputs["input_ids"].shape[1] < 2:
            return "all positions"
        known[key] = "targets alone" if head is not None and _is_exact(model, inputs) else "all positions"
        _log.info("%s: logits are computed for %s", type(adapted_model(model)).__name__, known[key])
    return known[key]


def _is_exact(model: nn.Module, inputs: dict[str, Any]) -> bool:
    some = first_rows(inputs)
    kept = torch.zeros_like(some["input_ids"][:, 1:], dtype=torch.bool)
    kept[:, ::2] = True
    with looked_at(model):
        expected, _ = _of_all_positions(model, some, kept)
        try:
            found, _ = _of_targets_alone(model, some, kept)
        except (_OtherShapeError, RuntimeError, IndexError, TypeError, ValueError) as error:
            # Nothing is lost: a forward pass that can't do without some positions gets all of them.
            _log.info("%s needs the scores of all positions (%s)", type(adapted_model(model)).__name__, error)
            return False
    return agree(found, expected)


def _check_packing(model: nn.Module, batch: dict[str, Tensor], inputs: dict[str, Any]) -> None:
    """Refuse packed rows of a model in which a conversation sees the one in front of it."""
    if "position_ids" not in batch:
        return
    attention = getattr(adapted_model(model).config, "_attn_implementation", None)
    known = _packs.setdefault(model, set())
    found = _two_conversations(batch["position_ids"]) if attention not in known else None
    if found is None:
        return
    if "position_ids" not in inputs or not _tells_apart(model, inputs, *found):
        name = type(adapted_model(model)).__name__
        raise DataError(
            f"{name} mixes packed rows: a conversation changes the scores of the next one, since this model (with the "
            f"attention {attention!r}) doesn't tell them apart by position_ids: pad the rows instead (padded_batches, "
            "with length_batches for little padding)"
        )
    known.add(attention)


def _tells_apart(model: nn.Module, inputs: dict[str, Any], row: int, middle: int, end: int) -> bool:
    """Whether a conversation has the scores that it has alone, whatever stands in front of it."""
    packed = {n: v.roll(-row, 0)[:_ROWS, :end] if isinstance(v, Tensor) else v for n, v in inputs.items()}
    alone = {n: v[:1, middle:] if isinstance(v, Tensor) else v for n, v in packed.items()}
    others = {**packed, "input_ids": packed["input_ids"].clone()}
    others["input_ids"][:, :middle] = others["input_ids"][:, :middle].roll(1, 1)
    with looked_at(model):
        expected, rounding = _logits(model(**alone))[0], rounding_of(model, alone["input_ids"])
        return all(agree(_logits(model(**each))[0, middle:], expected, rounding) for each in (packed, others))


def _two_conversations(positions: Tensor) -> tuple[int, int, int] | None:
    """Find a row in which two or more are packed: its number, and where the second conversation begins and ends."""
    for row, of_row in enumerate(positions):
        starts = [*(of_row == 0).nonzero().flatten().tolist(), len(of_row)]
        spans = [(start, end) for start, end in pairwise(starts) if end - start > 1]
        if len(spans) > 1:
            return row, *spans[1]
    return None


def adapted_model(model: nn.Module) -> PreTrainedModel:
    """Return the model that adapters were put on; one without adapters is returned as it is."""
    find: Callable[[], Any] = getattr(model, "get_base_model", lambda: model)
    found: PreTrainedModel = find()
    return found


def _head(model: nn.Module) -> Any:
    return adapted_model(model).get_output_embeddings()


def _logits(output: Any) -> Tensor:
    logits: Tensor = output.logits if hasattr(output, "logits") else output[0]
    return logits


def _own_forward(model: nn.Module) -> Any:
    forward = adapted_model(model).forward
    return getattr(forward, "__func__", forward)


@lru_cache(maxsize=64)
def _taken(forward: Callable[..., Any]) -> frozenset[str] | None:
    """Names that a forward pass takes; none if it takes any."""
    parameters = inspect.signature(forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return frozenset(parameters)
