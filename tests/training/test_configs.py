"""Every shipped configuration is read, and run for a few steps on nano."""

import json

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from ftlib.data.reading import load_conversations
from ftlib.models.loading import load_model
from ftlib.paths import shipped
from ftlib.text.tokenization import tokenize
from ftlib.training.config import FinetuneConfig, read_yaml
from ftlib.training.run import train
from ftlib.training.run_log import read_metrics, read_scores
from ftlib.training.sft_testing import run_sft_test
from ftlib.training.sft_yaml import read_config

FEW = ("train.epochs=null", "train.max_steps=2", "data.max_rows=24", "evaluate.metrics_rows=2")
CHANGES = {
    "dialogues": ("train.epochs=2", "train.batch_size=4", "data.max_rows=10"),
    "faq": FEW,
    "faq_notes": (*FEW, "model.name=nano", "model.lora.upper_layers=2"),
    "faq_tutorial": ("data.max_rows=16",),
    "help_desk": (*FEW, "model.name=nano", "model.lora.upper_layers=2", "data.max_length=256"),
    "lora_chat": FEW,
    "preferences": (*FEW, "model.name=nano", "model.lora.upper_layers=2", "train.warmup_steps=0"),
    "response_only": FEW,
    "rewards": (
        *FEW,
        "model.name=nano",
        "model.lora.upper_layers=2",
        "data.max_length=256",
        "grpo.max_completion_length=4",
    ),
    "sft_freezing_train": (*FEW, "model.use_cache=true"),
    "support_mail": (*FEW, "model.name=nano", "model.lora.upper_layers=2", "data.max_length=256"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return a function that runs a configuration, once."""
    done = {}

    def run(name):
        if name not in done:
            held_out = () if name == "dialogues" else ("data.validation=null", "data.validation_share=0.25")
            config = read_config(name, changes=[*CHANGES[name], *held_out, "model.device=cpu"])
            done[name] = train(config, tmp_path_factory.mktemp(name) / "run")
        return done[name]

    return run


def test_every_configuration_is_tried_here():
    there = {path.stem for path in shipped("configs").glob("*.yaml")}
    assert there == {*CHANGES, "sft_freezing_test"}


@pytest.mark.parametrize("name", CHANGES)
def test_it_runs(ran, name):
    run = ran(name)
    assert run.best.eval_loss is not None
    assert load_model(run.folder)[0].config.vocab_size == 4096


def test_the_tutorials_three_steps(ran):
    """Its own values: 3 steps of 4 rows, a warm-up that isn't lost, and an evaluation although 120 never comes."""
    run = ran("faq_tutorial")
    assert [step.learning_rate for step in run.history] == pytest.approx([1e-5, 1e-5, 5e-6])
    assert [step.number for step in run.history if step.eval_loss is not None] == [3]
    assert len(list((run.folder / "checkpoints").iterdir())) == 1


def test_dialogues_have_a_checkpoint_and_a_loss_after_every_epoch(ran):
    run = ran("dialogues")
    assert [step.number for step in run.history if step.eval_loss is not None] == [2, 4]
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {"step-00000002", "step-00000004"}


def test_lora_chat_trains_adapters_of_rank_four_only(ran):
    run = ran("lora_chat")
    saved = load_file(run.last.folder / "adapter_model.safetensors")
    assert {tensor.shape[0] for name, tensor in saved.items() if "lora_A" in name} == {4}
    assert all("query_key_value" in name for name in saved)
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["trainable_parameters"] == sum(tensor.numel() for tensor in saved.values())


def test_response_only_measures_more_than_the_loss(ran):
    assert set(read_scores(ran("response_only").folder)[-1]) == {"number", "token_accuracy", "bleu", "rouge_l"}


def test_freezing_trains_what_the_file_leaves_open(ran):
    """Blocks 0 and 3, and the output layer (other); a line of metrics stands for up to 20 steps."""
    run = ran("sft_freezing_train")
    before, after = load_model("nano")[0].state_dict(), load_model(run.last.folder)[0].state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert {name.split(".")[2] for name in changed if ".layers." in name} == {"0", "3"}
    assert {name for name in changed if ".layers." not in name} == {"lm_head.weight"}
    assert [step.number for step in read_metrics(run.folder)] == [2]


def test_the_testing_file_asks_what_the_training_file_trained(ran, tmp_path):
    run = ran("sft_freezing_train")
    values = read_yaml("sft_freezing_test")["test"]
    data = tmp_path / "few.json"
    data.write_text(
        json.dumps({"test": [{"Question": "What is a token?", "Answer": "A piece of text."}] * 3}), encoding="utf-8"
    )
    values["data"]["data_dir"] = str(data)
    values["generate_params"]["max_new_tokens"] = 8
    values["test_params"] |= {"log_file": str(tmp_path / "log.jsonl"), "test_model_path": str(run.folder)}
    values["wandb"] = None
    found = run_sft_test({"test": values})
    assert found.rows == len((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert set(found.scores) == {"bleu", "rouge_l"}


@pytest.mark.parametrize(("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP")])
def test_accelerate_reads_its_configurations(name, kind):
    read = load_config_from_file(str(shipped("configs") / "accelerate" / f"{name}.yaml"))
    assert str(read.distributed_type.value) == kind
    assert read.num_processes == 2
    assert read.fsdp_config.get("fsdp_version") == (2 if name == "fsdp2" else None)


def test_support_mail_trains_adapters_in_the_upper_blocks_on_the_mail_alone(ran):
    """Asked for with nano; the settings are those of the file."""
    config = FinetuneConfig.from_yaml("support_mail")
    assert (config.model.name, config.train.precision) == ("smollm2", "auto")
    saved = load_file(ran("support_mail").last.folder / "adapter_model.safetensors")
    assert {tensor.shape[0] for name, tensor in saved.items() if "lora_A" in name} == {8}
    assert {name.split(".layers.")[1].split(".")[0] for name in saved} == {"2", "3"}


@pytest.mark.smollm2
def test_support_mail_cuts_no_mail():
    """Its length is that of the longest mail, as smollm2 reads it."""
    _, tokenizer = load_model("smollm2", device="cpu")
    config = FinetuneConfig.from_yaml("support_mail")
    for split in ("train", "validation"):
        rows = tokenize(tokenizer, load_conversations("support_mail", split=split), max_length=config.data.max_length)
        assert max(map(len, rows["input_ids"])) <= config.data.max_length  # cut ones would have warned
