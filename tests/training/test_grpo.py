"""GRPO: advantages by hand, TRL's numbers, and a run by rewards that is logged, saved, resumed and described."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ftlib.errors import ConfigError, DataError, ModelError, RewardWarning, TrainingError
from ftlib.evaluation.rewards import group_advantages
from ftlib.models.loading import load_model
from ftlib.text.templates import QUESTION_ANSWER
from ftlib.text.tokenization import tokenize
from ftlib.training.config import FinetuneConfig
from ftlib.training.groups import Rewards, prompts_of
from ftlib.training.grpo_section import GrpoSection
from ftlib.training.run import SUMMARY, train
from ftlib.training.run_log import read_metrics, read_scores
from ftlib.training.trl_grpo import NoSpread, sample_groups

ROWS = [
    {"prompt": f"Mail {number}: the {thing} is broken.", "completion": json.dumps({"topic": thing, "order": number})}
    for number, thing in enumerate(["pump", "lamp", "bell", "fork", "seat", "tyre"], start=1)
]
TEXTS = [{"prompt": "Why?", "completion": "Because."}, {"prompt": "When?", "completion": "Now."}] * 3
SECTIONS = {
    "engine": "trl",
    "objective": "grpo",
    "model": {"name": "nano", "device": "cpu", "lora": {"rank": 2}},
    "data": {"validation_share": 0.34},
    "train": {"max_steps": 4, "batch_size": 4, "learning_rate": 1e-2, "batch_order": "shuffled"},
    "evaluate": {"sanity_batches": 1, "metrics_rows": 2},
    "checkpoint": {"every_steps": 2},
    "grpo": {"rewards": ["json_valid", "json_fields"], "num_generations": 2, "max_completion_length": 6},
}


def shortness(answers, references):
    """A reward with a spread: what an untrained model writes is no JSON."""
    return [1 / (1 + len(answer)) for answer in answers]


def config(path, **changes):
    merged = {name: {**value, **changes.get(name, {})} for name, value in SECTIONS.items() if isinstance(value, dict)}
    values = {**SECTIONS, **changes, **merged}
    return FinetuneConfig.from_dict({**values, "data": {"source": str(path), **values["data"]}})


def written(folder, rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    return written(tmp_path_factory.mktemp("mails"), ROWS)


@pytest.fixture(scope="module")
def whole(mails, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo") / "run"
    return train(config(mails, grpo={"beta": 0.1}), folder, rewards={"short": shortness})


@pytest.fixture
def rows(conversations, tiny_tokenizer):
    return tokenize(tiny_tokenizer, conversations, template=QUESTION_ANSWER)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_trls_advantages_are_ours_and_the_model_stays_as_it_is(scale, tiny_model, tiny_tokenizer, rows):
    before = {name: value for name, value in vars(tiny_model).items() if name != "_modules"}
    random = torch.get_rng_state()
    settings = GrpoSection(num_generations=4, max_completion_length=8, scale_rewards=scale)
    given = Rewards({"letters": lambda answers, _: [float(len(a)) for a in answers], "short": shortness}, (0.1, 2.0))
    found = sample_groups(tiny_model, tiny_tokenizer, rows, given, settings)
    assert found.rewards.shape == found.advantages.shape == (3, 4)
    assert found.rewards.std() > 0
    torch.testing.assert_close(found.advantages, group_advantages(found.rewards, scale), rtol=1e-4, atol=1e-5)
    by_hand = [[0.1 * len(text.strip()) + 2 / (1 + len(text.strip())) for text in group] for group in found.answers]
    torch.testing.assert_close(found.rewards, torch.tensor(by_hand))
    assert set(vars(tiny_model)) - {"_modules"} == set(before)
    assert not tiny_model.training
    assert torch.equal(random, torch.get_rng_state())


def test_prompts_end_where_the_last_answer_begins(tiny_tokenizer, rows):
    found = prompts_of(tiny_tokenizer, rows)
    assert [reference for _, reference in found] == ["Because.", "A piece of text.", "Not very long at all."]
    for (ids, _), row in zip(found, rows, strict=True):
        assert ids == row["input_ids"][: len(ids)]
        assert set(row["labels"][: len(ids)]) == {-100}


def test_a_run_logs_what_its_answers_earned(whole):
    first = whole.history[0]
    assert {"reward", "reward_std", "frac_reward_zero_std", "mean_length", "clipped_ratio", "kl"} < set(first.rewards)
    assert {"json_valid", "json_fields", "short"} < set(first.rewards)
    assert first.rewards["kl"] == pytest.approx(0, abs=1e-5)
    assert first.rewards["reward"] == pytest.approx(
        sum(first.rewards[name] for name in ("json_valid", "json_fields", "short")), rel=1e-4
    )
    assert read_metrics(whole.folder) == whole.history
    assert all(step.tokens > 4 * step.rewards["mean_length"] for step in whole.history)


def test_its_evaluation_asks_for_the_reward_of_greedy_answers(whole):
    assert whole.best.eval_loss is not None
    scores = read_scores(whole.folder)[-1]
    assert set(scores) == {"number", "reward", "json_valid", "json_fields", "short"}
    assert FinetuneConfig.from_yaml(whole.folder / "config.yaml").checkpoint.monitor == "reward"
    assert whole.best.rank == -scores["reward"]


def test_its_card_and_its_summary_tell_the_reward(whole):
    assert "mean reward of the first and the last step" in (whole.folder / "README.md").read_text(encoding="utf-8")
    summary = json.loads((whole.folder / SUMMARY).read_text(encoding="utf-8"))
    assert summary["objective"] == "grpo"
    assert summary["last_reward"] == whole.history[-1].rewards["reward"]
    assert (whole.folder / "reward.png").is_file()
    assert load_model(whole.folder, device="cpu")[0].peft_config.keys() == {"default"}


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(mails, whole, tmp_path):
    def stop(step, steps):
        if step.number == 3:
            raise KeyboardInterrupt

    settings, functions = config(mails, grpo={"beta": 0.1}), {"short": shortness}
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "run", on_step=stop, rewards=functions)
    again = train(settings, tmp_path / "run", resume=True, rewards=functions)
    assert [step.loss for step in again.history] == [step.loss for step in whole.history]
    assert [step.rewards for step in again.history] == [step.rewards for step in whole.history]
    ours, theirs = (load_file(run.last.folder / "adapter_model.safetensors") for run in (again, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_adapters_all_weights_are_trained_and_micro_batches_add_up(mails, tmp_path):
    steps = {"accumulation_steps": 2, "max_steps": 2, "learning_rate": 1e-3}
    settings = config(mails, model={"lora": None}, train=steps, data={"validation_share": 0})
    run = train(settings, tmp_path / "run", rewards={"short": shortness})
    before, after = (load_model(name, device="cpu")[0].state_dict() for name in ("nano", run.folder))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(step.tokens > 8 for step in run.history)


@pytest.fixture
def tiny_folder(tmp_path, tiny_model, tiny_tokenizer):
    folder = tmp_path / "model"
    tiny_model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_in_bfloat16_with_activations_computed_twice_it_runs(tmp_path, tiny_folder):
    settings = config(
        written(tmp_path, TEXTS),
        model={"name": str(tiny_folder), "gradient_checkpointing": True},
        data={"validation_share": 0, "template": "question-answer"},
        train={"max_steps": 1, "precision": "bfloat16"},
        grpo={"rewards": ["rouge_l"], "beta": 0.1},
    )
    run = train(settings, tmp_path / "run", rewards={"short": shortness})
    assert run.history[0].gradient_norm > 0


def test_the_reward_rises(tmp_path, tiny_folder):
    """An untrained model draws each token about as often as any other; 30 steps teach it to write one letter."""

    def letters_e(answers, references):
        return [min(1, answer.count("e") / 6) for answer in answers]

    settings = config(
        written(tmp_path, TEXTS),
        model={"name": str(tiny_folder), "lora": None},
        data={"validation_share": 0, "template": "question-answer"},
        train={"max_steps": 30, "batch_size": 32, "learning_rate": 1e-2, "schedule": "constant"},
        grpo={"rewards": [], "num_generations": 16, "max_completion_length": 6},
    )
    run = train(settings, tmp_path / "run", rewards={"letters_e": letters_e})
    rewards = [step.rewards["reward"] for step in run.history]
    assert sum(rewards[:3]) / 3 < 0.2
    assert sum(rewards[-3:]) / 3 > 0.5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "loop"}, "engine loop knows objective sft only: for grpo set engine: trl"),
        ({"objective": "sft"}, "the section grpo is for objective: grpo, not sft"),
        ({"grpo": {"num_generations": 1}}, "grpo.num_generations: a group needs at least 2 answers"),
        ({"grpo": {"num_generations": 3}}, "set train.batch_size to a multiple of 3"),
        ({"grpo": {"rewards": ["jsn_valid"]}}, "unknown reward 'jsn_valid'.*did you mean 'json_valid'"),
        ({"grpo": {"rewards": ["json_valid", "json_valid"]}}, "stands there twice"),
        ({"grpo": {"reward_weights": [1.0]}}, "2 rewards have 1 reward_weights"),
        ({"grpo": {"beta": 0.1}, "model": {"lora": None}}, "grpo.beta above 0 needs model.lora"),
        ({"grpo": {"beta": 0.1}, "checkpoint": {"start_from": "runs/other"}}, "can't go on from checkpoint.start_from"),
        ({"data": {"truncate": "end"}}, "can't cut rows at their end"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(changes, told, mails):
    with pytest.raises(ConfigError, match=told):
        config(mails, **changes)


def test_a_monitor_of_rewards_needs_rewards():
    with pytest.raises(ConfigError, match=r"checkpoint\.monitor reward is for objective: grpo, not sft"):
        FinetuneConfig.from_dict({"checkpoint": {"monitor": "reward"}})


@pytest.mark.parametrize(
    ("changes", "functions", "error", "told"),
    [
        ({"grpo": {"rewards": []}}, {}, ConfigError, "objective grpo needs a reward: set grpo.rewards"),
        ({}, {"json_valid": shortness}, ConfigError, "'json_valid' stands in the configuration and is passed too"),
        ({"grpo": {"reward_weights": [1, 2, 3]}}, {}, ConfigError, "has 3 numbers for 2 rewards"),
        (
            {"grpo": {"rewards": ["json_colour_match"]}},
            {},
            DataError,
            "grpo.rewards: unknown reward 'json_colour_match'",
        ),
        ({"grpo": {"max_completion_length": 4000}}, {}, ConfigError, "grpo.max_completion_length 4000: the longest"),
        ({}, {"few": lambda answers, _: [1.0, 2.0]}, TrainingError, "reward few: expected a finite number for each"),
        ({}, {"odd": lambda answers, _: [None] * len(answers)}, TrainingError, "reward odd: expected a finite number"),
    ],
)
def test_rewards_that_can_not_be_given_are_refused(changes, functions, error, told, mails, tmp_path):
    with pytest.raises(error, match=told):
        train(config(mails, **changes), tmp_path / "run", rewards=functions)
    assert not (tmp_path / "run").exists()


def test_references_that_are_no_json_are_named(tmp_path):
    settings = config(written(tmp_path, TEXTS), data={"validation_share": 0})
    with pytest.raises(DataError, match=r"grpo\.rewards: references, row 0 .*expected one JSON object, found 'Because"):
        train(settings, tmp_path / "run")


def test_functions_are_for_rewards(tmp_path):
    with pytest.raises(ConfigError, match="rewards are for objective: grpo, not sft"):
        train(FinetuneConfig(), tmp_path / "run", rewards={"short": shortness})


def test_a_reference_needs_a_model_without_adapters(mails, whole, tmp_path):
    settings = config(mails, model={"name": str(whole.folder)}, grpo={"beta": 0.1})
    with pytest.raises(ModelError, match="merge them first"):
        train(settings, tmp_path / "run")


def test_adapters_that_are_there_are_trained_on_without_a_reference(mails, whole, tmp_path):
    settings = config(mails, model={"name": str(whole.folder)}, train={"max_steps": 1})
    run = train(settings, tmp_path / "run", rewards={"short": shortness})
    before, after = (load_file(one.folder / "adapter_model.safetensors") for one in (whole.best, run.last))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_on_the_output_layer_is_refused(tiny_model, tiny_tokenizer, rows):
    tiny_model.get_output_embeddings().base_layer = torch.nn.Identity()  # as in a layer that peft has put an adapter on
    with pytest.raises(TrainingError, match="knows nothing of an adapter on the output layer"):
        sample_groups(tiny_model, tiny_tokenizer, rows, Rewards({"short": shortness}))


def test_steps_without_a_spread_are_told_once_a_row():
    watch = NoSpread()
    for share in (1, 1, 1, 1, 0.5, 1, 1, 1, 1):
        watch.look(0.0, share)
    with pytest.warns(RewardWarning, match="for 5 steps, all answers to each prompt had one reward"):
        watch.look(0.0, 1)
    watch.look(0.0, 1)
