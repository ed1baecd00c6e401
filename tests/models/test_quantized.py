"""Weights of few bits: values and codes by hand, the bytes that were predicted, and training on top of them."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config

from ftlib.errors import ModelError
from ftlib.estimate.estimation import estimate
from ftlib.estimate.quantized import packed_bytes
from ftlib.models.quantized import (
    Linear4bit,
    evenly_spaced,
    model_bytes,
    nearest_codes,
    nf4_values,
    quantize_4bit,
    rounded,
    unpack_4bit,
)
from ftlib.models.trainable import add_lora, merge_lora
from tests.families import tiny_causal

# Appendix E of the paper (Dettmers et al., 2023).
PAPER = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0]
PAPER += [0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0]


@pytest.fixture
def model():
    return tiny_causal("llama").eval().requires_grad_(False)


def test_the_values_of_nf4_are_those_of_the_paper():
    torch.testing.assert_close(nf4_values(), torch.tensor(PAPER), atol=1e-6, rtol=0)


def test_normal_weights_come_back_with_less_error_from_nf4_than_from_equal_distances():
    torch.manual_seed(0)
    weight = torch.randn(64, 640)
    errors = [
        float((rounded(weight, values, 64) - weight).square().mean()) for values in (nf4_values(), evenly_spaced(4))
    ]
    assert errors[0] < 0.9 * errors[1]
    uses = [nearest_codes(weight, values, 64)[0].flatten().bincount() for values in (nf4_values(), evenly_spaced(4))]
    assert uses[0].max() / uses[0].min() < uses[1].max() / uses[1].min()


def test_absmax_by_hand():
    # Largest 0.7, so a step of three bits is 0.7 / 3 = 0.2333: 0.35 / 0.2333 = 1.5 goes down, -0.4 to -2 steps.
    codes, scales = nearest_codes(torch.tensor([[0.7, 0.34, -0.4, 0.1]]), evenly_spaced(3))
    assert codes.tolist() == [[6, 4, 1, 3]]
    assert scales.tolist() == pytest.approx([0.7])


def test_a_block_keeps_an_outlier_from_the_others():
    weight = torch.tensor([0.01, -0.02, 0.03, 0.02, 8.0, 1.0, 2.0, 3.0])
    assert rounded(weight, evenly_spaced(4))[:4].tolist() == [0, 0, 0, 0]
    assert rounded(weight, evenly_spaced(4), 4)[:4].tolist() == pytest.approx([0.01, -0.02, 0.03, 0.02], abs=0.003)


@pytest.mark.parametrize("shape", [(3,), (5, 13), (64, 64)])
def test_zeros_and_short_blocks_come_back(shape):
    assert rounded(torch.zeros(shape), nf4_values(), 64).equal(torch.zeros(shape))
    weight = torch.randn(shape, dtype=torch.bfloat16)
    back = rounded(weight, evenly_spaced(8), 64)
    assert (back.shape, back.dtype) == (weight.shape, weight.dtype)
    assert (back - weight).abs().max() <= weight.abs().max() / 50


@pytest.mark.parametrize("size", [(128, 128), (5, 13), (1, 1), (300, 64)])
def test_packed_bytes_are_those_of_the_estimate(size):
    rows, columns = size
    assert Linear4bit(nn.Linear(columns, rows)).packed_bytes == packed_bytes(rows, columns, "4bit")


@pytest.mark.parametrize("size", [(128, 128), (5, 13)])
def test_the_matrix_comes_back_as_rounded_up_to_its_scales(size):
    layer = nn.Linear(*size)
    packed = Linear4bit(layer)
    assert packed.matrix().shape == layer.weight.shape
    torch.testing.assert_close(packed.matrix(), rounded(layer.weight, nf4_values(), 64), atol=2e-3, rtol=0)


def test_outputs_and_gradients_are_those_of_the_unpacked_layer():
    torch.manual_seed(0)
    packed = Linear4bit(nn.Linear(24, 10))
    plain = packed.unpacked()
    inputs = [torch.randn(2, 3, 24).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    made = [layer(one) for layer, one in zip((packed, plain), inputs, strict=True)]
    torch.testing.assert_close(*made)
    for one in made:
        one.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert packed(inputs[0]).dtype == torch.bfloat16


def test_nothing_is_kept_for_the_backward_pass_but_the_bytes():
    packed = Linear4bit(nn.Linear(64, 64))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        packed(torch.randn(1, 64, requires_grad=True))
    assert kept == []


def test_weight_bytes_are_those_of_the_estimate(model):
    config = copy.deepcopy(model.config)
    quantize_4bit(model)
    adapted = add_lora(model, rank=4, targets="blocks")
    need = estimate(config, batch_size=1, length=8, lora_rank=4, lora_targets="blocks", weights="4bit")
    assert model_bytes(adapted) == need.weight_bytes


def test_adapters_learn_beside_frozen_bytes_and_are_added_in(model):
    quantize_4bit(model)
    adapted = add_lora(model, rank=4, targets="blocks")
    trained = [one for one in adapted.parameters() if one.requires_grad]
    codes = [module.codes.clone() for module in adapted.modules() if isinstance(module, Linear4bit)]
    ids = torch.arange(12).view(2, 6)
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(8):
        loss = adapted(input_ids=ids, labels=ids).loss
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.02
    packed = [module for module in adapted.modules() if isinstance(module, Linear4bit)]
    assert all(map(torch.equal, codes, [module.codes for module in packed]))
    adapted.eval()
    before = adapted(input_ids=ids).logits
    merged = merge_lora(adapted)
    assert not any(isinstance(module, Linear4bit) for module in merged.modules())
    torch.testing.assert_close(merged(input_ids=ids).logits, before, atol=1e-4, rtol=1e-3)


def test_unpacked_it_computes_what_it_computed(model):
    ids = torch.arange(6).view(1, 6)
    assert quantize_4bit(model) > 0
    packed = model(input_ids=ids).logits
    unpack_4bit(model)
    torch.testing.assert_close(model(input_ids=ids).logits, packed)
    # Loaded into another copy, packed bytes are the same layer.
    twin = copy.deepcopy(model)
    quantize_4bit(twin)
    again = copy.deepcopy(twin)
    again.load_state_dict(twin.state_dict())
    torch.testing.assert_close(again(input_ids=ids).logits, twin(input_ids=ids).logits)


def test_what_cannot_be_is_refused(model):
    with pytest.raises(ModelError, match="9 bits: a code has at least 2 and at most 8"):
        evenly_spaced(9)
    with pytest.raises(ModelError, match="a block has at least one weight, not 0"):
        rounded(torch.ones(3), nf4_values(), 0)
    with pytest.raises(ModelError, match="adapters already: pack it first"):
        quantize_4bit(add_lora(copy.deepcopy(model), rank=2))
    quantize_4bit(model)
    with pytest.raises(ModelError, match=r"can't be changed: ftlib\.models\.merge_lora unpacks"):
        add_lora(model, rank=2).merge_and_unload()
    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(ModelError, match="no linear layers that could be packed"):
        quantize_4bit(gpt2)
