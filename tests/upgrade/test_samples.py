"""Whole programs, with what becomes of them next to them; and programs that were refused, and run."""

import pytest

from ftlib.upgrade import upgrade_source
from tests.course import ROOT
from tests.upgrade.upgrading import NEWEST

SAMPLES = sorted(path for path in (ROOT / "tests/upgrade/old_code").iterdir() if path.suffix in (".py", ".ipynb"))
SAMPLES = [path for path in SAMPLES if path.name != "conftest.py"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_become_what_is_expected(path):
    old = path.read_text(encoding="utf-8")
    upgraded = upgrade_source(old, filename=path.name, versions=NEWEST)
    expected = path.parent / "upgraded" / path.name
    assert upgraded.code == (expected.read_text(encoding="utf-8") if expected.exists() else old)
    assert bool(upgraded.diff) == expected.exists()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_second_run_changes_nothing(path):
    once = upgrade_source(path.read_text(encoding="utf-8"), filename=path.name, versions=NEWEST)
    twice = upgrade_source(once.code, filename=path.name, versions=NEWEST)
    assert twice.code == once.code
    assert not [each for each in twice.findings if each.level == "change"]
    # What a person has to decide is said again.
    open_ones = [(each.rule, each.level) for each in once.findings if each.level == "decide"]
    assert [(each.rule, each.level) for each in twice.findings if each.level == "decide"] == open_ones


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests/upgrade/old_code/upgraded").glob("*.py")), ids=lambda path: path.name
)
def test_upgraded_samples_compile(path):
    compile(path.read_text(encoding="utf-8"), path.name, "exec")


def test_what_is_only_alike_is_not_touched():
    code = (ROOT / "tests/upgrade/old_code/nothing_to_do.py").read_text(encoding="utf-8")
    upgraded = upgrade_source(code)
    assert upgraded.code == code
    assert upgraded.findings == ()


def test_the_librarys_floating_point_ops_counts_what_the_trainer_counts(tiny_model, tmp_path):
    import torch
    from transformers import Trainer, TrainingArguments

    from ftlib.compat.trainer import floating_point_ops

    inputs = {"input_ids": torch.zeros((2, 5), dtype=torch.int64)}
    trainer = Trainer(tiny_model, TrainingArguments(str(tmp_path), report_to="none"))
    assert floating_point_ops(tiny_model, inputs) == trainer.floating_point_ops(inputs) > 0


def test_an_old_training_run_fails_and_its_upgrade_runs(tiny_model, tiny_tokenizer, tmp_path):
    code = """
from transformers import Trainer, TrainingArguments

class Logging(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        self.seen = True
        return super().compute_loss(model, inputs, return_outputs)

    def log(self, logs):
        super().log(logs)

arguments = TrainingArguments(
    output_dir=folder, overwrite_output_dir=True, evaluation_strategy="no", no_cuda=True, max_steps=2,
    warmup_ratio=0.5, group_by_length=True, save_safetensors=True, report_to="none", disable_tqdm=True,
)
trainer = Logging(tiny_model, arguments, None, rows, None, tokenizer, None, None, callbacks)
losses = trainer.train().training_loss
ids = tokenizer.encode_plus("A token")["input_ids"]
"""
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8]}] * 8
    names = {
        "folder": str(tmp_path),
        "rows": rows,
        "tokenizer": tiny_tokenizer,
        "tiny_model": tiny_model,
        "callbacks": [],
    }
    with pytest.raises(TypeError):
        exec(code, dict(names))  # noqa: S102 - our own text
    upgraded = upgrade_source(code)
    assert all(each.fixed for each in upgraded.findings)
    exec(upgraded.code, names)  # noqa: S102
    assert names["trainer"].seen
    assert 0 < names["losses"] < 10
    assert names["ids"]


# TRL's own default sets the argument that transformers deprecates:
# https://github.com/huggingface/trl/blob/main/trl/trainer/base_config.py
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_an_old_sft_run_fails_and_its_upgrade_runs(tiny_model, tiny_tokenizer, tmp_path):
    code = """
from transformers import TrainingArguments
from trl import SFTTrainer

arguments = TrainingArguments(
    output_dir=folder, evaluation_strategy="no", no_cuda=True, max_steps=2, report_to="none", disable_tqdm=True
)
trainer = SFTTrainer(
    model, args=arguments, train_dataset=rows, tokenizer=tokenizer, dataset_text_field="story", max_seq_length=16
)
loss = trainer.train().training_loss
"""
    from datasets import Dataset

    rows = Dataset.from_dict({"story": ["A token is a piece of text. " * 4] * 8})
    names = {"folder": str(tmp_path), "rows": rows, "tokenizer": tiny_tokenizer, "model": tiny_model}
    with pytest.raises(TypeError):
        exec(code, dict(names))  # noqa: S102 - our own text
    upgraded = upgrade_source(code)
    assert all(each.fixed for each in upgraded.findings)
    exec(upgraded.code, names)  # noqa: S102
    assert names["trainer"].args.max_length == 16
    assert names["trainer"].args.learning_rate == 5e-5
    assert 0 < names["loss"] < 10
