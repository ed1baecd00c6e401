import copy
import json

import pytest
import torch

from ftlib.errors import ModelError
from ftlib.model_names import MODEL_VARIABLE, resolve_name
from ftlib.models import NO_LIMIT, context_length, load_model, load_tokenizer, save_model
from ftlib.parts import add_lora
from ftlib.places import nano_folder
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
    with pytest.raises(ModelError, match=r"'EleutherAI/pythia-70m' is not in the local cache.*HF_HUB_OFFLINE"):
        load_model("EleutherAI/pythia-70m")


def test_a_tokenizer_without_padding_gets_one(saved):
    config = json.loads((saved / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("pad_token")
    (saved / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load_tokenizer(saved).pad_token == "<|padding|>"


@pytest.mark.parametrize("family", ["bloom", "mamba", "mamba2", "falcon_mamba", "recurrent_gemma"])
def test_positions_without_a_table_have_no_limit(family):
    assert context_length(tiny_causal(family)) == NO_LIMIT


def test_a_context_is_found_under_every_name():
    assert {context_length(tiny_causal(family)) for family in ("gpt2", "llama", "ctrl", "gptj")} == {64}
    assert context_length(tiny_causal("mpt")) == 64
    assert context_length(tiny_causal("bloom", seq_length=128)) == 128


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
