"""Weights & Biases beside a run."""

from pathlib import Path

import pytest

from ftlib.training.config import TrackingSection
from ftlib.training.tracking import tracker


def test_offline_files_lie_where_the_run_is_although_the_working_folder_changed(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("first", "second"):  # both runs are written by the process that the first one starts
        (tmp_path / name / "run").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        log, stop = tracker(TrackingSection(project="course"), Path("run"), {})
        log({"number": 1, "loss": 2.0})
        stop()
    found = sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("run-*.wandb"))
    assert found == ["first", "second"]
