"""Estimates of training on preferences, held against real steps of TRL's trainer."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from ftlib.errors import ModelError
from ftlib.estimate import preference_step
from ftlib.estimate.cards import GPU, suggest
from ftlib.estimate.estimation import estimate
from tests.estimate.preference_steps import measure_dpo
from tests.estimate.test_step_memory import CONFIGS

LORA = {"lora_rank": 4}
OPTIONS = [
    {},
    {"dtype": "bfloat16"},
    {"precision": "bfloat16"},
    {"gradient_checkpointing": True},
    LORA,
    {**LORA, "lora_targets": "blocks", "dtype": "bfloat16"},
    {**LORA, "precision": "bfloat16"},
    {**LORA, "gradient_checkpointing": True},
]


# peft 0.21 and TRL 1.16 ask for it by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize(("architecture", "entries"), [("gpt_neox", 64), ("gpt2", 64), ("llama", 64), ("llama", 32768)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_step_of_dpo_without_numbers_takes_what_trl_takes(
    architecture, options, entries, tiny_tokenizer, tmp_path, monkeypatch
):
    """With TRL's own tiles, which outweigh a tiny model, and with small ones, which leave the rest to be seen."""
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", entries)
    monkeypatch.setattr(preference_step, "_TILE_ENTRIES", entries)
    config = CONFIGS[architecture]
    predicted = estimate(config, objective="dpo", batch_size=4, length=48, **options, device="cpu").peak.total
    measured = measure_dpo(copy.deepcopy(config), tiny_tokenizer, tmp_path, pairs=4, length=48, **options)
    assert predicted == pytest.approx(measured, rel=0.03)


def test_a_pair_is_two_rows_and_a_forward_pass_of_the_reference():
    config = CONFIGS["gpt_neox"]
    usual = estimate(config, batch_size=8, length=32)
    pairs = estimate(config, batch_size=4, length=32, objective="dpo")
    assert pairs.tokens_per_step == usual.tokens_per_step == 8 * 32
    assert pairs.flops_per_token == usual.flops_per_token * 8 // 6
    assert pairs.weight_bytes == usual.weight_bytes


def test_without_adapters_the_reference_is_a_second_copy_of_the_weights():
    config = CONFIGS["llama"]
    whole = estimate(config, batch_size=2, length=32, objective="dpo")
    adapters = estimate(config, batch_size=2, length=32, objective="dpo", lora_rank=2)
    assert whole.reference_bytes == whole.weight_bytes
    assert whole.peak.weights >= 2 * whole.weight_bytes
    assert (
        whole.state_bytes == whole.reference_bytes + whole.weight_bytes + whole.gradient_bytes + whole.optimizer_bytes
    )
    assert adapters.reference_bytes == 0
    assert adapters.peak.weights < 1.1 * adapters.weight_bytes


def test_few_bits_and_targets_alone_take_less():
    config = CONFIGS["llama"]
    more = estimate(config, batch_size=8, length=48, objective="dpo", lora_rank=2)
    packed = estimate(config, batch_size=8, length=48, objective="dpo", lora_rank=2, weights="4bit")
    fewer = estimate(config, batch_size=8, length=48, objective="dpo", lora_rank=2, target_share=0.25)
    assert packed.peak.weights < more.peak.weights
    assert fewer.peak.logits < 0.3 * more.peak.logits
    assert fewer.flops_per_token < more.flops_per_token


def test_half_of_a_row_is_half_of_one_answer():
    fixed = {"objective": "dpo", "batch_size": 1, "lora_rank": 2, "optimizer": "sgd", "gradient_checkpointing": True}
    half = estimate(CONFIGS["llama"], length=24, dtype="bfloat16", **fixed).peak.total
    card = GPU("small", memory_bytes=round((half + 1e9) / 0.95) + 2, half_flops=1.0, float32_flops=1.0)
    (found,) = suggest(CONFIGS["llama"], [card], length=48, dtype="bfloat16", **fixed)
    assert found.changes == {"length": 24}


GRPO = {"objective": "grpo", "batch_size": 4, "length": 48}


@pytest.mark.parametrize("architecture", ["gpt_neox", "gpt2", "llama"])
def test_the_cache_of_what_is_generated_is_the_models_own(architecture):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[architecture]))
    with torch.no_grad():
        cache = model(torch.ones(8, 47, dtype=torch.int64), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    need = estimate(CONFIGS[architecture], **GRPO, accumulation_steps=2, generated=32)
    assert need.cache_bytes == kept
    assert estimate(CONFIGS[architecture], **GRPO, generated=32).cache_bytes == kept // 2


def test_many_completions_at_once_take_more_than_the_step_that_learns_from_them():
    step = estimate(CONFIGS["llama"], **GRPO, generated=32, lora_rank=2, gradient_checkpointing=True)
    more = estimate(
        CONFIGS["llama"], **GRPO, generated=32, lora_rank=2, gradient_checkpointing=True, accumulation_steps=500
    )
    assert more.peak.gradients == 0
    assert more.peak.total > more.cache_bytes > step.peak.total


def test_grpo_goes_forward_to_generate_and_with_a_reference_once_more():
    alone, compared = (estimate(CONFIGS["gpt_neox"], **GRPO, generated=24, reference=one) for one in (False, True))
    learnt = estimate(CONFIGS["gpt_neox"], batch_size=4, length=48, target_share=0.5)
    assert alone.flops_per_token == learnt.flops_per_token * 8 // 6
    assert compared.flops_per_token == learnt.flops_per_token * 10 // 6
    assert (alone.reference_bytes, compared.reference_bytes) == (0, alone.weight_bytes)
    assert compared.peak.weights >= alone.peak.weights + alone.weight_bytes
    assert estimate(CONFIGS["gpt_neox"], **GRPO, generated=24, reference=True, lora_rank=2).reference_bytes == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"objective": "grpo", "length": 32}, "needs generated.*1 to 31, not None"),
        ({"objective": "grpo", "length": 32, "generated": 32}, "1 to 31, not 32"),
        ({"generated": 8}, "nothing is generated"),
        ({"objective": "dpo", "reference": True}, "leave it out"),
    ],
)
def test_what_an_objective_does_not_know_is_refused(arguments, said):
    with pytest.raises(ModelError, match=said):
        estimate(CONFIGS["llama"], **arguments)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ModelError, match=r"unknown objective 'dop'.*dpo"):
        estimate(CONFIGS["llama"], objective="dop")
