"""``ftlib export``: what another program finds in the folder or file is what was trained."""

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from ftlib import cli
from ftlib.cli.completion import EXPORTS
from ftlib.data.messages import assistant, user
from ftlib.errors import ExportError, MissingExtraError, ModelError
from ftlib.export import targets
from ftlib.export.merged import export_merged
from ftlib.models.chat_model import load_chat_model, training_template
from ftlib.models.loading import quiet_peft, save_model
from ftlib.models.tokenizer import load_tokenizer
from ftlib.models.trainable import add_lora
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train

TURNS = [user("Why?"), assistant("So."), user("And then?")]


def add_noise(model):
    """Fill the second matrices of an adapter, which begin with zeros and change nothing."""
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture
def base(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base, tmp_path):
    model = load_chat_model(str(base), device="cpu")
    adapted = add_noise(add_lora(model.model, rank=4, targets="blocks"))
    return save_model(adapted, model.tokenizer, tmp_path / "adapter")


@pytest.fixture
def run(base, tmp_path):
    """Train two steps with LoRA, in a template that the base model's tokenizer says nothing of."""
    row = {"question": "Name them.", "answer": "Two."}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 8, encoding="utf-8")
    values = {
        "model": {"name": str(base), "lora": {"rank": 2}},
        "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0, "template": "guanaco"},
        "train": {"max_steps": 2, "batch_size": 4, "learning_rate": 1e-2},
    }
    return train(FinetuneConfig.from_dict(values), tmp_path / "run")


def read(folder):
    """Load a folder as any other program does, without ftlib."""
    return AutoModelForCausalLM.from_pretrained(folder).float().eval(), AutoTokenizer.from_pretrained(folder)


def logits(model, ids=((5, 6, 7, 8, 9),)):
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)).logits.float()


def same_model(folder, name):
    """See that a folder holds what a name means: weights, template and ends."""
    ours = load_chat_model(str(name), device="cpu")
    theirs, tokenizer = read(folder)
    assert torch.allclose(logits(theirs), logits(ours.model), atol=1e-5)
    shown = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    end = "" if ours.template.end_marker else ours.tokenizer.eos_token
    assert shown.replace(end, "") == "".join(segment.text for segment in ours.template.render_prompt(TURNS))
    assert training_template(load_tokenizer(folder), str(folder)).name == ours.template.name
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert tokenizer.eos_token_id in (ends if isinstance(ends, list) else [ends])
    return theirs


def test_a_run_and_its_checkpoint(run, tmp_path):
    for number, name in enumerate((run.folder, run.last.folder)):
        model = same_model(export_merged(str(name), tmp_path / f"out{number}"), name)
        assert not hasattr(model, "peft_config")


def test_an_adapter(adapter, base, tmp_path):
    model = same_model(export_merged(str(adapter), tmp_path / "out"), adapter)
    assert not torch.allclose(logits(model), logits(read(base)[0]), atol=1e-2)


@pytest.mark.smollm2
def test_smollm2(tmp_path):
    try:
        export_merged("smollm2", tmp_path / "out", dtype="bfloat16")
    except MissingExtraError as error:
        pytest.fail(str(error)) if os.environ.get("FTLIB_NEEDS_SMOLLM2") else pytest.skip(str(error))
    model, tokenizer = read(tmp_path / "out")
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    theirs, chat = logits(model).argmax(-1), load_tokenizer("smollm2")
    assert torch.equal(theirs, logits(load_chat_model("smollm2", device="cpu").model).argmax(-1))
    assert tokenizer.apply_chat_template(TURNS) == chat.apply_chat_template(TURNS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nano(tmp_path, dtype):
    same_model(export_merged("nano", tmp_path / "out", dtype=dtype), "nano")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config.get("dtype", config.get("torch_dtype")) == dtype


def test_the_template_of_a_turn_names_the_end(tiny_model, tiny_tokenizer, tmp_path):
    """The base model's own end is another one: a program that knew only that would never stop."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tiny_model.resize_token_embeddings(len(tokenizer))
    tiny_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = same_model(export_merged(str(tmp_path / "base"), tmp_path / "out"), tmp_path / "base").generation_config
    assert settings.eos_token_id == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]


def test_nothing_is_overwritten(base, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="out: is there already, and nothing is overwritten"):
        export_merged(str(base), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ExportError, match="file is a file, and no folder can be made in it"):
        export_merged(str(base), tmp_path / "file" / "out")


def test_a_run_that_is_not_there_is_refused_with_a_near_name(run, tmp_path):
    with pytest.raises(ModelError, match=r"Did you mean '.*run'\?"):
        export_merged(str(tmp_path / "rnu"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_a_folder_never_stays(base, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportError, match=r"out: can't be written \(No space left on device\)"):
        export_merged(str(base), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_is_whole_or_not_there(tmp_path):
    def stop():
        with targets.new_file(tmp_path / "x.gguf") as partial:
            partial.write_bytes(b"half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        stop()
    assert list(tmp_path.iterdir()) == []
    with targets.new_file(tmp_path / "x.gguf") as partial:
        partial.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


def test_an_adapter_that_cannot_be_merged_is_refused(base, tmp_path):
    from peft import PromptTuningConfig, get_peft_model

    model = load_chat_model(str(base), device="cpu")
    with quiet_peft():
        tuned = get_peft_model(model.model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    tuned.save_pretrained(tmp_path / "prompt")
    model.tokenizer.save_pretrained(tmp_path / "prompt")
    with pytest.raises(ExportError, match=r"adapter \(PROMPT_TUNING\) can't be added into the weights"):
        export_merged(str(tmp_path / "prompt"), tmp_path / "out")


def command(*arguments):
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_the_command_names_what_it_writes(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(base, "--to", "merged", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["format"], told["path"]) == ("merged", "base-merged")
    assert {path: (tmp_path / path).stat().st_size for path in told["bytes"]} == told["bytes"]
    assert str(Path("base-merged") / "model.safetensors") in told["bytes"]
    shown = command(base, "--to", "merged", "--out", "other").stdout
    assert "other is written, " in shown
    assert "model.safetensors" in shown


def test_an_unknown_format_is_wrong_usage():
    done = command("nano", "--to", "mergd")
    assert done.exit_code == 2
    assert f"expected one of {', '.join(EXPORTS)}; did you mean 'merged'?" in done.stderr
