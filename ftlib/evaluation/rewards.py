"""Rewards that code can check, and what GRPO makes of them: how much better an answer is than its group.

A reward is a function of answers and references, as a score is, and most of the scores here serve as one. A name that
a configuration gives is looked up in this module; no code is read from a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from ftlib.argument_checks import checked, each, text
from ftlib.errors import DataError
from ftlib.evaluation.json_answers import MATCH, VALID, make_json_scores, read_object
from ftlib.evaluation.scores import SCORES, Score
from ftlib.nearest import one_of

Reward = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""Answers and their references to a number for each answer; higher is better."""
RewardScale = Literal["group", "batch", "none"]
FIELDS = "json_fields"
TEXT_REWARDS = tuple(name for name, score in SCORES.items() if score.better == "higher")
"""Rewards of any text, by the names of their scores."""

_OF_A_FIELD = re.compile(r"json_.+_match")
_NO_SPREAD = 1e-4  # TRL adds it to the standard deviation, so that a group of equals is divided by something


def is_reward(name: str) -> bool:
    """Tell whether there can be a reward of this name; whether a field is there, only the references tell.

    >>> is_reward("json_topic_match"), is_reward("json_fields"), is_reward("jsn_match")
    (True, True, False)
    """
    return name in (VALID, MATCH, FIELDS, *TEXT_REWARDS) or bool(_OF_A_FIELD.fullmatch(name))


def reward_names() -> list[str]:
    """Return the names of the rewards that don't depend on the data, and the form of those that do."""
    return [VALID, MATCH, FIELDS, "json_<field>_match", *TEXT_REWARDS]


@checked(names=each(text), references=each(text))
def choose_rewards(names: Sequence[str], references: Sequence[str]) -> dict[str, Reward]:
    """Return the rewards that were asked for, by name, each 0 to 1 (``bleu``: 0 to 100); higher is better.

    Args:
        names: ``json_valid`` (one JSON object, whatever is in it), ``json_match`` (the right one),
            ``json_<field>_match`` (one field of it), ``json_fields`` (the share of its fields that are right), as
            :mod:`ftlib.evaluation.json_answers` has them; or one of :data:`TEXT_REWARDS`.
        references: Every right answer that the rewards will be asked about.

    Raises:
        DataError: There is no such reward, or it holds answers against JSON objects and a reference is none.

    >>> reward = choose_rewards(["json_fields"], ['{"topic": "defect", "order": null}'])["json_fields"]
    >>> reward(['{"topic": "defect", "order": "7"}', "defect"], ['{"topic": "defect", "order": null}'] * 2)
    [0.5, 0.0]

    Taught in: chapters/14_preferences.ipynb
    """
    known: dict[str, Reward] = {VALID: _is_valid, **{name: SCORES[name].each for name in TEXT_REWARDS}}
    if any(name not in known and is_reward(name) for name in names):
        scores = make_json_scores(references)
        fields = [score for name, score in scores.items() if name not in (VALID, MATCH)]
        known |= {MATCH: scores[MATCH].each, FIELDS: _share_of(fields), **{one.name: one.each for one in fields}}
    for name in names:
        if name not in known:
            raise DataError(f"unknown reward {name!r}; {one_of(name, known)}")
    return {name: known[name] for name in names}


def _is_valid(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
    return [float(read_object(text) is not None) for text in predictions]


def _share_of(fields: Sequence[Score]) -> Reward:
    def share(predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        found = [field.each(predictions, references) for field in fields]
        return [sum(right) / len(fields) for right in zip(*found, strict=True)]

    return share


def summed_rewards(rewards: Mapping[str, Sequence[float]], weights: Sequence[float] | None = None) -> list[float]:
    """Add up the rewards of each answer, by their weights.

    Args:
        rewards: By name, a number for each answer.
        weights: One for each reward, in their order; default: 1 for each.

    >>> summed_rewards({"json_valid": [1.0, 1.0], "json_match": [0.0, 1.0]}, weights=[0.5, 2.0])
    [0.5, 2.5]
    """
    weights = [1.0] * len(rewards) if weights is None else weights
    rows = zip(*rewards.values(), strict=True)
    return [sum(weight * one for weight, one in zip(weights, row, strict=True)) for row in rows]


@checked()
def group_advantages(rewards: Tensor, scale: RewardScale = "group") -> Tensor:
    """Return how much better each answer is than the mean of its group, in standard deviations.

    (r - mean) / (std + 0.0001), as in DeepSeekMath (Shao et al., 2024, section 4.1.2); the small number is TRL's.
    Where all answers to a prompt have one reward, every advantage is 0, and the prompt teaches nothing. The standard
    deviation divides by one less than the number of answers, as TRL's does.

    Args:
        rewards: ``(prompts, generations)``, at least two generations.
        scale: What is divided by: the standard deviation of the ``"group"``, that of the whole ``"batch"``, or
            nothing (``"none"``, as Dr. GRPO has it: Liu et al., 2025).

    Returns:
        ``(prompts, generations)``, without a unit; with ``"none"`` in that of the rewards.

    Raises:
        DataError: The shape is another one, or a group has fewer than two answers.

    >>> import torch
    >>> [[round(one, 2) for one in row] for row in group_advantages(torch.tensor([[0., 1.], [1., 1.]])).tolist()]
    [[-0.71, 0.71], [0.0, 0.0]]

    Taught in: chapters/14_preferences.ipynb
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise DataError(
            f"rewards must be (prompts, generations) with at least two generations, not {tuple(rewards.shape)}: the "
            "advantage of an answer is its distance from others to the same prompt"
        )
    distances = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "none":
        return distances
    spread = rewards.std() if scale == "batch" else rewards.std(dim=1, keepdim=True)
    return distances / (spread + _NO_SPREAD)
