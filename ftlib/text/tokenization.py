"""Conversations to ids and labels.

Labels are -100 wherever the model is not trained: on prompts and on padding. The end-of-text token
behind an answer is a target, because a model that never saw an end never stops.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.argument_checks import at_least, checked, refusal
from ftlib.data.leaks import same_prompts
from ftlib.data.messages import Message
from ftlib.data.reading import load_conversations
from ftlib.errors import DataError, LeakWarning, TruncationWarning
from ftlib.old_calls import tokenizer_before_data
from ftlib.text.chat_template import template_of
from ftlib.text.encoding import Encoder
from ftlib.text.encoding import encode_prompts as encode_prompts
from ftlib.text.encoding import encode_rows as encode_rows
from ftlib.text.encoding import encode_segments as encode_segments
from ftlib.text.row_maker import RowMaker, Side
from ftlib.text.templates import Template

NO_LIMIT = 2**31
"""More tokens than any row has: in the place of a length, nothing is cut."""
_TRAINING_CONFIG: dict[str, Any] = {
    "model": {"pretrained_name": ((str,), "a text"), "max_length": ((numbers.Integral,), "a whole number")},
    "datasets": {"use_hf": ((bool,), "True or False"), "path": ((str, Path), "a text")},
    "verbose": ((bool,), "True or False"),
}
"""What the source tutorial's dictionary may hold: of each value the types, and how an error calls them."""
ROW_NUMBER = "row_number"
"""A column that says how errors call a row, where rows were drawn or shuffled; else they are counted from 0."""


class Cut(NamedTuple):
    """What truncation removed."""

    rows: int
    tokens: int


class TokenizedSplit(NamedTuple):
    """A data set ready for training: two ``Dataset`` objects, what truncation removed, and prompts on both sides."""

    train: Dataset
    test: Dataset
    cut: Cut
    leaks: int


@tokenizer_before_data(0)
@checked()
def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Dataset,
    *,
    template: Template | None = None,
    max_length: int | None = None,
    truncation_side: Side = "left",
    on_error: Literal["raise", "skip"] = "raise",
) -> Dataset:
    """Turn conversations into ``input_ids``, ``attention_mask`` and ``labels`` (no padding yet).

    A row over ``max_length`` loses whole exchanges first: the oldest (``"left"``) or the newest
    (``"right"``). The last one that is left loses words of its question, from the same side. The template
    and the answer stay whole; only when these two alone are too long does the answer lose its end. What was
    cut is reported in a :class:`TruncationWarning`.

    Args:
        tokenizer: Any tokenizer with an end-of-sequence token; it is not changed.
        conversations: A data set with the column ``messages``.
        template: The template around questions and answers; default: what the tokenizer tells
            (:func:`ftlib.text.chat_template.template_of`).
        max_length: The most tokens a row may have; default: the tokenizer's ``model_max_length``,
            if it has one.
        truncation_side: Side that is cut.
        on_error: ``"raise"`` at the first conversation that doesn't fit the template, or ``"skip"`` it with a
            :class:`SkippedRowWarning` of its own.

    Returns:
        A ``Dataset`` in the same order with three columns of token-long lists.

    Raises:
        DataError: There is no column ``messages``, a conversation doesn't fit the template (the message names the row,
            from 0), or ``max_length`` or the tokenizer can't be used.

    Taught in: chapters/04_tokens_padding_truncation.ipynb
    """
    template = template or template_of(tokenizer)
    row_maker = RowMaker(Encoder(tokenizer), template, _limit(tokenizer, max_length), truncation_side, on_error)
    dataset, cut = _tokenize(conversations, row_maker)
    _warn_of(cut, len(dataset))
    return dataset


@tokenizer_before_data(0)
def tokenize_measured(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Dataset,
    *,
    template: Template | None = None,
    max_length: int | None = None,
) -> tuple[Dataset, list[float]]:
    """As :func:`tokenize`; and the UTF-8 bytes of each row's answers, as much of them as is left in the row."""
    template = template or template_of(tokenizer)
    row_maker = RowMaker(Encoder(tokenizer), template, _limit(tokenizer, max_length), "left")
    found: list[float] = []
    row_maker.answer_bytes = found
    dataset, cut = _tokenize(conversations, row_maker)
    _warn_of(cut, len(dataset))
    return dataset, found


@tokenizer_before_data(0)
@checked(seed=at_least(0))
def tokenize_and_split(
    tokenizer: PreTrainedTokenizerBase,
    data: Dataset | str | Path | Mapping[str, Any],
    *,
    test_size: float = 0.1,
    seed: int = 123,
    template: Template | None = None,
    max_length: int | None = None,
    truncation_side: Side = "left",
    on_leak: Literal["warn", "raise"] = "warn",
) -> TokenizedSplit:
    """Tokenise a data set and split it at random: the same seed gives the same split.

    A random split may put one question on both sides. That is looked for (the same words, whatever case,
    space and punctuation) and reported; near-duplicates are for :func:`ftlib.data.leaks.find_leaks`.

    Args:
        tokenizer: Any tokenizer with an end-of-sequence token; it is not changed.
        data: Conversations; or a file or name for :func:`ftlib.load_conversations`; or a ``training_config``
            dictionary, ``{"model": {"max_length": 2048}, "datasets": {"path": "faq", "use_hf": False}}``, which
            adds the columns ``question`` and ``answer``.
        test_size: Share of the rows that go to the test set, between 0 and 1.
        seed: Seed of the shuffle.
        template: The template around questions and answers; default: what the tokenizer tells
            (:func:`ftlib.text.chat_template.template_of`).
        max_length: The most tokens a row may have.
        truncation_side: As in :func:`tokenize`.
        on_leak: ``"warn"`` or ``"raise"`` when a test row's prompt is also in the training rows.

    Returns:
        ``(train, test, cut, leaks)``; ``leaks`` counts the test rows whose prompt is also trained on.

    Raises:
        DataError: As :func:`tokenize`; or ``test_size`` leaves a side empty; or a prompt is on both sides and
            ``on_leak`` is ``"raise"``; or the dictionary holds something else than expected.

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    if on_leak not in ("warn", "raise"):
        raise DataError(f"on_leak must be 'warn' or 'raise', not {on_leak!r}")
    as_pairs = isinstance(data, Mapping)
    if isinstance(data, Mapping):
        data, max_length = _from_training_config(data, max_length)
    conversations = load_conversations(data) if isinstance(data, str | Path) else data
    if not 0 < test_size < 1 or math.ceil(test_size * len(conversations)) >= len(conversations):
        raise DataError(f"test_size {test_size} of {len(conversations)} rows leaves a side empty: choose 0.1, say")
    limit, template = _limit(tokenizer, max_length), template or template_of(tokenizer)
    dataset, cut = _tokenize(conversations, RowMaker(Encoder(tokenizer), template, limit, truncation_side))
    _warn_of(cut, len(dataset))
    if as_pairs:
        dataset = _with_pairs(dataset, conversations)
    splits = dataset.train_test_split(test_size=test_size, shuffle=True, seed=seed)
    order = Dataset.from_dict({"row": range(len(dataset))}).train_test_split(test_size=test_size, seed=seed)
    leaks = same_prompts(_messages(conversations), order["train"][:]["row"], order["test"][:]["row"])
    _report_leaks(leaks, on_leak)
    return TokenizedSplit(splits["train"], splits["test"], cut, len(leaks))


def _messages(conversations: Dataset) -> Iterator[list[Message]]:
    for batch in conversations.iter(1000):
        yield from batch["messages"]


def _tokenize(conversations: Dataset, row_maker: RowMaker) -> tuple[Dataset, Cut]:
    if "messages" not in conversations.column_names:
        raise DataError(f"expected a column 'messages', found {conversations.column_names}: see load_conversations")
    with _no_progress_bar():
        encoded = conversations.map(
            lambda batch, numbers: row_maker.rows(batch["messages"], batch.get(ROW_NUMBER, numbers)),
            batched=True,
            with_indices=True,
            remove_columns=conversations.column_names,
            load_from_cache_file=False,
        )
    row_maker.warn_of_markup(len(encoded))
    return encoded, Cut(rows=row_maker.cut_rows, tokens=row_maker.cut_tokens)


def _from_training_config(config: Mapping[str, Any], max_length: int | None) -> tuple[str, int | None]:
    """Read the dictionary of the source tutorial; keys and values that mean nothing here are named."""
    for name, value in config.items():
        if name not in _TRAINING_CONFIG:
            raise DataError(f"training_config has no key {name!r}; expected {', '.join(_TRAINING_CONFIG)}")
        known = _TRAINING_CONFIG[name]
        if not isinstance(known, Mapping):
            _check_value(f"training_config[{name!r}]", value, known)
        elif value is not None:
            _check_section(name, value, known)
    source = config.get("datasets") or {}
    if source.get("path") is None:
        raise DataError(
            "training_config['datasets']['path'] is missing: a file, a shipped name such as 'faq', or a Hub id"
        )
    length = (config.get("model") or {}).get("max_length")
    return str(source["path"]), length if max_length is None else max_length


def _check_section(name: str, section: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(section, Mapping):
        raise DataError(f"training_config[{name!r}] must be a dictionary, not {section!r:.60}")
    for key, value in section.items():
        if key not in known:
            raise DataError(f"training_config[{name!r}] has no key {key!r}; expected {sorted(known)}")
        _check_value(f"training_config[{name!r}][{key!r}]", value, known[key])


def _check_value(place: str, value: Any, wanted: tuple[tuple[type, ...], str]) -> None:
    kinds, wording = wanted
    is_misplaced = isinstance(value, bool) and bool not in kinds
    if value is not None and (is_misplaced or not isinstance(value, kinds)):
        raise refusal(place, wording, value)


def _with_pairs(dataset: Dataset, conversations: Dataset) -> Dataset:
    pairs: dict[str, list[str]] = {"question": [], "answer": []}
    for number, messages in enumerate(_messages(conversations)):
        if [message["role"] for message in messages] != ["user", "assistant"]:
            raise DataError(f"row {number}: a training_config expects one question and one answer in each row")
        for column, message in zip(pairs, messages, strict=True):
            pairs[column].append(message["content"] or "")
    for column, values in pairs.items():
        dataset = dataset.add_column(column, values)
    return dataset.select_columns(["question", "answer", "input_ids", "attention_mask", "labels"])


def _report_leaks(leaks: Sequence[tuple[int, int]], on_leak: str) -> None:
    if not leaks:
        return
    test_row, train_row = leaks[0]
    message = (
        f"{len(leaks)} test rows have a prompt that is also trained on (row {test_row} as row {train_row}, say): "
        "remove the duplicates, or split by hand"
    )
    if on_leak == "raise":
        raise DataError(message)
    warnings.warn(message, LeakWarning, stacklevel=3)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            enable_progress_bars()


@checked()
def known_limit(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the most tokens that a tokenizer says its model can see; None where it doesn't say.

    transformers then has a number of thirty digits.
    """
    limit = tokenizer.model_max_length
    return int(limit) if limit is not None and limit < NO_LIMIT else None


def _limit(tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> int:
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token: set tokenizer.eos_token before training")
    limit = (known_limit(tokenizer) or NO_LIMIT) if max_length is None else max_length
    if limit < 2:
        raise DataError(f"max_length must be at least 2 (one token and its end), not {limit}")
    return int(limit)


def _warn_of(cut: Cut, rows: int) -> None:
    if cut.rows:
        message = f"truncated {cut.rows} of {rows} rows, {cut.tokens} tokens lost: raise max_length or shorten the text"
        warnings.warn(message, TruncationWarning, stacklevel=3)
