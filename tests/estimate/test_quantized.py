"""Weights of 4 and 8 bits: the bytes by hand, and what an estimate makes of them."""

import pytest
from transformers import LlamaConfig

from ftlib.errors import ModelError
from ftlib.estimate.estimation import estimate
from ftlib.estimate.quantized import packed_bytes

TINY = LlamaConfig(
    vocab_size=300,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    bos_token_id=0,
    eos_token_id=0,
)
# Of a layer: q and o, k and v, and three of the feed-forward part.
SHAPES = [(128, 128), (64, 128), (64, 128), (128, 128), (256, 128), (256, 128), (128, 256)]
# Embeddings and output layer, and five norms.
REST = 2 * 300 * 128 + 5 * 128


def test_the_bytes_of_one_matrix_by_hand():
    # 128 * 128 weights: 8192 bytes, 256 blocks with a byte each, one scale and one mean of these, 16 values.
    assert packed_bytes(128, 128, "4bit") == 8192 + 256 + 4 + 4 + 64
    assert packed_bytes(64, 128, "8bit") == 64 * 128 + 4 * 64
    # A block that isn't full has a scale, too.
    assert packed_bytes(5, 13, "4bit") == 33 + 2 + 4 + 4 + 64


def test_in_a_large_matrix_four_bits_come_to_the_number_of_the_paper():
    assert 8 * packed_bytes(4096, 11008, "4bit") / (4096 * 11008) == pytest.approx(4.127, abs=1e-3)


@pytest.mark.parametrize("weights", ["4bit", "8bit"])
def test_the_bytes_of_a_model_by_hand(weights):
    need = estimate(TINY, batch_size=2, length=16, lora_rank=4, weights=weights, dtype="bfloat16")
    plain = estimate(TINY, batch_size=2, length=16, lora_rank=4, dtype="bfloat16")
    packed = 2 * sum(packed_bytes(*shape, weights) for shape in SHAPES)
    assert need.weight_bytes == packed + 2 * REST + 4 * need.trainable_parameters
    assert (need.parameters, need.flops_per_step) == (plain.parameters, plain.flops_per_step)
    assert need.gradient_bytes == plain.gradient_bytes


def test_fewer_bits_take_less_and_the_matrix_passes_through():
    arguments = {"batch_size": 1, "length": 8, "lora_rank": 2, "lora_targets": "blocks", "dtype": "bfloat16"}
    totals = [estimate(TINY, **arguments, weights=weights).peak.total for weights in (None, "8bit", "4bit")]
    assert totals == sorted(totals, reverse=True)
    need = estimate(TINY, **arguments, weights="4bit", gradient_checkpointing=True)
    assert need.activation_bytes >= 2 * 128 * 256  # one matrix in bfloat16


def test_what_cannot_be_is_refused():
    with pytest.raises(ModelError, match="can't be trained, only adapters beside them: give lora_rank"):
        estimate(TINY, weights="4bit", length=8)
    with pytest.raises(ModelError, match=r"unknown weights '4bits'; .* did you mean '4bit'"):
        estimate(TINY, weights="4bits", length=8, lora_rank=2)
