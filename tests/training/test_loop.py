import copy
import math
from typing import get_args

import pytest
import torch

from ftlib.data.reading import to_conversations
from ftlib.errors import ConfigError, DataError
from ftlib.models.trainable import MODULE_KINDS, add_lora, freeze, module_kind
from ftlib.text.tokenization import tokenize
from ftlib.training.loop import finetune, schedule
from ftlib.training.optimizers import OptimizerName, default_learning_rate, make_optimizer


@pytest.fixture
def rows(tiny_tokenizer):
    pairs = [(f"Question {i}?", "word " * (i % 5 + 1)) for i in range(12)]
    return tokenize(tiny_tokenizer, to_conversations([{"question": q, "answer": a} for q, a in pairs]))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_training_lowers_the_loss_and_repeats_with_its_seed(tiny_model, tiny_tokenizer, rows):
    twin = copy.deepcopy(tiny_model)
    history = finetune(tiny_model, tiny_tokenizer, rows, max_steps=30, learning_rate=1e-2, batch_size=4, seed=1)
    again = finetune(twin, tiny_tokenizer, rows, max_steps=30, learning_rate=1e-2, batch_size=4, seed=1)
    assert history[-1].loss < history[0].loss / 2
    assert torch.equal(weights(tiny_model), weights(twin))
    assert [step.loss for step in history] == [step.loss for step in again]


def test_accumulation_gives_the_same_step_as_one_large_batch(tiny_model, tiny_tokenizer, rows):
    """Rows of unequal length: only a mean over the tokens of the whole step comes out the same."""
    whole, split = tiny_model, copy.deepcopy(tiny_model)
    options = {"max_steps": 1, "learning_rate": 1e-3}
    one = finetune(whole, tiny_tokenizer, rows, batch_size=12, **options)
    four = finetune(split, tiny_tokenizer, rows, batch_size=3, accumulation_steps=4, **options)
    assert one[0].loss == pytest.approx(four[0].loss, rel=1e-5)
    assert one[0].gradient_norm == pytest.approx(four[0].gradient_norm, rel=1e-4)
    assert one[0].tokens == four[0].tokens == sum(len(ids) for ids in rows["input_ids"])
    assert torch.allclose(weights(whole), weights(split), atol=1e-5)


def test_three_steps_with_one_of_warmup_all_use_a_rate_above_zero(tiny_model, tiny_tokenizer, rows):
    steps = finetune(tiny_model, tiny_tokenizer, rows, max_steps=3, learning_rate=1e-5, warmup_steps=1, batch_size=4)
    assert [step.learning_rate for step in steps] == pytest.approx([1e-5, 1e-5, 0.5e-5])


def test_schedule_rises_then_falls_and_never_reaches_zero():
    factors = [schedule(number, 4, 20) for number in range(1, 21)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[-1] == pytest.approx(1 / 16)


def test_evaluation_happens_when_asked_and_at_the_end(tiny_model, tiny_tokenizer, rows):
    seen = []
    options = {"max_steps": 5, "batch_size": 4, "eval_rows": rows, "on_step": seen.append}
    history = finetune(tiny_model, tiny_tokenizer, rows, eval_every=2, **options)
    assert [step.number for step in history if step.eval_loss is not None] == [2, 4, 5]
    assert seen == history
    assert not tiny_model.training


def test_the_gradient_is_clipped_but_reported_as_it_was(tiny_model, tiny_tokenizer, rows):
    free, held = tiny_model, copy.deepcopy(tiny_model)
    one = finetune(free, tiny_tokenizer, rows, max_steps=1, batch_size=12)
    two = finetune(held, tiny_tokenizer, rows, max_steps=1, batch_size=12, max_gradient_norm=1e-3)
    assert one[0].gradient_norm == pytest.approx(two[0].gradient_norm)
    assert one[0].gradient_norm > 1e-3


def test_the_first_loss_is_about_ln_of_the_vocabulary(tiny_model, tiny_tokenizer, rows):
    step = finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, batch_size=12)[0]
    assert step.loss == pytest.approx(math.log(320), abs=0.3)


def test_bad_arguments_are_named(tiny_model, tiny_tokenizer, rows):
    with pytest.raises(DataError, match="max_steps must be at least 1, not 0"):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=0)
    with pytest.raises(DataError, match="there are no rows: check the file"):
        finetune(tiny_model, tiny_tokenizer, rows.select([]), max_steps=1)
    with pytest.raises(DataError, match=r"lack the columns \['labels'\]"):
        finetune(tiny_model, tiny_tokenizer, rows.remove_columns("labels"), max_steps=1)
    with pytest.raises(DataError, match="learning_rate must be at least 0, not -1"):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, learning_rate=-1)
    with pytest.raises(ConfigError, match=r"unknown precision 'bf16'; expected one of float32, .* 'bfloat16'"):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, precision="bf16")


def test_rows_to_measure_on_are_held_to_the_same(tiny_model, tiny_tokenizer, rows):
    with pytest.raises(DataError, match="there are no evaluation rows"):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, eval_rows=rows.select([]))
    with pytest.raises(DataError, match=r"evaluation rows lack the columns \['labels'\]"):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, eval_rows=rows.remove_columns("labels"))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_both_optimizers_lower_the_loss_from_the_same_start(tiny_model, tiny_tokenizer, conversations, optimizer):
    rows = tokenize(tiny_tokenizer, conversations)
    history = finetune(tiny_model, tiny_tokenizer, rows, max_steps=30, learning_rate=3e-3, optimizer=optimizer)
    assert history[0].loss > 5
    assert history[-1].loss < history[0].loss - 1


def test_an_unknown_optimizer_is_named(tiny_model, tiny_tokenizer, conversations):
    rows = tokenize(tiny_tokenizer, conversations)
    with pytest.raises(
        ConfigError, match=r"unknown optimizer .adam.; expected one of adamw, muon, adafactor, sgd; did you"
    ):
        finetune(tiny_model, tiny_tokenizer, rows, max_steps=1, optimizer="adam")


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_weight_decay_pulls_matrices_and_leaves_norms_and_biases(name, tiny_model):
    """With gradients of zero a step only decays."""
    optimizer = make_optimizer(tiny_model, name, learning_rate=0.1, weight_decay=0.5)
    before = {key: parameter.clone() for key, parameter in tiny_model.named_parameters()}
    for parameter in tiny_model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, parameter in tiny_model.named_parameters():
        if parameter.ndim < 2:
            assert torch.equal(parameter, before[key]), key
        else:
            assert parameter.norm() < 0.99 * before[key].norm(), key


@pytest.mark.parametrize("name", get_args(OptimizerName))
@pytest.mark.parametrize("kind", ["norms", "embeddings", "feed_forward"])
def test_a_single_kind_of_module_can_be_trained_by_every_optimizer(
    name, kind, tiny_model, tiny_tokenizer, conversations
):
    """Muon has no matrices then, or AdamW nothing else."""
    freeze(tiny_model, [other for other in MODULE_KINDS if other != kind])
    before = {key: parameter.clone() for key, parameter in tiny_model.named_parameters()}
    rows = tokenize(tiny_tokenizer, conversations)
    finetune(tiny_model, tiny_tokenizer, rows, max_steps=2, optimizer=name, learning_rate=1e-2)
    moved = {key for key, parameter in tiny_model.named_parameters() if not torch.equal(parameter, before[key])}
    assert moved
    assert {module_kind(tiny_model, key) for key in moved} == {kind}


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_an_adapter_can_be_trained_by_every_optimizer(name, tiny_model, tiny_tokenizer, conversations):
    """It is made of matrices only: Muon leaves nothing for AdamW."""
    pytest.importorskip("peft")  # not there where older releases of transformers are tested
    model = add_lora(tiny_model, rank=2)
    rows = tokenize(tiny_tokenizer, conversations)
    steps = finetune(model, tiny_tokenizer, rows, max_steps=2, learning_rate=1e-3, optimizer=name)
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("parameters", "in_full"),
    [(3_350_000, 1e-3), (70_426_624, 5e-5), (999_999_999, 5e-5), (1_011_781_632, 2e-5), (70_000_000_000, 2e-5)],
)
def test_the_default_rate_suits_the_size_and_what_is_trained(parameters, in_full):
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.empty(parameters, device="meta"))
    assert default_learning_rate(model) == default_learning_rate(model, "muon") == in_full
    model.peft_config = {}
    assert default_learning_rate(model, "adafactor") == 10 * in_full
    with pytest.raises(ConfigError, match="sgd has no learning rate that suits most models"):
        default_learning_rate(model, "sgd")


def test_a_loop_without_a_rate_takes_the_default(tiny_model, tiny_tokenizer, rows):
    (step,) = finetune(tiny_model, tiny_tokenizer, rows, max_steps=1)
    assert step.learning_rate == default_learning_rate(tiny_model)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_are_on_while_it_trains(tiny_model, tiny_tokenizer, rows, off):
    with off():
        history = finetune(tiny_model, tiny_tokenizer, rows, max_steps=2, learning_rate=1e-3)
        assert not torch.is_grad_enabled()
    assert history[-1].gradient_norm > 0
