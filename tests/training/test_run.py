import json
import math
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ftlib.errors import ConfigError, DataError, DroppedRowsWarning, LeakWarning, ModelError, TrainingError
from ftlib.estimate.estimation import estimate
from ftlib.models.loading import load_model, save_model
from ftlib.text.chat_template import template_of
from ftlib.text.templates import get_template
from ftlib.training import loop
from ftlib.training.checkpoints import checkpoints
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import read_metrics, train
from tests.families import tiny_causal


@pytest.fixture
def base(tmp_path, tiny_model, tiny_tokenizer):
    return save_model(tiny_model, tiny_tokenizer, tmp_path / "base")


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": f"Question {i}?", "answer": "word " * (i % 5 + 1)} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def config(base, rows_file):
    def make(**sections):
        values = {
            "model": {"name": str(base)},
            "data": {"source": str(rows_file), "validation_share": 0.2},
            "train": {"max_steps": 6, "learning_rate": 1e-2, "batch_size": 2, "accumulation_steps": 2},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        return FinetuneConfig.from_dict(values)

    return make


def weights(folder):
    return load_file(next(folder.glob("*model.safetensors")))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_it_promises(tmp_path, config):
    run = train(config(evaluate={"every_steps": 2}, checkpoint={"every_steps": 3}), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "README.md",
        "loss.png",
        "summary.json",
        "checkpoints",
        "data.json",
    }
    assert [step.number for step in run.history] == [1, 2, 3, 4, 5, 6]
    assert [step.number for step in run.history if step.eval_loss is not None] == [2, 4, 6]
    assert run.last.step == 6
    assert run.best.eval_loss == min(step.eval_loss for step in run.history if step.eval_loss is not None)
    assert FinetuneConfig.from_yaml(tmp_path / "run" / "config.yaml").train.max_steps == 6
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt")) + list(tmp_path.rglob("*.pkl"))
    assert same(load_model(tmp_path / "run")[0].state_dict(), load_model(run.best.folder)[0].state_dict())


def test_the_card_says_how_to_load_the_model_and_that_works(tmp_path, config, monkeypatch):
    train(config(), tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(code, scope)  # noqa: S102
    assert scope["model"].config.vocab_size == scope["tokenizer"].vocab_size


def test_checkpointing_computes_twice_and_learns_the_same(tmp_path, config):
    stored, computed = (
        train(config(model={"gradient_checkpointing": twice}, train={"max_steps": 2}), tmp_path / str(twice))
        for twice in (False, True)
    )
    assert [step.loss for step in computed.history] == pytest.approx([step.loss for step in stored.history])
    assert same(load_model(tmp_path / "True")[0].state_dict(), load_model(tmp_path / "False")[0].state_dict())


@pytest.mark.parametrize("name", ["question-answer", "guanaco", "dialogue"])
def test_the_template_of_the_training_travels_with_the_model(tmp_path, config, name):
    run = train(config(data={"template": name}, train={"max_steps": 1}), tmp_path / "run")
    _, tokenizer = load_model(run.folder)
    assert template_of(tokenizer).name == name
    asked = [{"role": "user", "content": "What is padding?"}]
    prompt = "".join(segment.text for segment in get_template(name).render_prompt(asked))
    assert tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False) == prompt


def test_a_run_is_never_overwritten(tmp_path, config):
    train(config(), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(TrainingError, match="never overwritten: choose another folder"):
        train(config(), tmp_path / "run")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, config):
    settings = config(checkpoint={"every_steps": 2}, evaluate={"every_steps": 2})
    whole = train(settings, tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(step, steps):
        if step.number == 5:
            raise StopError

    with pytest.raises(StopError):
        train(settings, tmp_path / "parts", on_step=stop)
    assert [step.number for step in read_metrics(tmp_path / "parts")] == [1, 2, 3, 4, 5]
    resumed = train(settings, tmp_path / "parts", resume=True)
    assert [(s.number, s.loss, s.eval_loss) for s in resumed.history] == [
        (s.number, s.loss, s.eval_loss) for s in whole.history
    ]
    assert same(weights(whole.last.folder), weights(resumed.last.folder))
    assert same(
        load_file(whole.last.folder / "training_state.safetensors"),
        load_file(resumed.last.folder / "training_state.safetensors"),
    )


@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [
        *(("loop", optimizer) for optimizer in ("adamw", "muon", "adafactor", "sgd")),
        *((engine, optimizer) for engine in ("hf", "lightning", "trl") for optimizer in ("adamw", "muon")),
    ],
)
def test_every_engine_resumes_exactly_with_every_optimizer(tmp_path, config, engine, optimizer):
    settings = config(
        engine=engine, checkpoint={"every_steps": 2, "keep": 9}, train={"optimizer": optimizer, "max_steps": 4}
    )
    whole = train(settings, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-00000004")
    resumed = train(settings, tmp_path / "parts", resume=True)
    assert [s.loss for s in resumed.history] == [s.loss for s in whole.history]
    assert same(weights(whole.last.folder), weights(resumed.last.folder))


def test_resuming_needs_the_same_run(tmp_path, config):
    with pytest.raises(TrainingError, match="holds no run"):
        train(config(), tmp_path / "none", resume=True)
    train(config(), tmp_path / "run")
    with pytest.raises(TrainingError, match="another configuration"):
        train(config(train={"learning_rate": 0.5}), tmp_path / "run", resume=True)
    again = train(config(), tmp_path / "run", resume=True)
    assert len(again.history) == 6


def test_only_the_best_and_the_last_checkpoints_stay(tmp_path, config):
    settings = config(
        evaluate={"every_steps": 1}, checkpoint={"every_steps": 1, "keep": 2}, train={"learning_rate": 0.2}
    )
    run = train(settings, tmp_path / "run")
    assert {checkpoint.step for checkpoint in checkpoints(run.folder)} == {5, 6, run.best.step}


def test_lora_saves_adapters_only_and_loads_on_the_base(tmp_path, config):
    settings = config(model={"lora": {"rank": 2}}, checkpoint={"every_steps": 3, "keep": 9})
    run = train(settings, tmp_path / "run")
    folder = run.last.folder
    assert not (folder / "model.safetensors").exists()
    assert (folder / "adapter_model.safetensors").stat().st_size < 20_000
    model, _ = load_model(tmp_path / "run")
    loaded = {name.replace(".default", ""): tensor for name, tensor in model.state_dict().items() if "lora" in name}
    assert same(loaded, weights(folder))
    shutil.copytree(tmp_path / "run", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-00000006")
    resumed = train(settings, tmp_path / "parts", resume=True)
    assert same(weights(resumed.last.folder), weights(folder))


def test_an_adapter_on_nano_names_no_folder_of_this_machine(tmp_path):
    settings = FinetuneConfig.from_dict(
        {
            "model": {"name": "nano", "lora": {"rank": 1}},
            "data": {"max_rows": 8},
            "train": {"max_steps": 1, "batch_size": 2},
        }
    )
    run = train(settings, tmp_path / "run")
    told = json.loads((run.last.folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert told["base_model_name_or_path"] == "nano"
    assert load_model(run.folder)[0].config.vocab_size == 4096


def test_frozen_parts_do_not_change(tmp_path, config, base):
    run = train(config(model={"freeze": ["embeddings", "attention"], "keep_layers": [1]}), tmp_path / "run")
    before, after = load_model(base)[0].state_dict(), load_model(run.folder)[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any("embed_in" in name or "layers.0.attention" in name for name in changed)
    assert any("layers.1.attention" in name for name in changed)
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["trainable_parameters"] < summary["parameters"]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, config, monkeypatch):
    settings = config(checkpoint={"every_steps": 1}, train={"max_steps": 4})
    from ftlib.training import job

    original, calls = job.score_targets, []

    def broken(model, batch):
        calls.append(1)
        scored = original(model, batch)
        return scored._replace(logits=scored.logits * float("nan")) if len(calls) > 4 else scored

    monkeypatch.setattr(job, "score_targets", broken)
    with pytest.raises(TrainingError, match=r"step 3: the loss is nan .* lower the learning rate"):
        train(settings, tmp_path / "run")
    found = checkpoints(tmp_path / "run")
    assert [checkpoint.step for checkpoint in found] == [2]
    assert all(torch.isfinite(tensor).all() for tensor in weights(found[0].folder).values())


@pytest.mark.filterwarnings("ignore::ftlib.errors.TruncationWarning")
def test_rows_that_the_model_can_not_read_are_refused_before_anything_is_trained(tmp_path, config, rows_file):
    rows_file.write_text(json.dumps({"question": "Why?", "answer": "So."}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="no target to learn"):
        train(config(data={"max_length": 2, "validation_share": 0}, train={"batch_size": 1}), tmp_path / "run")


def test_what_fails_before_the_first_step_leaves_no_folder(tmp_path, config):
    with pytest.raises(DataError, match="no such file"):
        train(config(data={"source": "nowhere.jsonl"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_one_clear_error_and_keeps_the_last_checkpoint(tmp_path, config, monkeypatch):
    settings = config(checkpoint={"every_steps": 1, "keep": 9}, train={"max_steps": 3})
    from ftlib.training import checkpoints as module

    original = module.save_file

    def full(tensors, path):
        if "step-00000002" in str(path):
            raise OSError(28, "No space left on device")
        original(tensors, path)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(
        TrainingError, match=r"No space left on device\): free some space .* the last whole one is step-00000001"
    ):
        train(settings, tmp_path / "run")
    assert [checkpoint.step for checkpoint in checkpoints(tmp_path / "run")] == [1]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    monkeypatch.setattr(module, "save_file", original)
    assert len(train(settings, tmp_path / "run", resume=True).history) == 3


def test_a_folder_that_can_not_be_written_is_named(config):
    with pytest.raises(TrainingError, match="/proc/run: can't be written"):
        train(config(), "/proc/run")


def test_everything_frozen_is_an_error(tmp_path, config):
    with pytest.raises(ModelError, match="every weight would be frozen"):
        train(config(model={"freeze_patterns": ["*"]}), tmp_path / "run")


def test_tracking_offline_writes_into_the_run_folder(tmp_path, config):
    pytest.importorskip("wandb")
    run = train(config(tracking={"project": "course"}, train={"max_steps": 2}), tmp_path / "run")
    assert list((run.folder / "wandb").glob("offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("long_ones", ["trained", "evaluated"])
def test_rows_without_a_target_are_left_out_with_their_number_before_work_begins(
    tmp_path, config, rows_file, long_ones
):
    """Good rows, and some whose answer is cut away whole: no step and no evaluation is made of those alone."""
    good = [{"question": f"Q {i}?", "answer": "So."} for i in range(12)]
    long = [{"question": f"Why {i} " * 20 + "?", "answer": "So."} for i in range(4)]
    other = tmp_path / "other.jsonl"
    for path, rows in ((rows_file, [*good, *long] if long_ones == "trained" else good), (other, [*long, good[0]])):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    validation = {"validation": str(other)} if long_ones == "evaluated" else {"validation_share": 0}
    settings = config(
        data={"max_length": 40, "truncate": "end", **validation},
        train={"batch_size": 2, "max_steps": None, "epochs": 1, "accumulation_steps": 1},
    )
    with pytest.warns() as said:
        run = train(settings, tmp_path / "run")
    told = [str(one.message) for one in said if issubclass(one.category, DroppedRowsWarning)]
    size, kind = (16, "training") if long_ones == "trained" else (5, "evaluation")
    assert len(told) == 1
    assert f"left out 4 of {size} {kind} rows without a target" in told[0]
    assert len(run.history) == 6


@pytest.mark.filterwarnings("ignore::ftlib.errors.TruncationWarning")
def test_evaluation_rows_that_can_not_be_measured_are_refused_before_work_begins(tmp_path, config, rows_file):
    (tmp_path / "other.jsonl").write_text(
        json.dumps({"question": "Why " * 30, "answer": "So."}) + "\n", encoding="utf-8"
    )
    data = {"max_length": 40, "truncate": "end", "validation": str(tmp_path / "other.jsonl")}
    with pytest.raises(DataError, match="no target to learn or to measure in any of the 1 evaluation rows"):
        train(config(data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["loss", "scores"])
def test_an_evaluation_that_fails_costs_no_step(tmp_path, config, monkeypatch, what):
    from ftlib.training import run_evaluation

    def broken(*_, **__):
        raise DataError("broken on purpose")

    monkeypatch.setattr(
        run_evaluation,
        "evaluator" if what == "loss" else "scores",
        lambda *_, **__: broken if what == "loss" else broken(),
    )
    with pytest.raises(DataError, match="broken on purpose"):
        train(config(evaluate={"metrics": what == "scores"}), tmp_path / "run")
    assert [one.step for one in checkpoints(tmp_path / "run")] == [6]


class StoppedError(Exception):
    """As if the process had been killed: Lightning turns a KeyboardInterrupt into something else."""


def _stop_after(number):
    def stop(step, last):
        if step.number == number:
            raise StoppedError

    return stop


@pytest.mark.parametrize("change", ["fewer", "other answer", "other order", "none"])
def test_a_run_goes_on_with_its_own_rows_only(tmp_path, config, rows_file, change):
    settings = config(checkpoint={"every_steps": 1})
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "run", on_step=_stop_after(3))
    lines = rows_file.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = {
        "fewer": lines[:-1],
        "other answer": [lines[0].replace("word", "term"), *lines[1:]],
        "other order": lines[::-1],
        "none": lines,
    }
    rows_file.write_text("".join(changed[change]), encoding="utf-8")
    if change == "none":
        assert len(train(settings, tmp_path / "run", resume=True).history) == 6
        return
    before = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    with pytest.raises(TrainingError, match=r"was begun with other rows .* put the data back"):
        train(settings, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("own_file", [True, False])
def test_prompts_on_both_sides_are_said(tmp_path, config, rows_file, own_file):
    rows = [{"question": f"The same {i % 2}?", "answer": f"So {i}."} for i in range(20)]
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"validation": str(rows_file)} if own_file else {}
    with pytest.warns(LeakWarning, match=r"\d+ of \d+ evaluation rows have a prompt that is also trained on"):
        train(config(data=data, train={"max_steps": 1}), tmp_path / "run")


@pytest.mark.parametrize("monitor", ["token_accuracy", "bleu", "rouge_l", "eval_loss", "loss"])
def test_the_direction_of_what_is_monitored_is_its_own(config, monitor):
    higher = monitor not in ("eval_loss", "loss")
    settings = config(checkpoint={"monitor": monitor}, evaluate={"metrics": True})
    assert settings.checkpoint.mode == ("max" if higher else "min")
    assert FinetuneConfig.from_dict(yaml.safe_load(settings.as_yaml())) == settings
    if higher:
        with pytest.raises(ConfigError, match=f"of {monitor} the highest is best: set mode to max, or leave it out"):
            config(checkpoint={"monitor": monitor, "mode": "min"}, evaluate={"metrics": True})


def test_the_best_checkpoint_of_a_score_is_the_one_with_the_highest(tmp_path, config, monkeypatch):
    from ftlib.training import run_evaluation

    values = iter([0.2, 0.9, 0.4])
    monkeypatch.setattr(run_evaluation, "scores", lambda *_, **__: {"token_accuracy": next(values)})
    settings = config(
        checkpoint={"monitor": "token_accuracy"}, evaluate={"metrics": True, "every_steps": 2}, train={"max_steps": 6}
    )
    run = train(settings, tmp_path / "run")
    assert run.best.step == 4


@pytest.fixture
def with_dropout(tmp_path, tiny_tokenizer):
    model = tiny_causal("gpt2", head_scale=1.0, vocab_size=len(tiny_tokenizer), n_positions=128)
    return save_model(model, tiny_tokenizer, tmp_path / "dropping")


@pytest.mark.parametrize("engine", ["loop", "hf", "lightning", "trl"])
@pytest.mark.parametrize("lora", [None, {"rank": 2, "dropout": 0.3}])
def test_a_run_with_dropout_goes_on_bit_for_bit_in_every_engine(tmp_path, config, with_dropout, engine, lora):
    """GPT-2 drops a tenth of everything, and an adapter more; a stop after any step changes nothing."""
    settings = config(
        engine=engine,
        model={"name": str(with_dropout), "lora": lora},
        train={"batch_order": "shuffled", "max_steps": None, "epochs": 2, "accumulation_steps": 2},
        checkpoint={"every_steps": 1},
    )
    whole = train(settings, tmp_path / "whole")
    assert len(whole.history) == 8  # 16 rows, 4 a step
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "parts", on_step=_stop_after(3))
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "parts", resume=True, on_step=_stop_after(5))
    resumed = train(settings, tmp_path / "parts", resume=True)
    assert [step.loss for step in resumed.history] == [step.loss for step in whole.history]
    assert [step.gradient_norm for step in resumed.history] == [step.gradient_norm for step in whole.history]
    assert same(weights(resumed.last.folder), weights(whole.last.folder))


def test_a_skipped_step_is_noted_and_read_and_the_scale_goes_on(tmp_path, config, monkeypatch):
    """In float16, which a processor takes only where a test asks for it."""
    original = torch.amp.GradScaler.__init__

    def begins_too_high(self, *arguments, **named):
        original(self, *arguments, **{**named, "init_scale": 2.0**40})

    monkeypatch.setattr(torch.amp.GradScaler, "__init__", begins_too_high)
    monkeypatch.setattr("ftlib.training.run.choose_precision", lambda wanted, device: wanted)
    settings = config(train={"precision": "float16", "max_steps": 3}, checkpoint={"every_steps": 1})
    with pytest.raises(StoppedError):
        train(settings, tmp_path / "run", on_step=_stop_after(1))
    assert '"gradient_norm": null' in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8")
    assert read_metrics(tmp_path / "run")[0].gradient_norm == math.inf
    train(settings, tmp_path / "run", resume=True)
    state = json.loads((checkpoints(tmp_path / "run")[-1].folder / "training_state.json").read_text(encoding="utf-8"))
    assert state["scaler"]["scale"] == 2.0**37


@pytest.mark.parametrize("lora", [None, {"rank": 2}, {"rank": 2, "targets": "blocks"}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "mixed"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore::ftlib.errors.PrecisionWarning")
def test_a_run_holds_what_the_estimate_says(tmp_path, config, monkeypatch, dtype, precision, lora):
    """Weights, gradients and the optimizer's state, byte by byte: one meaning for a word."""
    found = {}

    def counting(job):
        weights = list(job.model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        gradients = {}
        for weight in trained:
            weight.register_post_accumulate_grad_hook(lambda w: gradients.__setitem__(id(w), w.grad.nbytes))
        take_steps(job)
        found["weight_bytes"] = sum(weight.nbytes for weight in weights)
        found["gradient_bytes"] = sum(gradients.values())
        states = [value for state in job.optimizer.state.values() for value in state.values()]
        found["optimizer_bytes"] = sum(value.nbytes for value in states if value.ndim)

    take_steps = loop.run
    monkeypatch.setattr(loop, "run", counting)
    settings = config(model={"dtype": dtype, "lora": lora}, train={"precision": precision, "max_steps": 1})
    train(settings, tmp_path / "run")
    adapters = {"lora_rank": lora["rank"], "lora_targets": lora.get("targets", "attention")} if lora else {}
    need = estimate(settings.model.name, length=16, dtype=dtype, precision=precision, **adapters)
    assert found == {name: getattr(need, name) for name in found}


def test_a_rate_is_chosen_by_what_is_trained(tmp_path, config):
    def peak(name, **sections):
        settings = config(train={"learning_rate": None, "max_steps": 1}, **sections)
        return train(settings, tmp_path / name).history[0].learning_rate

    assert peak("full") == pytest.approx(1e-3)
    assert peak("adapters", model={"lora": {"rank": 1}}) == pytest.approx(1e-2)
    assert json.loads((tmp_path / "adapters" / "summary.json").read_text(encoding="utf-8"))["learning_rate"] == 1e-2
    with pytest.raises(ConfigError, match="sgd has no default learning rate"):
        config(train={"learning_rate": None, "optimizer": "sgd"})
