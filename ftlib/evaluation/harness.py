"""Standard benchmarks: EleutherAI's harness on any model that ``load_model`` returns, and a task of the course's own.

The task lies in ``assets/benchmark``: a file of a few lines that needs no download.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from datasets import Dataset
from ftlib.data.reading import read_rows
from ftlib.errors import DataError, MissingExtraError
from ftlib.models.gradients import evaluation_mode
from ftlib.paths import assets_folder

_TASK_FOLDER = assets_folder() / "benchmark"
OWN_TASK = "ftlib_faq"
"""The harness's name for the course's own task."""
CHOICES = 4


def run_benchmark(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str = OWN_TASK,
    *,
    limit: int | None = None,
    batch_size: int = 16,
) -> dict[str, float]:
    """Run a task of the harness on a model.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's tokenizer.
        task: The course's own, which needs no network, or another one that the harness knows (it downloads its data).
        limit: Use so many of its questions only.
        batch_size: Rows computed at once.

    Returns:
        What the task measures, with standard errors: of the course's own, ``acc`` and ``acc_norm`` (0 to 1; higher is
        better; guessing gives 0.25), ``acc_stderr`` and ``acc_norm_stderr``.

    Raises:
        MissingExtraError: The harness is not installed.
        DataError: There is no task of that name.
    """
    lm_eval = _harness()
    manager = lm_eval.tasks.TaskManager(include_path=str(_TASK_FOLDER), include_defaults=task != OWN_TASK)
    if task not in manager.all_tasks:
        raise DataError(
            f"the harness knows no task {task!r}: give {OWN_TASK!r}, or a name that `lm-eval ls tasks` lists"
        )
    with evaluation_mode(model):
        wrapped = harness_model(model, tokenizer, batch_size=batch_size)
        found = lm_eval.simple_evaluate(wrapped, tasks=[task], task_manager=manager, limit=limit, log_samples=False)
    figures = found["results"][task].items()
    return {name.removesuffix(",none"): float(value) for name, value in figures if isinstance(value, float)}


def harness_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, batch_size: int = 16) -> Any:
    """Wrap a model for ``lm_eval.simple_evaluate``, where more than a task's name is wanted.

    Raises:
        MissingExtraError: The harness is not installed.
    """
    _harness()
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


def faq_choices(**unused: Any) -> dict[str, Dataset]:
    """Make multiple-choice questions of the FAQ's test rows; the harness calls it, as the task file says.

    The wrong answers are right ones to other questions of the same topic, those of about the same length; a question of
    a small topic takes them from all others. Where the right one stands goes round.

    >>> rows = faq_choices()["test"]
    >>> len(rows), len(rows[5]["choices"]), rows[5]["label"]
    (140, 4, 1)
    """
    rows = read_rows("faq", split="test")
    made = [_with_choices(rows, number) for number in range(len(rows))]
    return {"test": Dataset.from_list(made)}


def _with_choices(rows: list[dict[str, Any]], number: int) -> dict[str, Any]:
    row = rows[number]
    others = [other for other in rows if other["answer"] != row["answer"] and other["fact"] != row["fact"]]
    others.sort(key=lambda other: (other["topic"] != row["topic"], abs(len(other["answer"]) - len(row["answer"]))))
    choices = [other["answer"] for other in others[: CHOICES - 1]]
    label = number % CHOICES
    choices.insert(label, row["answer"])
    return {"question": row["question"], "choices": choices, "label": label}


def _harness() -> Any:
    try:
        import lm_eval
        import lm_eval.tasks
    except ModuleNotFoundError as error:
        raise MissingExtraError("benchmarks need the package lm_eval: pip install 'ftlib[benchmark]'") from error
    return lm_eval
