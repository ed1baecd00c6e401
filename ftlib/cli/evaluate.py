"""``ftlib evaluate``: models and the questions of a file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlib.cli import completion
from ftlib.cli.options import DeviceOption, DtypeOption, SplitOption, completed_argument, completed_option
from ftlib.cli.usage import WrongUsage
from ftlib.errors import ColumnWarning, DataError, SkippedRowWarning

if TYPE_CHECKING:
    from ftlib.data.messages import Message
    from ftlib.data.sources import OnError
    from ftlib.evaluation.comparison import Evaluation
    from ftlib.text.templates import Template

EXAMPLES = (
    "ftlib evaluate faq --split test --model nano --model runs/faq",
    "ftlib evaluate questions.jsonl --model runs/faq --limit 20 --html table.html",
    "ftlib evaluate faq --split test --model runs/faq --provider openai",
    "ftlib evaluate support_mail --split test --model runs/support_mail --score json_match",
    "ftlib evaluate faq --split test --model runs/faq --out first.json",
    "ftlib evaluate --compare first.json second.json",
    "ftlib evaluate sft_freezing_test",
)
STATUSES = {
    0: "evaluated, also where a provider without a key was left out",
    1: "an error, or a provider failed; what the others answered is written and shown",
}


def evaluate(
    questions: Annotated[
        str | None,
        completed_argument(
            "QUESTIONS",
            "A file with questions and answers, a shipped data set, or a YAML file that says everything.",
            completion.question_sources,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        completed_option(
            "nano, smollm2, a Hub id, or the folder of a run or a model; may be repeated. Default: auto.",
            completion.models,
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        completed_option(
            "openai, deepseek or lamini: ask its model, too; may be repeated. The key is in the environment.",
            completion.PROVIDER_NAMES,
        ),
    ] = None,
    split: SplitOption = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only so many questions.")] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Leave out rows that can't be used, and say which.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The most tokens of an answer.")] = 64,
    score: Annotated[
        list[str] | None,
        completed_option(
            f"{', '.join(completion.SCORE_NAMES)}, or json_FIELD_match; may be repeated. Default: all that suit.",
            completion.SCORE_NAMES,
        ),
    ] = None,
    show: Annotated[int, typer.Option(metavar="N", min=0, help="How many questions to print with answers.")] = 3,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as JSON: what --compare reads.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table of answers as CSV.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page that needs no other file.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="FIRST SECOND",
            help="Compare two evaluations that --out wrote; --model says which model of each, where there are several.",
        ),
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Ask several models the same questions, and measure.

    Each model is asked in the template that it was trained in; of a conversation, the first question counts. Scores
    come with 95 % intervals. A YAML file like configs/sft_freezing_test.yaml names model, questions and scores by
    itself.
    """
    names, written = model or [], {"json": out, "csv": csv, "html": html}
    others = [provider, split, limit, skip_bad_rows, score, *written.values()]
    if compare:
        if questions or any(others):
            raise WrongUsage("--compare reads two files that are there: it goes with --model, --show and --json only")
        _compare(compare, names, show, as_json=as_json)
    elif questions is None:
        raise WrongUsage("give QUESTIONS, or --compare with two files")
    elif questions.endswith((".yaml", ".yml")) or questions in completion.test_configs():
        if any([names, *others]):
            raise WrongUsage(f"{questions} says by itself what is asked and where it is written: change it there")
        _run_file(questions, as_json=as_json)
    else:
        _check_source(questions, split)
        _check_targets(written, questions, split)
        rows = _rows(questions, split, limit, "skip" if skip_bad_rows else "raise")
        sources, templates = _sources(names or ["auto"], provider or [], max_new_tokens, device, dtype)
        found = _evaluate(sources, rows, templates, max_new_tokens, score)
        try:
            _write(found, written)
        finally:  # it is shown all the same
            _print(found, show, as_json=as_json)
        _check_answered(found)


def _rows(
    source: str, split: str | None, limit: int | None = None, on_error: OnError = "raise"
) -> list[dict[str, Any]]:
    """Read questions with their answers; of conversations, the first exchange of each. What isn't asked is told."""
    from ftlib.data.columns import SYSTEM
    from ftlib.data.reading import iter_conversations, read_rows

    more = {"context", "history", *SYSTEM}  # what the conversation of a question and its answer is read from, too
    name, conversations = iter_conversations(source, split=split, on_error=on_error)
    if name == "question-answer":
        rows = read_rows(source, split=split, limit=limit, on_error=on_error)
        if not any(str(column).lower() in more and value for row in rows for column, value in row.items()):
            return rows
    asked = list(islice(_first_pairs(conversations, on_error), limit))
    for left in ("a system message", "turns behind the first answer"):
        if number := sum(left in missing for _, missing in asked):
            warnings.warn(
                f"{number} of {len(asked)} rows hold {left}: only the first question is asked, without it",
                ColumnWarning,
                stacklevel=2,
            )
    return [pair for pair, _ in asked]


def _first_pairs(
    conversations: Iterable[Sequence[Message]], on_error: OnError
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield the first question with the first answer behind it, and what else its conversation holds."""
    for number, messages in enumerate(conversations):
        roles = [message["role"] for message in messages]
        asked = roles.index("user") if "user" in roles else len(roles)
        answered = roles.index("assistant", asked) if "assistant" in roles[asked:] else None
        if answered is not None and messages[asked]["content"] and messages[answered]["content"]:
            held = ["a system message"] * ("system" in roles) + ["turns behind the first answer"] * (
                answered + 1 < len(roles)
            )
            yield {"question": messages[asked]["content"], "answer": messages[answered]["content"]}, held
            continue
        told = f"row {number}: no question with a text as its answer (roles: {', '.join(dict.fromkeys(roles))})"
        if on_error == "raise":
            raise DataError(f"{told}: delete the row, or leave it out with --skip-bad-rows")
        warnings.warn(f"skipped: {told}", SkippedRowWarning, stacklevel=2)


def _sources(
    models: Sequence[str], providers: Sequence[str], max_tokens: int, device: str | None, dtype: Any
) -> tuple[dict[str, Any], dict[str, Template]]:
    """Return who is asked, by name, and the template of each."""
    from ftlib.hosted import why_not
    from ftlib.models.chat_model import load_chat_model
    from ftlib.text.templates import QUESTION_ANSWER

    sources: dict[str, Any] = {one: why_not(one) or partial(_ask, one, max_tokens=max_tokens) for one in providers}
    templates: dict[str, Template] = dict.fromkeys(providers, QUESTION_ANSWER)  # a provider has one of its own
    chat_models = {name: load_chat_model(name, device=device, dtype=dtype) for name in models}
    loaded = {name: (chat_model.model, chat_model.tokenizer) for name, chat_model in chat_models.items()}
    return {**loaded, **sources}, {
        **templates,
        **{name: chat_model.template for name, chat_model in chat_models.items()},
    }


def _ask(provider: str, questions: Sequence[str], *, max_tokens: int) -> list[str]:
    from ftlib.hosted import ask

    return [reply.text for reply in ask(provider, questions, max_tokens=max_tokens)]


def _evaluate(
    sources: dict[str, Any],
    rows: list[dict[str, Any]],
    templates: dict[str, Template],
    max_new_tokens: int,
    scores: list[str] | None,
) -> Evaluation:
    from ftlib.cli import progress
    from ftlib.evaluation.comparison import evaluate as run_evaluation

    with progress.counting("") as show_done:
        return run_evaluation(
            sources,
            rows,
            template=templates,
            max_new_tokens=max_new_tokens,
            scores=scores or None,
            on_done=lambda name, done, total: show_done(done, total, name),
        )


def _check_source(questions: str, split: str | None) -> None:
    """Ask whether a YAML file that travels with the course was meant; all else is said where it is read."""
    from ftlib.data.sources import source_file
    from ftlib.nearest import nearest

    near = nearest(questions, completion.test_configs(), cutoff=0.8)
    if near and source_file(questions, split=split) is None:
        raise DataError(f"{questions}: no such file, and no shipped data set of that name. Did you mean {near!r}?")


def _check_targets(written: dict[str, Path | None], questions: str, split: str | None) -> None:
    """Find out before anybody is asked whether the answers can be written."""
    from ftlib.data.sources import source_file
    from ftlib.files import check_target

    source = source_file(questions, split=split)
    targets = [check_target(path, sources=[source] if source else []) for path in written.values() if path]
    if len({target.resolve() for target in targets}) < len(targets):
        raise WrongUsage("--out, --csv and --html name one file twice: give each its own")


def _write(found: Evaluation, written: dict[str, Path | None]) -> None:
    from ftlib.evaluation import comparison, page

    writers = {"json": comparison.write_json, "csv": comparison.write_csv, "html": page.write_html}
    failed: list[DataError] = []
    for kind, path in written.items():
        try:
            if path is not None:
                writers[kind](found, path)
        except DataError as error:  # the other files are written all the same
            failed.append(error)
    if failed:
        raise DataError("; ".join(map(str, failed)))


def _check_answered(found: Evaluation) -> None:
    from ftlib.evaluation.comparison import FAILED

    if any(str(note).startswith(FAILED) for note in found.summary["note"]):
        raise typer.Exit(1)


def _print(found: Evaluation, show: int, *, as_json: bool) -> None:
    from ftlib.cli.output import print_evaluation

    if as_json:
        typer.echo(json.dumps({"summary": _rows_of(found.summary), "table": _rows_of(found.table)}))
    else:
        print_evaluation(found, show)


def _compare(paths: tuple[Path, Path], models: Sequence[str], show: int, *, as_json: bool) -> None:
    from ftlib.cli.output import print_comparison
    from ftlib.evaluation.comparison import compare, read_json, side_by_side

    if len(models) not in (0, 2):
        raise WrongUsage("--compare takes --model twice: the one of the first file and the one of the second")
    first, second = map(read_json, paths)
    pair = (models[0], models[1]) if models else None
    scores = compare(first, second, models=pair)
    if as_json:
        typer.echo(json.dumps(_rows_of(scores)))
    else:
        print_comparison(paths, scores, side_by_side(first, second, models=pair)[:show])


def _run_file(config: str, *, as_json: bool) -> None:
    from ftlib.locales import printable
    from ftlib.training.config import read_yaml
    from ftlib.training.sft_testing import run_sft_test

    found = run_sft_test(read_yaml(config), source=config)
    if as_json:
        typer.echo(json.dumps({"log_file": str(found.log_file), "rows": found.rows, "scores": found.scores}))
    else:
        scores = "".join(f", {name} {score:.3f}" for name, score in found.scores.items())
        typer.echo(printable(f"{found.rows:,} answers written to {found.log_file}{scores}"))


def _rows_of(table: Any) -> Any:
    return json.loads(table.to_json(orient="records"))
