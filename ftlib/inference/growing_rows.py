"""Rows of tokens that grow while a model writes them: padded together, alone, or with one beginning read once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from ftlib.models.rounding import agree, rounding_of
from ftlib.text.batches import pad_batch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedConfig, PreTrainedModel

    Model = PreTrainedModel | PeftModel

_CHECKED = 16  # tokens of the longest row, for the check of padding
_SHARED = 16  # tokens at least with which all prompts begin, for reading them once to be worth it
_LOOKS_BACK = ("window", "chunk_size", "attention_types")
_LOOKS_AT_ALL = ("max_window_layers",)  # of Qwen2: it counts only beside a window
Choose = Callable[[Any, Any], Tensor]  # from ids (rows, seq) and scores (rows, vocabulary): a token for each row


def start(model: Model, prompts: Sequence[list[int]], *, use_cache: bool = True, width: int = 0) -> Batch | RowsAlone:
    """Return the prompts as rows that can be written, in the quickest way that gives the model's own scores.

    Args:
        model: A causal language model of transformers, in evaluation mode.
        prompts: Token ids, at least one in each.
        use_cache: Whether keys and values of earlier tokens may be kept.
        width: Tokens that the rows have at least, padding included; where padding changes scores it is left out.
    """
    if not _may_be_padded(model, prompts, width):
        return RowsAlone(model, prompts, use_cache=use_cache)
    shared = shared_beginning(prompts) if len(prompts) > 1 and use_cache else 0
    if shared < _SHARED or not _may_share(model, prompts, shared):
        shared = 0
    return Batch(model, prompts, shared, use_cache=use_cache, width=width)


def shared_beginning(prompts: Sequence[list[int]]) -> int:
    """Count the tokens with which all prompts begin; the last of a prompt is its own, so that its scores are computed.

    >>> shared_beginning([[5, 6, 7], [5, 6, 8, 9], [5, 6, 7]])
    2
    >>> shared_beginning([[5, 6], [5, 6, 8]])
    1
    """
    first, last = min(prompts), max(prompts)  # in the order of a dictionary: what these two share, all share
    most = min(map(len, prompts)) - 1
    return next((place for place in range(most) if first[place] != last[place]), most)


class Batch:
    """Rows that grow: their ids, their mask, and the keys and values that the model keeps of them."""

    def __init__(
        self, model: Model, prompts: Sequence[list[int]], shared: int = 0, *, use_cache: bool = True, width: int = 0
    ) -> None:
        """Pad the prompts; what they share, ``shared`` tokens, is read once, and the padding stands behind it."""
        padded = pad_batch([{"input_ids": ids[shared:]} for ids in prompts], prompts[0][0], side="left")
        beginning: Any = torch.tensor([ids[:shared] for ids in prompts], dtype=torch.long)
        further = (max(0, width - shared - padded["input_ids"].shape[1]), 0)
        padded = {name: functional.pad(tensor, further) for name, tensor in padded.items()}
        mask = torch.cat([torch.ones_like(beginning), padded["attention_mask"]], dim=1)
        # A token of the row itself as padding: a repetition penalty must not count a token that isn't there.
        first: Any = torch.tensor([[ids[0]] for ids in prompts])
        ids = torch.where(mask == 1, torch.cat([beginning, padded["input_ids"]], dim=1), first)
        self._ids: Any = ids.to(model.device)
        self._mask = mask.to(model.device)
        self._unread = self._ids
        self._cache: Any = None
        self._model: Any = model
        taken = _taken(model)
        self._keeps = use_cache and "past_key_values" in taken
        self._no_cache = {"use_cache": False} if "use_cache" in taken else {}
        # Without padding the model counts positions itself: some families (CamemBERT) begin at another number.
        self._takes_positions = "position_ids" in taken and not bool(self._mask.all())
        # The scores of a prompt's other tokens are not needed, and with a large vocabulary they fill the memory.
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        if shared:
            self._read_once(shared)

    @property
    def rows(self) -> int:
        """Rows that are written."""
        return len(self._ids)

    @torch.inference_mode()
    def _read_once(self, shared: int) -> None:
        """Read the beginning of the first row, and keep its keys and values for every row."""
        output = self._model(input_ids=self._ids[:1, :shared], use_cache=True, **self._options)
        self._cache = output.past_key_values
        self._cache.batch_repeat_interleave(len(self._ids))
        self._unread = self._ids[:, shared:]

    @torch.inference_mode()
    def write(self, choose: Choose) -> list[int]:
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


class RowsAlone:
    """Rows of a model that padding would change (RWKV carries it on, ProphetNet counts it): each is computed alone."""

    def __init__(self, model: Model, prompts: Sequence[list[int]], *, use_cache: bool = True) -> None:
        """Take each prompt as a batch of one row."""
        self._rows = [Batch(model, [prompt], use_cache=use_cache) for prompt in prompts]

    def write(self, choose: Choose) -> list[int]:
        """Append a token to each row and return them."""
        return [row.write(choose)[0] for row in self._rows]

    def keep(self, rows: Sequence[int]) -> bool:
        """Go on with some of the rows only."""
        self._rows = [self._rows[row] for row in rows]
        return True


_padded: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()
"""Of models that wrote rows of different lengths: whether padding changes nothing."""


def _may_be_padded(model: Model, prompts: Sequence[list[int]], width: int) -> bool:
    """Whether a row has the same scores with padding in front: looked at once for each model, on two short rows."""
    lengths = set(map(len, prompts))
    if len(lengths) == 1 and max(lengths) >= width:
        return True
    if model not in _padded:
        longest = max(prompts, key=len)[-_CHECKED:]
        together, alone = Batch(model, [longest[-1:], longest]), Batch(model, [longest[-1:]])
        _padded[model] = _same(together, alone, _rounding(model, longest))
    return _padded[model]


_shares: WeakKeyDictionary[Model, dict[int, bool]] = WeakKeyDictionary()
"""Of models whose prompts began alike: for each doubling of the length, whether reading that once changes nothing."""


def _may_share(model: Model, prompts: Sequence[list[int]], shared: int) -> bool:
    """Whether a row has the same scores when its beginning is read with that of the others, and padded behind it.

    Looked at for each doubling of the length, on the shortest row beside the longest. A model that looks back through a
    window counts padding in it, which may show at lengths only that are not tried: none with such a setting.
    """
    if _looks_back_only_so_far(model.config):
        return False
    known = _shares.setdefault(model, {})
    shortest, longest = min(prompts, key=len), max(prompts, key=len)
    length = len(longest).bit_length()
    if length not in known:
        cache = getattr(_read(model, longest[:1]), "past_key_values", None)
        known[length] = _keeps_nothing_but_keys_and_values(cache) and _same(
            Batch(model, [shortest, longest], shared), Batch(model, [shortest]), _rounding(model, longest)
        )
    return known[length]


def _looks_back_only_so_far(config: PreTrainedConfig) -> bool:
    settings = config.to_dict().items()
    return any(
        value and any(part in name for part in _LOOKS_BACK) and name not in _LOOKS_AT_ALL for name, value in settings
    )


def _keeps_nothing_but_keys_and_values(cache: Any) -> bool:
    layers = getattr(cache, "layers", [])  # caches have layers since transformers 4.54
    plain = all(type(layer).__name__ == "DynamicLayer" for layer in layers)
    return hasattr(cache, "batch_repeat_interleave") and type(cache).__name__ == "DynamicCache" and plain


@torch.inference_mode()
def _read(model: Model, ids: list[int]) -> Any:
    return model(input_ids=torch.tensor([ids], device=model.device))


def _rounding(model: Model, ids: list[int]) -> float:
    return rounding_of(model, torch.tensor([ids], device=model.device))


@torch.inference_mode()
def _same(together: Batch, alone: Batch, rounding: float) -> bool:
    """Whether the first row of a batch has the scores that it has alone: behind its prompt, and a token later."""
    same = True
    for _ in range(2):  # the second time from the cache
        expected, found = alone.scores()[0], together.scores()[0]
        same = same and agree(found, expected, rounding)
        together.append(expected.argmax(-1).repeat(together.rows))
        alone.append(expected.argmax(-1)[None])
    return same


def _taken(model: Model) -> Mapping[str, inspect.Parameter]:
    """Return what a model's forward pass takes; of an adapter's model, whose own names nothing, what is below it."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()
    return inspect.signature(inner.forward).parameters
