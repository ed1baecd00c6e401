"""Whether two ways of computing scores give the same up to rounding, in whatever precision a model computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TIMES = 8  # more than this times what rounding does to a row is something else
_LEFT_OUT = -1e4  # models that rule a token out give it -inf, or the lowest number that there is


def agree(one: Tensor, other: Tensor, rounding: float = 0.0) -> bool:
    """Tell whether two tensors of logits are the same up to rounding.

    Args:
        one: Logits, ``(..., vocabulary)``.
        other: Logits that are right.
        rounding: From :func:`rounding_of`, where the two went through the whole model in different ways; otherwise
            only the last rounding, that of the logits' dtype, may differ.

    >>> scores = torch.tensor([[1.0, 2.0, 4.0]])
    >>> agree(scores + 0.05, scores), agree(scores + 0.05, scores, rounding=0.01)
    (False, True)
    """
    if one.shape != other.shape:
        return False
    if rounding:
        return bool((_apart(one, other) <= _TIMES * rounding).all())
    share = 1e-4 if one.dtype in (torch.float32, torch.float64) else 4 * torch.finfo(one.dtype).eps
    largest = other.abs().max() if other.numel() else torch.tensor(0.0)
    return torch.allclose(one, other, rtol=0, atol=share * float(largest), equal_nan=True)


@torch.no_grad()
def rounding_of(model: nn.Module, ids: Tensor) -> float:
    """How far rounding alone moves a model's scores, as a share of their spread; 0.0 in float32, where nobody sees it.

    A token's scores depend on no later token. In half precision they come out a little different all the same when
    a part of the row is read without the rest, since sums are taken in another order: the more, the deeper the
    model. How much is no matter of the dtype alone, so it is measured.

    Args:
        model: A causal language model of transformers.
        ids: The tokens of one row, ``(1, seq)``.
    """
    half = _precision(model)
    if half not in (torch.float16, torch.bfloat16):
        return 0.0
    whole = _scores(model, ids)
    length, moved = len(whole), 0.0
    for end in (length // 2, length // 2 + 1, length - 1):  # some number fits no block of a kernel: there it shows
        part = _scores(model, ids[:, : max(end, 1)])
        moved = max(moved, float(_apart(whole[: len(part)], part).max()))
    of_the_scores = torch.finfo(half).eps / 2 * float(whole.square().mean().sqrt() / whole.std())  # the last rounding
    return max(moved, of_the_scores / _TIMES)


def _scores(model: nn.Module, ids: Tensor) -> Tensor:
    scores: Tensor = model(input_ids=ids).logits[0].float()
    return scores


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Root mean square of the differences at each position, as a share of how widely its scores are spread."""
    one, other = one.float(), other.float()
    same = (one == other) | (one.isnan() & other.isnan())
    difference = torch.where(same, 0.0, one - other)
    spread = torch.where(other.isfinite() & (other > _LEFT_OUT), other, 0.0).std(-1)
    return difference.square().mean(-1).sqrt() / spread.clamp_min(torch.finfo(torch.float32).tiny)


def _precision(model: nn.Module) -> torch.dtype:
    weight = next(one for one in model.parameters() if one.is_floating_point())
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
