"""A run's folder that something has damaged, and an environment that torchrun didn't make: one clear message each."""

import json
from itertools import product

import pytest
from safetensors.torch import load_file, save_file

from ftlib.errors import ConfigError, DataError, ModelError, TrainingError
from ftlib.models.chat_model import base_of
from ftlib.models.loading import load_model, save_model
from ftlib.training.checkpoints import checkpoints
from ftlib.training.config import FinetuneConfig
from ftlib.training.distributed import process_count
from ftlib.training.run import read_metrics, train

DAMAGE = ("", '{"step": 2, "ra', "[]", "{}", "\udcff")
STEPS = {"max_steps": 4, "learning_rate": 1e-2, "batch_size": 2}


@pytest.fixture
def config(tmp_path, tiny_model, tiny_tokenizer):
    base, rows = save_model(tiny_model, tiny_tokenizer, tmp_path / "base"), tmp_path / "rows.jsonl"
    pairs = [{"question": f"Question {i}?", "answer": "word " * (i % 5 + 1)} for i in range(20)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")

    def make(**sections):
        values = {"model": {"name": str(base)}, "data": {"source": str(rows)}, "train": STEPS}
        return FinetuneConfig.from_dict({**values, "checkpoint": {"every_steps": 2}, **sections})

    return make


@pytest.fixture
def run(tmp_path, config):
    return train(config(), tmp_path / "run").folder


def damage(path, text):
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def test_a_damaged_note_of_a_checkpoint_is_named_with_the_way_out(run, config):
    state = checkpoints(run)[-1].folder / "training_state.json"
    message = r"step-.*training_state.json.*: delete the folder of this checkpoint"
    for text in DAMAGE:
        damage(state, text)
        with pytest.raises(ModelError, match=message):
            load_model(run)
        with pytest.raises(TrainingError, match=message):
            train(config(), run, resume=True)
        with pytest.raises(ConfigError, match=message):
            train(config(checkpoint={"start_from": str(state.parent)}), run.parent / "further")


def test_damaged_tensors_of_a_checkpoint_are_named(run, config):
    tensors = checkpoints(run)[-1].folder / "training_state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"training_state.safetensors: can't be read .* delete the folder"):
        train(
            config(checkpoint={"start_from": str(tensors.parent)}, train={**STEPS, "max_steps": 6}), run.parent / "new"
        )


def test_damaged_weights_are_named(run):
    weights = checkpoints(run)[-1].folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="the folder can't be loaded"):
        load_model(weights.parent)


def test_a_run_does_not_go_on_with_rows_that_it_can_not_compare(run, config):
    for text in DAMAGE:
        damage(run / "data.json", text)
        with pytest.raises(TrainingError, match=r"data.json: .*: take the file from a backup, or begin another run"):
            train(config(), run, resume=True)


def test_a_damaged_line_of_the_metrics_has_its_number(run):
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines()
    metrics.write_text("\n".join([lines[0], lines[1][:20], *lines[2:], ""]), encoding="utf-8")
    with pytest.raises(DataError, match=r"metrics.jsonl, line 2: is no JSON"):
        read_metrics(run)


@pytest.fixture
def adapter(tmp_path, config):
    lora = {"name": config().model.name, "lora": {"rank": 2}}
    return checkpoints(train(config(model=lora), tmp_path / "lora").folder)[-1].folder


def test_a_damaged_configuration_of_an_adapter_is_named(adapter):
    alone = adapter.rename(adapter.parent.parent.parent / "alone")
    for text, use in product([*DAMAGE, '{"base_model_name_or_path": null}'], (load_model, base_of)):
        damage(alone / "adapter_config.json", text)
        with pytest.raises(ModelError, match=r"adapter_config.json.*: (save|write)"):
            use(str(alone))


def test_an_adapter_of_another_model_or_half_of_one_is_named(adapter):
    file = adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=r"the adapter can't be put on .*: is it that model's, and whole"):
        load_model(adapter)
    file.write_bytes(whole)
    save_file({name: tensor[:1].contiguous() for name, tensor in load_file(file).items()}, file)
    with pytest.raises(ModelError, match="the adapter can't be put on"):
        load_model(adapter)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE says 2 processes, and RANK isn't set: start them with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}, "MASTER_ADDR isn't set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', where torchrun sets a number"),
    ],
)
def test_half_of_what_torchrun_sets_is_an_error(monkeypatch, variables, message):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=message):
        process_count()
