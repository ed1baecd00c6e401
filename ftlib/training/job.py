"""What every engine is given: a model, batches in a fixed order, an optimizer, a schedule, and where to report.

Whichever engine takes the steps, the batches, the weights of the tokens and the learning rates are the same; so the
losses agree. What an engine adds is how it takes a step: on one device or several, in which precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.errors import DataError, TrainingError
from ftlib.evaluation.metrics import answer_loss
from ftlib.models.precision import Precision
from ftlib.models.target_logits import score_targets
from ftlib.text.batches import length_batches, pad_batch, padded_batches
from ftlib.text.row_maker import IGNORED
from ftlib.training.checks import check_rows, check_weights
from ftlib.training.own_loss import auxiliary_weight

if TYPE_CHECKING:
    from peft import PeftModel

BatchOrder = Literal["by_length", "shuffled", "as_given"]
STEP_TARGETS = "step_targets"
_SKIPPED_AT_MOST = 20  # the scaler begins at 2 ** 16 and halves: after so many steps scaling isn't the cause


@dataclass(frozen=True)
class Step:
    """What one optimizer step did.

    Attributes:
        number: 1 for the first.
        learning_rate: The rate this step used.
        loss: Mean over the step's targets, before the update, in nats per token.
        gradient_norm: Length of the gradient before clipping; infinite where it was too large for float16, and the step
            was skipped.
        tokens: Tokens that the model read in this step, padding not counted.
        seconds: Time the step took, evaluation not counted.
        eval_loss: Loss on the evaluation rows after the step, where it was measured.
        rewards: What an objective with rewards says of the step. DPO's: chosen, rejected, margins, accuracies. GRPO's:
            reward (mean of the sampled answers) and reward_std, frac_reward_zero_std (share of the groups whose answers
            all have one reward, so that they teach nothing), mean_length and clipped_ratio (tokens of an answer, share
            of those that were cut), entropy, kl where beta is above 0, and each reward by its name where there are
            several.
    """

    number: int
    learning_rate: float
    loss: float
    gradient_norm: float
    tokens: int
    seconds: float
    eval_loss: float | None = None
    rewards: dict[str, float] | None = None


OnStep = Callable[["Job", Step, GradScaler | None], None]
"""Is told of a step: by which job, and what scaled the loss of it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """A fine-tune that is ready to run; only its history grows.

    Attributes:
        model: Changed in place.
        tokenizer: The model's; SFTTrainer asks for one.
        batches: The micro-batches of every step.
        optimizer: Over the weights that are trained.
        rate_share: Step number -> share of the peak learning rate.
        learning_rate: Peak rate.
        max_steps: Number of the last step.
        max_gradient_norm: Longer gradients are shortened to this length.
        precision: What matrices are multiplied in; the weights keep their type.
        evaluate: Returns the loss on the evaluation rows, if there are any.
        evaluation_is_due: Step number -> whether an evaluation follows it; one follows the last step anyway.
        first_step: Above 1 when a run goes on.
        seed: Of dropout.
        on_step: Is told of each step.
        scaler_state: Where float16's gradient scaler stood, when a run goes on.
        history: The steps so far.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    batches: MicroBatches
    optimizer: torch.optim.Optimizer
    rate_share: Callable[[int], float]
    learning_rate: float
    max_steps: int
    max_gradient_norm: float = 1.0
    precision: Precision = "float32"
    evaluate: Callable[[], float | None] = lambda: None
    evaluation_is_due: Callable[[int], bool] = lambda number: False
    first_step: int = 1
    seed: int = 0
    on_step: OnStep | None = None
    scaler_state: dict[str, Any] | None = None
    history: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look at the weights' types, before any work is done."""
        check_weights(self.model, self.precision)

    def resume_scaler(self, scaler: GradScaler | None) -> None:
        """Let an engine's gradient scaler, if it has one, go on from where it stood."""
        if scaler is not None and scaler.is_enabled() and self.scaler_state:
            scaler.load_state_dict(self.scaler_state)

    def check(self, loss: float, gradient_norm: float) -> None:
        """Refuse a loss or a gradient of the step being taken that is no number.

        In float16 a gradient may overflow now and then: the scaler skips the step and scales less from then on.

        Raises:
            TrainingError: It is not a number, or infinite; in float16, many steps in a row.
        """
        last = [step.gradient_norm for step in self.history[-_SKIPPED_AT_MOST:]]
        overflows = self.precision == "float16" and not math.isfinite(gradient_norm)
        always = len(last) == _SKIPPED_AT_MOST and not any(map(math.isfinite, last))
        norm = 0.0 if overflows and not always else gradient_norm
        check_finite(self.first_step + len(self.history), loss, norm)

    def finish_step(
        self,
        loss: float,
        gradient_norm: float,
        *,
        tokens: int,
        seconds: float,
        rewards: dict[str, float] | None = None,
        scaler: GradScaler | None = None,
    ) -> None:
        """Report a step that an engine has taken, and evaluate when that is due.

        Raises:
            TrainingError: The loss or the gradient is no number any more.
        """
        number = self.first_step + len(self.history)
        self.check(loss, gradient_norm)
        gradient_norm = gradient_norm if math.isfinite(gradient_norm) else math.inf
        rate = self.learning_rate * self.rate_share(number)
        step = Step(number, rate, loss, gradient_norm, tokens, seconds, rewards=rewards)
        try:
            if number == self.max_steps or self.evaluation_is_due(number):
                step = replace(step, eval_loss=self.evaluate())
        finally:  # an evaluation that fails must not cost the steps that were taken
            self.history.append(step)
            if self.on_step:
                self.on_step(self, step, scaler)


def check_finite(number: int, loss: float, gradient_norm: float) -> None:
    """Refuse a loss or a gradient that is no number.

    Raises:
        TrainingError: It is not a number, or infinite.
    """
    if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
        raise TrainingError(
            f"step {number}: the loss is {loss} and the gradient's length {gradient_norm}: lower the learning rate, "
            "warm it up for longer, or train in float32; nothing of this step is saved"
        )


class MicroBatches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Every batch of a run, in order: the same ones whenever and wherever they are asked for.

    A step's batches stand side by side. Each also holds ``step_targets``, the number of targets of its whole step:
    a loss divided by it weighs every token of the step alike, however the step was split.

    Args:
        rows: Tokenised rows (:func:`ftlib.tokenize`).
        pad_token_id: Fills the batches.
        batch_size: Rows of a micro-batch.
        accumulation_steps: Micro-batches of a step.
        first_step: The first step whose batches are wanted.
        max_steps: The last one; the rows are read again in a new order when they run out.
        order: ``"by_length"`` (rows of about one length share a batch), ``"shuffled"`` or ``"as_given"``.
        seed: Of the order.
    """

    def __init__(
        self,
        rows: Dataset,
        *,
        pad_token_id: int,
        batch_size: int,
        accumulation_steps: int = 1,
        first_step: int = 1,
        max_steps: int,
        order: BatchOrder = "by_length",
        seed: int = 0,
    ) -> None:
        """Look at every row once: how long it is, and how much of it is a target."""
        check_rows(rows, max_steps=max_steps, batch_size=batch_size, accumulation_steps=accumulation_steps)
        self.rows, self.pad_token_id, self.batch_size = rows, pad_token_id, batch_size
        self.accumulation_steps, self.first_step, self.max_steps = accumulation_steps, first_step, max_steps
        self.order, self.seed = order, seed
        self.lengths = [len(ids) for ids in rows["input_ids"]]
        self.targets = [sum(label != IGNORED for label in labels[1:]) for labels in rows["labels"]]
        self._epochs: dict[int, list[list[int]]] = {}

    def __len__(self) -> int:
        """Return the number of micro-batches."""
        return (self.max_steps - self.first_step + 1) * self.accumulation_steps

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``input_ids``, ``attention_mask``, ``labels``, each ``(batch, seq)``, and ``step_targets``, a number.

        Raises:
            IndexError: There are no more.
            DataError: Its step has no targets at all.
        """
        step, numbers = self.at(index)
        targets = sum(self.targets[row] for group in self.rows_of(step) for row in group)
        if targets == 0:
            raise DataError(
                f"step {step} has no target to learn: every label of its rows {self.rows_of(step)[0][:5]} is -100: "
                "raise max_length so that answers are not cut away, or drop these rows"
            )
        batch = pad_batch((self.rows[number] for number in numbers), self.pad_token_id)
        return {**batch, STEP_TARGETS: torch.tensor(targets)}

    def at(self, index: int) -> tuple[int, list[int]]:
        """Return the step that a micro-batch belongs to, and its row numbers."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        step = self.first_step + index // self.accumulation_steps
        return step, self.rows_of(step)[index % self.accumulation_steps]

    def rows_of(self, step: int) -> list[list[int]]:
        """Row numbers of each micro-batch of a step."""
        first = (step - 1) * self.accumulation_steps
        return [self._numbers(number) for number in range(first, first + self.accumulation_steps)]

    def _numbers(self, micro_batch: int) -> list[int]:
        epoch, place = divmod(micro_batch, math.ceil(len(self.rows) / self.batch_size))
        if epoch not in self._epochs:
            self._epochs = {key: value for key, value in self._epochs.items() if key == epoch - 1}
            self._epochs[epoch] = self._one_epoch(epoch)
        return self._epochs[epoch][place]

    def _one_epoch(self, epoch: int) -> list[list[int]]:
        if self.order == "by_length":
            return length_batches(self.lengths, self.batch_size, seed=self.seed + epoch)
        numbers = list(range(len(self.rows)))
        if self.order == "shuffled":
            generator = torch.Generator().manual_seed(self.seed + epoch)
            numbers = torch.randperm(len(numbers), generator=generator).tolist()
        return [numbers[start : start + self.batch_size] for start in range(0, len(numbers), self.batch_size)]


class TargetLoss(nn.Module):
    """A model whose forward pass gives the loss of a micro-batch as a share of its step's loss.

    Engines that wrap a model for several processes call the wrapper, and the wrapper calls this.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, micro_batches: int = 1) -> None:
        """Keep the model, of which nothing is copied, and how many micro-batches a step has."""
        super().__init__()
        self.model, self.micro_batches = model, micro_batches

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return ``{"loss": ...}``: the micro-batch's summed loss divided by the targets of its whole step.

        A mixture's auxiliary loss is added as the model itself adds it; a step's is the mean of its micro-batches'.
        """
        step_targets = batch.pop(STEP_TARGETS)
        weight = auxiliary_weight(self.model, batch)
        scored = score_targets(self.model, batch)
        loss = nn.functional.cross_entropy(scored.logits.float(), scored.targets, reduction="sum") / step_targets
        return {"loss": loss + weight / self.micro_batches * scored.output.aux_loss if weight else loss}


def evaluator(
    model: PreTrainedModel | PeftModel, rows: Dataset | None, *, pad_token_id: int, batch_size: int = 16
) -> Callable[[], float | None]:
    """Return a function that measures the loss on some rows; without rows it returns ``None``."""
    if rows is None or not len(rows):
        return lambda: None
    return lambda: answer_loss(model, padded_batches(rows, batch_size, pad_token_id=pad_token_id))


def real_tokens(micro_batches: Sequence[Mapping[str, Tensor]]) -> int:
    """Tokens of some batches, padding not counted."""
    return sum(int(batch["attention_mask"].sum()) for batch in micro_batches)
