"""GGUF files, read back with the package that writes them: tensors, tokenizer, template and ends."""

import copy
import json

import numpy as np
import pytest
import torch
from gguf import GGUFReader, quants
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, Sequence, Split
from typer.testing import CliRunner

from ftlib import cli
from ftlib.errors import ExportError, MissingExtraError
from ftlib.export import gguf_file
from ftlib.export.gguf_adapter import export_adapter
from ftlib.export.gguf_families import FAMILIES
from ftlib.export.gguf_file import export_gguf
from ftlib.export.gguf_vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED, vocabulary
from ftlib.models.chat_model import load_chat_model
from ftlib.models.loading import load_model, quiet_peft, save_model
from ftlib.models.trainable import add_lora
from ftlib.text.chat_template import to_jinja
from ftlib.text.templates import GUANACO, QUESTION_ANSWER
from tests.export.test_export import add_noise
from tests.families import tiny_causal

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny(family, tokenizer, **more):
    # Unscaled, for a head that is scaled would have its embeddings scaled with it where they are tied.
    return tiny_causal(family, head_scale=1.0, **{"vocab_size": len(tokenizer), **more})


def saved(model, tokenizer, folder):
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return save_model(model, tokenizer, folder)


def read(path):
    """Return the fields and the tensors of a file, as they stand in it."""
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: tensor for tensor in reader.tensors}


def numbers(tensor):
    return quants.dequantize(tensor.data, tensor.tensor_type)


@pytest.fixture
def llama(tmp_path, tiny_tokenizer):
    model = tiny("llama", tiny_tokenizer, tie_word_embeddings=True, attention_bias=True)
    return saved(model, tiny_tokenizer, tmp_path / "llama")


@pytest.fixture
def neox(tmp_path, tiny_model, tiny_tokenizer):
    return saved(tiny_model, tiny_tokenizer, tmp_path / "neox")


def test_sizes_of_a_llama(llama, tmp_path):
    fields, tensors = read(export_gguf(str(llama), tmp_path / "x.gguf"))
    told = {name: fields[f"llama.{name}"] for name in ("context_length", "embedding_length", "block_count")}
    assert told == {"context_length": 64, "embedding_length": 32, "block_count": 2}
    assert fields["llama.attention.head_count"] == 4
    assert fields["llama.attention.head_count_kv"] == 2
    assert fields["llama.attention.key_length"] == fields["llama.rope.dimension_count"] == 8
    assert fields["general.architecture"] == "llama"
    assert fields["general.name"] == "llama"
    assert "output.weight" not in tensors  # the embeddings serve for it


def rotated_as_pairs(rows, heads):
    """Take the rows of a head in the order in which llama.cpp turns them: 0, half, 1, half + 1, ..."""
    size = len(rows) // heads
    order = [
        head * size + row + half * size // 2 for head in range(heads) for row in range(size // 2) for half in (0, 1)
    ]
    return rows[order]


def test_queries_and_keys_of_a_llama_stand_in_pairs(llama, tmp_path):
    _, tensors = read(export_gguf(str(llama), tmp_path / "x.gguf"))
    weights = {name: weight.detach().numpy() for name, weight in load_model(llama)[0].named_parameters()}
    for ours, theirs, heads in (("q_proj", "attn_q", 4), ("k_proj", "attn_k", 2)):
        for kind in ("weight", "bias"):
            expected = rotated_as_pairs(weights[f"model.layers.1.self_attn.{ours}.{kind}"], heads)
            np.testing.assert_allclose(numbers(tensors[f"blk.1.{theirs}.{kind}"]), expected, atol=1e-3)
    others = {"self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.down_proj": "ffn_down"}
    for ours, theirs in others.items():
        expected = weights[f"model.layers.0.{ours}.weight"]
        np.testing.assert_allclose(numbers(tensors[f"blk.0.{theirs}.weight"]), expected, atol=1e-3)
    np.testing.assert_allclose(numbers(tensors["token_embd.weight"]), weights["model.embed_tokens.weight"], atol=1e-3)


def test_fused_queries_keys_and_values_come_apart(neox, tmp_path):
    fields, tensors = read(export_gguf(str(neox), tmp_path / "x.gguf"))
    weights = {name: weight.detach().numpy() for name, weight in load_model(neox)[0].named_parameters()}
    heads, size = 2, 16
    for kind in ("weight", "bias"):
        fused = weights[f"gpt_neox.layers.1.attention.query_key_value.{kind}"]
        found = numbers(tensors[f"blk.1.attn_qkv.{kind}"])
        for part in range(3):
            for head in range(heads):
                theirs = found[part * heads * size + head * size :][:size]
                ours = fused[head * 3 * size + part * size :][:size]
                np.testing.assert_allclose(theirs, ours, atol=1e-3)
    assert fields["gptneox.use_parallel_residual"] is True
    assert fields["gptneox.rope.dimension_count"] == 4
    np.testing.assert_allclose(numbers(tensors["output.weight"]), weights["lm_head.weight"], atol=1e-3)


def test_a_tied_output_layer_is_written_where_it_must_be(tmp_path, tiny_tokenizer):
    model = tiny("gpt_neox", tiny_tokenizer, tie_word_embeddings=True)
    _, tensors = read(export_gguf(str(saved(model, tiny_tokenizer, tmp_path / "tied")), tmp_path / "x.gguf"))
    assert np.array_equal(tensors["output.weight"].data, tensors["token_embd.weight"].data)


@pytest.mark.parametrize(("quantization", "steps"), [("f16", 2**10), ("q8_0", 127), ("q4_0", 8)])
def test_a_number_is_off_by_half_a_step_at_most(llama, tmp_path, quantization, steps):
    fields, tensors = read(export_gguf(str(llama), tmp_path / "x.gguf", quantization=quantization))
    expected = load_model(llama)[0].get_submodule("model.layers.0.mlp.gate_proj").weight.detach().numpy()
    found = tensors["blk.0.ffn_gate.weight"]
    assert found.tensor_type.name == quantization.upper()
    rows = np.abs(expected.reshape(-1, 32))
    step = (rows if quantization == "f16" else rows.max(-1, keepdims=True)) / steps
    # A scale has 16 bits itself, which 127 steps away is a sixteenth of one. And of its 16 steps, q4_0 has one more
    # below zero than above: the last number may be off by a whole one.
    allowed = {"f16": 0.5, "q8_0": 0.57, "q4_0": 1.01}[quantization]
    assert (np.abs(numbers(found) - expected).reshape(-1, 32) <= allowed * step + 1e-7).all()
    assert {one.tensor_type.name for name, one in tensors.items() if "norm" in name or "bias" in name} == {"F32"}
    embeddings = {"f16": "F16", "q8_0": "Q8_0", "q4_0": "Q8_0"}[quantization]
    assert tensors["token_embd.weight"].tensor_type.name == embeddings
    # Its rows have 48 numbers, which is no multiple of 32.
    assert tensors["blk.0.ffn_down.weight"].tensor_type.name == "F16"
    assert fields["general.file_type"] == {"f16": 1, "q8_0": 7, "q4_0": 2}[quantization]


def test_nano_with_its_tokenizer_template_and_end(tmp_path):
    model = load_chat_model("nano", device="cpu")
    fields, _ = read(export_gguf("nano", tmp_path / "x.gguf"))
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens == model.tokenizer.convert_ids_to_tokens(range(4096))
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert fields["tokenizer.ggml.token_type"][:3] == [CONTROL, CONTROL, NORMAL]
    assert fields["tokenizer.chat_template"] == to_jinja(QUESTION_ANSWER, model.tokenizer)
    ends = [fields[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "bos", "padding")]
    assert [tokens[end] for end in ends] == ["<|endoftext|>"] * 3 + ["<|padding|>"]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    merges = json.loads(model.tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    assert fields["tokenizer.ggml.merges"] == [
        " ".join(merge) if isinstance(merge, list) else merge for merge in merges
    ]


def test_a_turn_that_ends_otherwise_than_a_text_is_told(tmp_path, tiny_model, tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    tiny_model.resize_token_embeddings(len(tokenizer) + 3)  # rows that stand for nothing, as many models have them
    tiny_model.generation_config.eos_token_id = [tokenizer.eos_token_id, 7]
    tiny_model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    fields, _ = read(export_gguf(str(tmp_path / "base"), tmp_path / "x.gguf"))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    named = {name: fields[f"tokenizer.ggml.{name}_token_id"] for name in ("eos", "eot", "eom")}
    assert named == {"eos": tokenizer.eos_token_id, "eot": end, "eom": 7}
    assert fields["tokenizer.ggml.token_type"][-5:] == [CONTROL] * 2 + [UNUSED] * 3
    assert fields["tokenizer.ggml.tokens"][-1] == f"[PAD{len(tokenizer) + 2}]"
    tiny_model.generation_config.eos_token_id = [5, 6, 7]
    tiny_model.generation_config.save_pretrained(tmp_path / "base")
    with pytest.raises(ExportError, match="a GGUF file names three ends"):
        export_gguf(str(tmp_path / "base"), tmp_path / "y.gguf")
    assert not (tmp_path / "y.gguf").exists()


def test_a_tokenizer_without_an_end_is_refused(tmp_path, neox):
    """llama.cpp would take token 11 for it."""
    told = json.loads((neox / "tokenizer_config.json").read_text(encoding="utf-8"))
    told.pop("eos_token")
    (neox / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    (neox / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(ExportError, match="names a token that ends a text"):
        export_gguf(str(neox), tmp_path / "x.gguf")


WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "gpt-2": ByteLevel(add_prefix_space=False),
    "smollm": Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]),
    "qwen2": Sequence([Split(Regex(WORDS), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]),
    "llama-bpe": Sequence(
        [
            Split(Regex(WORDS.replace(r"\p{N}| ?", r"\p{N}{1,3}| ?")), "isolated"),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


@pytest.mark.parametrize("pre", SPLITS)
def test_kinds_of_tokenizers(tiny_tokenizer, pre):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = SPLITS[pre]
    if pre == "llama-bpe":
        tokenizer.backend_tokenizer.model.ignore_merges = True
    tokenizer.add_tokens(["   "])
    found = vocabulary(tokenizer, len(tokenizer))
    assert (found.pre, found.begins) == (pre, False)
    assert (found.tokens[-1], found.kinds[-1]) == ("   ", USER_DEFINED)
    tokenizer.backend_tokenizer.model.ignore_merges = pre != "llama-bpe"
    with pytest.raises(ExportError, match=f"{pre} with ignore_merges"):
        vocabulary(tokenizer, len(tokenizer))


@pytest.mark.parametrize("other", [Metaspace(), ByteLevel(add_prefix_space=True), Split(Regex(r"\s+"), "removed")])
def test_another_kind_of_tokenizer_is_refused(tiny_tokenizer, other):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.pre_tokenizer = other
    with pytest.raises(ExportError, match="splits as gpt-2, smollm, llama-bpe, qwen2 do: take --to merged"):
        vocabulary(tokenizer, len(tokenizer))


@pytest.mark.parametrize("family", ["gpt2", "olmo2", "mamba"])
def test_other_families_are_refused_with_those_that_can_be_written(tmp_path, tiny_tokenizer, family):
    folder = saved(tiny(family, tiny_tokenizer), tiny_tokenizer, tmp_path / "model")
    with pytest.raises(ExportError, match=f"{family}.*only those of {', '.join(FAMILIES)}"):
        export_gguf(str(folder), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("kind", ["linear", "llama3"])
def test_scaled_positions_of_a_llama_are_kept(tmp_path, tiny_tokenizer, kind):
    more = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    rope = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0} | (more if kind == "llama3" else {})
    model = tiny("llama", tiny_tokenizer, rope_parameters=rope)
    _, tensors = read(export_gguf(str(saved(model, tiny_tokenizer, tmp_path / "model")), tmp_path / "x.gguf"))
    found = numbers(tensors["rope_freqs.weight"])
    plain = 1 / 10000 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(found, plain / model.model.rotary_emb.inv_freq.numpy(), rtol=1e-5)
    assert found.max() == pytest.approx(4)


def test_what_llama_cpp_computes_otherwise_is_refused(tmp_path, tiny_tokenizer):
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    cases = {
        "hidden_act is 'gelu'": tiny("llama", tiny_tokenizer, hidden_act="gelu"),
        "attention_bias is false": tiny("gpt_neox", tiny_tokenizer, attention_bias=False),
        "rotary positions of the type 'dynamic'": tiny("llama", tiny_tokenizer, rope_parameters=dynamic),
    }
    for number, (message, model) in enumerate(cases.items()):
        folder = saved(model, tiny_tokenizer, tmp_path / f"model{number}")
        with pytest.raises(ExportError, match=message):
            export_gguf(str(folder), tmp_path / "x.gguf")


def adapted(base, folder, **options):
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load_model(base, device="cpu")
    options = {"target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"], "task_type": "CAUSAL_LM"} | options
    with quiet_peft():
        tuned = get_peft_model(model, LoraConfig(**options))
    return save_model(add_noise(tuned), tokenizer, folder)


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 6},
        {"r": 4, "lora_alpha": 6, "use_rslora": True},
        {"r": 4, "alpha_pattern": {"q_proj": 3}},
    ],
    ids=["lora", "rslora", "a pattern"],
)
def test_an_adapter_adds_what_merging_adds(llama, tmp_path, options):
    folder = adapted(llama, tmp_path / "adapter", **options)
    fields, pairs = read(export_adapter(str(folder), tmp_path / "a.gguf"))
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    _, base = read(export_gguf(str(llama), tmp_path / "base.gguf"))
    _, merged = read(export_gguf(str(folder), tmp_path / "merged.gguf"))
    names = {name.removesuffix(".lora_a") for name in pairs if name.endswith(".lora_a")}
    assert len(names) == 2 * 4
    for name in names:
        a, b = (numbers(pairs[f"{name}.lora_{one}"]) for one in "ab")
        added = fields["adapter.lora.alpha"] / len(a) * b @ a  # what llama.cpp computes
        np.testing.assert_allclose(numbers(base[name]) + added, numbers(merged[name]), atol=2e-3)
        assert np.abs(added).max() > 0.01
    if options.get("use_rslora"):
        assert fields["adapter.lora.alpha"] == pytest.approx(6 * 4**0.5)


def test_an_adapter_of_a_gpt_neox(neox, tmp_path):
    model, tokenizer = load_model(neox, device="cpu")
    folder = save_model(add_noise(add_lora(model, rank=2, targets="blocks")), tokenizer, tmp_path / "adapter")
    fields, pairs = read(export_adapter(str(folder), tmp_path / "a.gguf"))
    _, base = read(export_gguf(str(neox), tmp_path / "base.gguf"))
    _, merged = read(export_gguf(str(folder), tmp_path / "merged.gguf"))
    for name in ("blk.0.attn_qkv.weight", "blk.1.ffn_up.weight"):
        a, b = (numbers(pairs[f"{name}.lora_{one}"]) for one in "ab")
        added = fields["adapter.lora.alpha"] / 2 * b @ a
        np.testing.assert_allclose(numbers(base[name]) + added, numbers(merged[name]), atol=2e-3)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"use_dora": True}, "uses DoRA"),
        ({"bias": "lora_only"}, "trains biases"),
        ({"modules_to_save": ["norm"]}, "changes embeddings or whole modules"),
    ],
)
def test_more_than_pairs_of_matrices_is_refused(llama, tmp_path, options, why):
    folder = adapted(llama, tmp_path / "adapter", **options)
    with pytest.raises(ExportError, match=f"{why}.*leave --adapter-only out"):
        export_adapter(str(folder), tmp_path / "a.gguf")


def test_an_adapter_with_a_template_of_its_own_is_refused(neox, tmp_path):
    """Its file would carry none: the base model's would be put around the questions."""
    model, tokenizer = load_model(neox, device="cpu")
    tokenizer.chat_template = to_jinja(GUANACO, tokenizer)
    folder = save_model(add_lora(model, rank=2), tokenizer, tmp_path / "adapter")
    with pytest.raises(ExportError, match="trained in another template than"):
        export_adapter(str(folder), tmp_path / "a.gguf")
    fields, _ = read(export_gguf(str(folder), tmp_path / "whole.gguf"))
    assert "### Human" in fields["tokenizer.chat_template"]


def test_a_whole_model_is_no_adapter(tmp_path):
    with pytest.raises(ExportError, match="nano: holds no adapter: leave --adapter-only out"):
        export_adapter("nano", tmp_path / "a.gguf")


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(gguf_file.importlib.sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ftlib\[export\]'$"):
        export_gguf("nano", tmp_path / "x.gguf")


def command(*arguments):
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def test_the_command(neox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = json.loads(command(neox, "--to", "gguf", "--json").stdout)
    assert told["path"] == "neox-f16.gguf"
    assert told["bytes"] == {"neox-f16.gguf": (tmp_path / "neox-f16.gguf").stat().st_size}
    assert command(neox, "--to", "gguf", "--quantization", "q8_0", "--out", "small.gguf").exit_code == 0
    assert (tmp_path / "small.gguf").stat().st_size < told["bytes"]["neox-f16.gguf"]
    assert "did you mean 'q8_0'?" in str(command(neox, "--to", "gguf", "--quantization", "q8").exception)
    model, tokenizer = load_model(neox, device="cpu")
    save_model(add_lora(model, rank=2), tokenizer, tmp_path / "tuned")
    assert "tuned-lora.gguf is written" in command("tuned", "--to", "gguf", "--adapter-only").stdout


@pytest.mark.parametrize(
    "arguments",
    [["merged", "--quantization", "q8_0"], ["merged", "--adapter-only"], ["gguf", "--dtype", "bfloat16"]],
)
def test_an_option_of_another_format_is_wrong_usage(arguments):
    done = command("nano", "--to", *arguments)
    assert done.exit_code == 2
    assert f"{arguments[1]} goes with --to " in done.stderr


def test_a_model_that_was_trained_on_is_what_is_written(llama, tmp_path):
    """The file holds the adapter's sum, not the base model."""
    folder = adapted(llama, tmp_path / "adapter", r=4)
    _, merged = read(export_gguf(str(folder), tmp_path / "merged.gguf"))
    expected = load_chat_model(str(folder), device="cpu").model.get_parameter("model.layers.0.mlp.down_proj.weight")
    assert torch.allclose(torch.tensor(numbers(merged["blk.0.ffn_down.weight"])), expected, atol=2e-3)
