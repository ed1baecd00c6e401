"""Models and providers, asked the same questions: one table of answers and one of scores."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.argument_checks import at_least, checked, unchecked
from ftlib.data.messages import assistant, user
from ftlib.errors import DataError, PromptTooLongError, ProviderError
from ftlib.evaluation.chosen_scores import Scores, choose_scores, known_scores, loss_scores, summarize_runs, text_scores
from ftlib.evaluation.confidence import Array, Finish, paired_test
from ftlib.evaluation.likelihood import answer_statistics
from ftlib.evaluation.scores import LOSS_COLUMNS, Column
from ftlib.files import write_checked
from ftlib.inference.generation import answer, check_questions
from ftlib.models.loading import context_length
from ftlib.text.chat_template import template_of
from ftlib.text.templates import Template

Answers = Callable[[Sequence[str]], list[str]]
Templates = Template | Mapping[str, Template] | None
OFF_TOPIC = "off-topic"
FAILED = "failed"
"""What a note begins with of a provider that gave no answers."""


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes:
        table: A row for each question and model: ``question``, ``reference``, ``off_topic``, ``model``, ``answer``, a
            column for each score of texts, and :data:`ftlib.evaluation.scores.LOSS_COLUMNS` (NaN where a model's
            probabilities are not known or not asked for).
        summary: A row for each model: ``model``, ``questions``, ``note`` (why it was not run), and for each score its
            value and the ends of its 95 % interval, ``rouge_l``, ``rouge_l_low``, ``rouge_l_high`` and so on.
            ``refuses`` is of the questions on the subject (lower is better), ``refuses_off_topic`` of the others.
    """

    table: pd.DataFrame
    summary: pd.DataFrame

    @property
    def scores(self) -> Scores:
        """The scores that were worked out, by name."""
        known = known_scores(list(self.table["reference"]))
        return {name: known[name] for name in self.summary if name in known}


@checked(template=unchecked, max_new_tokens=at_least(1), batch_size=at_least(1))
def evaluate(
    answers_of: Mapping[str, tuple[Any, Any] | Answers | str],
    rows: Sequence[Mapping[str, Any]],
    *,
    template: Templates = None,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    scores: Sequence[str] | None = None,
    on_done: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Ask every model every question, greedily, and score the answers.

    Args:
        answers_of: By the name that tables show: ``(model, tokenizer)``; or a function from questions to answers (a
            provider, say); or a text that says why a model was not run.
        rows: ``question`` and ``answer`` (the right one) of each; a ``topic`` of ``"off-topic"`` marks a question that
            should be refused (:func:`ftlib.read_rows`).
        template: The template that training used, for all models or by name; default: what each tokenizer tells
            (:func:`ftlib.text.chat_template.template_of`).
        max_new_tokens: The most tokens of an answer.
        batch_size: Questions computed at once.
        scores: Names of the scores to work out: of :data:`ftlib.evaluation.scores.SCORES`, of
            :data:`ftlib.evaluation.scores.LOSS_SCORES` (without any of them there is no second pass over the answers),
            or of :func:`ftlib.evaluation.json_answers.json_scores`. Default: all, those of JSON where the right answers
            are objects.
        on_done: Called with a model's name, the questions that it has answered, and how many there are.

    A provider that fails is noted in the summary, so that what others answered isn't lost. Whether every question
    and its answer fit into the model's context is found out before the first one is asked.

    Raises:
        DataError: There are no rows, a row lacks a question or an answer, a model has no template, a function gives
            too few answers, or there is no such score.
        PromptTooLongError: A question and its answer don't fit into a model's context.

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    asked = _questions(rows)
    chosen = choose_scores(list(asked["reference"]), scores)
    for name, source in answers_of.items():
        is_pair = isinstance(source, tuple | list) and len(source) == 2
        if not (is_pair or isinstance(source, str) or callable(source)):
            told = "expected (model, tokenizer), a function from questions to answers, or a text that says why not"
            raise DataError(f"answers_of[{name!r}]: {told}; found {source!r:.60}")
    models = {name: source for name, source in answers_of.items() if isinstance(source, tuple | list)}
    templates = {name: _template_of(template, name, tokenizer) for name, (_, tokenizer) in models.items()}
    for name, one in templates.items():
        _check_lengths(name, answers_of[name], asked, one, max_new_tokens)
    tables, notes = [], {}
    for name, source in answers_of.items():
        if isinstance(source, str):
            notes[name] = source
            continue
        report = functools.partial(on_done, name) if on_done else None
        if callable(source):
            try:
                texts = source(list(asked["question"]))
            except ProviderError as error:  # what the others answered is not lost with it
                notes[name] = f"{FAILED}: {error}"
                continue
        else:
            options: dict[str, Any] = {"template": templates[name], "batch_size": batch_size, "on_done": report}
            texts = answer(*source, list(asked["question"]), max_new_tokens=max_new_tokens, **options)
        losses = None if callable(source) or not loss_scores(chosen) else _loss(*source, asked, templates[name])
        tables.append(_scored(asked, name, texts, losses, chosen))
    table = pd.concat(tables, ignore_index=True) if tables else _scored(asked[:0], "", [], None, chosen)
    return Evaluation(table, summarize_runs(table, list(answers_of), notes, chosen))


@checked()
def compare(first: Evaluation, second: Evaluation, *, models: tuple[str, str] | None = None) -> pd.DataFrame:
    """Hold two runs on the same questions against each other, score by score.

    The interval of the difference is a paired bootstrap, the p-value approximate randomisation
    (:func:`ftlib.evaluation.confidence.paired_test`). With many scores, one below 0.05 is to be expected by chance now
    and then.

    Args:
        first: A run.
        second: Another one, or the same.
        models: The model of each that is compared; default: the only one that was run.

    Returns:
        A row for each score: ``score``, ``better`` (which direction), ``first``, ``second``, ``difference`` (second
        minus first), ``low``, ``high``, ``p_value``.

    Raises:
        DataError: The questions differ, it isn't clear which models are meant, or the runs have no score in common.
    """
    one, other = _pair(first, second, models)
    common = {name: score for name, score in first.scores.items() if name in second.scores}
    if not common:
        raise DataError("the two runs have no score in common: evaluate both with the same scores")
    rows = []
    for measure in text_scores(common):
        column = measure.columns[0]
        part = column.counts(one["off_topic"].to_numpy(dtype=bool))
        if part.any():
            texts = [list(run["answer"][part]) for run in (one, other)]
            references = list(one["reference"][part])
            statistics = [measure.rows(some, references) for some in texts]
            rows.append(_compared(column, statistics, measure.finish))
    losses = [run[list(LOSS_COLUMNS)].to_numpy(dtype=np.float64) for run in (one, other)]
    if not any(np.isnan(loss).any() for loss in losses):
        rows += [_compared(measure, losses, measure.finish) for measure in loss_scores(common)]
    return pd.DataFrame(rows)


@checked()
def side_by_side(first: Evaluation, second: Evaluation, *, models: tuple[str, str] | None = None) -> pd.DataFrame:
    """Lay the answers of two runs beside each other: ``question``, ``reference``, ``first``, ``second``.

    Raises:
        DataError: As :func:`compare`.
    """
    one, other = _pair(first, second, models)
    columns = {"question": one["question"], "reference": one["reference"]}
    return pd.DataFrame({**columns, "first": one["answer"], "second": other["answer"]})


@checked()
def write_json(evaluation: Evaluation, path: str | Path) -> Path:
    """Write both tables into one JSON file that :func:`read_json` reads."""
    tables = {"table": evaluation.table, "summary": evaluation.summary}
    found = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    return write_checked(path, json.dumps(found, ensure_ascii=False, indent=1) + "\n")


@checked()
def read_json(path: str | Path) -> Evaluation:
    """Read what :func:`write_json` wrote; the scores are worked out again from the answers.

    Raises:
        DataError: The file is not there or holds something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        known = known_scores([row["reference"] for row in found["table"]])
        chosen = {name: known[name] for name in next(iter(found["summary"]), {}) if name in known}
        table = pd.DataFrame(found["table"], columns=_columns(chosen))
        models = {row["model"]: row["note"] for row in found["summary"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: no evaluation can be read from it ({error}): write one with 'write_json'") from error
    table = table.astype(dict.fromkeys((*(one.name for one in text_scores(chosen)), *LOSS_COLUMNS), np.float64))
    notes = {name: note for name, note in models.items() if note}
    return Evaluation(table, summarize_runs(table, list(models), notes, chosen))


@checked()
def write_csv(evaluation: Evaluation, path: str | Path) -> Path:
    """Write the table of answers as CSV: a row for each question and model."""
    return write_checked(path, evaluation.table.to_csv(index=False))


def _check_lengths(name: str, source: Any, asked: pd.DataFrame, template: Template, max_new_tokens: int) -> None:
    model, tokenizer = source
    try:
        check_questions(model, tokenizer, list(asked["question"]), template=template, max_new_tokens=max_new_tokens)
    except PromptTooLongError as error:
        raise PromptTooLongError(f"{name}: {error}") from error


def _template_of(template: Templates, name: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    if template is None:
        return template_of(tokenizer)
    found = template.get(name) if isinstance(template, Mapping) else template
    if not isinstance(found, Template):
        told = f"found {found!r}"
        if isinstance(template, Mapping):
            told = f"templates are given for {', '.join(map(repr, template)) or 'nobody'}"
        raise DataError(
            f"{name!r} has no template ({told}): give the one that it was trained in, such as "
            "ftlib.text.templates.QUESTION_ANSWER"
        )
    return found


def _questions(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    if not len(rows):
        raise DataError("there are no rows to evaluate on: give at least one question with its answer")
    for number, row in enumerate(rows):
        missing = [name for name in ("question", "answer") if not isinstance(row.get(name), str)]
        if missing:
            raise DataError(f"row {number}: no {missing[0]!r}; found {', '.join(map(repr, row))}: add or rename it")
    columns = {
        "question": [_whole(row["question"]) for row in rows],
        "reference": [_whole(row["answer"]) for row in rows],
    }
    return pd.DataFrame({**columns, "off_topic": [row.get("topic") == OFF_TOPIC for row in rows]})


def _whole(text: str) -> str:
    """Replace halves of surrogate pairs, which a reply may hold: no table and no model takes them."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: pd.DataFrame, template: Template) -> Array:
    pairs = zip(asked["question"], asked["reference"], strict=True)
    conversations = Dataset.from_dict({"messages": [[user(question), assistant(right)] for question, right in pairs]})
    return answer_statistics(model, tokenizer, conversations, template=template, max_length=context_length(model))


def _columns(scores: Scores) -> list[str]:
    texts = [one.name for one in text_scores(scores)]
    return ["question", "reference", "off_topic", "model", "answer", *texts, *LOSS_COLUMNS]


def _scored(asked: pd.DataFrame, name: str, texts: Sequence[str], losses: Any, chosen: Scores) -> pd.DataFrame:
    if len(texts) != len(asked):
        raise DataError(f"{name!r} gave {len(texts)} answers to {len(asked)} questions: it must give one for each")
    texts, references = list(map(_whole, texts)), list(asked["reference"])
    scores = {measure.name: measure.each(texts, references) for measure in text_scores(chosen)}
    values = losses if losses is not None else np.full((len(asked), len(LOSS_COLUMNS)), np.nan)
    columns = {column: values[:, place] for place, column in enumerate(LOSS_COLUMNS)}
    return asked.assign(model=name, answer=texts, **scores, **columns)[_columns(chosen)]


def _compared(column: Column, statistics: Sequence[Array], finish: Finish) -> dict[str, Any]:
    test = paired_test(statistics[0], statistics[1], finish)
    first, second = (float(finish(some.sum(0), len(some))) for some in statistics)
    return {"score": column.name, "better": column.better, "first": first, "second": second, **test._asdict()}


def _pair(first: Evaluation, second: Evaluation, models: tuple[str, str] | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = []
    for number, evaluation in enumerate((first, second)):
        there = list(dict.fromkeys(evaluation.table["model"]))
        wanted = models[number] if models else there[0] if len(there) == 1 else None
        if wanted not in there:
            raise DataError(
                f"which model of run {number + 1}? It holds {', '.join(there) or 'none'}: name one in models"
            )
        table = evaluation.table
        runs.append(table[table["model"] == wanted].reset_index(drop=True))
    for column in ("question", "reference"):
        if list(runs[0][column]) != list(runs[1][column]):
            raise DataError(f"the two runs differ in their {column}s: compare answers to the same rows, in one order")
    return runs[0], runs[1]
