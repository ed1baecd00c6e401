import itertools
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from datasets import Dataset
from ftlib.compat.trainer import make_trainer, training_arguments
from ftlib.errors import ModelError
from ftlib.estimate import throughput
from ftlib.estimate.flops import flops_per_token
from ftlib.estimate.throughput import ThroughputCallback, matrix_product_flops_per_second
from ftlib.models.trainable import add_lora
from ftlib.text.batches import pad_batch

LENGTHS = [3, 9, 5, 2, 7, 7, 4, 8, 6, 3, 5, 1]
GO_ON = SimpleNamespace(should_evaluate=False, should_save=False)


@pytest.fixture
def rows():
    return Dataset.from_list([{"input_ids": [5] * length, "labels": [5] * length} for length in LENGTHS])


def trained(model, rows, folder, callback, **names):
    options = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "logging_steps": 1}
    args = training_arguments(warn=False, per_device_train_batch_size=4, **options, **names)
    collator = partial(pad_batch, pad_token_id=1)
    data = {"train_dataset": rows, "eval_dataset": rows, "data_collator": collator}
    trainer = make_trainer(model, args, callbacks=[callback], **data)
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    "options", [{}, {"gradient_accumulation_steps": 3}, {"eval_strategy": "steps", "eval_steps": 1}]
)
def test_padding_and_evaluation_are_not_counted(tiny_model, rows, tmp_path, options):
    """One epoch reads each row once: 60 tokens, whatever stands around them."""
    callback = ThroughputCallback()
    trained(tiny_model, rows, tmp_path, callback, num_train_epochs=1, **options)
    assert callback.throughput.tokens == sum(LENGTHS) == 60
    assert callback.throughput.steps == 3 // options.get("gradient_accumulation_steps", 1)
    assert callback.throughput.steps_left == 0


def test_the_log_holds_the_figures_and_the_model_is_left_alone(tiny_model, rows, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    trainer = trained(tiny_model, rows, tmp_path, ThroughputCallback(peak_flops_per_second=1e12), max_steps=2)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [set(entry) >= {"tokens_per_second", "flops_per_second", "utilization"} for entry in logged] == [True, True]
    assert logged[0]["utilization"] == pytest.approx(logged[0]["flops_per_second"] / 1e12)
    assert (logged[0]["remaining_seconds"] > 0, logged[1]["remaining_seconds"]) == (True, 0)
    assert not tiny_model.base_model._forward_pre_hooks


def test_a_loss_without_all_logits_is_counted_too(tiny_model):
    callback = begun(tiny_model, steps=1)
    tiny_model.train()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    tiny_model.base_model(input_ids=torch.ones(2, 3, dtype=torch.int64), attention_mask=mask, use_cache=False)
    tiny_model(torch.ones(1, 4, dtype=torch.int64))
    tiny_model.eval()(torch.ones(1, 7, dtype=torch.int64))
    step(callback, tiny_model, done=1)
    assert callback.throughput.tokens == 5 + 4


def begun(model, *, steps, peak=None):
    callback = ThroughputCallback(peak)
    args, state = SimpleNamespace(bf16=False, fp16=False), SimpleNamespace(max_steps=steps, global_step=0)
    callback.on_train_begin(args, state, GO_ON, model=model)
    return callback


def step(callback, model, *, done, control=GO_ON):
    callback.on_step_end(None, SimpleNamespace(max_steps=10, global_step=done), control, model=model)


def test_time_for_evaluation_and_saving_is_left_out(tiny_model, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    callback = begun(tiny_model, steps=10)
    assert callback.throughput is None
    clock.now = 2.0
    step(callback, tiny_model, done=1, control=SimpleNamespace(should_evaluate=True, should_save=True))
    clock.now = 50.0
    callback.on_evaluate(None, None, GO_ON)
    clock.now = 60.0
    callback.on_save(None, None, GO_ON)
    clock.now = 64.0
    step(callback, tiny_model, done=2)
    assert (callback.throughput.seconds, callback.throughput.steps) == (2.0 + 4.0, 2)
    assert callback.throughput.remaining_seconds == 8 * 3.0


def test_figures_by_hand():
    done = throughput.Throughput(4, 200, 10.0, 6_000_000, 6, peak_flops_per_second=480e6)
    assert (done.tokens_per_second, done.flops_per_second, done.utilization) == (20.0, 120e6, 0.25)
    assert done.remaining_seconds == 15.0
    assert throughput.Throughput(4, 200, 10.0, 6_000_000, 6).utilization is None


def test_evaluations_are_not_logged_as_training(tiny_model):
    callback = begun(tiny_model, steps=1)
    step(callback, tiny_model, done=1)
    logs, state = {"eval_loss": 1.0}, SimpleNamespace(log_history=[{}])
    callback.on_log(None, state, GO_ON, logs=logs)
    assert (logs, state.log_history) == ({"eval_loss": 1.0}, [{}])


def test_the_peak_can_be_measured(tiny_model, monkeypatch):
    monkeypatch.setattr(throughput, "matrix_product_flops_per_second", lambda device, dtype: 7e9)
    callback = begun(tiny_model, steps=1, peak="measure")
    step(callback, tiny_model, done=1)
    assert callback.throughput.peak_flops_per_second == 7e9
    with pytest.raises(ModelError, match="peak_flops_per_second must be above 0, not 0"):
        ThroughputCallback(0)


def test_a_matrix_product_is_two_operations_for_each_term(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert matrix_product_flops_per_second("cpu", size=10) == 2 * 10 * 10 * 10


@pytest.mark.parametrize("adapted", [False, True])
def test_a_run_counts_the_operations_that_the_estimate_counts(tiny_model, adapted):
    if adapted:
        pytest.importorskip("peft")
    model = add_lora(tiny_model, rank=2) if adapted else tiny_model
    callback = begun(model, steps=1)
    step(callback, model, done=1)
    assert callback.throughput.flops_per_token == flops_per_token(model)
    weights = sum(parameter.numel() for parameter in model.parameters()) - 320 * 32
    assert (flops_per_token(model) == 6 * weights) != adapted
    assert adapted == (flops_per_token(model) < 5 * weights)
