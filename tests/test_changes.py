"""What is set on the command line wins over what it stands instead of in the file."""

import itertools

import pytest
import yaml

from ftlib.errors import ConfigError
from ftlib.training.config import FinetuneConfig

# One value for each of the keys that can't stand beside each other.
GROUPS = [
    {"train.epochs": 3.0, "train.max_steps": 2},
    {"train.warmup_steps": 4, "train.warmup_share": 0.1},
    {"evaluate.every_steps": 5, "evaluate.every_batches": 6, "evaluate.every_epochs": 0.5},
    {"checkpoint.every_steps": 5, "checkpoint.every_epochs": 1.0},
    {"model.lora.rank": 4, "model.freeze": ["norms"]},
    {"model.lora.rank": 4, "model.keep_layers": [0]},
    {"model.lora.rank": 4, "model.freeze_patterns": ["*.bias"]},
    {"data.template": "chatml", "data.frame": {"before_user": "Q: ", "before_assistant": " A:"}},
    {"data.validation_share": 0.3, "data.validation": "dialogues"},
]
PAIRS = [(group, first, second) for group in GROUPS for first, second in itertools.permutations(group, 2)]


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def read(tmp_path, values, *changes):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return FinetuneConfig.from_yaml(path, changes=changes).model_dump()


def at(values, path):
    for key in path.split("."):
        values = values[key]
    return values


@pytest.mark.parametrize(("group", "given", "wanted"), PAIRS, ids=[f"{b} for {a}" for _, a, b in PAIRS])
def test_what_is_set_replaces_what_the_file_says_instead(tmp_path, group, given, wanted):
    found = read(
        tmp_path, nested(given, group[given]), f"{wanted}={yaml.safe_dump(group[wanted], default_flow_style=True)}"
    )
    plain = read(tmp_path, nested(wanted, group[wanted]))
    assert found == plain  # as if the file had said that alone


def test_a_constant_rate_has_no_warm_up_and_a_score_its_own_direction(tmp_path):
    found = read(tmp_path, {"train": {"warmup_steps": 5}}, "train.schedule=constant")
    assert (found["train"]["schedule"], found["train"]["warmup_steps"]) == ("constant", 0)
    kept = read(tmp_path, {"train": {"warmup_steps": 5}}, "train.schedule=cosine")
    assert kept["train"]["warmup_steps"] == 5
    values = {"checkpoint": {"monitor": "eval_loss", "mode": "min"}, "evaluate": {"metrics": True}}
    assert read(tmp_path, values, "checkpoint.monitor=bleu")["checkpoint"]["mode"] == "max"


def test_what_is_switched_off_replaces_nothing(tmp_path):
    found = read(tmp_path, {"train": {"epochs": 3}}, "train.max_steps=null")
    assert found["train"]["epochs"] == 3
    found = read(tmp_path, {"model": {"freeze": ["norms"]}}, "model.lora=null")
    assert found["model"]["freeze"] == ("norms",)


def test_both_that_are_set_collide_still(tmp_path):
    with pytest.raises(ConfigError, match="give epochs or max_steps, not both"):
        read(tmp_path, {}, "train.max_steps=2", "train.epochs=3")
    with pytest.raises(ConfigError, match=r"give model.lora or model.freeze"):
        read(tmp_path, {"model": {"lora": {"rank": 2}, "freeze": ["norms"]}})


def test_a_training_file_with_the_other_names_is_changed_as_well(tmp_path):
    values = {"data": {"data_dir": "faq"}, "trainer": {"params": {"max_epochs": 3, "val_check_interval": 4}}}
    found = read(tmp_path, values, "train.max_steps=2", "evaluate.every_steps=1")
    assert (found["train"]["epochs"], found["train"]["max_steps"]) == (None, 2)
    assert (found["evaluate"]["every_batches"], found["evaluate"]["every_steps"]) == (0, 1)
