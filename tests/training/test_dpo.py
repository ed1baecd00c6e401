"""DPO: the loss by hand, TRL's number, and a run that is logged, saved, resumed and described as every run is."""

import json
import math

import pytest
import torch

from datasets import Dataset
from ftlib.data.preferences import load_preferences
from ftlib.errors import ConfigError, DataError, DroppedRowsWarning, LeakWarning, ModelError
from ftlib.evaluation.preferences import answer_log_probs, dpo_loss, preference_scores
from ftlib.models.trainable import add_lora
from ftlib.text.templates import QUESTION_ANSWER
from ftlib.training.config import FinetuneConfig
from ftlib.training.pairs import PairBatches, pair_batches, tokenize_pairs
from ftlib.training.prepare_data import prepare_rows
from ftlib.training.run import SUMMARY, train
from ftlib.training.run_log import read_metrics
from ftlib.training.trl_dpo import trl_loss

CONFIG = {
    "engine": "trl",
    "objective": "dpo",
    "model": {"name": "nano", "device": "cpu", "lora": {"rank": 2}},
    "data": {"source": "preferences", "validation": "preferences", "validation_split": "test", "max_rows": 12},
    "train": {"max_steps": 4, "batch_size": 2, "learning_rate": 1e-2},
    "evaluate": {"sanity_batches": 1},
    "checkpoint": {"every_steps": 2},
    "dpo": {"beta": 0.5},
}
ROWS = [
    {"prompt": "Why?", "chosen": "Because it is so.", "rejected": "No."},
    {"prompt": "What is a token?", "chosen": "A piece of text.", "rejected": "A coin for the arcade, of course."},
]


def config(**changes):
    return FinetuneConfig.from_dict({**CONFIG, **changes})


@pytest.fixture
def policy(tiny_model, tiny_tokenizer):
    """A tiny model whose adapters say something else than it does."""
    model = add_lora(tiny_model, rank=2, seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    return model


@pytest.fixture
def pairs(tmp_path, tiny_tokenizer):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return tokenize_pairs(tiny_tokenizer, load_preferences(path), template=QUESTION_ANSWER)


@torch.no_grad()
def test_the_log_probability_of_an_answer_is_the_sum_over_its_tokens(policy, pairs, tiny_tokenizer):
    batch = pair_batches(pairs, 2, pad_token_id=tiny_tokenizer.pad_token_id)[0]
    found = answer_log_probs(policy, batch)
    for row, total in enumerate(found):
        logits = policy(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[row]
        by_hand = sum(
            torch.log_softmax(logits[place - 1], dim=-1)[label]
            for place, label in enumerate(batch["labels"][row].tolist())
            if label != -100
        )
        assert float(total) == pytest.approx(float(by_hand), rel=1e-4)


def test_dpos_loss_is_a_sum_that_can_be_done_on_paper():
    policy = torch.tensor([-10.0]), torch.tensor([-20.0])
    reference = torch.tensor([-12.0]), torch.tensor([-18.0])
    assert float(dpo_loss(policy, reference, beta=0.5)[0]) == pytest.approx(math.log(1 + math.exp(-0.5 * (2 + 2))))
    assert float(dpo_loss(reference, reference)[0]) == pytest.approx(math.log(2))


def test_trls_loss_is_ours_and_the_model_stays_as_it_is(policy, pairs, tiny_tokenizer):
    ours = preference_scores(policy, pair_batches(pairs, 2, pad_token_id=tiny_tokenizer.pad_token_id), beta=0.3).loss
    own, forward = set(vars(policy.get_base_model())), policy.get_base_model().forward
    assert trl_loss(policy, tiny_tokenizer, pairs, beta=0.3) == pytest.approx(sum(ours) / 2, rel=1e-4)
    assert set(vars(policy.get_base_model())) == own
    assert policy.get_base_model().forward == forward
    assert abs(sum(ours) / 2 - math.log(2)) > 0.01  # the adapters do say something


def test_adapters_that_say_nothing_give_rewards_of_0(tiny_model, pairs, tiny_tokenizer):
    model = add_lora(tiny_model, rank=2, seed=0)
    scores = preference_scores(model, pair_batches(pairs, 1, pad_token_id=tiny_tokenizer.pad_token_id))
    assert scores.chosen == scores.rejected == [0.0, 0.0]
    assert scores.loss == pytest.approx([math.log(2)] * 2)
    assert scores.accuracy == 0.0


def test_a_model_without_adapters_has_no_reference(tiny_model, pairs, tiny_tokenizer):
    with pytest.raises(ModelError, match="has no adapters"):
        preference_scores(tiny_model, pair_batches(pairs, 1, pad_token_id=tiny_tokenizer.pad_token_id))


def test_a_pair_that_is_too_long_is_left_out_whole(tmp_path, tiny_tokenizer, pairs):
    longest = [max(map(len, both)) for both in zip(pairs["input_ids"], pairs["rejected_input_ids"], strict=True)]
    path = tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    rows = load_preferences(path)
    with pytest.warns(DroppedRowsWarning, match="left out 1 of 2 pairs"):
        kept = tokenize_pairs(tiny_tokenizer, rows, template=QUESTION_ANSWER, max_length=max(longest) - 1)
    assert len(kept) == 1
    with pytest.raises(DataError, match="every one of the 2 pairs has more than 2 tokens"):
        tokenize_pairs(tiny_tokenizer, rows, template=QUESTION_ANSWER, max_length=2)


def test_a_prompt_on_both_sides_of_a_split_is_told(tmp_path, tiny_tokenizer):
    path = tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 5), encoding="utf-8")
    asked = config(data={"source": str(path), "validation_share": 0.2})
    with pytest.warns(LeakWarning, match="2 of 2 evaluation rows have a prompt that is also trained on"):
        prepare_rows(tiny_tokenizer, asked, QUESTION_ANSWER, context=64)


def test_by_length_counts_the_longer_side_of_a_pair():
    sides = [(2, 9), (3, 3), (8, 2), (2, 4)]
    rows = Dataset.from_list(
        [
            {"input_ids": [5] * a, "labels": [5] * a, "rejected_input_ids": [5] * b, "rejected_labels": [5] * b}
            for a, b in sides
        ]
    )
    batches = PairBatches(rows, batch_size=2, accumulation_steps=1, max_steps=2, pad_token_id=0)
    assert {frozenset(batches.rows_of(step)[0]) for step in (1, 2)} == {frozenset({0, 2}), frozenset({1, 3})}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(config(), tmp_path_factory.mktemp("dpo") / "run")


def test_a_run_begins_at_ln_2_and_logs_its_rewards(whole):
    first, *rest = whole.history
    assert first.loss == pytest.approx(math.log(2), abs=1e-4)
    assert set(first.rewards) == {"chosen", "rejected", "margins", "accuracies"}
    assert first.rewards["margins"] == pytest.approx(0, abs=1e-4)
    assert all(step.rewards["margins"] != 0 for step in rest)
    assert read_metrics(whole.folder) == whole.history
    assert whole.best.eval_loss is not None


def test_its_card_and_its_summary_say_what_was_minimised(whole):
    assert "nats per pair" in (whole.folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((whole.folder / SUMMARY).read_text(encoding="utf-8"))["objective"] == "dpo"


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(whole, tmp_path):
    def stop(step, steps):
        if step.number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config(), tmp_path / "run", on_step=stop)
    again = train(config(), tmp_path / "run", resume=True)
    assert [step.loss for step in again.history] == [step.loss for step in whole.history]
    assert [step.rewards for step in again.history] == [step.rewards for step in whole.history]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"engine": "loop"}, "engine loop knows objective sft only"),
        ({"model": {"name": "nano"}}, "objective dpo needs model.lora"),
        ({"objective": "sft"}, "the section dpo is for objective: dpo"),
        ({"evaluate": {"metrics": True}}, "evaluate.metrics scores one answer a row"),
        ({"checkpoint": {"start_from": "runs/other"}}, "can't go on from checkpoint.start_from"),
        ({"dpo": {"beta": 0}}, "dpo.beta"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(changes, told):
    with pytest.raises(ConfigError, match=told):
        config(**changes)


def test_adapters_that_are_there_already_are_refused(whole, tmp_path):
    with pytest.raises(ModelError, match="merge them first"):
        train(config(model={"name": str(whole.folder), "lora": {"rank": 2}}), tmp_path / "run")
