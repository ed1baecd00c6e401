"""What is set on the command line wins over what it stands instead of in the file."""

import itertools
import json
import math

import pytest
import yaml

from ftlib.errors import ConfigError
from ftlib.training.config import FinetuneConfig, read_yaml
from ftlib.training.sft_yaml import read_config

# One value for each of the keys that can't stand beside each other.
GROUPS = [
    {"train.epochs": 3.0, "train.max_steps": 2},
    {"train.warmup_steps": 4, "train.warmup_share": 0.1},
    {"evaluate.every_steps": 5, "evaluate.every_batches": 6, "evaluate.every_epochs": 0.5},
    {"checkpoint.every_steps": 5, "checkpoint.every_epochs": 1.0},
    {"model.lora.rank": 4, "model.freeze": ["norms"]},
    {"model.lora.rank": 4, "model.keep_layers": [0]},
    {"model.lora.rank": 4, "model.freeze_patterns": ["*.bias"]},
    {"data.template": "chatml", "data.custom_template": {"before_user": "Q: ", "before_assistant": " A:"}},
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
    return read_config(path, changes=changes).model_dump()


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


def test_the_first_editions_name_of_a_template_of_ones_own_still_holds(tmp_path):
    own, other = {"before_user": "Q: ", "before_assistant": " A:"}, {"before_user": "> ", "before_assistant": "\n"}
    plain = read(tmp_path, {"data": {"custom_template": own}})
    assert read(tmp_path, {"data": {"frame": own}}) == plain
    assert read(tmp_path, {"data": {"frame": other}}, f"data.custom_template={json.dumps(own)}") == plain
    assert read(tmp_path, {"data": {"custom_template": other}}, f"data.frame={json.dumps(own)}") == plain
    assert read(tmp_path, {"data": {"template": "chatml"}}, f"data.frame={json.dumps(own)}") == plain
    config = FinetuneConfig.from_dict({"data": {"frame": own}})
    with pytest.warns(DeprecationWarning, match=r"data\.frame is data\.custom_template since the second edition"):
        assert config.data.frame is config.data.custom_template
    with pytest.raises(ConfigError, match=r"unknown key 'data\.frame'"):
        read(tmp_path, {"data": {"frame": own, "custom_template": own}})
    message = r"unknown key 'data\.custom_template\.before_usr'; did you mean 'before_user'"
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, {"data": {"frame": {"before_usr": "Q: ", "before_assistant": ""}}})


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


NO_YAML = [
    "[" * 20_000,
    "9" * 5_000,
    "2020-13-45",
    "\x1b[2J",
    "\ud83d",
    "!!python/object/apply:os.system [x]",
    "{a: 1, a: 2}",
    "'open",
    "&a [*b]",
]


@pytest.mark.parametrize("text", NO_YAML, ids=ascii)
def test_a_value_that_is_no_yaml_is_named_with_its_key(text):
    with pytest.raises(ConfigError, match=r"--set tracking\.api_key: the value is not YAML") as caught:
        FinetuneConfig.from_yaml("faq", changes=[f"tracking.api_key={text}"])
    str(caught.value).encode()


@pytest.mark.parametrize("text", [text for text in NO_YAML if text != "\ud83d"], ids=ascii)
def test_a_file_that_is_no_yaml_is_named(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(f"train: {{epochs: {text}}}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.yaml: not YAML"):
        FinetuneConfig.from_yaml(path)


def test_a_key_that_stands_twice_in_a_file_is_no_key_too_many_to_lose(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("train: {epochs: 1}\nmodel: {name: nano}\ntrain: {batch_size: 2}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 3, column 1: the key 'train' stands twice: keep one"):
        FinetuneConfig.from_yaml(path)
    path.write_text("x: &x {epochs: 1}\ntrain: {<<: *x, epochs: 2}\n", encoding="utf-8")
    assert read_yaml(path)["train"] == {"epochs": 2}


@pytest.mark.parametrize(
    "key", ["learning_rate", "epochs", "weight_decay", "betas=[0.9, %s]", "seed", "warmup_share", "max_gradient_norm"]
)
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400"])
def test_a_number_that_ends_nowhere_is_refused(key, value):
    change = f"train.{key % value if '%' in key else f'{key}={value}'}"
    if key == "max_gradient_norm" and value in (".inf", "1e400"):
        assert FinetuneConfig.from_yaml("faq", changes=[change]).train.max_gradient_norm == math.inf
        return
    with pytest.raises(ConfigError, match=rf"faq: train\.{key.partition('=')[0]}"):
        FinetuneConfig.from_yaml("faq", changes=[change])


@pytest.mark.parametrize(
    ("key", "meant"), [("train.engine", "engine"), ("epochs", "train.epochs"), ("trian.epochs", "train")]
)
def test_a_key_in_the_wrong_section_is_told_where_it_stands(key, meant):
    with pytest.raises(ConfigError, match=f"unknown key '{key.partition('.epochs')[0]}'; did you mean '{meant}'"):
        FinetuneConfig.from_yaml("faq", changes=[f"{key}=1"])


@pytest.mark.parametrize("text", ["", "# all of it is commented out\n", "---\n"])
def test_a_file_that_says_nothing_is_not_taken_for_the_defaults(tmp_path, text):
    path = tmp_path / "empty.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"empty\.yaml: expected sections such as 'train:', found nothing"):
        FinetuneConfig.from_yaml(path)
    path.write_text("{}", encoding="utf-8")
    assert FinetuneConfig.from_yaml(path) == FinetuneConfig()


@pytest.mark.parametrize("section", ["model", "model.lora", "train"])
@pytest.mark.parametrize("value", ["nano", 5, [1]])
def test_a_value_in_the_place_of_a_section_is_told(section, value):
    outer, _, inner = section.partition(".")
    values = {outer: {inner: value} if inner else value}
    with pytest.raises(ConfigError, match=rf"{section}: is a section: keys such as '\w+:' stand below it"):
        FinetuneConfig.from_dict(values)
