import copy
import re
import warnings

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoConfig, GPTNeoXConfig, LlamaConfig

from ftlib.errors import AdapterWarning, ModelError
from ftlib.models.trainable import (
    MODULE_KINDS,
    add_lora,
    blocks,
    count_parameters,
    freeze,
    linear_layers,
    merge_lora,
    module_kind,
)
from tests.families import families, tiny_causal

SMALL = {
    "gpt_neox": GPTNeoXConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    ),
    "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=32),
    "gpt_neo": GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        num_layers=3,
        num_heads=2,
        attention_types=[[["global"], 3]],
        intermediate_size=32,
    ),
    "llama": LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    ),
}
ATTENTION_MATRICES = {"gpt_neox": 2, "gpt2": 2, "gpt_neo": 4, "llama": 4}
ALL_MATRICES = {"gpt_neox": 4, "gpt2": 4, "gpt_neo": 6, "llama": 7}


@pytest.fixture(params=list(SMALL))
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(SMALL[kind]).eval()


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_weight_belongs_to_one_part_and_the_counts_add_up(model):
    counts = count_parameters(model)
    assert counts["all"].total == sum(p.numel() for p in model.parameters())
    assert sum(counts[kind].total for kind in MODULE_KINDS) == counts["all"].total
    for kind in ("embeddings", "norms", "attention", "feed_forward"):
        assert counts[kind].total > 0


def test_counts_by_hand_of_a_llama():
    counts = count_parameters(AutoModelForCausalLM.from_config(SMALL["llama"]))
    assert counts["embeddings"].total == 40 * 16
    assert counts["norms"].total == (2 * 3 + 1) * 16
    assert counts["attention"].total == 3 * 4 * 16 * 16
    assert counts["feed_forward"].total == 3 * 3 * 16 * 32
    assert counts["other"].total == 40 * 16  # the output layer


def test_freezing_a_part_leaves_the_others(model):
    for kind in ("embeddings", "norms", "attention", "feed_forward"):
        freeze(model, [kind])
        names = {name for name, _ in model.named_parameters()}
        assert names - trainable(model) == {name for name in names if module_kind(model, name) == kind}


def test_layers_to_keep_stay_whole(model):
    freeze(model, ["embeddings", "norms", "attention", "feed_forward"], keep_layers=[0, -1])
    prefix, count = blocks(model)
    assert count == 3
    kept = {name for name, _ in model.named_parameters() if name.startswith((f"{prefix}.0.", f"{prefix}.2."))}
    assert kept <= trainable(model)
    assert not any(name.startswith(f"{prefix}.1.") for name in trainable(model))


def test_a_pattern_freezes_and_one_that_matches_nothing_is_an_error(model):
    name = next(name for name, _ in model.named_parameters() if module_kind(model, name) == "attention")
    freeze(model, patterns=[name])
    assert name not in trainable(model)
    with pytest.raises(ModelError, match=r"'transformer\.h\.0\.wrong' matches no parameter; names look like"):
        freeze(model, patterns=["transformer.h.0.wrong"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modules": ["heads"]}, "unknown kind of module 'heads'; expected one of embeddings"),
        ({"modules": ["norms"], "keep_layers": [3]}, "layer 3 doesn't exist: the model has the layers 0 to 2"),
        ({"patterns": ["*"]}, "every weight would be frozen"),
    ],
)
def test_what_can_not_be_frozen_is_an_error_and_changes_nothing(model, arguments, message):
    with pytest.raises(ModelError, match=message):
        freeze(model, **arguments)
    assert len(trainable(model)) == len(list(model.parameters()))


def test_lora_finds_its_matrices_in_every_architecture(kind, model):
    assert len(linear_layers(model)) == 3 * ATTENTION_MATRICES[kind]
    assert len(linear_layers(model, "blocks")) == 3 * ALL_MATRICES[kind]


def test_lora_starts_as_the_model_and_trains_only_its_own(model):
    ids = torch.arange(12).view(2, 6)
    before = model(ids).logits.detach()
    shapes = [model.get_submodule(name).weight.shape for name in linear_layers(model)]
    with_lora = add_lora(copy.deepcopy(model), rank=2)
    assert torch.equal(with_lora(ids).logits, before)
    assert sum(p.numel() for p in with_lora.parameters() if p.requires_grad) == sum(2 * sum(shape) for shape in shapes)


def test_merging_gives_the_same_numbers(model):
    ids = torch.arange(12).view(2, 6)
    with_lora = add_lora(model, rank=2, targets="blocks")
    for name, parameter in with_lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    expected = with_lora.eval()(ids).logits.detach()
    with_lora.merge_adapter()
    with_lora.unmerge_adapter()
    assert torch.allclose(with_lora(ids).logits, expected, atol=1e-5)
    merged = merge_lora(with_lora)
    assert torch.allclose(merged(ids).logits, expected, atol=1e-5)
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_lora_refuses_a_name_that_no_layer_has(model):
    with pytest.raises(ModelError, match="no linear layer is called 'q_lora'; this model has"):
        add_lora(model, rank=2, targets=["q_lora"])
    with pytest.raises(ModelError, match="at least 1"):
        add_lora(model, rank=0)


def _stacked(model):
    return {name: p for name, p in model.named_parameters() if p.ndim == 3 and min(p.shape) > 1}


NO_LORA = {  # PEFT can't adapt Mamba's output; of the last one, blocks are of two kinds
    *("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h", "olmo_hybrid"),
}
SPARSE = {"deepseek_v3": {"first_k_dense_replace": 0, "n_group": 1, "topk_group": 1}}


@pytest.mark.parametrize("family", [*families(), *(f"{name}-sparse" for name in SPARSE)])
def test_lora_on_the_blocks_trains_every_matrix_or_says_which_it_leaves_out(family):
    """What changes the scores when it is moved, of all matrices that have no adapter, is named."""
    name = family.removesuffix("-sparse")
    model = tiny_causal(name, **(SPARSE[name] if name != family else {}))
    if family in NO_LORA:
        with pytest.raises(ModelError, match=r"incompatible with Mamba|no list of transformer blocks"):
            add_lora(model, rank=2, targets="blocks")
        return
    layers, stacks = linear_layers(model, "blocks"), set(_stacked(model))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", AdapterWarning)
        adapted = add_lora(model, rank=2, targets="blocks")
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    named = {pattern for one in said for pattern in re.findall(r"[\w.]+\.\*\.[\w.*]*\w", str(one.message))}
    with_adapter = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in trained}
    for matrix in layers:
        assert matrix in with_adapter or re.sub(r"\.\d+\.", ".*.", matrix) in named
    for stack in stacks:
        module = stack.rsplit(".", 1)[0]
        assert {module, f"{module}.base_layer"} & with_adapter or re.sub(r"\.\d+\.", ".*.", stack) in named
    if family in ("mixtral", "qwen3_moe", "gpt_oss"):
        assert any("experts" in name for name in named)


def test_a_mixtures_experts_belong_to_the_feed_forward_part():
    for family in ("mixtral", "qwen3_moe", "granitemoe", "phimoe", "deepseek_v3", "gpt_oss"):
        model = tiny_causal(family)
        kinds = {name: module_kind(model, name) for name in _stacked(model)}
        assert set(kinds.values()) <= {"feed_forward"}, family
        assert module_kind(model, "lm_head.weight") == "other"


def test_a_model_without_attention_says_so():
    with pytest.raises(ModelError, match=r"no linear layers in its attention; it has .*in_proj"):
        add_lora(tiny_causal("mamba"), rank=2)
