"""The rows of a run: read, drawn, split, tokenised and cut as its configuration says."""

from __future__ import annotations

import contextlib
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.data.leaks import same_prompts
from ftlib.data.messages import Message, RowError
from ftlib.data.preferences import load_preferences
from ftlib.data.reading import load_conversations
from ftlib.errors import DataError, LeakWarning, TruncationWarning
from ftlib.text.chat_template import named_template
from ftlib.text.templates import Template
from ftlib.text.tokenization import NO_LIMIT, ROW_NUMBER, known_limit, tokenize
from ftlib.training.checks import with_targets
from ftlib.training.config import FinetuneConfig
from ftlib.training.config_sections import DataSection
from ftlib.training.pairs import tokenize_pairs


def configured_template(tokenizer: PreTrainedTokenizerBase, section: DataSection) -> Template:
    """Return the template that a run puts around its messages.

    Raises:
        DataError: Nothing is known of a template of that name.
    """
    if section.custom_template is not None:
        return section.custom_template.template()
    return named_template(tokenizer, section.template)


def prepare_rows(
    tokenizer: PreTrainedTokenizerBase, config: FinetuneConfig, template: Template, *, context: int
) -> tuple[Dataset, Dataset | None]:
    """Return the tokenised rows that a run trains on, and those that it is evaluated on.

    Args:
        tokenizer: The model's; it is not changed.
        config: Of the run.
        template: Around the messages.
        context: Tokens that the model can see; no row is longer, whatever the tokenizer says or doesn't say.

    Warns:
        DroppedRowsWarning: Rows have no target, or pairs are too long, and are left out.
        LeakWarning: A prompt of the evaluation rows is also trained on.

    Raises:
        DataError: The data can't be used, or no row has a target.
    """
    section, is_paired = config.data, config.objective == "dpo"
    with skippable_rows():
        splits = _draw_and_split(*_read(section, is_paired=is_paired), section, config.train.seed)
        if splits[1] is not None and not section.overfit_batches:
            warn_of_leaks(*(_messages(split, is_paired=is_paired) for split in splits))
        limit = section.max_length or min(known_limit(tokenizer) or context, context)
        rows, eval_rows = _tokenized(tokenizer, splits, section, template, limit, is_paired=is_paired)
    if section.overfit_batches:
        rows = first_batches(rows, section.overfit_batches, config.rows_per_batch)
        if eval_rows is not None and not is_paired:
            eval_rows = first_batches(eval_rows, section.overfit_batches, config.evaluate.batch_size)
    return rows, eval_rows


def _read(section: DataSection, *, is_paired: bool) -> tuple[Dataset, Dataset | None]:
    read: Callable[..., Dataset] = load_preferences if is_paired else partial(load_conversations, format=section.format)
    rows = read(section.source, split=section.split, on_error=section.on_error)
    rows = rows.add_column(ROW_NUMBER, range(len(rows)))  # kept when rows are shuffled, so that an error can name one
    if section.validation is None:
        return rows, None
    return rows, read(section.validation, split=section.validation_split, on_error=section.on_error)


def _messages(rows: Dataset, *, is_paired: bool) -> Any:
    return [[*row["prompt"], *row["chosen"]] for row in rows] if is_paired else rows["messages"]


def _tokenized(
    tokenizer: PreTrainedTokenizerBase,
    splits: tuple[Dataset, Dataset | None],
    section: DataSection,
    template: Template,
    limit: int,
    *,
    is_paired: bool,
) -> tuple[Dataset, Dataset | None]:
    def made(part: Dataset, name: str) -> Dataset:
        if is_paired:
            return tokenize_pairs(tokenizer, part, template=template, max_length=limit)
        return with_targets(_tokenize_and_cut(tokenizer, part, section, template, limit), name)

    rows, held_out = splits
    return made(rows, "training rows"), None if held_out is None else made(held_out, "evaluation rows")


def _draw_and_split(
    rows: Dataset, held_out: Dataset | None, section: DataSection, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Draw some rows, and hold a share of them back for evaluation unless other rows are there for that."""
    if section.max_rows is not None and section.max_rows < len(rows):
        rows = rows.shuffle(seed=seed).select(range(section.max_rows))
    if held_out is not None or not round(section.validation_share * len(rows)):
        return rows, held_out
    if math.ceil(section.validation_share * len(rows)) >= len(rows):
        told = f"data.validation_share {section.validation_share} of {len(rows)} rows leaves none to train on"
        raise DataError(f"{told}: choose 0.1, say")
    splits = rows.train_test_split(test_size=section.validation_share, seed=seed)
    return splits["train"], splits["test"]


@contextlib.contextmanager
def skippable_rows() -> Iterator[None]:
    """Say of an error that a single row makes how to leave such rows out."""
    try:
        yield
    except DataError as error:
        if isinstance(error.__cause__, RowError | DataError):  # it is a single row
            raise DataError(f"{error}; or leave such rows out with data.on_error: skip") from error
        raise


_COUNTED = {"input_ids", "labels", "rejected_input_ids", "rejected_labels"}


def fingerprint(*splits: Dataset | None) -> str:
    """Give tokenised rows a name that changes with any token, label or row of them.

    >>> rows = Dataset.from_dict({"input_ids": [[5, 6]], "labels": [[-100, 6]]})
    >>> fingerprint(rows) == fingerprint(rows), fingerprint(rows) == fingerprint(rows, rows)
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for rows in splits:
        digest.update(f"{len(rows) if rows else 0} rows".encode())
        columns = sorted(_COUNTED & set(rows.column_names)) if rows else []
        for batch in rows.with_format("arrow").iter(1000) if rows else ():
            for column in columns:
                lists = batch[column].combine_chunks()
                for numbers in (lists.value_lengths(), lists.flatten()):
                    digest.update(numbers.to_numpy().astype(np.int64).tobytes())
    return digest.hexdigest()


def first_batches(rows: Dataset, batches: float, batch_size: int) -> Dataset:
    """Return the rows of the first batches: so many of them (a whole number), or a share of all.

    >>> len(first_batches(Dataset.from_dict({"n": range(10)}), 2, batch_size=3))
    6
    >>> len(first_batches(Dataset.from_dict({"n": range(10)}), 0.25, batch_size=3))
    3
    """
    if isinstance(batches, float):
        batches = max(1, round(batches * math.ceil(len(rows) / batch_size)))
    return rows.select(range(min(len(rows), int(batches) * batch_size)))


def warn_of_leaks(trained_on: Sequence[Sequence[Message]], held_out: Sequence[Sequence[Message]]) -> None:
    """Warn of evaluation rows whose prompt is also trained on.

    Args:
        trained_on: Messages of each row.
        held_out: The same of those that are evaluated.
    """
    trained, both = len(trained_on), [*trained_on, *held_out]
    leaks = same_prompts(both, range(trained), range(trained, len(both)))
    if leaks:
        row, same = leaks[0]
        message = (
            f"{len(leaks)} of {len(held_out)} evaluation rows have a prompt that is also trained on (evaluation row "
            f"{row - trained} as training row {same}, say): the evaluation measures memory there: remove the "
            "duplicates, or give data.validation a file of its own"
        )
        warnings.warn(message, LeakWarning, stacklevel=4)


def _tokenize_and_cut(
    tokenizer: PreTrainedTokenizerBase, rows: Dataset, section: DataSection, template: Template, limit: int
) -> Dataset:
    """Tokenise conversations, and cut those that are too long: their prompts, or whatever is at their end."""
    options: dict[str, Any] = {"template": template, "on_error": section.on_error}
    if section.truncate == "prompt":
        options |= {"max_length": limit, "truncation_side": section.truncation_side}
        return tokenize(tokenizer, rows, **options)
    return _without_ends(tokenize(tokenizer, rows, max_length=NO_LIMIT, **options), limit)


def _without_ends(rows: Dataset, limit: int) -> Dataset:
    """Cut every row that is too long at its end, and say so."""
    excess = [len(ids) - limit for ids in rows["input_ids"] if len(ids) > limit]
    if not excess:
        return rows
    message = f"truncated {len(excess)} of {len(rows)} rows at their end, {sum(excess)} tokens lost: raise max_length"
    warnings.warn(message, TruncationWarning, stacklevel=3)
    return Dataset.from_dict({name: [values[:limit] for values in rows[name]] for name in rows.column_names})
