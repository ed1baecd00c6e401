"""The decoding loop: one new token for every row of a batch, again and again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ftlib.errors import ConfigError
from ftlib.inference.growing_rows import start
from ftlib.models.gradients import evaluation_mode

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_SEEDS = 2**63
_COLDEST = 1e-6  # scores divided by much less are infinite


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token (greedy: ``top_k``, ``top_p`` and ``seed`` have no effect then); from
            1e-6 on, tokens are drawn, and the higher, the more evenly.
        top_k: Draw from so many likeliest tokens; 0: from all.
        top_p: Draw from the likeliest tokens that together have this probability.
        repetition_penalty: Above 1, tokens that occurred, in the prompt too, are less likely (Keskar et al., 2019).
        seed: Seed of the draws; None draws from torch's global generator.

    Raises:
        ConfigError: A value is out of its range.

    >>> Sampling(top_p=0.0)
    Traceback (most recent call last):
    ftlib.errors.ConfigError: top_p is 0.0; expected a number above 0, at most 1
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be used."""
        expected = {
            "temperature": (
                self.temperature == 0 or _COLDEST <= self.temperature < math.inf,
                f"0 (the likeliest token), or a number from {_COLDEST:f} on",
            ),
            "top_k": (self.top_k >= 0, "0 (all tokens) or a whole number above"),
            "top_p": (0 < self.top_p <= 1, "a number above 0, at most 1"),
            "repetition_penalty": (0 < self.repetition_penalty < math.inf, "a number above 0 (1: no penalty)"),
            "seed": (self.seed is None or -_SEEDS <= self.seed < _SEEDS, "a whole number of 64 bits"),
        }
        for name, (holds, allowed) in expected.items():
            if not holds:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected {allowed}")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at all."""
        return self.temperature > 0

    def chooser(self, device: torch.device, *, no_repeat_ngram_size: int = 0) -> Chooser:
        """Return what chooses tokens on a device; it holds the state of the draws.

        Args:
            device: Where the model computes.
            no_repeat_ngram_size: No run of so many tokens, the prompt's included, is written twice; 0: any may be.
        """
        return Chooser(self, device, no_repeat_ngram_size)


class Chooser:
    """Chooses the next token of every row from the model's scores."""

    def __init__(self, sampling: Sampling, device: torch.device, no_repeat_ngram_size: int) -> None:
        """Seed the draws, and put the steps that change scores in the order of transformers."""
        self.draws = sampling.draws
        self._generator = None
        if self.draws and sampling.seed is not None:
            self._generator = torch.Generator(device).manual_seed(sampling.seed)
        self._steps = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._steps.append(RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
        if no_repeat_ngram_size:
            self._steps.append(NoRepeatNGramLogitsProcessor(no_repeat_ngram_size))
        if self.draws and sampling.temperature != 1:
            self._steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if self.draws and sampling.top_k:
            self._steps.append(TopKLogitsWarper(sampling.top_k))
        if self.draws and sampling.top_p < 1:
            self._steps.append(TopPLogitsWarper(float(sampling.top_p)))

    def __call__(self, ids: torch.LongTensor, scores: torch.FloatTensor) -> Tensor:
        """Choose from scores ``(rows, vocabulary)`` behind ids ``(rows, seq)``; return ids ``(rows,)``."""
        changed: Tensor = self._steps(ids, scores)
        if not self.draws:
            return changed.argmax(-1)
        return torch.multinomial(changed.softmax(-1), 1, generator=self._generator)[:, 0]


def decode(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[list[int]],
    choose: Chooser,
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    use_cache: bool = True,
    width: int = 0,
) -> Iterator[list[int | None]]:
    """Write behind prompts, one token for each at a time.

    Prompts are padded on the left, so that the last token of every row is the last of its prompt; the attention mask
    hides the padding, and positions are counted from the first real token. Where padding changes what a model says of a
    row, which is looked at the first time, each row is computed alone. What all prompts begin with, an instruction or
    examples, is read once for all of them where that gives the model's own scores, which is looked at too. A row that
    has ended is computed no longer (while tokens are drawn it is: with fewer rows to draw for, a seed would give the
    others different texts).

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompts: Token ids, at least one in each.
        choose: From :meth:`Sampling.chooser`.
        max_new_tokens: The most tokens for each prompt.
        end_ids: Tokens that end a row; they are not given.
        use_cache: Keep the keys and values of earlier tokens, instead of reading each row again for every token.
        width: Pad prompts to so many tokens, if they are shorter.

    Yields:
        After each step, the new token of each prompt: None where it has ended.
    """
    batch = start(model, prompts, use_cache=use_cache, width=width)
    row_of = list(range(len(prompts)))  # of each row of the batch, the number of its prompt
    ended = [False] * len(prompts)
    for _ in range(max_new_tokens):
        tokens = batch.write(choose)
        step: list[int | None] = [None] * len(prompts)
        for row, token in zip(row_of, tokens, strict=True):
            ended[row] = ended[row] or token in end_ids
            step[row] = None if ended[row] else token
        if all(ended):
            return
        yield step
        going = [place for place, row in enumerate(row_of) if not ended[row]]
        # Taking rows out copies the whole cache: not for each of them.
        if not choose.draws and len(going) <= 0.9 * len(row_of) and batch.keep(going):
            row_of = [row_of[place] for place in going]


def continue_ids(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[list[int]],
    choose: Chooser,
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    use_cache: bool = True,
    width: int = 0,
) -> list[list[int]]:
    """Write behind the prompts of one batch as :func:`decode` does, whose arguments these are, until all have ended.

    Returns:
        Of each prompt the ids that are new, without the one that ended it. The model's training mode is restored.
    """
    written: list[list[int]] = [[] for _ in prompts]
    steps = decode(
        model, prompts, choose, max_new_tokens=max_new_tokens, end_ids=end_ids, use_cache=use_cache, width=width
    )
    with evaluation_mode(model):
        for step in steps:
            for ids, token in zip(written, step, strict=True):
                ids += [] if token is None else [token]
    return written
