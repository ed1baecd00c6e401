"""Every parameter of the training file: accepted under its own spelling, and what it changes."""

import json
import math
import os
import re
from types import SimpleNamespace

import pytest
import torch
import yaml

from ftlib.errors import ConfigError, TrainingError, TruncationWarning
from ftlib.models.loading import load_model, save_model
from ftlib.models.precision import choose_precision
from ftlib.training import prepare, run_evaluation
from ftlib.training.checkpoints import checkpoints
from ftlib.training.config import FinetuneConfig
from ftlib.training.prepare_data import configured_template, prepare_rows
from ftlib.training.run import train
from ftlib.training.run_evaluation import RunEvaluation
from ftlib.training.run_log import read_metrics, read_scores
from ftlib.training.sft_yaml import from_sft_yaml, read_config

ROWS = [{"Question": f"What is {i}?", "Answer": "word " * (i % 3 + 1)} for i in range(25)]
SPLITS = {"train": ROWS[:16], "val": ROWS[16:21], "test": ROWS[21:]}
CONTEXT = 64
KEY = "a-key-that-nobody-may-see"


@pytest.fixture(scope="module")
def here(tmp_path_factory, _tiny_model, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("sft")
    save_model(_tiny_model, tiny_tokenizer, folder / "base")
    (folder / "data").mkdir()
    (folder / "data" / "all.json").write_text(json.dumps(SPLITS), encoding="utf-8")
    return folder


@pytest.fixture
def values(here):
    """Return a function that makes a training file, with some of its values replaced: ``data__batch_size=4``."""

    def make(**changes):
        made = {
            "data": {"data_dir": str(here / "data"), "batch_size": 4, "max_length": 64},
            "model_name": str(here / "base"),
            "seed": 3,
            "model_params": {"learning_rate": 1e-2},
            "trainer": {"checkpoint": {}, "params": {"max_epochs": 1, "accelerator": "cpu", "gradient_clip_val": 1}},
        }
        for path, value in changes.items():
            *sections, name = path.split("__")
            place = made
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = value
        return made

    return make


def tokenized(tokenizer, config):
    """Return the rows of a configuration as a model of so short a context is given them."""
    return prepare_rows(tokenizer, config, configured_template(tokenizer, config.data), context=CONTEXT)


@pytest.fixture
def job(values):
    """Return a function that makes a file's job, ready to be run."""

    def make(**changes):
        config = from_sft_yaml(values(**changes))
        model, tokenizer = prepare.prepare_model(config, None)
        rows, eval_rows = tokenized(tokenizer, config)
        evaluation = RunEvaluation(model, tokenizer, eval_rows)
        precision = choose_precision(config.train.precision, "cpu")
        return prepare.prepare_job(model, tokenizer, config, rows, evaluation, precision=precision)

    return make


@pytest.fixture
def run(values, tmp_path):
    """Return a function that runs a file to its end."""

    def make(name="run", **changes):
        return train(from_sft_yaml(values(**changes)), tmp_path / name)

    return make


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """Half of the time of so small a run goes into the picture of its loss, which test_run.py looks at."""
    monkeypatch.setattr("ftlib.training.run.plot_losses", lambda *_, **__: None)


@pytest.fixture
def wandb(monkeypatch):
    """Wandb without a network or files: what it was told."""
    module = pytest.importorskip("wandb")
    told = SimpleNamespace(init=None, key=None, lines=[])

    def init(**options):
        told.init, told.key = options, os.environ.get("WANDB_API_KEY")
        return SimpleNamespace(log=lambda line, step: told.lines.append(line), finish=lambda: None)

    monkeypatch.setattr(module, "init", init)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return told


def evaluated(run):
    return [step.number for step in run.history if step.eval_loss is not None]


def frozen(job):
    return {name for name, parameter in job.model.named_parameters() if not parameter.requires_grad}


def test_batch_size(job):
    assert job(data__batch_size=4).batches[0]["input_ids"].shape[0] == 4
    assert job(data__batch_size=2).max_steps == 8
    assert from_sft_yaml({"data": {"data_dir": "faq", "batch_size": 2}}).evaluate.batch_size == 2


@pytest.mark.parametrize("shape", ["folder", "file", "three files", "lists"])
def test_data_dir(values, here, tmp_path, shape, tiny_tokenizer):
    splits = json.loads((here / "data" / "all.json").read_text(encoding="utf-8"))
    place = here / "data"
    if shape == "file":
        place = here / "data" / "all.json"
    elif shape != "folder":
        place = tmp_path
        for name, rows in splits.items():
            (tmp_path / f"{name}.json").write_text(
                json.dumps({name: rows} if shape == "three files" else rows), encoding="utf-8"
            )
    rows, eval_rows = tokenized(tiny_tokenizer, from_sft_yaml(values(data__data_dir=str(place))))
    assert (len(rows), len(eval_rows)) == (16, 5)
    text = tiny_tokenizer.decode(rows[1]["input_ids"], skip_special_tokens=True)
    assert text == "Question: What is 1?\nAnswer:word word "


def test_data_dir_may_be_a_shipped_name_and_is_refused_otherwise(tmp_path):
    config = from_sft_yaml({"data": {"data_dir": "faq"}, "seed": 1})
    assert (config.data.source, config.data.split, config.data.validation) == ("faq", "train", None)
    with pytest.raises(ConfigError, match="no splits there: expected a JSON file"):
        from_sft_yaml({"data": {"data_dir": str(tmp_path)}, "seed": 1})
    (tmp_path / "rows.json").write_text(json.dumps({"test": ROWS}), encoding="utf-8")
    with pytest.raises(ConfigError, match="has no split 'train': it has test"):
        from_sft_yaml({"data": {"data_dir": str(tmp_path)}, "seed": 1})
    (tmp_path / "rows.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rows.json can't be read as JSON"):
        from_sft_yaml({"data": {"data_dir": str(tmp_path)}, "seed": 1})


@pytest.mark.filterwarnings("ignore::ftlib.errors.TruncationWarning")
def test_max_length(job):
    assert max(len(row) for row in job(data__max_length=64).batches.rows["input_ids"]) > 14
    assert max(len(row) for row in job(data__max_length=14).batches.rows["input_ids"]) == 14


def test_on_tpu(values):
    from_sft_yaml(values(data__on_tpu=False))
    with pytest.raises(ConfigError, match=r"data.on_tpu: TPUs are not supported"):
        from_sft_yaml(values(data__on_tpu=True))


@pytest.mark.parametrize("name", ["truncate_promt", "truncate_prompt"])
def test_truncate_promt(values, name, tiny_tokenizer):
    def first_row(*, wanted):
        made = values(data__max_length=22)
        made["data"][name] = wanted
        with pytest.warns(TruncationWarning):
            row = tokenized(tiny_tokenizer, from_sft_yaml(made))[0][2]
        assert len(row["input_ids"]) == 22
        return tiny_tokenizer.decode(row["input_ids"])

    assert first_row(wanted=True).endswith("\nAnswer:word word word <|endoftext|>")
    assert first_row(wanted=False).startswith("Question: What is 2?\nAnswer:")
    assert not first_row(wanted=False).endswith("<|endoftext|>")


def test_model_name(job, here):
    mine, saved = job().model.state_dict(), load_model(here / "base")[0].state_dict()
    assert all(torch.equal(mine[name], saved[name]) for name in saved)
    assert job(model_name="nano").model.config.vocab_size == 4096


def test_seed(job):
    def order(seed):
        return [row for step in (1, 2) for part in job(seed=seed).batches.rows_of(step) for row in part]

    assert order(3) == order(3) != order(4)
    assert job(seed=4).seed == 4


def test_adam_betas(job):
    assert {group["betas"] for group in job(model_params__adam_betas=[0.9, 0.95]).optimizer.param_groups} == {
        (0.9, 0.95)
    }


def test_learning_rate(job):
    made = job(model_params__learning_rate=2e-5)
    assert {group["lr"] for group in made.optimizer.param_groups} == {2e-5}
    assert made.learning_rate == 2e-5


def test_weight_decay(job):
    groups = job(model_params__weight_decay=0.25).optimizer.param_groups
    decay = {name: group["weight_decay"] for group in groups for name in {p.ndim for p in group["params"]}}
    assert decay == {2: 0.25, 1: 0.0}  # all norms and biases are left out, not only some of them


def test_warmup_steps_per_cent(job, values):
    made = job(model_params__warmup_steps_per_cent=0.5, data__batch_size=2)
    assert [made.rate_share(number) for number in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    with pytest.raises(ConfigError, match=r"is a fraction of all steps in spite of its name: write 0.05 for 5 %"):
        from_sft_yaml(values(model_params__warmup_steps_per_cent=5))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("freeze_emb", r"embed_in\.weight"),
        ("freeze_ln", r"norm"),
        ("freeze_attn", r"attention\.(query_key_value|dense)"),
        ("freeze_ff", r"mlp\."),
        ("freeze_other", r"^(lm_head|embed_out)\.weight"),
    ],
)
def test_freezing_of_a_part(job, key, expected):
    made = job(model_params__do_freeze=True, **{f"model_params__{key}": True})
    names = [name for name, _ in made.model.named_parameters()]
    assert frozen(made) == {name for name in names if re.search(expected, name)} != set()
    trained = {id(parameter) for group in made.optimizer.param_groups for parameter in group["params"]}
    assert len(trained) == len(names) - len(frozen(made))


def test_do_freeze(job):
    assert frozen(job(model_params__do_freeze=False, model_params__freeze_attn=True)) == set()


def test_layers_not_to_freeze(job):
    made = job(model_params__do_freeze=True, model_params__freeze_attn=True, model_params__layers_not_to_freeze=[0, -1])
    assert frozen(made) == set()
    made = job(model_params__do_freeze=True, model_params__freeze_attn=True, model_params__layers_not_to_freeze=[0])
    assert {name.split(".")[2] for name in frozen(made)} == {"1"}


def test_frozen_parts_keep_their_weights(run, here):
    done = run(model_params__do_freeze=True, model_params__freeze_emb=True, model_params__freeze_attn=True)
    before, after = load_model(here / "base")[0].state_dict(), load_model(done.folder)[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("embed_in" in name or "attention.dense" in name for name in changed)


def test_do_compute_metrics(run):
    assert read_scores(run("without").folder) == []
    found = read_scores(run("with", model_params__do_compute_metrics=True).folder)
    assert [line["number"] for line in found] == [4]
    assert set(found[0]) == {"number", "token_accuracy", "bleu", "rouge_l"}


@pytest.mark.parametrize("use_cache", [True, False])
def test_use_cache(run, use_cache):
    saved = run(model_params__use_cache=use_cache).last.folder
    assert json.loads((saved / "config.json").read_text(encoding="utf-8"))["use_cache"] is use_cache
    assert json.loads((saved / "generation_config.json").read_text(encoding="utf-8"))["use_cache"] is use_cache


def test_checkpoint_dirpath(values, tmp_path):
    done = train(from_sft_yaml(values(trainer__checkpoint__dirpath=str(tmp_path / "mine"))))
    assert done.last.folder == tmp_path / "mine" / "checkpoints" / "step-00000004"
    with pytest.raises(ConfigError, match=r"no folder is named for the run: give one, or set checkpoint.folder"):
        train(from_sft_yaml(values()))


def test_every_n_train_steps(run):
    """The loss falls: with the highest called best, the earlier checkpoint stays beside the last."""
    wanted = {"every_n_train_steps": 3, "log_obg": "train_loss", "mode": "max"}
    done = run(trainer__checkpoint=wanted)
    assert {one.step for one in checkpoints(done.folder)} == {3, 4}


@pytest.mark.parametrize("name", ["log_obg", "log_obj"])
def test_log_obg(values, name):
    made = values()
    made["trainer"]["checkpoint"][name] = "train_loss"
    assert from_sft_yaml(made).checkpoint.monitor == "loss"
    made["trainer"]["checkpoint"][name] = "val_los"
    with pytest.raises(ConfigError, match=r"unknown; expected one of .*; did you mean 'val_loss'"):
        from_sft_yaml(made)
    made["trainer"]["checkpoint"][name] = "val_bleu"
    with pytest.raises(ConfigError, match=r"checkpoint.monitor 'bleu' needs evaluate.metrics: true"):
        from_sft_yaml(made)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_mode(run, mode):
    """The loss falls from step to step: the lowest is the last, the highest the first."""
    done = run(
        trainer__checkpoint__mode=mode,
        trainer__checkpoint__log_obg="val_loss",
        trainer__params__val_check_interval=1,
        model_params__learning_rate=1e-3,
    )
    losses = [step.eval_loss for step in done.history]
    assert losses == sorted(losses, reverse=True)
    assert done.best.step == (4 if mode == "min" else 1)
    assert done.best.eval_loss == losses[done.best.step - 1]
    chosen, best = load_model(done.folder)[0].state_dict(), load_model(done.best.folder)[0].state_dict()
    assert all(torch.equal(chosen[name], best[name]) for name in best)


def test_log_obg_can_be_a_score(run):
    done = run(
        trainer__checkpoint__log_obg="val_accuracy",
        trainer__checkpoint__mode="max",
        trainer__params__val_check_interval=1,
        trainer__params__max_epochs=3,
        model_params__do_compute_metrics=True,
    )
    found = {line["number"]: line["token_accuracy"] for line in read_scores(done.folder)}
    assert found[done.best.step] == max(found.values()) > min(found.values())


def test_ckpt_path_of_a_model_gives_its_weights(run, here):
    first = run("first")
    model, tokenizer = load_model(first.last.folder)
    save_model(model, tokenizer, first.folder.parent / "weights")
    plain, further = run("plain"), run("further", trainer__ckpt_path=str(first.folder.parent / "weights"))
    assert further.history[0].loss < plain.history[0].loss
    assert further.history[0].number == 1


@pytest.mark.parametrize("named", ["checkpoint", "run"])
def test_ckpt_path_of_a_run_goes_on_where_it_stopped(run, named):
    whole = run("whole", trainer__params__max_epochs=2, trainer__checkpoint__every_n_train_steps=3)
    stopped = train_until(whole.folder.parent / "stopped", whole.folder / "config.yaml", steps=5)
    start = checkpoints(stopped)[-1].step
    path = stopped if named == "run" else checkpoints(stopped)[-1].folder
    done = run("on", trainer__params__max_epochs=2, trainer__ckpt_path=str(path))
    assert [step.number for step in done.history] == list(range(start + 1, 9))
    assert [step.loss for step in done.history] == [step.loss for step in whole.history[start:]]
    with pytest.raises(ConfigError, match=rf"has taken {start} steps, and this run ends at {start}: raise"):
        run("no", trainer__ckpt_path=str(path), data__batch_size=16, trainer__params__max_epochs=start)


def train_until(folder, config, *, steps):
    class StopError(Exception):
        pass

    def stop(step, _):
        if step.number == steps:
            raise StopError

    with pytest.raises(StopError):
        train(FinetuneConfig.from_yaml(config), folder, on_step=stop)
    return folder


def test_ckpt_path_of_lightning_is_a_file_and_not_opened(run, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"may run code when it is opened"):
        run(trainer__ckpt_path=str(tmp_path / "last.ckpt"))


def test_accelerator(job, values, monkeypatch):
    assert job(trainer__params__accelerator="cpu").model.device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device cuda: no NVIDIA card was found"):
        job(trainer__params__accelerator="gpu")
    with pytest.raises(ConfigError, match="TPUs are not supported"):
        from_sft_yaml(values(trainer__params__accelerator="tpu"))
    assert from_sft_yaml(values(trainer__params__accelerator="auto")).model.device is None


def test_accumulate_grad_batches(run):
    done = run(data__batch_size=2, trainer__params__accumulate_grad_batches=4)
    assert len(done.history) == 2


def test_gradient_clip_val(job):
    assert job(trainer__params__gradient_clip_val=0.25).max_gradient_norm == 0.25
    assert job(trainer__params__gradient_clip_val=0).max_gradient_norm == math.inf


@pytest.mark.parametrize("value", [1e-12, 0])
def test_gradient_clip_val_in_a_run(run, here, value):
    """A gradient of length 1e-12 doesn't count against AdamW's epsilon; one that isn't clipped does."""
    done = run(trainer__params__gradient_clip_val=value, model_params__weight_decay=0.0)
    before, after = load_model(here / "base")[0].state_dict(), load_model(done.folder)[0].state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert (moved > 5e-3) == (value == 0)
    expected = math.inf if value == 0 else value
    assert FinetuneConfig.from_yaml(done.folder / "config.yaml").train.max_gradient_norm == expected


def test_log_every_n_steps(run, wandb):
    every = run("every", data__batch_size=2)
    some = run(
        "some",
        data__batch_size=2,
        trainer__params__log_every_n_steps=3,
        wandb={"args": {"project_name": "course"}},
    )
    assert [step.number for step in some.history] == [3, 6, 8]
    assert [line["number"] for line in wandb.lines] == [3, 6, 8]
    assert [step.loss for step in some.history] == [every.history[i].loss for i in (2, 5, 7)]
    assert sum(step.tokens for step in some.history) == sum(step.tokens for step in every.history)
    assert json.loads((some.folder / "summary.json").read_text(encoding="utf-8"))["steps"] == 8


def test_max_epochs(job):
    assert job(trainer__params__max_epochs=3).max_steps == 12


def test_num_sanity_val_steps(run, monkeypatch, tmp_path):
    seen = []
    original = run_evaluation.answer_loss

    def counted(model, batches):
        seen.extend(batches := list(batches))
        return original(model, batches)

    monkeypatch.setattr(run_evaluation, "answer_loss", counted)
    run("none", data__batch_size=2)
    assert seen == []
    run("one", data__batch_size=2, trainer__params__num_sanity_val_steps=1)
    assert [batch["input_ids"].shape[0] for batch in seen] == [2]
    seen.clear()
    run("all", data__batch_size=2, trainer__params__num_sanity_val_steps=-1)
    assert [batch["input_ids"].shape[0] for batch in seen] == [2, 2, 1]
    monkeypatch.setattr(run_evaluation, "answer_loss", lambda model, batches: math.nan)
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        run("broken", trainer__params__num_sanity_val_steps=2)
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize(("value", "rows", "eval_rows"), [(0, 16, 5), (2, 4, 4), (0.25, 4, 2)])
def test_overfit_batches(values, tiny_tokenizer, value, rows, eval_rows):
    config = from_sft_yaml(values(trainer__params__overfit_batches=value, data__batch_size=2))
    found = tokenized(tiny_tokenizer, config)
    assert tuple(map(len, found)) == (rows, eval_rows)
    with pytest.raises(ConfigError, match=r"data.overfit_batches: is a share of all batches if it has a point"):
        from_sft_yaml(values(trainer__params__overfit_batches=1.5))


def test_overfit_batches_come_in_the_same_order(job):
    made = job(trainer__params__overfit_batches=2, trainer__params__max_epochs=2, data__batch_size=2)
    assert [made.batches.rows_of(step) for step in (1, 2, 3, 4)] == [[[0, 1]], [[2, 3]]] * 2


@pytest.mark.parametrize(
    ("value", "expected"), [(32, "float32"), ("32-true", "float32"), ("bf16", "bfloat16"), ("bf16-mixed", "bfloat16")]
)
def test_precision(job, value, expected):
    assert job(trainer__params__precision=value).precision == expected


@pytest.mark.parametrize("value", [16, "16-mixed"])
def test_precision_16_becomes_bfloat16_on_a_processor(job, values, value):
    assert from_sft_yaml(values(trainer__params__precision=value)).train.precision == "float16"
    with pytest.warns(
        UserWarning, match="float16 needs a graphics card: on this processor it becomes bfloat16"
    ) as told:
        assert job(trainer__params__precision=value).precision == "bfloat16"
    assert len(told) == 1
    with pytest.raises(ConfigError, match=r"trainer.params.precision: unknown; .* \(found 64\)"):
        from_sft_yaml(values(trainer__params__precision=64))


@pytest.mark.parametrize(
    ("interval", "accumulation", "expected"),
    [(3, 1, [3, 6, 8]), (3, 2, [2, 3, 4]), (1.0, 1, [8]), (0.25, 1, [2, 4, 6, 8]), (0.3, 1, [3, 5, 8])],
)
def test_val_check_interval(run, interval, accumulation, expected):
    """A whole number counts batches, one with a point epochs; what falls within a step waits for its end."""
    done = run(
        data__batch_size=2,
        trainer__params__val_check_interval=interval,
        trainer__params__accumulate_grad_batches=accumulation,
    )
    assert evaluated(done) == expected


def test_wandb_args(run, wandb):
    arguments = {"group": "frozen", "job_type": "train", "name": "one", "project_name": "course"}
    run(wandb={"args": arguments})
    told = {name: wandb.init[name] for name in ("group", "job_type", "name", "project", "mode")}
    assert told == {"group": "frozen", "job_type": "train", "name": "one", "project": "course", "mode": "offline"}


def test_wandb_api(run, values, wandb, monkeypatch):
    section = {"api": KEY, "args": {"project_name": "course"}}
    config = from_sft_yaml(values(wandb=section))
    assert KEY not in repr(config) + str(config) + config.as_yaml() + repr(config.tracking)
    done = run(wandb=section)
    assert (wandb.key, wandb.init["mode"]) == (KEY, "online")
    assert "WANDB_API_KEY" not in os.environ
    assert KEY not in repr(wandb.init) + repr(wandb.lines)
    assert not [path for path in done.folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    train(config, done.folder, resume=True)  # the key is no part of what has to agree
    monkeypatch.setenv("WANDB_API_KEY", "the-better-one")
    run("again", wandb=section)
    assert wandb.key == "the-better-one"
    run("named", wandb={**section, "api": "$WANDB_API_KEY"})
    assert (wandb.key, wandb.init["mode"]) == ("the-better-one", "online")


@pytest.mark.parametrize(
    "wandb_section",
    [
        {"api": KEY},
        {"api": KEY, "args": {"project": "course"}},
        {"api": [KEY], "args": {"project_name": "course"}},
        {"api_key": KEY, "args": {"project_name": "course"}},
    ],
)
def test_no_error_shows_the_key(values, wandb_section):
    with pytest.raises(ConfigError) as caught:
        from_sft_yaml(values(wandb=wandb_section))
    assert KEY not in str(caught.value)


def test_a_file_that_is_no_yaml_shows_no_key(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"wandb:\n  api: {KEY}: [\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"not YAML: line 2, column \d+: ") as caught:
        read_config(tmp_path / "mine.yaml")
    assert KEY not in str(caught.value)
    assert KEY not in "".join(map(str, [caught.value.__cause__]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data__batchsize": 4}, "unknown key 'data.batchsize'; did you mean 'batch_size'"),
        ({"data__truncate_promp": True}, "unknown key 'data.truncate_promp'; did you mean 'truncate_promt'"),
        ({"model_params__learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"trainer__params__max_epoch": 1}, "unknown key 'trainer.params.max_epoch'; did you mean 'max_epochs'"),
        ({"trainer__checkpoint__log_object": "x"}, "did you mean 'log_obg'"),
        ({"modelname": "nano"}, "unknown key 'modelname'; did you mean 'model_name'"),
        ({"data__batch_size": "many"}, "data.batch_size: input should be a valid integer"),
    ],
)
def test_unknown_keys_and_values_are_refused_with_the_nearest_name(values, change, message):
    with pytest.raises(ConfigError, match=message):
        from_sft_yaml(values(**change))


def test_ftlib_train_runs_such_a_file_unchanged(values, tmp_path):
    """The command reads any file with read_config; what it is told to change has this library's names."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values()), encoding="utf-8")
    assert read_config(tmp_path / "mine.yaml") == from_sft_yaml(values())
    changes = ["engine=loop", "train.learning_rate=1e-4"]
    config = read_config(tmp_path / "mine.yaml", changes=changes)
    assert (config.engine, config.train.learning_rate, config.train.batch_size) == ("loop", 1e-4, 4)


def test_all_engines_take_the_same_moments_and_scores(values, tmp_path):
    config = from_sft_yaml(
        values(
            data__batch_size=2,
            model_params__do_compute_metrics=True,
            trainer__params__accumulate_grad_batches=2,
            trainer__params__val_check_interval=0.5,
            trainer__checkpoint__every_n_train_steps=3,
        )
    )
    found = {}
    for engine in ("loop", "hf", "lightning", "trl"):
        done = train(config.model_copy(update={"engine": engine}), tmp_path / engine)
        assert evaluated(done) == [2, 4]
        found[engine] = [[round(value, 3) for value in line.values()] for line in read_scores(done.folder)]
        assert [step.number for step in read_metrics(done.folder)] == [1, 2, 3, 4]
    assert found["hf"] == found["lightning"] == found["trl"] == found["loop"]


def test_a_resumed_run_has_the_lines_and_scores_of_one_in_peace(run):
    wanted = {
        "data__batch_size": 2,
        "model_params__do_compute_metrics": True,
        "trainer__params__val_check_interval": 3,
        "trainer__params__log_every_n_steps": 4,
        "trainer__checkpoint__every_n_train_steps": 5,
    }
    whole = run("whole", **wanted)
    stopped = train_until(whole.folder.parent / "stopped", whole.folder / "config.yaml", steps=7)
    resumed = train(FinetuneConfig.from_yaml(stopped / "config.yaml"), stopped, resume=True)
    assert [step.number for step in whole.history] == [3, 4, 5, 6, 8]
    told = [[(s.number, s.loss, s.tokens, s.eval_loss) for s in one.history] for one in (whole, resumed)]
    assert told[0] == told[1]
    assert read_scores(whole.folder) == read_scores(stopped) != []
    assert (whole.best.step, whole.best.eval_loss) == (resumed.best.step, resumed.best.eval_loss)
