"""The rows of a run: read, drawn, split and tokenised as its configuration says."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from datasets import Dataset
from ftlib.data.leaks import same_prompts
from ftlib.data.messages import Message, RowError
from ftlib.data.reading import load_conversations
from ftlib.errors import DataError, LeakWarning, TruncationWarning
from ftlib.text.chat_template import named_template
from ftlib.text.templates import Template
from ftlib.text.tokenization import NO_LIMIT, ROW_NUMBER, known_limit, tokenize
from ftlib.training.checks import with_targets
from ftlib.training.config import FinetuneConfig
from ftlib.training.config_sections import DataSection


def tokenized(tokenizer: Any, config: FinetuneConfig, *, context: int) -> tuple[Dataset, Dataset | None]:
    """Return the rows that a run trains on, and those that it is evaluated on.

    Args:
        tokenizer: The model's; it is not changed.
        config: Of the run.
        context: Tokens that the model can see; no row is longer, whatever the tokenizer says or doesn't say.

    Warns:
        DroppedRowsWarning: Rows have no target, and are left out.
        LeakWarning: A prompt of the evaluation rows is also trained on.

    Raises:
        DataError: The data can't be used, or no row has a target.
    """
    try:
        rows, eval_rows = _whole(config, tokenizer, context)
    except DataError as error:
        if isinstance(error.__cause__, RowError | DataError):  # it is a single row
            raise DataError(f"{error}; or leave such rows out with data.on_error: skip") from error
        raise
    overfit = config.data.overfit_batches
    if overfit:
        rows = first_batches(rows, overfit, config.rows_per_batch)
        eval_rows = first_batches(eval_rows, overfit, config.evaluate.batch_size) if eval_rows is not None else None
    return rows, eval_rows


def _whole(config: FinetuneConfig, tokenizer: Any, context: int) -> tuple[Dataset, Dataset | None]:
    conversations, held_out = _conversations(config)
    if held_out is not None and not config.data.overfit_batches:
        warn_of_leaks(conversations["messages"], held_out["messages"])
    template = run_template(tokenizer, config)
    limit = config.data.max_length or min(known_limit(tokenizer) or context, context)
    rows = with_targets(_tokenized(conversations, tokenizer, template, config.data, limit), "training rows")
    if held_out is None:
        return rows, None
    return rows, with_targets(_tokenized(held_out, tokenizer, template, config.data, limit), "evaluation rows")


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


def _conversations(config: FinetuneConfig) -> tuple[Dataset, Dataset | None]:
    section, seed = config.data, config.train.seed
    how: dict[str, Any] = {"format": section.format, "on_error": section.on_error}
    conversations = _numbered(load_conversations(section.source, split=section.split, **how))
    if section.max_rows is not None and section.max_rows < len(conversations):
        conversations = conversations.shuffle(seed=seed).select(range(section.max_rows))
    if section.validation is not None:
        held_out = load_conversations(section.validation, split=section.validation_split, **how)
        return conversations, held_out
    if not round(section.validation_share * len(conversations)):
        return conversations, None
    if math.ceil(section.validation_share * len(conversations)) >= len(conversations):
        told = f"data.validation_share {section.validation_share} of {len(conversations)} rows leaves none to train on"
        raise DataError(f"{told}: choose 0.1, say")
    splits = conversations.train_test_split(test_size=section.validation_share, seed=seed)
    return splits["train"], splits["test"]


def _numbered(conversations: Dataset) -> Dataset:
    """Let every row keep its number when rows are drawn and shuffled, so that an error can name it."""
    return conversations.add_column(ROW_NUMBER, range(len(conversations)))


def run_template(tokenizer: Any, config: FinetuneConfig) -> Template:
    """Return the template that a run puts around its messages.

    Args:
        tokenizer: The model's.
        config: Of the run.
    """
    if config.data.custom_template is not None:
        return config.data.custom_template.template()
    return named_template(tokenizer, config.data.template)


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


def _tokenized(conversations: Dataset, tokenizer: Any, template: Template, section: DataSection, limit: int) -> Dataset:
    options: dict[str, Any] = {"template": template, "on_error": section.on_error}
    if section.truncate == "prompt":
        options |= {"max_length": limit, "truncation_side": section.truncation_side}
        return tokenize(tokenizer, conversations, **options)
    return _without_ends(tokenize(tokenizer, conversations, max_length=NO_LIMIT, **options), limit)


def _without_ends(rows: Dataset, limit: int) -> Dataset:
    """Cut every row that is too long at its end, and say so."""
    excess = [len(ids) - limit for ids in rows["input_ids"] if len(ids) > limit]
    if not excess:
        return rows
    message = f"truncated {len(excess)} of {len(rows)} rows at their end, {sum(excess)} tokens lost: raise max_length"
    warnings.warn(message, TruncationWarning, stacklevel=3)
    return Dataset.from_dict({name: [values[:limit] for values in rows[name]] for name in rows.column_names})
