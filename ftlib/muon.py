"""Muon: momentum whose update is made orthogonal before it is applied.

``torch.optim.Muon`` does the same but always computes in bfloat16, which many laptop processors only
emulate (about 100 times slower than float32 where it was measured). This one computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def orthogonalize(matrix: Tensor, *, iterations: int = 5) -> Tensor:
    """Replace the singular values of a matrix by numbers near 1 (between about 0.7 and 1.2).

    A Newton-Schulz iteration of degree five. The coefficients are those published with Muon
    (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): they trade exactness for speed.

    Args:
        matrix: ``(rows, columns)``, float32.
        iterations: More bring no exactness: the coefficients don't converge to 1, they stay near it.

    >>> values = torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([3.0, 1.0, 0.1]))))
    >>> bool(((values > 0.6) & (values < 1.3)).all())
    True
    """
    first, third, fifth = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = first * x + (third * gram + fifth * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Optimizer for the two-dimensional weights inside a network; leave embeddings and head to AdamW.

    Args:
        parameters: Matrices, each ``(rows, columns)``; or groups of them, which may be empty.
        learning_rate: Step size; a matrix with more rows than columns steps further by the root of their ratio.
        momentum: Decay of the running sum of gradients (Nesterov style).
        weight_decay: Decoupled: a step first shrinks the weights by ``learning_rate * weight_decay``.
    """

    def __init__(
        self, parameters: Iterable[Any], *, learning_rate: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        """Keep the settings of each parameter group; the momentum appears with the first step."""
        super().__init__(parameters, {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    settings = {name: group[name] for name in ("lr", "momentum", "weight_decay")}
                    self._update(parameter, parameter.grad, **settings)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, *, lr: float, momentum: float, weight_decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        direction = orthogonalize(gradient.lerp(state["momentum"], momentum))
        rows, columns = parameter.shape
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(direction, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def muon_and_adamw(
    model: nn.Module,
    *,
    matrix_learning_rate: float,
    other_learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
    vector_weight_decay: float | None = None,
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the network, and AdamW for embeddings, output layer, norms and biases.

    Args:
        model: Weights that are frozen are left out.
        matrix_learning_rate: Muon's.
        other_learning_rate: AdamW's.
        weight_decay: Decoupled weight decay of both.
        betas: AdamW's decays.
        vector_weight_decay: That of norms and biases; default: the same, as nano was pretrained.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tables |= {id(head.weight)} if head is not None else set()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in tables]
    rest = [p for p in parameters if p.ndim != 2 or id(p) in tables]
    others: list[Any] = [{"params": rest}]  # a group may be empty, as with adapters alone; a list of weights may not
    if vector_weight_decay is not None:
        vectors = {"params": [p for p in rest if p.ndim < 2], "weight_decay": vector_weight_decay}
        others = [{"params": [p for p in rest if p.ndim >= 2]}, vectors]
    return [
        Muon([{"params": matrices}], learning_rate=matrix_learning_rate, weight_decay=weight_decay),
        torch.optim.AdamW(others, lr=other_learning_rate, betas=betas, weight_decay=weight_decay, fused=True),
    ]
