"""Several processes, one curve."""

import json
import os
import subprocess
import sys

import pytest

from ftlib.errors import TrainingError
from ftlib.models.loading import save_model
from ftlib.training.config import FinetuneConfig
from ftlib.training.distributed import Processes, find_processes
from ftlib.training.run import read_metrics, train
from tests.waiting import HUNG_SECONDS


@pytest.fixture
def settings(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    rows = [{"question": f"Question {i}?", "answer": "word " * (i % 5 + 1)} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = FinetuneConfig.from_dict(
        {
            "model": {"name": str(tmp_path / "base"), "device": "cpu"},
            "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0.2},
            "train": {"max_steps": 6, "learning_rate": 1e-2, "batch_size": 2, "accumulation_steps": 2},
            "evaluate": {"every_steps": 3},
        }
    )
    (tmp_path / "config.yaml").write_text(config.as_yaml(), encoding="utf-8")
    return config


def start(count, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count), "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += ["-m", "ftlib.cli", "train", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=HUNG_SECONDS, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "hf", "trl"])
def test_two_processes_give_the_curve_of_one(tmp_path, settings, engine):
    alone = train(settings, tmp_path / "one")
    done = start(2, tmp_path / "config.yaml", "--engine", engine, "--out", tmp_path / "two", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    together = read_metrics(tmp_path / "two")
    assert [step.tokens for step in together] == [step.tokens for step in alone.history]
    assert [step.loss for step in together] == pytest.approx([step.loss for step in alone.history], abs=1e-4)
    expected = [step.gradient_norm for step in alone.history]
    assert [step.gradient_norm for step in together] == pytest.approx(expected, rel=1e-3)
    assert together[-1].eval_loss == pytest.approx(alone.history[-1].eval_loss, abs=1e-4)
    assert json.loads(done.stdout)["steps"] == 6


def test_alone_all_micro_batches_are_ones_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes = find_processes(4, "cpu")
    assert type(processes) is Processes
    assert list(processes.share) == [0, 1, 2, 3]
    assert processes.add(1.5, 2) == [1.5, 2]


@pytest.mark.slow
def test_micro_batches_that_can_not_be_shared_are_an_error(tmp_path, settings):
    done = start(2, tmp_path / "config.yaml", "--set", "train.accumulation_steps=3", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "3 micro-batches a step can't be shared by 2 processes" in done.stderr
    assert TrainingError.__name__ not in done.stderr
