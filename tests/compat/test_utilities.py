import copy
import itertools
import warnings
from types import SimpleNamespace

import pytest
import torch
import transformers

from datasets import Dataset
from ftlib.compat import utilities
from ftlib.compat.trainer import floating_point_ops, training_arguments
from ftlib.compat.translate import CompatError
from ftlib.data.messages import user
from ftlib.errors import DataError, PromptTooLongError, TruncationWarning
from ftlib.estimate import throughput
from ftlib.inference.context import count_prompt_tokens, shorten
from ftlib.inference.generation import answer
from ftlib.text.templates import QUESTION_ANSWER

FAQ = {"model": {"pretrained_name": "nano", "max_length": 2048}, "datasets": {"use_hf": False, "path": "faq"}}


def rows_of(lengths):
    return Dataset.from_list(
        [{"question": "Why?", "answer": "So.", "input_ids": [5] * n, "labels": [5] * n} for n in lengths]
    )


def arguments(folder, **names):
    fixed = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "max_steps": 3, "logging_steps": 1}
    return training_arguments(warn=False, **{**fixed, "per_device_train_batch_size": 1, **names})


def test_the_module_offers_what_it_says_and_nothing_else():
    names = {}
    exec("from ftlib.compat.utilities import *", names)  # noqa: S102
    names.pop("__builtins__")
    assert sorted(names) == utilities.__all__ == sorted(utilities.__all__)


def test_a_configuration_gives_two_sets_and_leaves_the_tokenizer_alone(tiny_tokenizer):
    before = tiny_tokenizer.pad_token, tiny_tokenizer.truncation_side, tiny_tokenizer.padding_side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        train, test = utilities.tokenize_and_split_data({**FAQ, "model": {"max_length": 40}}, tiny_tokenizer)
    assert (len(train), len(test)) == (1134, 126)
    assert train.column_names == ["question", "answer", "input_ids", "attention_mask", "labels"]
    assert max(map(len, train["input_ids"])) == 40
    assert (tiny_tokenizer.pad_token, tiny_tokenizer.truncation_side, tiny_tokenizer.padding_side) == before


def test_inference_asks_in_the_template_of_training(tiny_model, tiny_tokenizer):
    text = utilities.inference("Why?", tiny_model, tiny_tokenizer, 1000, 5)
    assert text == answer(tiny_model, tiny_tokenizer, ["Why?"], max_new_tokens=5)[0]
    assert utilities.inference("Why?", tiny_model, tiny_tokenizer, 1000, 5, template=None) != text


def test_a_long_question_loses_its_beginning_and_says_so(tiny_model, tiny_tokenizer):
    """The defaults allow 1,100 tokens, the context of this model 64: a long prompt raised ValueError in 2023."""
    question = "word " * 100 + "at the end?"
    with pytest.warns(TruncationWarning, match=r"the question lost its first \d+ characters: .* 54 tokens"):
        utilities.inference(question, tiny_model, tiny_tokenizer, max_output_tokens=10)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        kept = shorten(tiny_tokenizer, question, QUESTION_ANSWER, 54)
    assert question.endswith(kept)
    assert kept.endswith("at the end?")
    assert 52 <= count_prompt_tokens(tiny_tokenizer, [user(kept)], template=QUESTION_ANSWER) <= 54


def test_no_token_for_a_question_is_an_error(tiny_model, tiny_tokenizer):
    with pytest.raises(PromptTooLongError, match="the prompt may have 3 tokens, its template included"):
        utilities.inference("Why?", tiny_model, tiny_tokenizer, max_input_tokens=3, max_output_tokens=9)


def test_the_trainer_logs_true_times_and_operations(tiny_model, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    planned = floating_point_ops(tiny_model, {"input_ids": torch.zeros(1, 60)}) * 4
    names = {"args": arguments(tmp_path, gradient_accumulation_steps=4), "train_dataset": rows_of([6] * 12)}
    trainer = utilities.Trainer(model=tiny_model, model_flops=planned, total_steps=3, **names)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [set(entry) >= {"iter_time", "flops", "remaining_time"} for entry in logged] == [True] * 3
    for entry in logged:  # each row has a tenth of the planned length
        assert entry["planned_flops"] / entry["flops"] == pytest.approx(10)
        assert entry["planned_flops"] * entry["iter_time"] == pytest.approx(planned)
    assert logged[0]["remaining_time"] == pytest.approx(2 * logged[0]["iter_time"])


def test_four_accumulated_rows_give_the_gradient_of_one_batch(tiny_model, tmp_path):
    """The accelerator's patch of 2023 made it four times as large."""
    norms = []
    for model, batch, accumulation in ((tiny_model, 4, 1), (copy.deepcopy(tiny_model), 1, 4)):
        options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        args = arguments(tmp_path, max_steps=1, learning_rate=0.0, max_grad_norm=1e9, **options)
        trainer = utilities.Trainer(model=model, args=args, train_dataset=rows_of([6] * 4))
        trainer.train()
        norms.append(float(trainer.state.log_history[0]["grad_norm"]))
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_the_trainer_pads_rows_of_different_length_and_takes_names_of_any_release(tiny_model, tiny_tokenizer, tmp_path):
    names = {"args": arguments(tmp_path, per_device_train_batch_size=3), "train_dataset": rows_of([3, 9, 4])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = utilities.Trainer(tiny_model, 0, 3, tokenizer=tiny_tokenizer, **names)
    trainer.train()
    assert isinstance(trainer, transformers.Trainer)
    assert trainer.state.global_step == 3
    with pytest.raises(CompatError, match="'train_datset': did you mean 'train_dataset'"):
        utilities.Trainer(tiny_model, train_datset=None)


def test_a_thinned_log_keeps_its_ends():
    assert utilities.sample_history([1, 2, 3]) == [1, 2, 3]
    thin = utilities.sample_history(list(range(1234)))
    assert (len(thin), thin[0], thin[-1]) == (100, 0, 1233)
    assert thin == sorted(set(thin))
    with pytest.raises(DataError, match="limit must be at least 2"):
        utilities.sample_history([1, 2, 3], limit=1)


def test_models_are_compared_question_by_question(tiny_model, tiny_tokenizer):
    other = copy.deepcopy(tiny_model)
    with torch.no_grad():
        other.get_output_embeddings().weight.neg_()
    rows = utilities.compare_models(["Why?", "What?"], other, tiny_model, tiny_tokenizer, max_output_tokens=4)
    expected = [answer(model, tiny_tokenizer, ["Why?", "What?"], max_new_tokens=4) for model in (other, tiny_model)]
    assert [row["question"] for row in rows] == ["Why?", "What?"]
    assert [[row["trained model"] for row in rows], [row["base model"] for row in rows]] == expected
    assert expected[0] != expected[1]


def test_exact_match_sees_words_only():
    assert utilities.is_exact_match("Yes.", " Yes.\n")
    assert not utilities.is_exact_match("Yes.", "Yes!")
