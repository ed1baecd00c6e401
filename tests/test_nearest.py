"""A mistyped name is answered with the one that was probably meant, wherever it is typed."""

import json
from pathlib import Path

import pytest

from ftlib.data.reading import load_conversations
from ftlib.data.sources import dataset_path
from ftlib.data.writing import save_conversations
from ftlib.errors import ConfigError, FtlibError, ModelError
from ftlib.estimate.cards import gpu
from ftlib.estimate.estimation import estimate
from ftlib.hosted import ask
from ftlib.models.loading import load_model, save_model
from ftlib.models.trainable import add_lora, freeze
from ftlib.text.templates import get_template
from ftlib.training.config import FinetuneConfig
from ftlib.training.optimizers import make_optimizer, schedule
from ftlib.training.sft_yaml import from_sft_yaml


def set_to(change):
    return FinetuneConfig.from_yaml("faq", changes=[change])


MISTYPED = {
    "a model": (lambda model: load_model("nanno"), "nano"),
    "a model of the Hub": (lambda model: load_model("EleutherAI/pytia-70m"), "EleutherAI/pythia-70m"),
    "a type": (lambda model: load_model("nano", dtype="bflaot16"), "bfloat16"),
    "an architecture": (lambda model: estimate("EleutherAI/pythia-7m"), "EleutherAI/pythia-70m"),
    "a configuration": (lambda model: FinetuneConfig.from_yaml("faqq"), "faq"),
    "a configuration in capitals": (lambda model: FinetuneConfig.from_yaml("LoRA_chat"), "lora_chat"),
    "a data set": (lambda model: load_conversations("faqq"), "faq"),
    "a split": (lambda model: dataset_path("faq", split="tets"), "test"),
    "a template": (lambda model: get_template("ChatLM"), "chatml"),
    "a format": (lambda model: load_conversations("faq", format="sharegtp"), "sharegpt"),
    "a format to write": (lambda model: save_conversations([], "x.jsonl", format="opena"), "openai"),
    "a provider": (lambda model: ask("opnai", ["Why?"]), "openai"),
    "an optimizer": (lambda model: make_optimizer(model, "adam", learning_rate=1.0), "adamw"),
    "a schedule": (lambda model: schedule(1, 0, 2, "linaer"), "linear"),
    "a precision": (lambda model: estimate(model.config, precision="bfloat"), "bfloat16"),
    "a card": (lambda model: gpu("L40"), "L40S"),
    "a part": (lambda model: freeze(model, ["norm"]), "norms"),
    "a matrix": (lambda model: add_lora(model, rank=1, targets=["querykey_value"]), "query_key_value"),
    "a section": (lambda model: set_to("trian.max_steps=2"), "train"),
    "a key": (lambda model: set_to("train.lerning_rate=2"), "learning_rate"),
    "a key without its section": (lambda model: set_to("max_step=2"), "train.max_steps"),
    "an engine": (lambda model: set_to("engine=lighting"), "lightning"),
    "a score": (lambda model: set_to("checkpoint.monitor=rougel"), "rouge_l"),
    "a part of a configuration": (lambda model: set_to("model.freeze=[norm]"), "norms"),
    "an optimizer of a configuration": (lambda model: set_to("train.optimizer=Adam"), "adamw"),
    "a key of the other file": (lambda model: from_sft_yaml({"data": {"data_dri": "faq"}}), "data_dir"),
    "a value of the other file": (
        lambda model: from_sft_yaml({"data": {"data_dir": "faq"}, "trainer": {"params": {"precision": "b16"}}}),
        "bf16",
    ),
}


@pytest.mark.parametrize(("mistyped", "meant"), MISTYPED.values(), ids=MISTYPED)
def test_every_name_has_a_did_you_mean(mistyped, meant, tiny_model):
    with pytest.raises(FtlibError) as error:
        mistyped(tiny_model)
    assert f"did you mean '{meant}'?" in str(error.value).replace("Did", "did")
    assert "\n" not in str(error.value)


@pytest.fixture
def here(tmp_path, monkeypatch, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "runs" / "faq")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"question": "Why?", "answer": "So."}) + "\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text("train: {max_steps: 1}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["runs/faqq", "./runs/faqq", "rnus/faq", "faqq", "runs/faq_"])
def test_a_mistyped_folder_is_a_folder_and_nothing_of_the_hub(here, name):
    with pytest.raises(ModelError, match=r"Did you mean '(\./)?runs/faq'\?") as error:
        load_model(name)
    assert name.startswith("rnus") or "Hub can't" not in str(error.value)
    assert name.count("/") != 1 or name.startswith("rnus") or "no such folder" in str(error.value)


def test_a_folder_without_anything_like_it_is_no_folder_all_the_same(here):
    with pytest.raises(ModelError, match=r"^runs/another: no such folder, nor a model of that name\. Give 'nano'"):
        load_model("runs/another")


def test_what_the_hub_has_is_asked_for_beside_a_folder_of_its_owner(here, monkeypatch):
    Path("runs").rename("owner")
    with pytest.raises(ModelError, match="no such folder"):
        load_model("owner/model")
    monkeypatch.setattr("ftlib.models.names.try_to_load_from_cache", lambda *_: "a file")
    with pytest.raises(ModelError, match="not in the local cache"):
        load_model("owner/model")


def test_a_run_that_is_not_there_is_said_to_need_its_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="ftlib train mine --out runs/mine"):
        load_model("runs/mine")


def test_files_that_lie_beside_are_named(here):
    with pytest.raises(FtlibError, match=r"Did you mean 'rows\.jsonl'\?"):
        load_conversations("row.jsonl")
    with pytest.raises(ConfigError, match=r"Did you mean 'mine\.yaml'\?"):
        FinetuneConfig.from_yaml("mien.yaml")
