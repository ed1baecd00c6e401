"""Which scores an evaluation works out: all that suit the right answers, or those that were asked for."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ftlib.errors import DataError
from ftlib.evaluation.confidence import Interval, bootstrap
from ftlib.evaluation.json_answers import make_json_scores, mostly_objects
from ftlib.evaluation.scores import LOSS_COLUMNS, LOSS_SCORES, SCORES, LossScore, Score
from ftlib.nearest import one_of

Scores = dict[str, Score | LossScore]


def known_scores(references: Sequence[str]) -> Scores:
    """Return every score that suits some right answers, by name: those of JSON only where all of them are objects."""
    try:
        return {**SCORES, **make_json_scores(references), **LOSS_SCORES}
    except DataError:
        return {**SCORES, **LOSS_SCORES}


def choose_scores(references: Sequence[str], names: Sequence[str] | None) -> Scores:
    """Return the scores that were asked for, or else all that suit.

    Args:
        references: The right answers.
        names: Of :data:`ftlib.evaluation.scores.SCORES`, of :data:`ftlib.evaluation.scores.LOSS_SCORES`, or of
            :func:`ftlib.evaluation.json_answers.json_scores`.

    Raises:
        DataError: There is no such score, or it is one of JSON and the right answers are something else.

    Warns:
        UserWarning: Nothing was asked for, and JSON scores are left out although most of the right answers are JSON.
    """
    if names is None:
        _say_why_not_json(references)
        return known_scores(references)
    if isinstance(names, str) or not len(names) or not all(isinstance(name, str) for name in names):
        raise DataError(f"scores must be a list of names, at least one, not {names!r:.60}")
    wants_json = any(name.startswith("json_") for name in names)
    known: Scores = {**SCORES, **(make_json_scores(references) if wants_json else {}), **LOSS_SCORES}
    for name in names:
        if name not in known:
            raise DataError(f"unknown score {name!r}; {one_of(name, known_scores(references))}")
    return {name: known[name] for name in dict.fromkeys(names)}


def _say_why_not_json(references: Sequence[str]) -> None:
    if not mostly_objects(references):
        return
    try:
        make_json_scores(references)
    except DataError as error:
        warnings.warn(f"no JSON scores: {error}", UserWarning, stacklevel=4)


def text_scores(scores: Scores) -> list[Score]:
    """Return the scores of what was written."""
    return [one for one in scores.values() if isinstance(one, Score)]


def loss_scores(scores: Scores) -> list[LossScore]:
    """Return the scores of the probabilities of the right answers."""
    return [one for one in scores.values() if isinstance(one, LossScore)]


def summarize_runs(table: pd.DataFrame, names: Sequence[str], notes: Mapping[str, str], chosen: Scores) -> pd.DataFrame:
    """Return a row for each model: its scores with their intervals.

    Args:
        table: As :class:`ftlib.evaluation.comparison.Evaluation` has it.
        names: The models, also those that were not run.
        notes: Why one was not run.
        chosen: From :func:`choose_scores`.
    """
    runs = {name: table[table["model"] == name] for name in names}
    return pd.DataFrame([_model_summary(run, name, notes.get(name, ""), chosen) for name, run in runs.items()])


def _model_summary(run: pd.DataFrame, name: str, note: str, chosen: Scores) -> dict[str, Any]:
    found: dict[str, Any] = {"model": name, "questions": len(run), "note": note}
    for measure in text_scores(chosen):
        for column in measure.columns:
            part = run[column.counts(run["off_topic"].to_numpy(dtype=bool))]
            found |= _spread(column.name, part, functools.partial(_text_interval, measure))
    known = run.dropna(subset=list(LOSS_COLUMNS))
    for loss in loss_scores(chosen):
        found |= _spread(loss.name, known, functools.partial(_loss_interval, loss))
    return found


def _text_interval(measure: Score, part: pd.DataFrame) -> Interval:
    return measure.interval(list(part["answer"]), list(part["reference"]))


def _loss_interval(measure: LossScore, part: pd.DataFrame) -> Interval:
    return bootstrap(part[list(LOSS_COLUMNS)].to_numpy(dtype=np.float64), measure.finish)


def _spread(name: str, part: pd.DataFrame, interval_of: Callable[[pd.DataFrame], Interval]) -> dict[str, float]:
    """Name a score and the ends of its interval; NaN where there are no answers."""
    value, low, high = interval_of(part) if len(part) else Interval(np.nan, np.nan, np.nan)
    return {name: value, f"{name}_low": low, f"{name}_high": high}
