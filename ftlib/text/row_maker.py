"""Conversations laid out, encoded and cut: the rows that a model is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Literal

import numpy as np
import pyarrow as pa

from ftlib.data.messages import Message, RowError, check_messages, clean_message
from ftlib.errors import DataError, SkippedRowWarning, TemplateWarning
from ftlib.text.encoding import Encoder
from ftlib.text.template_markup import MarkupFinder
from ftlib.text.templates import Segment, Template

IGNORED = -100
"""The label of a token that the model is not trained to write."""
Side = Literal["left", "right"]


class RowMaker:
    """Conversations to rows of ids and labels, none longer than the limit; it counts what it cuts."""

    def __init__(
        self, encoder: Encoder, template: Template, limit: int, side: Side, on_error: Literal["raise", "skip"] = "raise"
    ) -> None:
        """Take what all rows share.

        Raises:
            DataError: A side or a way with errors is not known.
        """
        for name, value, known in (
            ("truncation_side", side, ("left", "right")),
            ("on_error", on_error, ("raise", "skip")),
        ):
            if value not in known:
                raise DataError(f"{name} must be {known[0]!r} or {known[1]!r}, not {value!r}")
        self._encoder, self._template, self._limit, self._side = encoder, template, limit, side
        self._skips, self._finder = on_error == "skip", MarkupFinder(template)
        self.cut_rows = self.cut_tokens = 0
        self.answer_bytes: list[float] | None = None  # counted where somebody asks for it
        self.with_markup: list[str] = []

    def rows(self, conversations: Sequence[Sequence[Message]], numbers: Sequence[int]) -> pa.Table:
        """Return ids, attention mask and labels of conversations; errors call them by their numbers."""
        cleaned, rendered = self._rendered(conversations, numbers)
        self.with_markup += filter(None, map(self._finder.find, cleaned))
        encoded = self._encoder.encode(rendered)
        for number, segment_ids in enumerate(encoded):
            length = sum(map(len, segment_ids))
            is_cut = length > self._limit
            if is_cut:
                rendered[number], encoded[number] = self._shorten(cleaned[number], rendered[number], segment_ids)
                kept = sum(map(len, encoded[number]))
                self.cut_rows, self.cut_tokens = self.cut_rows + 1, self.cut_tokens + length - kept
            if self.answer_bytes is not None:
                row = (rendered[number], encoded[number])
                self.answer_bytes.append(self._encoder.answer_bytes(*row, is_cut=is_cut))
        return _table(rendered, encoded)

    def _rendered(
        self, conversations: Sequence[Sequence[Message]], numbers: Sequence[int]
    ) -> tuple[list[list[Message]], list[list[Segment]]]:
        """Clean and lay out conversations; one that doesn't fit is an error that names it, or is skipped."""
        cleaned, rendered = [], []
        for number, messages in zip(numbers, conversations, strict=True):
            try:
                check_messages(messages)
                clean = [clean_message(message) for message in messages]
                rendered.append(self._template.render(clean))
            except (DataError, RowError) as error:
                if not self._skips:
                    raise DataError(f"row {number}: {error}") from error
                warnings.warn(f"skipped: row {number}: {error}", SkippedRowWarning, stacklevel=2)
                continue
            cleaned.append(clean)
        return cleaned, rendered

    def warn_of_markup(self, rows: int) -> None:
        """Say how many of the rows held a template before they were laid out in another."""
        if self.with_markup:
            message = (
                f"{len(self.with_markup)} of {rows} rows hold a template already ({self.with_markup[0]!r}), and the "
                f"template {self._template.name!r} puts another one around them: take it out of the rows, or train "
                'with one that adds nothing (data.custom_template with before_user: "" and before_assistant: "")'
            )
            warnings.warn(message, TemplateWarning, stacklevel=4)

    def _shorten(
        self, messages: list[Message], segments: list[Segment], segment_ids: list[list[int]]
    ) -> tuple[list[Segment], list[list[int]]]:
        roles = [message["role"] for message in messages]
        messages = messages[: len(roles) - roles[::-1].index("assistant")]
        starts = [i for i, message in enumerate(messages) if message["role"] == "user"]
        while len(starts) > 1 and sum(map(len, segment_ids)) > self._limit:
            gone = slice(starts[0], starts[1]) if self._side == "left" else slice(starts[-1], None)
            del messages[gone]
            starts = [i for i, message in enumerate(messages) if message["role"] == "user"]
            segments = self._template.render(messages)
            segment_ids = self._encoder.encode([segments])[0]
        words = [i for i, s in enumerate(segments) if not s.is_target and not s.is_markup]
        for i in words if self._side == "left" else reversed(words):
            excess = sum(map(len, segment_ids)) - self._limit
            if excess > 0:
                opening = self._encoder.opening if i == 0 else []
                ids = segment_ids[i][len(opening) :]
                kept = max(0, len(ids) - excess)
                segment_ids[i] = opening + (ids[len(ids) - kept :] if self._side == "left" else ids[:kept])
        return segments, _first(self._limit, segment_ids)


def _table(rendered: Sequence[Sequence[Segment]], encoded: Sequence[Sequence[list[int]]]) -> pa.Table:
    """Lay the ids of all rows end to end, and note where each row begins."""
    segment_ids = [ids for row in encoded for ids in row]
    lengths = np.fromiter(map(len, segment_ids), np.int64, len(segment_ids))
    ids = np.fromiter(chain.from_iterable(segment_ids), np.int32, int(lengths.sum()))
    learnt = np.repeat([segment.is_target for row in rendered for segment in row], lengths)
    labels = np.where(learnt, ids, IGNORED).astype(np.int64)
    ends = np.cumsum(lengths)[np.cumsum([len(row) for row in encoded]) - 1]
    starts = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    columns = {"input_ids": ids, "attention_mask": np.ones(len(ids), np.int8), "labels": labels}
    return pa.table({name: pa.ListArray.from_arrays(starts, pa.array(flat)) for name, flat in columns.items()})


def _first(limit: int, segment_ids: Sequence[list[int]]) -> list[list[int]]:
    kept = []
    for ids in segment_ids:
        kept.append(ids[:limit])
        limit -= len(kept[-1])
    return kept
