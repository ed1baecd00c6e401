import itertools
import json
from types import SimpleNamespace

import pytest
import torch

from datasets import Dataset
from ftlib.estimate.flops import flops_per_token
from ftlib.models.trainable import add_lora
from ftlib.training import loop, speed
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from ftlib.training.speed import Speed, measure_speed

ROWS = Dataset.from_dict({"labels": [[-100, -100, 5], [-100, 6, 7, 8, 9]]})  # 5 targets in 8 tokens


@pytest.fixture(autouse=True)
def a_known_device(monkeypatch):
    monkeypatch.setattr(speed, "matrix_product_flops_per_second", lambda device, dtype, size: 1e9 * dtype.itemsize)


def test_the_output_layer_counts_where_a_token_is_a_target(tiny_model):
    head = tiny_model.get_output_embeddings().weight.numel()
    found = measure_speed(tiny_model, ROWS, "float32").flops_per_token
    assert flops_per_token(tiny_model) - found == pytest.approx(6 * head * 3 / 8, abs=1)


def test_frozen_weights_need_no_gradient_of_their_own(tiny_model):
    whole = measure_speed(tiny_model, ROWS, "float32").flops_per_token
    adapted = measure_speed(add_lora(tiny_model, rank=1), ROWS, "float32").flops_per_token
    assert 4 / 6 * whole < adapted < 0.8 * whole


def test_the_yardstick_is_that_of_the_precision_and_of_all_processes(tiny_model, monkeypatch):
    assert measure_speed(tiny_model, ROWS, "bfloat16").peak_flops == 2e9
    started = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "::1", "MASTER_PORT": "9"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert measure_speed(tiny_model, ROWS, "float32").peak_flops == 8e9


def test_no_time_gives_no_figures():
    assert Speed(1, 1.0).figures(tokens=5, seconds=0.0) == {}


def test_a_run_logs_speed_for_each_step_and_as_a_whole(tmp_path, monkeypatch):
    quarters = itertools.count(0, 0.25)  # the loop asks for the time when a step begins and when it ends
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: next(quarters)))
    settings = {"model": {"name": "nano"}, "data": {"source": "faq", "max_rows": 8}, "train": {"max_steps": 2}}
    torch.manual_seed(0)
    run = train(FinetuneConfig.from_dict(settings), tmp_path / "run")
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert [line["tokens_per_second"] for line in lines] == [4 * line["tokens"] for line in lines]
    assert summary["training_seconds"] == 0.5
    assert summary["tokens_per_second"] == 2 * summary["tokens"]
    for found in [*lines, summary]:
        share = found["tokens_per_second"] * summary["flops_per_token"] / summary["matrix_product_flops_per_second"]
        assert found["model_flops_utilization"] == pytest.approx(share, rel=1e-3, abs=1e-4)
    assert "that a product of large matrices reached" in (run.folder / "README.md").read_text(encoding="utf-8")
