"""Whatever is given to the functions of the data's road and the model's: they work, or one error tells why not."""

import copy
import inspect
import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from datasets import Dataset
from ftlib import data
from ftlib.argument_checks import above, at_least, checked, each
from ftlib.chat import launch
from ftlib.compat.utilities import compare_models
from ftlib.data import leaks as leakage
from ftlib.data import quality
from ftlib.data.formats import read_whole_row
from ftlib.data.messages import assistant, user
from ftlib.errors import DataError, FtlibError
from ftlib.estimate import cards, estimate, estimation
from ftlib.estimate.cards import fits, gpu, suggest
from ftlib.evaluation import comparison as evaluation
from ftlib.evaluation import confidence as intervals
from ftlib.evaluation import json_answers, likelihood, metrics, text_metrics
from ftlib.evaluation.rewards import choose_rewards, group_advantages
from ftlib.hosted import ask, finetuning_file, lamini_finetuning
from ftlib.inference import generation
from ftlib.inference.context import count_prompt_tokens
from ftlib.inference.decoding import Sampling
from ftlib.inference.generation import answer, check_questions, generate, inference, stream
from ftlib.models import loading, trainable
from ftlib.models.chat_model import load_chat_models
from ftlib.models.loading import load_model, save_model
from ftlib.models.trainable import add_lora, count_parameters, freeze, merge_lora
from ftlib.text import batches, encoding, summary, templates, tokenization
from ftlib.text.chat_template import named_template
from ftlib.text.templates import QUESTION_ANSWER
from ftlib.training.config import FinetuneConfig
from ftlib.training.kept import train_once
from ftlib.training.loop import finetune
from ftlib.training.optimizers import make_optimizer
from ftlib.training.run import train

ROWS = [{"messages": [user(f"Why {number}?"), assistant("So.")]} for number in range(12)]
MESSAGES = ROWS[0]["messages"]
PAIRS = [{"question": "Why?", "answer": "So."}]
IDS = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]


BAD = (
    *(None, True, False, -1, 0, 0.5, 3.7, 10**30, float("nan"), float("inf"), "", "x", b"x", "nowhere/at/all.jsonl"),
    *([], {}, (), [None], [1], [{}], ["x"], [[]], [{"messages": None}], [{"messages": [1]}], {"x": 1}, {1: {2: 3}}),
    *([{"messages": [{"role": "user"}]}], [{"role": "user", "content": 7}], [{"input_ids": None}], [{"question": 1}]),
    *([{"input_ids": "ab", "labels": 3}], np.zeros((0, 1)), np.zeros(3), pd.DataFrame(), Dataset.from_dict({"x": [1]})),
    *(Dataset.from_dict({"messages": [1, 2]}), object(), len, int),
)


@pytest.fixture(scope="module")
def calls(tmp_path_factory, tiny_tokenizer, _tiny_model):
    """A right call of each function: every argument is then replaced by every bad one."""
    folder = tmp_path_factory.mktemp("given")
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    pairs = folder / "pairs.jsonl"
    pairs.write_text(json.dumps(PAIRS[0]) + "\n", encoding="utf-8")
    table = Dataset.from_list(ROWS)
    run = evaluation.evaluate({"echo": lambda questions: list(questions)}, PAIRS)
    run_file = evaluation.write_json(run, folder / "run.json")
    numbers = np.ones((3, 1))
    texts = {"predictions": ["a b", "c"], "references": ["a b", "d"]}
    segments = QUESTION_ANSWER.render(MESSAGES)
    return [
        (data.dataset_path, {"path_or_name": rows, "split": None}),
        (data.read_rows, {"path_or_name": pairs, "split": None, "limit": 1, "on_error": "raise"}),
        (data.load_conversations, {"source": rows, "format": "openai", "split": None, "streaming": False}),
        (data.load_conversations, {"source": pd.DataFrame(PAIRS), "on_error": "raise"}),
        (data.iter_conversations, {"source": rows, "format": "openai", "split": None, "on_bytes": None}),
        (data.to_conversations, {"rows": PAIRS}),
        (data.save_conversations, {"conversations": table, "path": folder / "out.jsonl", "format": "openai"}),
        (data.clean_message, {"message": MESSAGES[0]}),
        (read_whole_row, {"row": PAIRS[0], "name": "question-answer"}),
        (
            tokenization.tokenize,
            {"conversations": table, "tokenizer": tiny_tokenizer, "template": QUESTION_ANSWER, "max_length": 60}
            | {"truncation_side": "left", "on_error": "raise"},
        ),
        (
            tokenization.tokenize_and_split,
            {"data": table, "tokenizer": tiny_tokenizer, "test_size": 0.5, "seed": 1, "template": QUESTION_ANSWER}
            | {"max_length": 60, "truncation_side": "left", "on_leak": "warn"},
        ),
        (tokenization.known_limit, {"tokenizer": tiny_tokenizer}),
        (encoding.encode_prompts, {"prompts": ["a"], "tokenizer": tiny_tokenizer}),
        (encoding.encode_segments, {"segments": segments, "tokenizer": tiny_tokenizer}),
        (encoding.encode_rows, {"rows": [segments], "tokenizer": tiny_tokenizer}),
        (templates.get_template, {"name": "chatml"}),
        (QUESTION_ANSWER.render, {"messages": MESSAGES}),
        (QUESTION_ANSWER.render_prompt, {"messages": MESSAGES[:1]}),
        (batches.pad_batch, {"rows": IDS, "pad_token_id": 1, "side": "left"}),
        (batches.padded_batches, {"rows": Dataset.from_list(IDS), "batch_size": 2, "pad_token_id": 1}),
        (batches.length_batches, {"lengths": [3, 4], "batch_size": 2, "seed": 0}),
        (batches.packing_plan, {"lengths": [3, 4], "max_length": 9}),
        (batches.pack_batch, {"rows": IDS, "pad_token_id": 1, "max_length": 9}),
        (leakage.shingles, {"text": "a b c", "words": 2}),
        (leakage.jaccard, {"first": frozenset("ab"), "second": frozenset("bc")}),
        (leakage.find_leaks, {"train": table, "test": ROWS, "threshold": 0.5}),
        (
            leakage.same_prompts,
            {"conversations": [row["messages"] for row in ROWS], "train": [0, 1], "test": [2]},
        ),
        (quality.text_faults, {"messages": MESSAGES}),
        (quality.language_of, {"messages": MESSAGES}),
        (
            summary.summarize,
            {"conversations": [MESSAGES], "format": "", "tokenizer": tiny_tokenizer, "template": QUESTION_ANSWER}
            | {"context": 64, "batch_size": 2},
        ),
        *((metric, texts) for metric in (metrics.rouge_l, metrics.exact_match, metrics.bleu, metrics.corpus_bleu)),
        (metrics.perplexity, {"loss": 1.0}),
        (metrics.bits_per_byte, {"loss": 1.0, "tokens": 3, "text_bytes": 4}),
        (text_metrics.distinct_n, {"predictions": ["a b"], "n": 2}),
        (text_metrics.distinct_each, {"predictions": ["a b"], "n": 2}),
        (text_metrics.repeats, {"predictions": ["a b"], "n": 2}),
        (text_metrics.refuses, {"predictions": ["a b"]}),
        (text_metrics.fact_recall, {"predictions": ["a b"], "references": ["a b"], "questions": ["a?"]}),
        (json_answers.json_scores, {"predictions": ["{}"], "references": ['{"a": 1}']}),
        (json_answers.make_json_scores, {"references": ['{"a": 1}']}),
        (intervals.bootstrap, {"statistics": numbers, "seed": 0, "resamples": 5}),
        (intervals.paired_test, {"first": numbers, "second": numbers, "seed": 0, "resamples": 5}),
        (
            evaluation.evaluate,
            {"answers_of": {"nano": (_tiny_model, tiny_tokenizer)}, "rows": PAIRS, "template": QUESTION_ANSWER}
            | {"max_new_tokens": 1, "batch_size": 2, "scores": ["loss"]},
        ),
        (evaluation.evaluate, {"answers_of": {"none": "not there"}, "rows": PAIRS}),
        (evaluation.compare, {"first": run, "second": run, "models": None}),
        (evaluation.side_by_side, {"first": run, "second": run, "models": None}),
        (evaluation.write_json, {"evaluation": run, "path": folder / "again.json"}),
        (evaluation.read_json, {"path": run_file}),
        (evaluation.write_csv, {"evaluation": run, "path": folder / "again.csv"}),
        (
            likelihood.answer_statistics,
            {"model": _tiny_model, "tokenizer": tiny_tokenizer, "conversations": table, "template": QUESTION_ANSWER}
            | {"max_length": 60, "batch_size": 4},
        ),
        (finetuning_file.about_tokens, {"text": "a"}),
        (finetuning_file.write_finetuning_file, {"conversations": [MESSAGES], "path": folder / "f.jsonl"}),
        (
            finetuning_file.check_finetuning_file,
            {"path": rows, "count_tokens": len, "epochs": 1, "usd_per_million_tokens": 1.0},
        ),
        (
            ask,
            {"provider": "openai", "prompts": [], "max_tokens": 1, "temperature": 0.0, "timeout_seconds": 1.0}
            | {"retries": 0, "concurrency": 1, "api_key": "sk-none", "options": None}
            | {"model": None, "base_url": "http://127.0.0.1:9/v1", "system": None, "price": None},
        ),
        *_calls_with_a_model(folder, tiny_tokenizer, _tiny_model),
    ]


class Fresh:
    """Stands for a copy of a model, made anew for every call: these functions change it."""

    def __init__(self, model):
        self.model = model


def _calls_with_a_model(folder, tokenizer, model):
    both, sampling = {"model": model, "tokenizer": tokenizer}, vars(Sampling())
    rows = tokenization.tokenize(tokenizer, data.to_conversations(PAIRS), template=QUESTION_ANSWER)
    given = list(batches.padded_batches(rows, 2, pad_token_id=tokenizer.pad_token_id))
    template = {"template": QUESTION_ANSWER, "max_new_tokens": 1}
    return [
        (generate, both | {"prompts": ["a"], "batch_size": 2, "max_new_tokens": 1} | sampling),
        (answer, both | {"questions": ["a"], "batch_size": 2} | template | sampling),
        (check_questions, both | {"questions": ["a"]} | template),
        (stream, both | {"messages": "a"} | template | sampling),
        (
            inference,
            both | {"text": "a", "max_input_tokens": 30, "max_output_tokens": 1, "template": QUESTION_ANSWER},
        ),
        (
            finetune,
            {"model": Fresh(model), "tokenizer": tokenizer, "rows": rows, "eval_rows": rows, "max_steps": 1}
            | {"learning_rate": 1e-3, "batch_size": 1, "accumulation_steps": 1, "warmup_steps": 0, "seed": 0}
            | {"optimizer": "adamw", "weight_decay": 0.0, "max_gradient_norm": 1.0, "precision": "float32"},
        ),
        (
            estimate,
            {"model": "nano", "length": 8, "accumulation_steps": 1, "steps": 1, "dtype": "float32", "weights": None}
            | {
                "precision": "float32",
                "optimizer": "adamw",
                "lora_rank": 2,
                "lora_targets": "blocks",
                "lora_upper_layers": 1,
            }
            | {"frozen": (), "target_share": 0.5, "device": "cpu", "objective": "sft"},
        ),
        (load_model, {"name": "nano", "device": "cpu", "dtype": "float32", "trainable": False}),
        (save_model, both | {"folder": folder / "saved"}),
        (count_parameters, {"model": model}),
        (freeze, {"model": Fresh(model), "modules": ("embeddings",), "keep_layers": (0,), "patterns": ()}),
        (
            add_lora,
            {"model": Fresh(model), "rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": "blocks", "upper_layers": 1}
            | {"seed": 0},
        ),
        (merge_lora, {"model": Fresh(model)}),
        (gpu, {"name": "T4"}),
        (fits, {"need": estimate("nano", length=8), "card": gpu("T4")}),
        (suggest, {"model": "nano", "cards": [gpu("T4")]}),
        (FinetuneConfig.from_yaml, {"path": "faq", "changes": ["train.seed=1"]}),
        (choose_rewards, {"names": ["json_valid"], "references": ["{}"]}),
        (group_advantages, {"rewards": torch.eye(2), "scale": "group"}),
        (make_optimizer, {"model": model, "name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0}),
        (named_template, {"tokenizer": tokenizer, "name": "auto"}),
        (count_prompt_tokens, {"tokenizer": tokenizer, "messages": MESSAGES[:1], "template": QUESTION_ANSWER}),
        (metrics.answer_loss, {"model": model, "batches": given}),
        (metrics.token_accuracy, {"model": model, "batches": given}),
    ]


NUMBER_OF_CALLS = 81


NOT_REPLACED = {("bootstrap", "resamples"), ("paired_test", "resamples"), ("answer_statistics", "model")}
NOT_REPLACED |= {
    ("iter_conversations", "on_bytes"),
    ("check_finetuning_file", "count_tokens"),
    ("answer_loss", "batches"),
    ("token_accuracy", "batches"),
}  # whose errors are theirs


def run_all(function, arguments):
    found = function(
        **{name: copy.deepcopy(one.model) if isinstance(one, Fresh) else one for name, one in arguments.items()}
    )
    if inspect.isgenerator(found):
        list(found)
    if isinstance(found, tuple) and len(found) == 2 and inspect.isgenerator(found[1]):
        list(found[1])


@pytest.mark.parametrize("number", range(NUMBER_OF_CALLS))
def test_a_bad_argument_gives_an_error_of_ftlib_or_none(calls, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(calls) == NUMBER_OF_CALLS
    function, right = calls[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_all(function, right)
        wrong = []
        for name in right:
            if (function.__name__, name) in NOT_REPLACED:
                continue
            for bad in BAD:
                try:
                    run_all(function, right | {name: bad})
                except FtlibError as error:
                    if not str(error).strip():
                        wrong.append((name, bad, "an empty message"))
                except Exception as error:
                    wrong.append((name, bad, type(error), str(error)[:80]))
    assert wrong == []


def test_every_function_with_checks_is_called_here(calls):
    called = {function.__name__ for function, _ in calls} | {"train_at_lamini", "get_lamini_job"}
    modules = (batches, data, encoding, evaluation, finetuning_file, intervals, lamini_finetuning, leakage, likelihood)
    modules += (json_answers, cards, estimation, generation, loading, trainable)
    modules += (metrics, quality, summary, templates, text_metrics, tokenization)
    for module in modules:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and inspect.getsource(function).startswith("@checked"):
                assert name in called, f"{module.__name__}.{name}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "sized: size must be at least 1, not 0"),
        (True, "sized: size must be a whole number, not True"),
        (2.5, "sized: size must be a whole number, not 2.5"),
        ("2", "sized: size must be a whole number, not '2'"),
        (None, "sized: size must be a whole number, not None"),
        ([2], r"sized: size must be a whole number, not \[2\] \(list\)"),
    ],
)
def test_an_error_names_the_argument_what_was_given_and_what_was_expected(value, told):
    @checked(size=at_least(1))
    def sized(size: int) -> int:
        return size

    with pytest.raises(DataError, match=told):
        sized(value)
    assert sized(np.int64(3)) == 3


def test_rules_and_lists():
    @checked(numbers=each(above(0)))
    def total(numbers: list[float], *, name: str | None = None) -> float:
        return sum(numbers)

    assert total([1, 2.5]) == 3.5
    for bad in ([1, 0], [math.inf], [None], ["x"]):
        with pytest.raises(DataError, match=r"total: numbers, number \d \(from 0\) must be above 0"):
            total(bad)
    with pytest.raises(DataError, match="total: name must be text or None, not 3"):
        total([1], name=3)
    assert inspect.getsource(total).startswith("    @checked(")


def test_one_text_is_not_taken_for_a_list_of_letters(tiny_model, tiny_tokenizer):
    asked = {"model": tiny_model, "tokenizer": tiny_tokenizer}
    compared = {"tuned": tiny_model, "base": tiny_model, "tokenizer": tiny_tokenizer}
    for function, name, arguments in (
        (answer, "questions", asked),
        (check_questions, "questions", asked),
        (generate, "prompts", asked),
        (compare_models, "questions", compared),
        (ask, "prompts", {"provider": "local"}),
        (estimate, "frozen", {"model": "nano"}),
        (freeze, "modules", {"model": tiny_model}),
        (freeze, "patterns", {"model": tiny_model}),
        (launch, "examples", {"models": ()}),
    ):
        with pytest.raises(DataError, match=f"{name} must be a list"):
            function(**arguments, **{name: "Why?"})
    with pytest.raises(DataError, match=r"questions must be a list, such as \['Why\?'\], not 'Why\?'"):
        answer(tiny_model, tiny_tokenizer, "Why?")
    with pytest.raises(DataError, match="questions must be a list, not None"):
        answer(tiny_model, tiny_tokenizer, None)


def test_a_chat_takes_one_model_without_a_list():
    (chat_model,) = load_chat_models("nano", device="cpu")
    assert load_chat_models(chat_model) == [chat_model]


@pytest.mark.parametrize("function", [train, train_once])
def test_a_name_is_no_configuration(function):
    with pytest.raises(DataError, match=f"{function.__name__}: config must be a FinetuneConfig, not 'faq'"):
        function("faq")
