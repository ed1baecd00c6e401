"""Segments and whole texts to token ids: the one way, for training and for generation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from transformers import PreTrainedTokenizerBase

from ftlib.argument_checks import checked, each, one_text
from ftlib.errors import DataError
from ftlib.old_calls import tokenizer_before_data
from ftlib.text.special_tokens import as_it_was, marker_tokens, opening_ids
from ftlib.text.templates import OwnBeginning, Segment


def _segment(name: str, value: Any) -> Any:
    if not isinstance(value, Segment) or not isinstance(value.text, str):
        raise DataError(f"{name} must be a Segment with text, as a template's render gives it, not {value!r:.60}")
    return value


@tokenizer_before_data(0)
@checked(segments=each(_segment))
def encode_segments(tokenizer: PreTrainedTokenizerBase, segments: Sequence[Segment]) -> list[int]:
    """Token ids of segments, each tokenised on its own, so that a prompt has the same ids with and without its answer.

    In markup a special token counts; in anybody's words it is encoded as the text that it is. A tokenizer that puts a
    beginning-of-text token in front of every text (Llama's does) has it put there here too: once, and not where a chat
    template writes it itself.
    """
    return [token for ids in encode_rows(tokenizer, [segments])[0] for token in ids]


@tokenizer_before_data(0)
@checked(rows=each(each(_segment)))
def encode_rows(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[Segment]]) -> list[list[list[int]]]:
    """Token ids of every segment of many conversations, in one call of the tokenizer."""
    return Encoder(tokenizer).encode(rows)


@tokenizer_before_data(0)
@checked(prompts=each(one_text))
def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of whole texts that a model is to continue: special tokens in them count.

    As ``tokenizer(prompt)`` gives them, except that the beginning-of-text token stands in front once, also if the
    prompt begins with it, and that no tokenizer puts an end behind them.
    """
    return Encoder(tokenizer).encode_whole(prompts)


@contextlib.contextmanager
def _plain(backend: Any, *, split: bool) -> Iterator[None]:
    """Let a tokenizer cut nothing and pad nothing meanwhile, and read special tokens as letters or not."""
    with as_it_was(backend):
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = split
        yield


class Encoder:
    """Encodes texts in one call, and each piece of markup once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Keep the tokenizer; its settings are put back after each call."""
        self._tokenizer = tokenizer
        self._end = tokenizer.eos_token_id
        self._markup: dict[str, list[int]] = {}

    @cached_property
    def opening(self) -> list[int]:
        """What stands in front of every text, unless a layout writes that itself."""
        return opening_ids(self._tokenizer)

    @cached_property
    def _markers(self) -> set[Any]:
        return set(map(self._tokenizer.convert_tokens_to_ids, marker_tokens(self._tokenizer)))

    def encode(self, rendered: Sequence[Sequence[Segment]]) -> list[list[list[int]]]:
        """Return the ids of each segment of each conversation, the end-of-text token included where a turn ends."""
        texts = iter(self._call([s.text for segments in rendered for s in segments if not s.is_markup], split=True))
        return [self._begun(segments, [self._ids_of(one, texts) for one in segments]) for segments in rendered]

    def encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts that nothing is put around."""
        return [self._with_opening(ids) for ids in self._call(list(texts), split=False)]

    def answer_bytes(self, segments: Sequence[Segment], segment_ids: Sequence[Sequence[int]], *, is_cut: bool) -> float:
        """UTF-8 bytes of the words in a row's targets: of an answer that was cut, as many as its tokens stand for.

        What a template writes itself is no word, nor is the token that ends a text. Tokens that share a letter, as in
        byte-level vocabularies, share its bytes equally.
        """
        words = [(s.text, ids) for s, ids in zip(segments, segment_ids, strict=True) if s.is_target and not s.is_markup]
        return sum(self._bytes_of(text, len(ids)) if is_cut else len(text.encode()) for text, ids in words)

    def _bytes_of(self, text: str, tokens: int) -> float:
        """Bytes of the beginning of a text that so many tokens stand for."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            ids = self._call([text], split=True)[0]
            return len(text.encode() if tokens >= len(ids) else str(self._tokenizer.decode(ids[:tokens])).encode())
        with _plain(backend, split=True):
            spans = backend.encode(text, add_special_tokens=False).offsets
        if tokens >= len(spans):
            return len(text.encode())
        if not tokens:
            return 0.0
        begin, end = spans[tokens - 1]
        sharing = [number for number, span in enumerate(spans) if span == (begin, end)]
        share = (tokens - sharing[0]) / len(sharing)
        return len(text[:begin].encode()) + share * len(text[begin:end].encode())

    def _begun(self, segments: Sequence[Segment], segment_ids: list[list[int]]) -> list[list[int]]:
        if segment_ids and not isinstance(segments[0], OwnBeginning):
            segment_ids[0] = self._with_opening(segment_ids[0])
        return segment_ids

    def _with_opening(self, ids: list[int]) -> list[int]:
        """Put in front what the tokenizer puts in front of every text: once, also if the text has it already."""
        return ids if ids[: len(self.opening)] == self.opening else [*self.opening, *ids]

    def _ids_of(self, segment: Segment, texts: Iterator[list[int]]) -> list[int]:
        ids = self._ids_of_markup(segment.text) if segment.is_markup else next(texts)
        if segment.ends_turn and (not segment.is_markup or not ids or ids[-1] not in self._markers):
            ids = [*ids, self._end]
        return ids

    def _ids_of_markup(self, text: str) -> list[int]:
        if text not in self._markup:
            self._markup[text] = self._call([text], split=False)[0]
        return self._markup[text]

    def _call(self, texts: list[str], *, split: bool) -> list[list[int]]:
        """Encode texts as they are: nothing added, nothing cut; special tokens split into letters or not."""
        if not texts:
            return []
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            encoded = self._tokenizer(texts, add_special_tokens=False, split_special_tokens=split, verbose=False)
            ids: list[list[int]] = encoded["input_ids"]
            return ids
        with _plain(backend, split=split):
            encode = getattr(backend, "encode_batch_fast", backend.encode_batch)  # fast since tokenizers 0.20
            return [row.ids for row in encode(texts, add_special_tokens=False)]
