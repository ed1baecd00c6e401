"""An evaluation as a page: one file that needs no network, for light and dark screens, wide and narrow ones."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ftlib.evaluation.chosen_scores import Scores
from ftlib.evaluation.comparison import Evaluation, compare, side_by_side
from ftlib.evaluation.scores import Column
from ftlib.files import write_checked
from ftlib.paths import assets_folder


def write_html(evaluation: Evaluation, path: str | Path, *, title: str = "Evaluation") -> Path:
    """Write an evaluation as a page: the scores of each model, and below them every question with all answers."""
    models = ", ".join(evaluation.summary["model"])
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(models)}: {evaluation.table["question"].nunique()} questions</p>',
        "<h2>Scores</h2>",
        _scores(evaluation.summary, _shown(evaluation.scores)),
        '<p class="soft">Small: the 95 % bootstrap interval over questions. Coloured: the best of several models, '
        "which a difference within the intervals doesn't prove.</p>",
        *_notes(evaluation.summary),
        "<h2>Answers</h2>",
        *_answers(evaluation.table),
    ]
    return _write(path, title, sections)


def write_comparison_html(
    first: Evaluation,
    second: Evaluation,
    path: str | Path,
    *,
    models: tuple[str, str] | None = None,
    titles: tuple[str, str] = ("first", "second"),
) -> Path:
    """Write two runs beside each other: the tests of :func:`ftlib.evaluation.comparison.compare`, and all answers.

    Args:
        first: A run.
        second: Another one on the same questions.
        path: The file.
        models: As for :func:`ftlib.evaluation.comparison.compare`.
        titles: How the page calls the two.

    Raises:
        DataError: As :func:`ftlib.evaluation.comparison.compare`.
    """
    sides = side_by_side(first, second, models=models)
    articles = [
        _article(
            row["question"], [("right answer", row["reference"]), (titles[0], row["first"]), (titles[1], row["second"])]
        )
        for _, row in sides.iterrows()
    ]
    sections = [
        f"<h1>{escape(titles[0])} and {escape(titles[1])}</h1>",
        f'<p class="soft">{len(sides)} questions, the same for both</p>',
        "<h2>Differences</h2>",
        _tests(compare(first, second, models=models), titles, _shown(first.scores)),
        '<p class="soft">Difference: second minus first, with the 95 % interval of a paired bootstrap. p: the share of '
        "random exchanges of answers between the two that differ by at least as much (approximate randomisation). "
        "Coloured: below 0.05; with so many scores, now and then one is by chance.</p>",
        "<h2>Answers</h2>",
        *articles,
    ]
    return _write(path, f"{titles[0]} and {titles[1]}", sections)


def _write(path: str | Path, title: str, sections: list[str]) -> Path:
    style = (assets_folder() / "evaluation.css").read_text(encoding="utf-8")
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>\n"
    )
    return write_checked(path, head + "\n".join(sections) + "\n</body></html>\n")


def _shown(scores: Scores) -> dict[str, Column]:
    """Return every column of a summary by its name."""
    return {column.name: column for score in scores.values() for column in score.columns}


def _heading(column: Column) -> str:
    """Name a score, its scale, and which direction is better."""
    low, high = column.scale
    scale = f"{low:g} and up" if math.isinf(high) else f"{low:g} to {high:g}"
    return f"<th>{escape(column.title)}<small>{scale}, {column.better} is better</small></th>"


def _scores(summary: pd.DataFrame, shown: dict[str, Column]) -> str:
    run = summary[summary["note"] == ""]
    head = "".join(f"<th>{escape(name)}</th>" for name in run["model"])
    lines = [f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>']
    for name, score in shown.items():
        if not run[name].isna().all():
            best = _best(score, list(run[name]))
            cells = "".join(_cell(row, name, best=best) for _, row in run.iterrows())
            lines.append(f"<tr>{_heading(score)}{cells}</tr>")
    return "".join([*lines, "</tbody></table></div>"])


def _best(score: Column, values: list[float]) -> float | None:
    """Return the best of several models' values, if they differ."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2 or min(known) == max(known):
        return None
    return max(known) if score.better == "higher" else min(known)


def _cell(row: Any, name: str, *, best: float | None) -> str:
    if math.isnan(row[name]):
        return "<td></td>"
    mark = ' class="best"' if row[name] == best else ""
    spread = f"<small>{_number(row[f'{name}_low'])} to {_number(row[f'{name}_high'])}</small>"
    return f"<td{mark}>{_number(row[name])}{spread}</td>"


def _tests(tests: pd.DataFrame, titles: tuple[str, str], shown: dict[str, Column]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in (*titles, "difference", "p"))
    lines = [f'<div class="wide"><table><thead><tr><th></th>{names}</tr></thead><tbody>']
    for _, row in tests.iterrows():
        sure = ' class="sure"' if row["p_value"] < 0.05 else ""
        spread = f"<small>{_number(row['low'])} to {_number(row['high'])}</small>"
        cells = f"<td>{_number(row['first'])}</td><td>{_number(row['second'])}</td>"
        cells += f"<td>{row['difference']:+.3g}{spread}</td><td{sure}>{row['p_value']:.4f}</td>"
        lines.append(f"<tr>{_heading(shown[row['score']])}{cells}</tr>")
    return "".join([*lines, "</tbody></table></div>"])


def _notes(summary: pd.DataFrame) -> list[str]:
    return [
        f"<p><b>{escape(row['model'])}</b>: {escape(row['note'])}</p>" for _, row in summary.iterrows() if row["note"]
    ]


def _answers(table: pd.DataFrame) -> list[str]:
    # Row by row, not question by question: two rows may ask the same.
    place = table.groupby("model", sort=False).cumcount()
    articles = []
    for _, rows in table.groupby(place, sort=True):
        said = [(row["model"], row["answer"]) for _, row in rows.iterrows()]
        first = rows.iloc[0]
        articles.append(_article(first["question"], [("right answer", first["reference"]), *said]))
    return articles


def _article(question: str, answers: list[tuple[str, str]]) -> str:
    boxes = [
        f"<div{' class=right' if not number else ''}><h4>{escape(name)}</h4><p>{escape(text)}</p></div>"
        for number, (name, text) in enumerate(answers)
    ]
    return f'<article><h3>{escape(question)}</h3><div class="answers">{"".join(boxes)}</div></article>'


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
