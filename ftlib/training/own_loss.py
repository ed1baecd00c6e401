"""What a model's own loss holds beside the cross-entropy of its logits: a mixture's auxiliary loss, say."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import PreTrainedModel

from ftlib.compat.installed import text_config
from ftlib.errors import LossWarning
from ftlib.models.target_logits import first_rows, looked_at, model_inputs, padded_on_the_right
from ftlib.text.row_maker import IGNORED

if TYPE_CHECKING:
    from peft import PeftModel

_NAMES = ("router_aux_loss_coef", "aux_loss_coef")
_weights: WeakKeyDictionary[nn.Module, tuple[bool, float]] = WeakKeyDictionary()


def auxiliary_weight(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> float:
    """Weight at which a model's own loss adds its auxiliary loss; 0 if it adds none.

    A mixture of experts adds one, which keeps its experts about equally busy, where its configuration says
    ``output_router_logits``. Found by having the model compute its loss on a few tokens of the batch, once
    for each model.

    Args:
        model: A causal language model of transformers.
        batch: As for :func:`ftlib.evaluation.metrics.summed_target_loss`.

    Warns:
        LossWarning: The model's own loss holds something else, which is not trained here.
    """
    asked = bool(getattr(text_config(model.config), "output_router_logits", False))
    known = _weights.get(model)
    if known is None or known[0] != asked:
        known = _weights[model] = (asked, _measured(model, batch))
    return known[1]


def _measured(model: PreTrainedModel | PeftModel, batch: dict[str, Tensor]) -> float:
    some = first_rows(padded_on_the_right(batch))
    mask = some.get("attention_mask")
    labels = some["input_ids"].clone()
    labels = labels if mask is None else labels.masked_fill(mask == 0, IGNORED)
    if (labels[:, 1:] == IGNORED).all():
        return 0.0
    with looked_at(model):
        output = model(**model_inputs(model, some), labels=labels)
        logits = output.logits[:, -labels.shape[1] :][:, :-1].float()
        plain = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    extra, auxiliary = float(output.loss) - float(plain), getattr(output, "aux_loss", None)
    close = 1e-4 * max(1.0, abs(float(plain))) if logits.dtype == output.logits.dtype else 1e-2 * float(plain)
    balance = float(auxiliary) if isinstance(auxiliary, Tensor) else 0.0
    for weight in (*_candidates(model), 0.0) if balance else (0.0,):
        if abs(extra - weight * balance) <= close:
            return weight
    message = (
        f"{type(model).__name__}: its own loss is {float(output.loss):.4g} where the cross-entropy of its logits is "
        f"{float(plain):.4g}: only the cross-entropy of the next tokens is trained"
    )
    warnings.warn(message, LossWarning, stacklevel=2)
    return 0.0


def _candidates(model: PreTrainedModel | PeftModel) -> list[float]:
    base: Any = getattr(model, "get_base_model", lambda: model)()
    holders = (base, base.config, text_config(model.config))
    found = (getattr(holder, name, None) for holder in holders for name in _NAMES)
    return [float(weight) for weight in found if isinstance(weight, int | float)]
