"""Where the random generators stand: what a checkpoint notes, and what an engine goes on from."""

from __future__ import annotations

import torch
from torch import Tensor

States = dict[str, Tensor]


def random_states() -> States:
    """Return the states of torch's generators: ``0.cpu``, and ``0.cuda`` and so on where there are cards."""
    states = {"0.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"{i}.cuda": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def set_random_states(states: States) -> None:
    """Put generators back to where they stood.

    Trainers draw random numbers of their own before the first step, and set seeds. Their first dropout is the plain
    loop's only if they begin where the job began.

    Args:
        states: From :func:`random_states`.
    """
    for name, state in states.items():
        number, kind = name.split(".")
        if kind == "cpu":
            torch.set_rng_state(state)
        elif int(number) < torch.cuda.device_count():  # a run may go on where there are fewer cards
            torch.cuda.set_rng_state(state, int(number))
