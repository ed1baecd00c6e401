"""Every parameter of the testing file, and what it changes."""

import functools
import json
from collections import namedtuple

import pytest
import torch
from transformers import GPTNeoXForCausalLM

from ftlib.errors import ConfigError, PromptTooLongError, TrainingError, TruncationWarning
from ftlib.inference.growing_rows import start
from ftlib.models.loading import save_model
from ftlib.training import sft_testing
from ftlib.training.sft_testing import run_sft_test
from ftlib.training.sft_yaml import read_config

Seen = namedtuple("Seen", "mask lengths written device")
ROWS = [{"Question": f"What is {'so very ' * i}long?", "Answer": "word"} for i in range(5)]


@pytest.fixture(scope="module")
def here(tmp_path_factory, _tiny_model, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("sft")
    save_model(_tiny_model, tiny_tokenizer, folder / "base")
    changed = {name: -tensor for name, tensor in _tiny_model.state_dict().items()}
    other = GPTNeoXForCausalLM(_tiny_model.config)
    other.load_state_dict(changed)
    save_model(other, tiny_tokenizer, folder / "tuned")
    (folder / "all.json").write_text(json.dumps({"train": ROWS[:1], "val": ROWS[:2], "test": ROWS}), encoding="utf-8")
    return folder


@pytest.fixture
def ask(here, tmp_path):
    """Return a function that runs a testing file with some of its values replaced, and gives result and log."""

    def run(name="log", **changes):
        made = {
            "data": {"data_dir": str(here / "all.json")},
            "generate_params": {"max_new_tokens": 8},
            "model_name": str(here / "base"),
            "test_params": {"log_file": str(tmp_path / f"{name}.jsonl")},
        }
        for path, value in changes.items():
            *sections, key = path.split("__")
            place = made
            for section in sections:
                place = place[section]
            place[key] = value
        found = run_sft_test({"test": made})
        return found, [json.loads(line) for line in found.log_file.read_text(encoding="utf-8").splitlines()]

    return run


def texts(log):
    return [line["prediction"] for line in log]


@pytest.fixture
def seen(monkeypatch):
    """Of each batch: the mask of its prompts, the tokens that were read in each pass, what was written, the device."""
    found = []
    original, forward = sft_testing.continue_ids, GPTNeoXForCausalLM.forward

    @functools.wraps(forward)  # with its arguments: they say whether the model keeps anything
    def read(self, **inputs):
        passes.append((inputs["input_ids"].shape[1], inputs.get("attention_mask")))
        return forward(self, **inputs)

    def continue_ids(model, *args, **options):
        start(model, [[5], [6, 7]])  # whether its rows may be padded is looked at once
        passes.clear()
        written = original(model, *args, **options)
        found.append(Seen(passes[0][1], [length for length, _ in passes], written, model.device.type))
        return written

    passes = []
    monkeypatch.setattr(GPTNeoXForCausalLM, "forward", read)
    monkeypatch.setattr(sft_testing, "continue_ids", continue_ids)
    return found


def test_each_row_has_a_line_of_prompt_prediction_and_target(ask):
    found, log = ask()
    assert found.rows == len(log) == 5
    assert log[0].keys() == {"prompt", "prediction", "target"}
    assert (log[1]["prompt"], log[1]["target"]) == ("Question: What is so very long?\nAnswer:", "word")
    assert found.scores == {}
    with pytest.raises(TrainingError, match="nothing is overwritten: name another log_file"):
        ask()


def test_cuda(ask, seen, monkeypatch):
    ask(cuda=False)
    assert seen[0].device == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda: no NVIDIA card was found: set it to false"):
        ask("on-a-card", cuda=True)


@pytest.mark.parametrize(("split", "rows"), [("train", 1), ("val", 2), ("test", 5)])
def test_data_dir_and_split(ask, split, rows):
    assert ask(data__split=split)[0].rows == rows


def test_max_prompt_length_and_truncate_promt(ask, tiny_tokenizer):
    with pytest.warns(TruncationWarning, match="shortened 4 of 5 prompts"):
        _, log = ask(data__max_prompt_length=17, data__truncate_promt=True)
    assert all(len(tiny_tokenizer(line["prompt"])["input_ids"]) <= 18 for line in log)
    assert all(line["prompt"].startswith("Question: ") for line in log)
    assert all(line["prompt"].endswith("long?\nAnswer:") for line in log)
    with pytest.raises(PromptTooLongError, match=r"prompt 1 has \d+ tokens, max_prompt_length is 17: raise it"):
        ask("whole", data__max_prompt_length=17, data__truncate_promt=False)
    with pytest.raises(ConfigError, match=r"unknown key 'data.truncate'; did you mean 'truncate_promt'"):
        ask("misspelt", data__truncate=True)


def test_padding_changes_shapes_and_no_text(ask, seen):
    expected = texts(ask("longest", data__padding=True, data__batch_size=5)[1])
    (longest,) = (tuple(batch.mask.shape) for batch in seen)
    seen.clear()
    assert texts(ask("wide", data__padding="max_length", data__max_prompt_length=50, data__batch_size=5)[1]) == expected
    assert [tuple(batch.mask.shape) for batch in seen] == [(5, 50)]
    seen.clear()
    assert texts(ask("alone", data__padding=False)[1]) == expected
    assert [len(batch.mask) for batch in seen] == [1] * 5
    assert longest[0] == 5
    assert longest[1] < 50


def test_padding_side(ask, seen):
    ask(data__padding_side="left")
    mask = seen[0].mask[0].tolist()
    assert mask == sorted(mask)
    assert 0 in mask
    with pytest.raises(ConfigError, match="padding on the right stands between a prompt and its answer: write left"):
        ask("right", data__padding_side="right")


def test_max_new_tokens(ask, seen):
    ask(generate_params__max_new_tokens=3)
    assert max(map(len, seen[0].written)) <= 3
    with pytest.raises(PromptTooLongError, match=r"the model's context holds 0: lower max_new_tokens"):
        ask("long", generate_params__max_new_tokens=512)


def test_do_sample_and_seed(ask):
    greedy = [texts(ask(f"greedy{seed}", seed=seed)[1]) for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    drawn = [texts(ask(f"drawn{i}", seed=seed, generate_params__do_sample=True)[1]) for i, seed in enumerate((1, 1, 2))]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != greedy[0]


@pytest.mark.parametrize(("key", "value"), [("top_k", 1), ("top_p", 1e-6)])
def test_top_k_and_top_p(ask, key, value):
    """Where only one token may be drawn, the draw is the likeliest."""
    greedy = texts(ask("greedy")[1])
    narrow = ask("narrow", generate_params__do_sample=True, **{f"generate_params__{key}": value})[1]
    assert texts(narrow) == greedy
    assert texts(ask("wide", generate_params__do_sample=True)[1]) != greedy


def test_no_repeat_ngram_size(ask, seen):
    ask(generate_params__max_new_tokens=16)
    ask("varied", generate_params__max_new_tokens=16, generate_params__no_repeat_ngram_size=1)
    before, after = (batch.written for batch in seen)
    assert any(len(set(row)) < len(row) for row in before)
    assert all(len(set(row)) == len(row) for row in after)


def test_model_name_and_test_model_path(ask, here):
    base, tuned = texts(ask("base")[1]), texts(ask("other", model_name=str(here / "tuned"))[1])
    assert base != tuned
    assert texts(ask("path", test_params__test_model_path=str(here / "tuned"))[1]) == tuned


def test_do_compute_metrics(ask, tmp_path):
    found, _ = ask(test_params__do_compute_metrics=True)
    assert set(found.scores) == {"bleu", "rouge_l"}
    assert json.loads((tmp_path / "log.scores.json").read_text(encoding="utf-8")) == {"rows": 5, **found.scores}
    ask("without")
    assert not (tmp_path / "without.scores.json").exists()


def test_save_steps(ask, tmp_path, monkeypatch):
    lengths = []
    original = sft_testing._Log._write
    monkeypatch.setattr(sft_testing._Log, "_write", lambda log: (lengths.append(len(log.lines)), original(log)))
    ask(test_params__save_steps=2)
    assert lengths == [2, 2, 1]


@pytest.mark.parametrize("use_cache", [True, False])
def test_use_cache(ask, seen, use_cache):
    ask(test_params__use_cache=use_cache)
    first, second, *_ = seen[0].lengths
    assert second == (1 if use_cache else first + 1)


def test_wandb(ask, monkeypatch, tmp_path):
    module = pytest.importorskip("wandb")
    told = {}

    class Run:
        def log(self, line, step):
            told["line"] = line

        def finish(self):
            told["finished"] = True

    monkeypatch.setattr(module, "init", lambda **options: told.update(options) or Run())
    args = {"project_name": "course", "group": "g", "job_type": "test", "name": "n"}
    ask(wandb={"api": "secret-key", "args": args}, test_params__do_compute_metrics=True)
    assert (told["project"], told["group"], told["job_type"], told["name"]) == ("course", "g", "test", "n")
    assert (told["mode"], told["finished"]) == ("online", True)
    assert set(told["line"]) == {"number", "rows", "bleu", "rouge_l"}
    assert "secret-key" not in repr(told)


def test_the_sections_may_stand_at_the_top(here, tmp_path):
    log_file = tmp_path / "log.jsonl"
    values = {
        "data": {"data_dir": str(here / "all.json"), "split": "val"},
        "model_name": str(here / "base"),
        "generate_params": {"max_new_tokens": 2},
        "test_params": {"log_file": str(log_file)},
    }
    assert run_sft_test(values).rows == 2
    with pytest.raises(ConfigError, match="unknown key 'test_param'; did you mean 'test_params'"):
        run_sft_test({**values, "test_param": {}})


def test_it_is_no_file_for_training(tmp_path):
    (tmp_path / "test.yaml").write_text("test:\n  cuda: false\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is a file for testing, not for training"):
        read_config(tmp_path / "test.yaml")
