import copy
import json
import shutil

import pytest
import torch

from ftlib.data.reading import load_conversations
from ftlib.data.sources import dataset_path
from ftlib.errors import FtlibError, ModelError
from ftlib.hosted.server import _lay_out
from ftlib.inference.generation import answer, generate
from ftlib.models.loading import (
    NO_CONTEXT_LIMIT,
    _rows_of_adapter,
    check_device,
    context_length,
    default_device,
    load_model,
    load_tokenizer,
    quiet_peft,
    save_model,
)
from ftlib.models.names import MODEL_VARIABLE, resolve_name
from ftlib.models.trainable import add_lora, merge_lora
from ftlib.paths import nano_folder
from ftlib.text.templates import TEMPLATES
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from tests.families import tiny_causal


@pytest.fixture
def saved(tmp_path, tiny_model, tiny_tokenizer):
    tiny_model.save_pretrained(tmp_path / "mine")
    tiny_tokenizer.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_folder_loads_in_evaluation_mode_and_float32(saved, tiny_model):
    model, tokenizer = load_model(saved, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    assert context_length(model) == 64
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for (name, ours), theirs in zip(model.state_dict().items(), tiny_model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_save_model_writes_safetensors_and_overwrites_nothing(tmp_path, tiny_model, tiny_tokenizer):
    folder = save_model(tiny_model, tiny_tokenizer, tmp_path / "runs" / "mine")
    assert (folder / "model.safetensors").is_file()
    assert load_model(folder, device="cpu")[0].num_parameters() == tiny_model.num_parameters()
    with pytest.raises(ModelError, match="holds a model already"):
        save_model(tiny_model, tiny_tokenizer, folder)


def test_dtype_is_what_was_asked_for(saved):
    assert load_model(saved, device="cpu", dtype="bfloat16")[0].dtype == torch.bfloat16


def test_auto_reads_the_environment(saved, monkeypatch):
    monkeypatch.setenv(MODEL_VARIABLE, str(saved))
    assert resolve_name("auto") == str(saved)
    monkeypatch.delenv(MODEL_VARIABLE)
    assert resolve_name("auto") == str(nano_folder())


@pytest.mark.parametrize("name", ["EleutherAI/pythia-70m", "distilgpt2", "microsoft/DialoGPT-medium"])
def test_hub_ids_pass_through(name):
    assert resolve_name(name) == name


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ModelError, match=r"faq\.gguf: a GGUF file is for llama\.cpp.*ftlib serve out/faq\.gguf"):
        load_model("out/faq.gguf")
    with pytest.raises(ModelError, match=r"unknown model 'nanno'.*Did you mean 'nano'\?"):
        load_model("nanno")


@pytest.mark.parametrize("name", ["./runs/none", "/no/such/folder", "a/b/c", " "])
def test_a_missing_folder_is_not_taken_for_a_hub_id(name):
    with pytest.raises(ModelError, match="unknown model"):
        load_model(name)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no model \(no config\.json\)"):
        load_model(tmp_path)


def test_a_folder_with_a_broken_model(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"mine: the folder can't be loaded.*model\.safetensors"):
        load_model(saved)


def test_a_folder_with_pickled_weights_only_is_refused(saved, tiny_model):
    (saved / "model.safetensors").unlink()
    torch.save(tiny_model.state_dict(), saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(saved)


def test_a_hub_id_without_network_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"no such folder: runs/mine\. .*: ftlib train mine --out runs/mine"):
        load_model("runs/mine")
    with pytest.raises(ModelError, match=r"'EleutherAI/pythia-70m' is not in the local cache.*HF_HUB_OFFLINE"):
        load_model("EleutherAI/pythia-70m")


def test_a_tokenizer_without_padding_gets_one(saved):
    config = json.loads((saved / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("pad_token")
    (saved / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_tokenizer(saved).pad_token == "<|padding|>"


@pytest.mark.parametrize("family", ["bloom", "mamba", "mamba2", "falcon_mamba", "recurrent_gemma"])
def test_positions_without_a_table_have_no_limit(family):
    assert context_length(tiny_causal(family)) == NO_CONTEXT_LIMIT


def test_a_context_is_found_under_every_name():
    assert {context_length(tiny_causal(family)) for family in ("gpt2", "llama", "ctrl", "gptj")} == {64}
    assert context_length(tiny_causal("mpt")) == 64
    assert context_length(tiny_causal("bloom", seq_length=128)) == 128


@pytest.mark.parametrize("target", ["file", "file/below"])
def test_a_model_that_cannot_be_saved_is_an_error(tmp_path, tiny_model, tiny_tokenizer, target):
    """transformers itself only logs that the folder is a file, and returns."""
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    with pytest.raises(ModelError, match="is a file, and no folder can be made in it"):
        save_model(tiny_model, tiny_tokenizer, tmp_path / target)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


ADDED = ("<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "gpt2", "gemma"])
@pytest.mark.parametrize("resized", ["before the base was saved", "after it was loaded", "to a multiple of 64"])
def test_an_adapter_on_a_model_with_added_tokens_is_loaded_with_them(tmp_path, tiny_tokenizer, family, resized):
    """Their rows lie in no file of the base model: the adapter brings them."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    model = tiny_causal(family, head_scale=1.0, vocab_size=len(tokenizer))

    def grow(model):
        tokenizer.add_tokens(list(ADDED), special_tokens=True)
        multiple = 64 if resized.endswith("64") else None
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=False)

    if resized.startswith("before"):
        grow(model)
    save_model(model, tokenizer, tmp_path / "base")
    model, _ = load_model(tmp_path / "base")
    if not resized.startswith("before"):
        grow(model)
    adapted = add_lora(model, rank=2).eval()
    ids = torch.tensor([[5, *tokenizer.convert_tokens_to_ids(list(ADDED)), 7]])
    save_model(adapted, tokenizer, tmp_path / "adapter")
    loaded, again = load_model(tmp_path / "adapter")
    assert torch.equal(loaded(input_ids=ids).logits, adapted(input_ids=ids).logits)
    assert again.convert_tokens_to_ids(list(ADDED)) == ids[0, 1:3].tolist()
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert (size > 40_000) == (not resized.startswith("before"))  # an adapter alone stays small


@pytest.fixture
def with_added(tmp_path, tiny_model, tiny_tokenizer):
    """A base model whose adapter brings two tokens more: the adapter's folder, the model, and a text with the two."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    save_model(tiny_model, tokenizer, tmp_path / "base")
    model, _ = load_model(tmp_path / "base")
    tokenizer.add_tokens(list(ADDED), special_tokens=True)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    adapted = add_lora(model, rank=2).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_model(adapted, tokenizer, tmp_path / "adapter")
    return tmp_path / "adapter", adapted, f"{ADDED[0]}user\nWhy?{ADDED[1]}\n"


def scores(model, tokenizer, text):
    return model(**tokenizer(text, return_tensors="pt")).logits


def test_added_tokens_reach_generation_merging_and_the_server(with_added, tmp_path):
    folder, adapted, text = with_added
    model, tokenizer = load_model(folder)
    expected = scores(adapted, tokenizer, text)
    assert generate(model, tokenizer, [text], max_new_tokens=3) == generate(
        adapted, tokenizer, [text], max_new_tokens=3
    )
    assert answer(model, tokenizer, ["Why?"], template=TEMPLATES["chatml"], max_new_tokens=3)
    _lay_out(tmp_path / "served", folder, None, TEMPLATES["chatml"])
    save_model(merge_lora(model), tokenizer, tmp_path / "merged")
    for place in ("served", "merged"):
        loaded, again = load_model(tmp_path / place)
        assert torch.allclose(scores(loaded, again, text), expected, atol=1e-4), place


def test_a_run_goes_on_with_added_tokens(with_added, tmp_path):
    """Begun from such an adapter, saved, and resumed, it has the rows of the new tokens all the way."""
    folder, adapted, text = with_added
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"question": "{i}?", "answer": "So."}}\n' for i in range(4)), encoding="utf-8"
    )
    values = {
        "model": {"name": str(folder), "device": "cpu"},
        "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0, "template": "chatml"},
        "train": {"max_steps": 2, "batch_size": 2},
        "checkpoint": {"every_steps": 1, "keep": 2},
    }
    config = FinetuneConfig.from_dict(values)
    whole = train(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(sorted((tmp_path / "stopped" / "checkpoints").iterdir())[-1])
    resumed = train(config, tmp_path / "stopped", resume=True)
    found = [scores(*load_model(run.folder), text) for run in (whole, resumed)]
    assert torch.equal(*found)
    assert not torch.equal(found[0], scores(adapted, load_model(folder)[1], text))


def test_a_saved_matrix_is_not_taken_for_embeddings(tmp_path, tiny_model, tiny_tokenizer):
    """An adapter of PEFT's may bring whole layers, which have more rows than the vocabulary has tokens."""
    from peft import LoraConfig, get_peft_model

    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    model, _ = load_model(tmp_path / "base")
    wide = torch.nn.Linear(32, 500, bias=False)
    model.gpt_neox.layers[0].mlp.dense_h_to_4h = wide
    config = LoraConfig(r=2, target_modules=["query_key_value"], modules_to_save=["dense_h_to_4h"])
    with quiet_peft():
        get_peft_model(model, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    base, _ = load_model(tmp_path / "base")
    assert _rows_of_adapter(tmp_path / "adapter", base) is None


@pytest.mark.parametrize("device", ["cud", "gpu", "meta", "", "cpu:x", "CPU", "cuda:99", "\0"])
def test_a_device_that_is_not_there_is_named_before_anything_is_loaded(device, monkeypatch):
    monkeypatch.setattr("ftlib.models.loading.load_tokenizer", lambda name: pytest.fail("loading has begun"))
    with pytest.raises(ModelError, match=r"device .*(expected one of cpu, cuda, mps|can't be used here)"):
        load_model("nano", device=device)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, '{"question": "Why?", "answer": "So."}' * 20])
@pytest.mark.parametrize("read", [load_model, load_conversations, dataset_path, FinetuneConfig.from_yaml])
def test_a_text_that_no_file_can_be_called_by_is_refused(read, name):
    with pytest.raises(FtlibError, match=r"too long"):
        read(name)


def test_a_variable_names_the_device_for_all(monkeypatch):
    monkeypatch.setenv("FTLIB_DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device() == check_device(None) == "cpu"
    monkeypatch.setenv("FTLIB_DEVICE", "gpu")
    with pytest.raises(ModelError, match="unknown device 'gpu'"):
        default_device()
    monkeypatch.delenv("FTLIB_DEVICE")
    assert default_device() == "cuda"
