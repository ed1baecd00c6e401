"""Weights whose type training would spoil: refused or remarked on before any work, by every objective's job."""

import copy
import warnings

import pytest
import torch

from ftlib.data.reading import to_conversations
from ftlib.errors import PrecisionWarning, TrainingError
from ftlib.models.trainable import add_lora
from ftlib.text.tokenization import tokenize
from ftlib.training.checks import check_weights
from ftlib.training.groups import GroupJob
from ftlib.training.job import Job
from ftlib.training.loop import finetune
from ftlib.training.pairs import PreferenceJob

HALVES = ("float16", "bfloat16")


@pytest.fixture
def rows(tiny_tokenizer):
    pairs = [(f"Question {i}?", "word " * (i % 5 + 1)) for i in range(12)]
    return tokenize(tiny_tokenizer, to_conversations([{"question": q, "answer": a} for q, a in pairs]))


def in_type(model, name):
    return copy.deepcopy(model).to(getattr(torch, name))


def test_float16_is_not_trained(tiny_model, tiny_tokenizer, rows):
    half = in_type(tiny_model, "float16")
    before = copy.deepcopy(half.state_dict())
    with pytest.raises(TrainingError, match=r"^[\d,]+ weights in float16 are to be trained.*float32.*add_lora"):
        finetune(half, tiny_tokenizer, rows, max_steps=1)
    assert all(torch.equal(before[name], weight) for name, weight in half.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "further"), [(Job, ()), (PreferenceJob, ("beta",)), (GroupJob, ("settings", "given"))]
)
def test_no_engine_gets_a_job_that_trains_float16(tiny_model, kind, further):
    given = dict.fromkeys(("tokenizer", "batches", "optimizer", "rate_share", *further))
    with pytest.raises(TrainingError, match="weights in float16 are to be trained"):
        kind(model=in_type(tiny_model, "float16"), learning_rate=1.0, max_steps=1, **given)


def test_training_bfloat16_is_remarked_on(tiny_model, tiny_tokenizer, rows):
    with pytest.warns(PrecisionWarning, match="weights in bfloat16 are trained, which rounds small updates away"):
        finetune(in_type(tiny_model, "bfloat16"), tiny_tokenizer, rows, max_steps=1)


def test_the_remark_is_true(tiny_model, tiny_tokenizer, rows):
    """At a low rate, float32 moves every weight that has a gradient, and bfloat16 next to none."""
    shares = {}
    for name in ("float32", "bfloat16"):
        model = in_type(tiny_model, name)
        before = copy.deepcopy(model.state_dict())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            finetune(model, tiny_tokenizer, rows, max_steps=1, learning_rate=1e-6, weight_decay=0.0)
        moved = [
            (before[key] != weight).float().mean() for key, weight in model.state_dict().items() if weight.ndim == 2
        ]
        shares[name] = float(torch.stack(moved).mean())
    assert shares["bfloat16"] < 0.2 * shares["float32"]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("precision", ["float32", *HALVES])
def test_frozen_halves_under_adapters_are_trained_without_a_word_or_refused(tiny_model, dtype, precision):
    model = add_lora(in_type(tiny_model, dtype), rank=2)
    if precision in HALVES and precision != dtype:
        told = f"weights are {dtype} and can't be multiplied in {precision}: choose precision float32"
        with pytest.raises(TrainingError, match=told):
            check_weights(model, precision)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        check_weights(model, precision)


def test_adapters_on_a_half_learn_what_those_on_float32_learn(tiny_model, tiny_tokenizer, rows):
    losses = {}
    for dtype in ("float32", *HALVES):
        model = add_lora(in_type(tiny_model, dtype), rank=2, seed=0)
        losses[dtype] = finetune(model, tiny_tokenizer, rows, max_steps=4, learning_rate=1e-2)[-1].loss
    for dtype in HALVES:
        assert losses[dtype] == pytest.approx(losses["float32"], rel=0.02)
