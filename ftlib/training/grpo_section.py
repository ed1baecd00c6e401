"""The section of a run that is trained by rewards: who gives them, and how answers are sampled and weighed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ftlib.evaluation.rewards import RewardScale, is_reward, reward_names
from ftlib.nearest import one_of
from ftlib.training.config_sections import Section


class GrpoSection(Section):
    """Group relative policy optimisation, where `objective` is grpo. The names are those of TRL's GRPOConfig."""

    rewards: tuple[str, ...] = ()
    """What gives an answer its reward, added up: json_valid, json_match, json_fields, json_<field>_match, exact_match,
    rouge_l, bleu or distinct_2. From Python, `train` takes functions as well."""
    reward_weights: tuple[float, ...] | None = None
    """A factor for each reward, in their order, those of functions last; default: 1 for each."""
    num_generations: int = Field(8, ge=1)
    """Answers to each prompt: the group that they are compared in. `train.batch_size` counts answers."""
    max_completion_length: int = Field(256, ge=1)
    """Tokens that an answer may have; one that is longer is cut, and judged as it is."""
    temperature: float = Field(1.0, gt=0)
    """What logits are divided by when an answer is drawn, and when its probability is worked out."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the likeliest tokens that have so much of the probability together (0 to 1)."""
    top_k: int = Field(0, ge=0)
    """Draw from so many of the likeliest tokens; 0: from all."""
    beta: float = Field(0.0, ge=0)
    """How dearly a step away from the model as it was is paid, by the KL divergence; 0: not at all."""
    epsilon: float = Field(0.2, gt=0)
    """How far the ratio of an answer's new probability to its old one may leave 1 before it is clipped."""
    scale_rewards: RewardScale = "group"
    """What a reward's distance from the mean of its group is divided by: the standard deviation of the group, that of
    the batch, or nothing (none)."""
    loss_type: Literal["dapo", "grpo", "bnpo", "dr_grpo"] = "dapo"
    """How tokens are averaged: dapo and bnpo over all tokens of a batch, grpo within each answer first, dr_grpo by the
    longest answer that is allowed."""

    @field_validator("rewards")
    @classmethod
    def _rewards_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not is_reward(name):
                raise ValueError(f"unknown reward {name!r}; {one_of(name, reward_names())}")
        if len(set(names)) < len(names):
            raise ValueError("a reward stands there twice: give it a weight instead (reward_weights)")
        return names

    @field_validator("num_generations")
    @classmethod
    def _a_group_has_two(cls, number: int) -> int:
        if number < 2:
            raise ValueError("a group needs at least 2 answers: the advantage of one is its distance from the others")
        return number

    @model_validator(mode="after")
    def _a_weight_for_each(self) -> GrpoSection:
        if self.reward_weights is not None and len(self.reward_weights) < len(self.rewards):
            raise ValueError(
                f"{len(self.rewards)} rewards have {len(self.reward_weights)} reward_weights: give each one"
            )
        return self
