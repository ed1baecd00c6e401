import json
import subprocess
import sys
from pathlib import Path

import pytest

from ftlib.models.loading import save_model
from ftlib.training.config import FinetuneConfig
from tests.waiting import HUNG_SECONDS


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    rows = [{"question": f"Question {i}?", "answer": "word " * (i % 5 + 1)} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = FinetuneConfig.from_dict(
        {
            "model": {"name": str(tmp_path / "base"), "device": "cpu"},
            "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0.2},
            "train": {"max_steps": 30, "learning_rate": 1e-2, "batch_size": 2, "accumulation_steps": 2},
            "evaluate": {"every_steps": 2},
            "checkpoint": {"every_steps": 1, "keep": 2},
        }
    )
    (tmp_path / "config.yaml").write_text(config.as_yaml(), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("killing.py")), str(tmp_path), "25"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10 * HUNG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["kills"] == 25
    assert found["while_writing"] >= 9  # each third one, counted from the first
    assert found["identical"] == found["metrics_identical"] == found["finished"] > 0
