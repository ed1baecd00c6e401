"""The decoding loop: one new token for every row of a batch, again and again."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from ftlib.errors import ConfigError
from ftlib.models.target_logits import agree
from ftlib.text.batches import pad_batch

_SEEDS = 2**63
_CHECKED = 16  # tokens of the longest row, for the check


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest token (greedy: ``top_k``, ``top_p`` and ``seed`` have no effect then); above,
            tokens are drawn, and the higher, the more evenly.
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
            "temperature": (0 <= self.temperature < math.inf, "0 or a number above"),
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

    def chooser(self, device: torch.device) -> Chooser:
        """Return what chooses tokens on a device; it holds the state of the draws."""
        return Chooser(self, device)


class Chooser:
    """Chooses the next token of every row from the model's scores."""

    def __init__(self, sampling: Sampling, device: torch.device) -> None:
        """Seed the draws, and put the steps that change scores in the order of transformers."""
        self.draws = sampling.draws
        self._generator = None
        if self.draws and sampling.seed is not None:
            self._generator = torch.Generator(device).manual_seed(sampling.seed)
        self._steps = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if self.draws and sampling.temperature != 1:
            self._steps.append(TemperatureLogitsWarper(sampling.temperature))
        if self.draws and sampling.top_k:
            self._steps.append(TopKLogitsWarper(sampling.top_k))
        if self.draws and sampling.top_p < 1:
            self._steps.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, ids: torch.LongTensor, scores: torch.FloatTensor) -> Tensor:
        """Choose from scores ``(rows, vocabulary)`` behind ids ``(rows, seq)``; return ids ``(rows,)``."""
        changed: Tensor = self._steps(ids, scores)
        if not self.draws:
            return changed.argmax(-1)
        return torch.multinomial(changed.softmax(-1), 1, generator=self._generator)[:, 0]


def decode(
    model: Any, prompts: Sequence[list[int]], choose: Chooser, *, max_new_tokens: int, end_ids: frozenset[int]
) -> Iterator[list[int | None]]:
    """Write behind prompts, one token for each at a time, with the keys and values of earlier tokens kept.

    Prompts are padded on the left, so that the last token of every row is the last of its prompt; the attention mask
    hides the padding, and positions are counted from the first real token. Where padding changes what a model says of a
    row, which is looked at the first time, each row is computed alone. A row that has ended is computed no longer
    (while tokens are drawn it is: with fewer rows to draw for, a seed would give the others different texts).

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompts: Token ids, at least one in each.
        choose: From :meth:`Sampling.chooser`.
        max_new_tokens: The most tokens for each prompt.
        end_ids: Tokens that end a row; they are not given.

    Yields:
        After each step, the new token of each prompt: None where it has ended.
    """
    batch = _Batch(model, prompts) if _may_be_padded(model, prompts) else _Alone(model, prompts)
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


class _Batch:
    """Rows that grow: their ids, their mask, and the keys and values that the model keeps of them."""

    def __init__(self, model: Any, prompts: Sequence[list[int]]) -> None:
        padded = pad_batch([{"input_ids": ids} for ids in prompts], prompts[0][0], side="left")
        self._mask = padded["attention_mask"].to(model.device)
        # A token of the row itself as padding: a repetition penalty must not count a token that isn't there.
        first: Any = torch.tensor([[ids[0]] for ids in prompts])
        self._ids: Any = torch.where(padded["attention_mask"] == 1, padded["input_ids"], first).to(model.device)
        self._unread = self._ids
        self._cache: Any = None
        self._model: Any = model
        taken = _taken(model)
        self._keeps = "past_key_values" in taken
        self._no_cache = {"use_cache": False} if "use_cache" in taken else {}
        # Without padding the model counts positions itself: some families (CamemBERT) begin at another number.
        self._takes_positions = "position_ids" in taken and not bool(self._mask.all())
        # The scores of a prompt's other tokens are not needed, and with a large vocabulary they fill the memory.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}

    @torch.inference_mode()
    def write(self, choose: Chooser) -> list[int]:
        """Append a token to each row and return them."""
        tokens = choose(self._ids, self.scores())
        self.append(tokens)
        written: list[int] = tokens.tolist()
        return written

    @torch.inference_mode()
    def scores(self) -> Any:
        """Read what is new, and return the scores of the next token, ``(rows, vocabulary)``."""
        inputs = {"input_ids": self._unread, "attention_mask": self._mask, **self._options}
        if self._takes_positions:
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
            inputs["position_ids"] = positions[:, -self._unread.shape[1] :]
        if self._keeps:
            output = self._model(**inputs, past_key_values=self._cache, use_cache=True)
            self._cache = getattr(output, "past_key_values", None)
        else:
            output = self._model(**inputs, **self._no_cache)
        return output.logits[:, -1].float()

    @torch.inference_mode()
    def append(self, tokens: Tensor) -> None:
        """Write a token behind each row; without a cache the whole row will be read again."""
        self._ids = torch.cat([self._ids, tokens[:, None]], dim=1)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        self._unread = self._ids if self._cache is None else tokens[:, None]

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> bool:
        """Go on with some of the rows only; return whether the cache could be cut."""
        index = torch.tensor(rows, device=self._ids.device)
        if hasattr(self._cache, "batch_select_indices"):
            self._cache.batch_select_indices(index)
        elif self._cache is not None:
            return False
        self._ids, self._mask, self._unread = self._ids[index], self._mask[index], self._unread[index]
        return True


class _Alone:
    """Rows of a model that padding would change (RWKV carries it on, ProphetNet counts it): each is computed alone."""

    def __init__(self, model: Any, prompts: Sequence[list[int]]) -> None:
        self._rows = [_Batch(model, [prompt]) for prompt in prompts]

    def write(self, choose: Chooser) -> list[int]:
        """Append a token to each row and return them."""
        return [row.write(choose)[0] for row in self._rows]

    def keep(self, rows: Sequence[int]) -> bool:
        """Go on with some of the rows only."""
        self._rows = [self._rows[row] for row in rows]
        return True


_padded: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Of models that wrote rows of different lengths: whether padding changes nothing."""


def _may_be_padded(model: Any, prompts: Sequence[list[int]]) -> bool:
    """Whether a row has the same scores with padding in front: looked at once for each model, on two short rows."""
    if len(set(map(len, prompts))) == 1:
        return True
    if model not in _padded:
        longest = max(prompts, key=len)[-_CHECKED:]
        padded, alone = _Batch(model, [longest[-1:], longest]), _Batch(model, [longest[-1:]])
        same = True
        for _ in range(2):  # the second time from the cache
            expected, found = alone.scores()[0], padded.scores()[0]
            same = same and agree(found, expected)
            alone.append(expected.argmax(-1)[None])
            padded.append(expected.argmax(-1).repeat(2))
        _padded[model] = same
    return _padded[model]


def _taken(model: Any) -> Any:
    """Return what a model's forward pass takes; of an adapter's model, whose own names nothing, what is below it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inspect.signature(inner.forward).parameters
