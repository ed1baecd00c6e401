from functools import cache

import pytest

from ftlib.errors import ModelError
from ftlib.estimate.cards import (
    GPU,
    GPUS,
    fits,
    gpu,
    suggest,
)
from ftlib.estimate.estimation import estimate
from ftlib.estimate.flops import model_flops_utilization


def card(usable_bytes, **facts):
    """A card on which exactly so many bytes of tensors fit."""
    return GPU("toy", -(-(usable_bytes + 10**9) * 100 // 95), 2e12, 1e12, **facts)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-40GB", "A100 40 GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("h200", "H200"),
    ],
)
def test_a_card_is_found_by_the_name_that_cuda_gives_it(reported, name):
    assert gpu(reported).name == name


def test_an_unknown_card_is_an_error():
    with pytest.raises(ModelError, match="no card named 'GTX 1060' in the table: expected one of T4, V100 32 GB"):
        gpu("GTX 1060")


def test_the_table_is_plausible():
    assert len({one.name for one in GPUS}) == len(GPUS)
    for one in GPUS:
        assert gpu(one.name) == one
        assert 0.85 * one.memory_bytes < one.usable_bytes < one.memory_bytes
        assert 1.5 < one.half_flops / one.float32_flops < 20
        assert one.peak_flops("float32") == one.float32_flops
        for sixteen_bits in ("mixed", "bfloat16", "float16"):
            assert one.peak_flops(sixteen_bits) == one.half_flops


def test_what_fits(tiny_model):
    need = estimate(tiny_model.config, batch_size=4)
    assert fits(need, card(need.peak.total))
    assert not fits(need, card(need.peak.total - 100))


def test_llama_7b_needs_more_than_one_large_card_until_adapters_are_trained():
    arguments = {"length": 512, "dtype": "bfloat16"}
    assert not fits(estimate("meta-llama/Llama-2-7b-hf", length=512), gpu("A100 80 GB"))
    assert fits(estimate("meta-llama/Llama-2-7b-hf", lora_rank=8, **arguments), gpu("L4"))


@pytest.fixture
def peak(tiny_model):
    @cache
    def peak(**arguments):
        return estimate(tiny_model.config, **{"batch_size": 4, "length": 64, **arguments}).peak.total

    return peak


def changes(tiny_model, *cards, **arguments):
    found = suggest(tiny_model.config, cards, **{"batch_size": 4, "length": 64, **arguments})
    return [None if one is None else one.changes for one in found]


def test_the_first_change_that_is_enough_is_suggested(tiny_model, peak):
    two_rows = {"batch_size": 2, "accumulation_steps": 2}
    one_row = {"batch_size": 1, "accumulation_steps": 4}
    cards = [card(peak()), card(peak() - 100), card(peak(**two_rows) - 100)]
    assert changes(tiny_model, *cards) == [{}, two_rows, one_row]
    shorter = card(peak(batch_size=1, length=32))
    assert changes(tiny_model, shorter, batch_size=1, gradient_checkpointing=True, lora_rank=8) == [{}]


def test_a_change_that_is_made_already_is_not_suggested(tiny_model, peak):
    arguments = {"batch_size": 1, "gradient_checkpointing": True, "lora_rank": 8}
    found = changes(tiny_model, card(peak(**arguments) - 100), **arguments)
    assert found == [{"dtype": "bfloat16"}]


def test_a_card_without_bfloat16_is_not_told_to_use_it(tiny_model, peak):
    arguments = {"batch_size": 1, "gradient_checkpointing": True, "lora_rank": 8}
    memory = peak(**arguments, dtype="bfloat16")
    assert changes(tiny_model, card(memory), **arguments) == [{"dtype": "bfloat16"}]
    (found,) = changes(tiny_model, card(memory, has_bfloat16=False), **arguments)
    assert "dtype" not in found


def test_what_changes_nothing_comes_first_alone_and_together(tiny_model, peak):
    checkpointing = {"gradient_checkpointing": True}
    one_row = {"batch_size": 1, "accumulation_steps": 4}
    memory = peak(**one_row, **checkpointing)
    assert memory < min(peak(**checkpointing), peak(**one_row))
    assert changes(tiny_model, card(memory)) == [{**one_row, **checkpointing}]


def test_the_smallest_change_of_a_billion_weights_on_24_gigabytes():
    found = suggest("EleutherAI/pythia-1b", [gpu("RTX 3090")], batch_size=8, length=2048)[0]
    assert found.changes == {"batch_size": 2, "accumulation_steps": 4, "gradient_checkpointing": True}


HARM = ["lora_rank", "dtype", "optimizer", "length"]  # the least first


@pytest.mark.parametrize("has_bfloat16", [True, False])
@pytest.mark.parametrize("given", [{}, {"precision": "mixed"}, {"lora_rank": 2}, {"optimizer": "sgd"}], ids=str)
def test_no_harm_is_done_that_milder_changes_could_have_spared(tiny_model, peak, given, has_bfloat16):
    everything = {"batch_size": 1, "accumulation_steps": 4, "gradient_checkpointing": True}
    smallest = peak(**{**everything, "lora_rank": 1, "optimizer": "sgd", "length": 8, **given})
    sizes = range(smallest, peak(**given), (peak(**given) - smallest) // 12)
    cards = [card(memory, has_bfloat16=has_bfloat16) for memory in sizes]
    harmless = ({}, everything, {"gradient_checkpointing": True}, {"batch_size": 1, "accumulation_steps": 4})
    milder = [peak(**{**given, **some}) for some in harmless]
    for one, found in zip(cards, changes(tiny_model, *cards, **given), strict=True):
        if found is None:
            continue
        assert peak(**{**given, **found}) <= one.usable_bytes
        if any(name in found for name in HARM):
            assert min(milder) > one.usable_bytes, found


def test_changes_add_up_and_none_is_idle(tiny_model, peak):
    arguments = {"lora_rank": 8, "optimizer": "sgd"}
    both = {"gradient_checkpointing": True, "dtype": "bfloat16"}
    one_row = {"batch_size": 1, "accumulation_steps": 4}
    (found,) = changes(tiny_model, card(peak(**arguments, **both, **one_row)), **arguments)
    assert len(found) >= 3
    chosen = card(peak(**arguments, **found))
    for name in found:
        rest = {key: value for key, value in found.items() if key != name}
        assert name in one_row or changes(tiny_model, chosen, **arguments, **rest) != [{}]


def test_where_nothing_helps_nothing_is_suggested(tiny_model):
    assert changes(tiny_model, card(1000)) == [None]


def test_time_and_utilization():
    one = card(10**9)
    assert one.seconds(1e12 * 60, utilization=0.5) == 120
    assert one.seconds(1e12 * 60, "bfloat16", utilization=0.5) == 60
    assert model_flops_utilization(2000, 3e8, 1e12) == pytest.approx(0.6)
