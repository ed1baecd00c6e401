"""The table behind the page "Will it fit?": what its script needs to say the same as :func:`ftlib.estimate`.

    python -m book.fit.table book/_static/fit_table.js
    python -m book.fit.table book/_static/fit_table.js nano gpt2

The second renews two models and leaves the others as they are; all of them take a quarter of an hour or more.

For each model and each way to train it the table holds the few sums of which the largest is the peak
(:mod:`book.fit.formulas`), and the operations for each token.
"""

from __future__ import annotations

import copy
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import nn
from transformers import PretrainedConfig

from book.fit.formulas import TRACED, Formula, Moment, continued, plus
from book.fit.moments import RecordingTracker, Trace, highest, with_layers
from ftlib.errors import DataError
from ftlib.estimate.cards import GPUS
from ftlib.estimate.estimation import architecture, known_architectures
from ftlib.estimate.flops import flops_per_token, repeated_flops_per_token
from ftlib.estimate.memory_tracker import MemoryTracker
from ftlib.estimate.meta_model import make_meta_model
from ftlib.estimate.optimizer_memory import Optimizer, make_gradients, optimizers_of, update
from ftlib.estimate.step_memory import Device, step_memory
from ftlib.files import write_checked
from ftlib.models.loading import context_length
from ftlib.models.smollm2 import HUB_ID, NAME
from ftlib.models.trainable import add_lora

ADAPTERS = ("none", "attention", "blocks")
"""Which matrices get an adapter; with none of them all weights are trained."""

PRECISIONS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32", "precision": "float32"},
    "mixed": {"dtype": "float32", "precision": "mixed"},
    "bfloat16": {"dtype": "bfloat16", "precision": "float32"},
}
"""What the page calls a precision, and the arguments of :func:`ftlib.estimate` for it."""

ON_CPU = ("nano", NAME, "EleutherAI/pythia-70m")
"""Models of the page that somebody trains on a processor."""

UTILIZATION = 0.3
"""Share of a card's peak that the page reckons with, as :meth:`ftlib.estimate.cards.GPU.seconds` does."""

_ASSIGNED = "globalThis.FIT_TABLE = "
_IDS = {"BT": 8}  # what a batch leaves when its update begins: the ids
_FEW, _MORE = 4, 6  # layers of the two steps that are run; gpt-neo's layers come in pairs


def page_models() -> list[str]:
    """Names of the models that the page knows, the two of the course first.

    >>> page_models()[:3]
    ['nano', 'smollm2', 'EleutherAI/pythia-70m']
    """
    return ["nano", NAME, *(name for name in known_architectures() if name != HUB_ID)]


def setting(device: str, precision: str, adapters: str, *, checkpointing: bool) -> str:
    """Name of a way to train in the table.

    >>> setting("cuda", "mixed", "none", checkpointing=True)
    'cuda mixed none again'
    """
    return f"{device} {precision} {adapters} {'again' if checkpointing else 'once'}"


def settings(*, on_cpu: bool = True) -> Iterator[tuple[str, str, str, bool]]:
    """Yield every device, precision, choice of adapters, and whether activations are computed twice.

    Args:
        on_cpu: Of a processor, too.
    """
    devices = [device for device in get_args(Device) if on_cpu or device != "cpu"]
    yield from itertools.product(devices, PRECISIONS, ADAPTERS, (False, True))


def model_table(name: str, chosen: Sequence[tuple[str, str, str, bool]] | None = None) -> dict[str, Any]:
    """Make the part of the table that is about one model.

    Args:
        name: As :func:`ftlib.estimate.estimation.architecture` knows it.
        chosen: Some of :func:`settings`; default: all.

    Returns:
        ``context`` (tokens of the longest row), ``sizes`` by adapters (parameters and operations, linear in the rank),
        ``steps`` by setting (moments of forward and backward pass without an optimizer), and ``updates`` by type of
        weights, adapters and optimizer (moments of the update).
    """
    config = architecture(name)
    chosen = list(settings()) if chosen is None else chosen
    dtypes = dict.fromkeys((PRECISIONS[precision]["dtype"], adapters) for _, precision, adapters, _ in chosen)
    return {
        "context": _context(config),
        "sizes": {adapters: _sizes(config, adapters) for adapters in dict.fromkeys(one[2] for one in chosen)},
        "steps": {
            setting(device, precision, adapters, checkpointing=again): _step(config, device, precision, adapters, again)
            for device, precision, adapters, again in chosen
        },
        "updates": {
            f"{dtype} {adapters} {optimizer}": _update(config, dtype, adapters, optimizer)
            for dtype, adapters in dtypes
            for optimizer in get_args(Optimizer)
        },
    }


def _model(config: PretrainedConfig, dtype: str, adapters: str, *, layers: int | None, rank: int = TRACED.rank) -> Any:
    config = copy.deepcopy(config)
    if layers is not None:
        config.update(_layers(config, layers))
    model = make_meta_model(config, getattr(torch, dtype))
    if adapters != "none":
        with torch.device("meta"):
            add_lora(model, rank=rank, targets=cast(Any, adapters))
    return model


def _layers(config: PretrainedConfig, layers: int) -> dict[str, Any]:
    changes: dict[str, Any] = {"num_hidden_layers": layers}
    if hasattr(config, "attention_types"):  # gpt-neo names the kind of each layer as well
        kinds = (config.attention_layers * layers)[:layers]
        changes |= {"attention_layers": kinds, "attention_types": [[kinds[:2], layers // 2]]}
    return changes


def _sizes(config: PretrainedConfig, adapters: str) -> dict[str, Formula]:
    """Return parameters and operations for each token, of which those of adapters grow evenly with the rank."""
    found = []
    for rank in (1, 2):
        model = _model(config, "float32", adapters, layers=None, rank=rank)
        weights = list(model.parameters())
        found.append(
            {
                "parameters": sum(weight.numel() for weight in weights),
                "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
                "flops": flops_per_token(model),
                "repeated": repeated_flops_per_token(model),
            }
        )
    one, two = found
    return {name: plus({"": 2 * one[name] - two[name], "r": two[name] - one[name]}) for name in one}


def _step(config: PretrainedConfig, device: str, precision: str, adapters: str, again: bool) -> list[Moment]:
    def traced(layers: int) -> Trace:
        model = _model(config, PRECISIONS[precision]["dtype"], adapters, layers=layers)
        tracker = RecordingTracker(config.vocab_size)
        step_memory(
            model,
            batch_size=TRACED.rows,
            length=TRACED.length,
            optimizer="sgd",  # keeps nothing: what others keep is added
            autocast=PRECISIONS[precision]["precision"] != "float32",
            gradient_checkpointing=again,
            device=cast(Device, device),
            tracker=tracker,
        )
        return tracker.trace()

    return _continued(config, traced)


def _update(config: PretrainedConfig, dtype: str, adapters: str, optimizer: Optimizer) -> dict[str, Any]:
    def traced(layers: int, *, passing: bool) -> Trace:
        tracker = RecordingTracker(config.vocab_size)
        _update_memory(_model(config, dtype, adapters, layers=layers), optimizer, tracker, passing=passing)
        return tracker.trace()

    # Weights are updated one after the other: what passes is that of the largest, and two layers have every kind.
    few, more = traced(2, passing=True), traced(_FEW, passing=False)
    layers = 2, _FEW, config.num_hidden_layers
    kept = {kind: continued(few.start.get(kind, {}), formula, layers=layers) for kind, formula in more.start.items()}
    less = {letters: -factor for letters, factor in few.start.get("optimizer", {}).items()}
    passing = [plus(moment.get("optimizer", {}), less) for moment in few.moments().values()]
    moments = [{**kept, "optimizer": plus(kept.get("optimizer", {}), one), "activations": _IDS} for one in passing]
    return {"kept": kept.get("optimizer", {}), "moments": highest(moments, _context(config))}


def _update_memory(model: nn.Module, optimizer: Optimizer, tracker: MemoryTracker, *, passing: bool = True) -> None:
    """Take two updates without a forward pass, and have the tracker measure the second.

    Args:
        model: On the meta device; its gradients stay.
        optimizer: As in :func:`ftlib.estimate.step_memory.step_memory`.
        tracker: A new one.
        passing: Take the second; if not, the tracker has seen what the optimizer keeps and nothing else.
    """
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        tracker.label(tensor, "weights")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with tracker:
        optimizers = optimizers_of(model, optimizer)
        make_gradients(trained, tracker)
        update(optimizers, tracker)
        tracker.start_measuring()
        if passing:
            update(optimizers, tracker)


def _continued(config: PretrainedConfig, traced: Callable[[int], Trace]) -> list[Moment]:
    layers = config.num_hidden_layers
    moments = None
    if layers > _MORE:
        moments = with_layers(traced(_FEW), traced(_MORE), layers=(_FEW, _MORE, layers))
    if moments is None:  # few layers, or no two steps of which one continues the other
        moments = list(traced(layers).moments().values())
    return highest(moments, _context(config))


def _context(config: PretrainedConfig) -> int:
    return context_length(make_meta_model(config))


def read_table(path: str | Path) -> dict[str, Any]:
    """Read a table that :func:`main` wrote.

    Raises:
        DataError: It isn't there, or it is no such table.
    """
    try:
        _, _, text = Path(path).read_text(encoding="utf-8").partition(_ASSIGNED)
        table: dict[str, Any] = json.loads(text.strip().removesuffix(";"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no table of this program: make it anew, with a name that isn't used") from error
    return table


def as_script(models: dict[str, Any]) -> str:
    """Return the table as a script, a line for each model.

    Args:
        models: By name, as :func:`model_table` makes them.
    """
    cards = [
        {"name": card.name, "memory": card.memory_bytes, "usable": card.usable_bytes, "half_flops": card.half_flops}
        | {"float32_flops": card.float32_flops, "has_bfloat16": card.has_bfloat16}
        for card in GPUS
    ]
    head = {"utilization": UTILIZATION, "precisions": PRECISIONS, "cards": cards}
    lines = [f"{json.dumps(name)}: {_dense(model)}" for name, model in models.items()]
    return f'{_ASSIGNED}{_dense(head)[:-1]},"models":{{\n' + ",\n".join(lines) + "\n}};\n"


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def main() -> None:
    """Write the table, or renew the models that are named behind its path."""
    path, *names = sys.argv[1:]
    models = read_table(path)["models"] if names else {}
    for name in names or page_models():
        models[name] = model_table(name, list(settings(on_cpu=name in ON_CPU)))
    write_checked(path, as_script({name: models[name] for name in page_models() if name in models}))


if __name__ == "__main__":
    main()
