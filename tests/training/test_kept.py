"""Runs that are trained once: the same training is found again, another one is not, and nothing half-made is left."""

import multiprocessing
import os

import pytest

from book.build import forget_kept_runs
from ftlib.errors import ConfigError, DataError, TrainingError
from ftlib.models import load_model, precision
from ftlib.models.precision import BestPrecision
from ftlib.training import kept
from ftlib.training.config import FinetuneConfig
from ftlib.training.kept import train_once

ROWS = '{"question": "Who?", "answer": "Me."}\n' * 4


@pytest.fixture
def rows(tmp_path):
    """A data file of one's own."""
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS, encoding="utf-8")
    return path


def config(rows, **train):
    return FinetuneConfig.from_dict(
        {
            "model": {"name": "nano", "device": "cpu", "lora": {"rank": 2}},
            "data": {"source": str(rows), "validation_share": 0},
            "train": {"max_steps": 2, **train},
        }
    )


@pytest.fixture
def trainings(monkeypatch):
    """Note the number of trainings that really happen."""
    happened, train = [], kept.train

    def noted(config, folder, **how):
        happened.append(folder)
        return train(config, folder, **how)

    monkeypatch.setattr(kept, "train", noted)
    return happened


def test_the_same_training_is_found_again(cache, rows, trainings):
    steps = []
    first = train_once(config(rows), name="mine", on_step=lambda step, last: steps.append((step.number, last)))
    second = train_once(config(rows), name="another name")
    assert len(trainings) == 1
    assert steps == [(1, 2), (2, 2)]
    assert second == first
    assert first.folder.is_relative_to(cache)
    assert first.folder.name == "mine"
    model, _ = load_model(second.folder, device="cpu")
    assert any("lora" in name for name, _ in model.named_parameters())


def test_what_is_forgotten_is_trained_again(cache, rows, trainings):
    train_once(config(rows))
    forget_kept_runs()
    train_once(config(rows))
    assert len(trainings) == 2


def test_what_only_a_resume_needs_is_not_kept(cache, rows):
    run = train_once(config(rows))
    assert (run.last.folder / "adapter_model.safetensors").is_file()
    assert not list(cache.rglob("training_state.safetensors"))


@pytest.mark.parametrize("change", ["seed", "data", "library", "version", "processor", "instructions"])
def test_another_training_is_not_taken_for_it(change, cache, rows, trainings, monkeypatch):
    first = train_once(config(rows))
    after = config(rows)
    if change == "seed":
        after = config(rows, seed=5)
    elif change == "data":
        rows.write_text(ROWS.replace("Me.", "You."), encoding="utf-8")
    elif change == "library":
        monkeypatch.setattr(kept, "_library", lambda: [rows])
    elif change == "version":
        monkeypatch.setattr(kept.importlib.metadata, "version", lambda name: f"{name} 99")
    elif change == "instructions":
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    else:
        monkeypatch.setattr(kept.torch.backends.cpu, "get_cpu_capability", lambda: "another one")
    assert train_once(after).folder != first.folder
    assert len(trainings) == 2


def left_to_the_machine(rows):
    """Neither the device nor the precision is said."""
    whole = config(rows, precision="auto")
    return whole.model_copy(update={"model": whole.model.model_copy(update={"device": None})})


def test_what_is_left_to_the_machine_is_compared_as_what_it_comes_to(rows, monkeypatch):
    whole, keys = left_to_the_machine(rows), {}
    monkeypatch.setenv("FTLIB_DEVICE", "cpu")
    for name in ("float32", "bfloat16"):
        chosen = BestPrecision(name, "made up")
        monkeypatch.setattr(precision, "best_precision", lambda device, chosen=chosen: chosen)
        keys[name] = kept._key(whole)
        assert keys[name] == kept._key(config(rows, precision=name))
    assert keys["float32"] != keys["bfloat16"]
    monkeypatch.setattr(kept, "check_device", lambda name: "cuda")
    assert kept._key(whole) not in keys.values()


def test_the_library_that_decides_is_found():
    names = {path.name for path in kept._library()}
    assert {"loop.py", "muon.py", "smollm2.py", "chat_template.py", "reading.py"} <= names
    assert "server.py" not in names


def test_a_training_that_breaks_down_leaves_nothing(cache, rows, monkeypatch):
    def broken(config, folder, **how):
        (folder / "half").write_text("", encoding="utf-8")
        raise TrainingError("the loss is NaN")

    monkeypatch.setattr(kept, "train", broken)
    with pytest.raises(TrainingError, match="NaN"):
        train_once(config(rows))
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["lock"]
    monkeypatch.undo()
    monkeypatch.setenv("FTLIB_CACHE", str(cache))
    assert train_once(config(rows)).last.step == 2


def test_a_model_of_ones_own_is_refused(cache, rows):
    own = config(rows).model_copy(update={"model": config(rows).model.model_copy(update={"name": "runs/mine"})})
    with pytest.raises(ConfigError, match=r"call ftlib\.training\.run\.train"):
        train_once(own)


def test_data_that_is_not_there_is_named(cache, tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl"):
        train_once(config(tmp_path / "none.jsonl"))


def test_a_cache_that_can_not_be_written_is_named(rows, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("FTLIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(TrainingError, match=r"the run is kept.*file is a file.* set FTLIB_CACHE"):
        train_once(config(rows))


def test_the_runs_asked_for_last_are_kept(cache, rows, monkeypatch):
    monkeypatch.setattr(kept, "KEPT_RUNS", 2)
    first, second = (train_once(config(rows, seed=seed)) for seed in (1, 2))
    os.utime(first.folder.parent, (1, 1))
    os.utime(second.folder.parent, (2, 2))
    train_once(config(rows, seed=1))
    third = train_once(config(rows, seed=3))
    assert {path.name for path in (cache / "runs").iterdir()} == {
        first.folder.parent.name,
        third.folder.parent.name,
    }


def _train(rows, folders):
    folders.put(str(train_once(config(rows)).folder))


def test_two_processes_train_once(cache, rows):
    context = multiprocessing.get_context("spawn")
    folders = context.Queue()
    processes = [context.Process(target=_train, args=(rows, folders)) for _ in range(2)]
    for process in processes:
        process.start()
    found = {folders.get() for _ in processes}
    for process in processes:
        process.join()
    (folder,) = found
    assert len(list((cache / "runs").glob("*/*/metrics.jsonl"))) == 1, folder
