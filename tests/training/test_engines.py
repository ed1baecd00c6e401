"""Four engines, one curve."""

import copy
import importlib
import math
import os
from functools import partial

import pytest
import torch
from transformers import CONFIG_MAPPING

from ftlib.compat import installed as compat
from ftlib.data.reading import to_conversations
from ftlib.errors import TrainingError
from ftlib.text.tokenization import tokenize
from ftlib.training.job import Job, MicroBatches
from ftlib.training.optimizers import make_optimizer, schedule
from tests.families import tiny_causal

ENGINES = ("loop", "hf", "lightning", "trl")
STEPS = 50


@pytest.fixture
def run(tiny_tokenizer):
    return partial(_run, tiny_tokenizer)


@pytest.fixture
def rows(tiny_tokenizer):
    """Answers of very different lengths: a mean over micro-batches would differ from one over tokens."""
    pairs = [(f"Question {i}?", "word " * (1 + (i * 7) % 11)) for i in range(60)]
    return tokenize(tiny_tokenizer, to_conversations([{"question": q, "answer": a} for q, a in pairs]))


def _run(tokenizer, engine, model, rows, **options):
    settings = {"optimizer": "adamw", "steps": STEPS, "accumulation": 4, "clip": 0.5, **options}
    batches = MicroBatches(
        rows,
        pad_token_id=1,
        batch_size=2,
        accumulation_steps=settings["accumulation"],
        max_steps=settings["steps"],
        order="shuffled",
        seed=5,
    )
    job = Job(
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        optimizer=make_optimizer(model, settings["optimizer"], learning_rate=1e-2, weight_decay=0.01),
        rate_share=lambda number: schedule(number, 5, settings["steps"]),
        learning_rate=1e-2,
        max_steps=settings["steps"],
        max_gradient_norm=settings["clip"],
        precision=settings.get("precision", "float32"),
        seed=5,
        on_step=settings.get("on_step"),
    )
    torch.manual_seed(5)
    importlib.import_module(f"ftlib.training.{engine}").run(job)
    return job


@pytest.fixture
def loop(tiny_model, rows, run):
    return run("loop", copy.deepcopy(tiny_model), rows)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_fifty_steps_with_accumulation_and_clipping_agree_with_the_plain_loop(engine, loop, tiny_model, rows, run):
    other = run(engine, tiny_model, rows)
    assert len(other.history) == STEPS
    assert max(step.gradient_norm for step in loop.history) > 0.5  # clipping has something to do
    for mine, theirs in zip(loop.history, other.history, strict=True):
        assert theirs.loss == pytest.approx(mine.loss, abs=1e-3)
        assert theirs.gradient_norm == pytest.approx(mine.gradient_norm, rel=1e-2)
        assert (theirs.number, theirs.learning_rate, theirs.tokens) == (mine.number, mine.learning_rate, mine.tokens)
    assert loop.history[-1].loss < loop.history[0].loss / 2


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_leaves_the_model_as_it_found_it_but_for_its_weights(engine, tiny_model, rows, run):
    before = set(vars(tiny_model))
    run(engine, tiny_model, rows, steps=2)
    assert set(vars(tiny_model)) == before
    assert not tiny_model.training
    assert tiny_model.device.type == "cpu"


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_pair_of_optimizers_works_in_every_engine(engine, tiny_model, rows, run):
    mine = run("loop", copy.deepcopy(tiny_model), rows, optimizer="muon", steps=8)
    theirs = run(engine, tiny_model, rows, optimizer="muon", steps=8)
    assert [s.loss for s in theirs.history] == pytest.approx([s.loss for s in mine.history], abs=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_comes_close_to_float32(engine, loop, tiny_model, rows, run):
    half = run(engine, tiny_model, rows, precision="bfloat16", steps=5)
    assert [s.loss for s in half.history] == pytest.approx([s.loss for s in loop.history[:5]], rel=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in tiny_model.parameters())


@pytest.mark.parametrize("engine", ["hf", "trl"])
def test_a_precision_is_that_of_its_run_only(engine, tiny_model, rows, run, monkeypatch):
    """Accelerate's variable would choose another, and transformers 4 leaves there what the last run had."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    full = run(engine, copy.deepcopy(tiny_model), rows, steps=2)
    run(engine, copy.deepcopy(tiny_model), rows, precision="bfloat16", steps=1)
    assert "ACCELERATE_MIXED_PRECISION" not in os.environ
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    again = run(engine, tiny_model, rows, steps=2)
    assert [step.loss for step in again.history] == [step.loss for step in full.history]
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"


def test_a_mean_over_micro_batches_would_not_agree(tiny_model, rows, run):
    """What a trainer did before 2024: the same rows, each micro-batch weighing the same."""
    from ftlib.evaluation.metrics import summed_target_loss

    batches = MicroBatches(
        rows, pad_token_id=1, batch_size=2, accumulation_steps=4, max_steps=1, order="shuffled", seed=5
    )
    run("loop", tiny_model, rows, steps=20)  # an untrained model finds all tokens about equally hard
    naive = 0.0
    for number in range(4):
        batch = batches[number]
        batch.pop("step_targets")
        loss, count = summed_target_loss(tiny_model, batch)
        naive += float(loss.detach()) / count / 4
    right = run("loop", tiny_model, rows, steps=1).history[0].loss
    assert abs(naive - right) > 1e-3


SCALED = {"granite": {}, "cohere": {}, "gemma2": {}, "falcon_h1": {}, "mixtral": {"output_router_logits": True}}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", [*SCALED, "mixtral-plain"])
def test_every_engine_trains_the_models_own_loss(engine, family, tiny_tokenizer, rows, run):
    """Scores that the forward pass scales or caps, and a mixture with its auxiliary loss or without."""
    plain = family.removesuffix("-plain")
    if plain not in CONFIG_MAPPING and compat.is_before("5"):
        pytest.skip(f"this release of transformers has no {plain}")
    more = SCALED[plain] if plain == family else {}
    model = tiny_causal(plain, vocab_size=len(tiny_tokenizer), max_position_embeddings=128, **more)
    config = model.config.to_dict()
    first = [
        MicroBatches(rows, pad_token_id=1, batch_size=2, accumulation_steps=4, max_steps=1, order="shuffled", seed=5)
    ]
    micro = [first[0][number] for number in range(4)]
    targets = int(micro[0].pop("step_targets"))
    own = 0.0
    for batch in micro:
        batch.pop("step_targets", None)
        output = model(**batch)
        count = int((batch["labels"][:, 1:] != -100).sum())
        auxiliary = model.config.router_aux_loss_coef * output.aux_loss.item() if more else 0.0
        own += (output.loss.item() - auxiliary) * count / targets + auxiliary / 4
    job = run(engine, model, rows, steps=2)
    assert job.history[0].loss == pytest.approx(own, rel=1e-4)
    router = {name: value for name, value in config.items() if "router" in name}
    assert {name: model.config.to_dict()[name] for name in router} == router  # a checkpoint will hold it


def test_trl_is_refused_where_its_loss_is_another(tiny_tokenizer, rows, run):
    """SFTTrainer multiplies by a configuration's logit_scale; this model's forward pass doesn't."""
    model = tiny_causal("llama", vocab_size=len(tiny_tokenizer), max_position_embeddings=128)
    model.config.logit_scale = 0.5
    with pytest.raises(TrainingError, match=r"engine trl: SFTTrainer computes the loss .* choose the engine loop"):
        run("trl", model, rows, steps=1)
    assert run("loop", model, rows, steps=1).history


@pytest.mark.parametrize("engine", ["loop", "lightning"])
def test_float16_scales_its_loss_and_clips_what_is_unscaled(engine, loop, tiny_model, rows, run):
    """Gradients that would vanish in float16 are there, and the clipped length is that of the true gradient."""
    scaled = []
    half = run(
        engine,
        tiny_model,
        rows,
        precision="float16",
        steps=8,
        on_step=lambda job, step, scaler: scaled.append(scaler.is_enabled()),
    )
    assert scaled == [True] * 8
    taken = [(mine, theirs) for mine, theirs in zip(loop.history[:8], half.history, strict=True)]
    assert sum(math.isfinite(theirs.gradient_norm) for _, theirs in taken) >= 4
    for mine, theirs in taken[:1]:
        assert theirs.loss == pytest.approx(mine.loss, rel=1e-2)
    finite = [step for step in half.history if math.isfinite(step.gradient_norm)]
    assert finite[0].gradient_norm == pytest.approx(loop.history[0].gradient_norm, rel=2e-2)
    assert half.history[-1].loss < half.history[0].loss


@pytest.mark.parametrize("engine", ["loop", "lightning"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_an_overflow_in_float16_skips_a_step_and_goes_on(engine, optimizer, tiny_model, rows, run, monkeypatch):
    original = torch.amp.GradScaler.__init__

    def begins_too_high(self, *arguments, **named):
        original(self, *arguments, **{**named, "init_scale": 2.0**40})

    monkeypatch.setattr(torch.amp.GradScaler, "__init__", begins_too_high)
    before = {name: parameter.clone() for name, parameter in tiny_model.named_parameters()}
    scales = []
    job = run(
        engine,
        tiny_model,
        rows,
        precision="float16",
        steps=1,
        optimizer=optimizer,
        on_step=lambda job, step, scaler: scales.append(scaler.get_scale()),
    )
    assert job.history[0].gradient_norm == math.inf
    assert all(torch.equal(before[name], parameter) for name, parameter in tiny_model.named_parameters())
    assert scales == [2.0**39]


def test_overflows_without_end_stop_the_run(tiny_model, rows, run, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    with pytest.raises(TrainingError, match=r"step 21: the loss is .* and the gradient's length inf"):
        run("loop", tiny_model, rows, precision="float16", steps=30)


@pytest.mark.parametrize("engine", ["hf", "trl"])
def test_the_trainer_says_that_float16_needs_a_card(engine, tiny_model, rows, run):
    with pytest.raises(TrainingError, match="the Trainer has float16 on graphics cards only: choose bfloat16"):
        run(engine, tiny_model, rows, precision="float16", steps=1)


def test_a_step_that_is_skipped_does_not_shift_the_rates(tiny_model, rows, run, monkeypatch):
    """The Trainer's own schedule stands still where the optimizer does; the rates go by the number of the step."""
    seen = []

    def still(self, *_):
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    monkeypatch.setattr(torch.optim.lr_scheduler.LambdaLR, "step", still)
    original = torch.optim.AdamW.step

    def step(self, *arguments, **named):
        seen.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    job = run("hf", tiny_model, rows, steps=4)
    assert seen == pytest.approx([step.learning_rate for step in job.history])


def test_lightning_is_refused_under_torchrun(tiny_model, rows, run, monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "::1",
        "MASTER_PORT": "9",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="the engine lightning trains in one process here: choose loop or hf"):
        run("lightning", tiny_model, rows, steps=1)


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_every_engine_drops_what_the_plain_loop_drops(engine, tiny_tokenizer, rows, run):
    def model():
        return tiny_causal("gpt2", head_scale=1.0, vocab_size=len(tiny_tokenizer), n_positions=128)

    mine, theirs = run("loop", model(), rows, steps=3), run(engine, model(), rows, steps=3)
    assert [step.loss for step in theirs.history] == pytest.approx([step.loss for step in mine.history], abs=1e-5)
