"""Groups of answers to one prompt, for GRPO: prompts and references out of a run's rows, and the rewards of answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.errors import ConfigError, DataError, TrainingError
from ftlib.evaluation.rewards import Reward, choose_rewards, reward_names, summed_rewards
from ftlib.training.grpo_section import GrpoSection
from ftlib.training.job import Job, MicroBatches
from ftlib.training.scores import greedy_answers, last_answer

if TYPE_CHECKING:
    from peft import PeftModel

_SHOWN = 3  # of the numbers that a function returned, in a message about them


@dataclass(frozen=True)
class Rewards:
    """What gives an answer its reward.

    Attributes:
        functions: By name, each takes answers and references and returns a number for each answer.
        weights: One for each function; None: 1 for each.
    """

    functions: dict[str, Reward]
    weights: tuple[float, ...] | None = None

    def each(self, answers: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
        """Return the rewards of some answers by name.

        Raises:
            TrainingError: A function doesn't return one finite number for each answer.
        """
        found = {}
        for name, function in self.functions.items():
            values = list(function(answers, references))
            if len(values) != len(answers) or not all(_is_number(value) for value in values):
                raise TrainingError(
                    f"reward {name}: expected a finite number for each of {len(answers)} answers, found "
                    f"{len(values)}: {values[:_SHOWN]!r:.80}"
                )
            found[name] = [float(value) for value in values]
        return found


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupJob(Job):
    """A job whose answers are sampled in groups, and rewarded.

    Attributes:
        settings: How answers are sampled and weighed.
        given: What gives the rewards.
    """

    settings: GrpoSection
    given: Rewards


def check_rewards(names: Sequence[str], weights: Sequence[float] | None, functions: Mapping[str, Reward]) -> None:
    """Refuse a run by rewards without a reward; nothing is loaded for it.

    Args:
        names: Of the rewards that the configuration chooses.
        weights: One for each reward; None: 1 for each.
        functions: Further rewards by name.

    Raises:
        ConfigError: There is no reward, there are two of one name, or not as many weights as rewards.
    """
    if both := set(names) & set(functions):
        raise ConfigError(f"reward {min(both)!r} stands in the configuration and is passed too: name yours otherwise")
    count = len(names) + len(functions)
    if not count:
        raise ConfigError(
            f"objective grpo needs a reward: set grpo.rewards to one or more of {', '.join(reward_names())}, or pass a "
            "function from Python (train(..., rewards={'mine': function}))"
        )
    if weights is not None and len(weights) != count:
        raise ConfigError(f"grpo.reward_weights has {len(weights)} numbers for {count} rewards")


def make_rewards(
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    weights: tuple[float, ...] | None,
    functions: Mapping[str, Reward],
    *splits: Dataset | None,
) -> Rewards:
    """Return the rewards of a run: those that its configuration names, then the functions.

    Args:
        tokenizer: The model's.
        names: Of the rewards that the configuration chooses.
        weights: One for each reward; None: 1 for each.
        functions: By name.
        splits: All tokenised rows whose references the rewards will see.

    Raises:
        DataError: A reward needs other references than the rows have.
    """
    references = [reference for rows in splits if rows for _, reference in prompts_of(tokenizer, rows)]
    try:
        chosen = choose_rewards(names, references)
    except DataError as error:
        raise DataError(f"grpo.rewards: {error}") from error
    return Rewards({**chosen, **functions}, weights)


def prompts_of(tokenizer: PreTrainedTokenizerBase, rows: Dataset) -> list[tuple[list[int], str]]:
    """Take tokenised rows apart: the ids before the last answer, and that answer as a text without its end.

    Args:
        tokenizer: The model's.
        rows: From :func:`ftlib.tokenize`.
    """
    pairs = [last_answer(row["input_ids"], row["labels"]) for row in rows]
    return [(ids, as_text(tokenizer, target)) for ids, target in pairs]


def as_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return what rewards see of an answer: its text without special tokens, and without white space around it."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def check_prompts(
    tokenizer: PreTrainedTokenizerBase, rows: Dataset, *, context: int, max_completion_length: int
) -> None:
    """Refuse prompts behind which an answer doesn't fit into the context of a model.

    Args:
        tokenizer: The model's.
        rows: Tokenised.
        context: Tokens that the model can see.
        max_completion_length: Tokens that an answer may have.

    Raises:
        ConfigError: The longest prompt and the longest answer are too long together.
    """
    longest = max(len(ids) for ids, _ in prompts_of(tokenizer, rows))
    if longest + max_completion_length > context:
        raise ConfigError(
            f"grpo.max_completion_length {max_completion_length}: the longest prompt has {longest} tokens, "
            f"and the model sees {context}: lower it to {max(1, context - longest)}, or data.max_length"
        )


class GroupBatches(MicroBatches):
    """Every batch of prompts of a run of GRPO, in order; as :class:`~ftlib.training.job.MicroBatches` has them.

    Args:
        rows: Tokenised rows.
        tokenizer: The model's.
        num_generations: Answers to each prompt.
        plan: ``batch_size`` (of prompts) and whatever else MicroBatches takes.
    """

    def __init__(self, rows: Dataset, *, tokenizer: PreTrainedTokenizerBase, num_generations: int, **plan: Any) -> None:
        """Take prompts and references out of the rows."""
        super().__init__(rows, **plan)
        self.num_generations, self.prompts = num_generations, prompts_of(tokenizer, rows)

    def __getitem__(self, index: int) -> Any:
        """Return a row for each answer that is sampled: the ids of its ``prompt``, and the ``reference``.

        Raises:
            IndexError: There are no more.
        """
        found = [self.prompts[number] for number in self.at(index)[1]]
        return [{"prompt": ids, "reference": text} for ids, text in found for _ in range(self.num_generations)]


def measure_rewards(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    given: Rewards,
    *,
    max_new_tokens: int,
    batch_size: int,
) -> dict[str, float]:
    """Return the mean rewards of a model's greedy answers: ``reward``, their weighted sum, and each by its name.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's.
        rows: Tokenised.
        given: What gives the rewards.
        max_new_tokens: Tokens that an answer may have.
        batch_size: Rows of one forward pass.
    """
    answers, references = greedy_answers(model, tokenizer, rows, batch_size, max_new_tokens=max_new_tokens)
    found = given.each(answers, references)
    total = summed_rewards(found, given.weights)
    means = {name: sum(values) / len(values) for name, values in found.items()}
    return {"reward": sum(total) / len(total), **(means if len(means) > 1 else {})}
