"""The steps of a run by rewards, taken by TRL's GRPOTrainer: it samples, weighs and learns, with TRL's own loss."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from datasets import Dataset
from ftlib.errors import RewardWarning, TrainingError
from ftlib.training.distributed import process_count
from ftlib.training.groups import GroupJob, Rewards, prompts_of
from ftlib.training.grpo_section import GrpoSection
from ftlib.training.hf import PlannedSteps, planned_arguments, planned_optimizer, precision_of_this_run_only
from ftlib.training.randomness import States, random_states
from ftlib.training.trl_steps import model_kept, quiet_arguments, without_recomputation

if TYPE_CHECKING:
    from peft import PeftModel

_STEPS_WITHOUT = 5
_KEPT = {
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "completions/mean_length": "mean_length",
    "completions/clipped_ratio": "clipped_ratio",
    "entropy": "entropy",
    "kl": "kl",
}
"""What TRL logs of a step, and what a run calls it."""


@dataclass(frozen=True)
class SampledGroups:
    """What TRL sampled for some prompts, and what it made of it.

    Attributes:
        answers: For each prompt, the texts of its group.
        rewards: ``(prompts, generations)``.
        advantages: ``(prompts, generations)``, without a unit.
    """

    answers: list[list[str]]
    rewards: Tensor
    advantages: Tensor


def run(job: GroupJob) -> None:
    """Take the steps of a job with TRL's GRPOTrainer.

    Raises:
        TrainingError: There are several processes, the output layer has an adapter, or a reward is no number.
    """
    if process_count() > 1:
        raise TrainingError("objective grpo runs in one process: start it without torchrun")
    states = random_states()
    with tempfile.TemporaryDirectory() as folder, precision_of_this_run_only(), model_kept(job.model):
        size = job.batches.batch_size * job.settings.num_generations
        arguments = {**planned_arguments(job, folder), **_further_arguments(job.settings, job.given, size)}
        _GRPOTrainer(job, GRPOConfig(**arguments), states).train()


def sample_groups(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    given: Rewards,
    settings: GrpoSection | None = None,
) -> SampledGroups:
    """Let TRL's GRPOTrainer sample a group of answers to each prompt and work out their advantages; train nothing.

    To hold :func:`ftlib.evaluation.rewards.group_advantages` against it, and to look at a group before a run. Answers
    are drawn with torch's generator as it stands.

    Args:
        model: A causal language model; it stays as it is.
        tokenizer: Its tokenizer, with a padding token.
        rows: Tokenised rows; they make one batch.
        given: What gives the rewards.
        settings: How to sample; default: as in a run.

    Taught in: chapters/14_preferences.ipynb
    """
    settings = settings or GrpoSection()
    prompts: list[dict[str, Any]] = [
        {"prompt": ids, "reference": text}
        for ids, text in prompts_of(tokenizer, rows)
        for _ in range(settings.num_generations)
    ]
    with tempfile.TemporaryDirectory() as folder, model_kept(model), torch.random.fork_rng():
        state = torch.get_rng_state()
        quiet = {**quiet_arguments(model, folder), "remove_unused_columns": False}
        arguments = GRPOConfig(**quiet, **_further_arguments(settings, given, len(prompts)))
        trainer = _Tokenised(model, _for_trl(given), args=arguments, train_dataset=rows, processing_class=tokenizer)
        torch.set_rng_state(state)  # the trainer has set a seed of its own
        model.train()
        trainer._generate_and_score_completions(prompts)
    logs: dict[str, Any] = dict(trainer._logs)
    by_function = torch.tensor([list(logs["rewards"][name]) for name in given.functions])
    weights = torch.tensor(given.weights or [1.0] * len(given.functions))
    shape = (len(rows), settings.num_generations)
    texts, size = list(logs["completion"]), settings.num_generations
    return SampledGroups(
        [texts[start : start + size] for start in range(0, len(texts), size)],
        (weights @ by_function).reshape(shape),
        torch.tensor(list(logs["advantages"])).reshape(shape),
    )


def _further_arguments(settings: GrpoSection, given: Rewards, size: int) -> dict[str, Any]:
    if not hasattr(GRPOTrainer, "_tokenize_prompts"):  # of an earlier release, whose arguments are others too
        raise TrainingError("objective grpo needs a later release of TRL: pip install 'trl>=1.16'")
    return {
        **settings.model_dump(exclude={"rewards", "reward_weights"}),
        "reward_weights": list(given.weights) if given.weights else None,
        "per_device_train_batch_size": size,
        "steps_per_generation": 1,  # a micro-batch is sampled when it is its turn, so nothing waits between steps
        **without_recomputation(GRPOConfig),
    }


class NoSpread:
    """Looks out for steps in a row of which nothing can be learnt."""

    def __init__(self) -> None:
        """Begin with no such step."""
        self.steps = 0

    def look(self, reward: float, share: float) -> None:
        """Look at a step.

        Args:
            reward: Mean of its answers.
            share: Of its groups, those whose answers all have one reward (0 to 1).

        Warns:
            RewardWarning: It is the fifth in a row whose groups all are so.
        """
        self.steps = self.steps + 1 if share == 1 else 0
        if self.steps == _STEPS_WITHOUT:
            message = (
                f"for {_STEPS_WITHOUT} steps, all answers to each prompt had one reward (now {reward:.3g}): every "
                "advantage is 0, and nothing was learnt: reward parts of an answer, start from a model that is right "
                "now and then, or raise grpo.temperature or grpo.num_generations"
            )
            warnings.warn(message, RewardWarning, stacklevel=2)


def _for_trl(given: Rewards) -> list[Callable[..., list[float]]]:
    """Turn rewards of answers and references into functions that TRL calls with everything it knows."""

    def turned(name: str) -> Callable[..., list[float]]:
        alone = Rewards({name: given.functions[name]})

        def reward(completions: Sequence[str], reference: Sequence[str], **unused: Any) -> list[float]:
            return alone.each([text.strip() for text in completions], reference)[name]

        reward.__name__ = name
        return reward

    return [turned(name) for name in given.functions]


def _check_head(model: PreTrainedModel | PeftModel) -> None:
    if hasattr(model.get_output_embeddings(), "base_layer"):
        raise TrainingError(
            "objective grpo: GRPOTrainer knows nothing of an adapter on the output layer: leave it out of "
            "model.lora.targets"
        )


class _Tokenised(GRPOTrainer):
    """A GRPOTrainer whose prompts are tokenised already, in the run's template, and whose reference has no adapters."""

    def __init__(self, model: PreTrainedModel | PeftModel, rewards: Any, **arguments: Any) -> None:
        _check_head(model)
        super().__init__(model, rewards, **arguments)
        # As with DPO: a copy of the adapters as they are now would move the reference at each resume.
        if "ref" in getattr(model, "peft_config", {}):
            model.delete_adapter("ref")

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}


class _GRPOTrainer(PlannedSteps, _Tokenised):
    def __init__(self, job: GroupJob, arguments: GRPOConfig, states: States) -> None:
        super().__init__(
            job.model,
            _for_trl(job.given),
            args=arguments,
            train_dataset=job.batches.rows,
            processing_class=job.tokenizer,
            optimizers=planned_optimizer(job),
        )
        self.set_job(job, states)
        self.names, self.tokens_seen = list(job.given.functions), 0
        self.watch = NoSpread()

    def training_step(self, *inputs: Any, **named: Any) -> Tensor:
        """Sample, reward and learn from one micro-batch, all of it TRL's own."""
        loss: Tensor = super().training_step(*inputs, **named)  # type: ignore[no-untyped-call]
        self.step_loss += float(loss.detach())
        self.step_tokens += int(self.state.num_input_tokens_seen) - self.tokens_seen
        self.tokens_seen = int(self.state.num_input_tokens_seen)
        return loss

    def rewards(self, logs: dict[str, float]) -> dict[str, float]:
        """Keep what GRPOTrainer says of the step's answers; each reward by its name, where there are several."""
        found = {ours: float(logs[theirs]) for theirs, ours in _KEPT.items() if theirs in logs}
        self.watch.look(found["reward"], found["frac_reward_zero_std"])
        several = self.names if len(self.names) > 1 else []
        return {**found, **{name: float(logs[f"rewards/{name}/mean"]) for name in several}}
