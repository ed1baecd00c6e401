"""A tokenizer's special tokens: which ones there are, and which one it puts in front of every text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from ftlib.errors import DataError


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return every token that a tokenizer treats as special, whether or not it has a role such as ``eos_token``.

    >>> from ftlib.models.loading import load_tokenizer
    >>> special_tokens(load_tokenizer("nano"))
    ['<|endoftext|>', '<|padding|>']
    """
    flagged = [token.content for token in _added(tokenizer) if token.special]
    return [token for token in dict.fromkeys([*tokenizer.all_special_tokens, *flagged]) if token]


def marker_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the tokens that a template's markup can hold: special ones, and others that were added by hand.

    Some tokenizers keep line breaks and runs of spaces as added tokens; these mark nothing.
    """
    added = [token.content for token in _added(tokenizer) if token.content.strip()]
    return list(dict.fromkeys([*special_tokens(tokenizer), *added]))


def opening_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what a tokenizer puts in front of every text by itself: the beginning-of-text token (BOS), or nothing.

    Llama's and Gemma's tokenizers do that, GPT-2's and Pythia's don't. What some put behind a text is of no
    interest here: an end belongs where a turn ends.

    >>> from ftlib.models.loading import load_tokenizer
    >>> opening_ids(load_tokenizer("nano"))
    []
    """
    whole, bare = (_encoded(tokenizer, "a", add_special_tokens=added) for added in (True, False))
    starts = [start for start in range(len(whole)) if whole[start : start + len(bare)] == bare]
    return whole[: starts[0]] if starts else []


def padding(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that fills a batch.

    Raises:
        DataError: The tokenizer has none.
    """
    if tokenizer.pad_token_id is None:
        raise DataError(
            "the tokenizer names no padding token: load it with ftlib.load_tokenizer, which chooses one, or set "
            "tokenizer.pad_token = tokenizer.eos_token"
        )
    return int(tokenizer.pad_token_id)


@contextlib.contextmanager
def as_it_was(backend: Any) -> Iterator[None]:
    """Put the settings of a fast tokenizer back as they were."""
    truncation, padding, special = backend.truncation, backend.padding, backend.encode_special_tokens
    try:
        yield
    finally:
        backend.encode_special_tokens = special
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _added(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    return list(getattr(tokenizer, "added_tokens_decoder", {}).values())


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str, *, add_special_tokens: bool) -> list[int]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids: list[int] = tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
        return ids
    with as_it_was(backend):
        backend.no_truncation()
        backend.no_padding()
        return list(backend.encode(text, add_special_tokens=add_special_tokens).ids)
