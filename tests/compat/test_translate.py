"""Names of one release said in another's, without either: a release here is a number and the names it takes."""

import copy

import pytest

from ftlib.compat.api_changes import FROM_PRETRAINED, TRAINER, TRAINING_ARGUMENTS
from ftlib.compat.translate import CompatError, Release, translate_arguments

OLD = Release(
    "4.41.2",
    [
        *("evaluation_strategy", "eval_strategy", "group_by_length", "warmup_ratio", "warmup_steps", "learning_rate"),
        *("logging_dir", "gradient_checkpointing", "include_inputs_for_metrics", "use_cpu", "no_cuda"),
        *("include_tokens_per_second", "include_num_input_tokens_seen"),
    ],
)
TODAY = Release(
    "5.23.0",
    [
        *("eval_strategy", "train_sampling_strategy", "warmup_steps", "learning_rate", "use_cpu", "optim"),
        *("accelerator_config", "fsdp_config", "gradient_checkpointing", "activation_checkpointing"),
        *("include_for_metrics", "include_num_input_tokens_seen"),
    ],
)


def names_for(release, rows=TRAINING_ARGUMENTS, **names):
    return translate_arguments(names, rows, release)[0]


@pytest.mark.parametrize(
    ("given", "today"),
    [
        ({"evaluation_strategy": "steps"}, {"eval_strategy": "steps"}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"group_by_length": False}, {}),
        ({"warmup_ratio": 0.03}, {"warmup_steps": 0.03}),
        ({"warmup_ratio": 0.0}, {}),
        ({"warmup_ratio": 0.03, "warmup_steps": 0}, {"warmup_steps": 0.03}),
        ({"warmup_steps": 10}, {"warmup_steps": 10}),
        ({"gradient_checkpointing": False}, {"activation_checkpointing": False}),
        ({"adafactor": True}, {"optim": "adafactor"}),
        ({"adafactor": False}, {}),
        ({"include_inputs_for_metrics": True}, {"include_for_metrics": ["inputs"]}),
        ({"include_tokens_per_second": True}, {"include_num_input_tokens_seen": True}),
        ({"include_tokens_per_second": False}, {}),
        ({"no_cuda": True, "use_cpu": False}, {"use_cpu": True}),
        ({"overwrite_output_dir": True, "learning_rate": 1e-5}, {"learning_rate": 1e-5}),
        (
            {"split_batches": True, "dispatch_batches": False},
            {"accelerator_config": {"split_batches": True, "dispatch_batches": False}},
        ),
        ({"fsdp_min_num_params": 0}, {}),
    ],
)
def test_names_of_the_past_work_today(given, today):
    assert names_for(TODAY, **given) == today


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({"eval_strategy": "steps"}, {"eval_strategy": "steps"}),
        ({"train_sampling_strategy": "group_by_length"}, {"group_by_length": True}),
        ({"train_sampling_strategy": "random"}, {"group_by_length": False}),
        ({"warmup_steps": 0.03}, {"warmup_ratio": 0.03}),
        ({"warmup_steps": 10}, {"warmup_steps": 10}),
        ({"warmup_ratio": 0.03}, {"warmup_ratio": 0.03}),
        ({"activation_checkpointing": True}, {"gradient_checkpointing": True}),
        ({"include_for_metrics": ["inputs"]}, {"include_inputs_for_metrics": True}),
        ({"logging_dir": "logs"}, {"logging_dir": "logs"}),
        ({"include_tokens_per_second": True}, {"include_tokens_per_second": True}),
        ({"include_num_input_tokens_seen": True}, {"include_num_input_tokens_seen": True}),
        ({"use_liger_kernel": True, "learning_rate": 1e-5}, {"learning_rate": 1e-5}),
    ],
)
def test_names_of_today_work_with_an_old_release(given, then):
    assert names_for(OLD, **given) == then


def test_a_whole_warmup_is_not_read_as_one_step():
    assert 0.999 < names_for(TODAY, warmup_ratio=1.0)["warmup_steps"] < 1


def test_each_change_says_why_and_since_when():
    changes = translate_arguments({"warmup_ratio": 0.1, "save_safetensors": True}, TRAINING_ARGUMENTS, TODAY)[1]
    assert changes["warmup_ratio"].reason == (
        "its name since 5.0 and the only one since 5.15: a number of steps below 1 is a share of all steps"
    )
    assert changes["save_safetensors"].reason == "gone since 5.0: weights are always saved as safetensors"
    old = translate_arguments({"use_liger_kernel": True, "warmup_steps": 0.1}, TRAINING_ARGUMENTS, OLD)[1]
    assert old["use_liger_kernel"].reason == "new in 4.46: earlier releases have nothing like it"
    assert old["warmup_steps"].reason.startswith("its name before 5.0: ")


def test_what_an_old_release_cannot_do_is_refused_and_not_left_out():
    with pytest.raises(CompatError, match=r"train_sampling_strategy='sequential' needs transformers 5\.2 or later"):
        names_for(OLD, train_sampling_strategy="sequential")
    with pytest.raises(CompatError, match=r"include_for_metrics=\['loss'\] needs transformers 4\.46"):
        names_for(OLD, include_for_metrics=["loss"])
    with pytest.raises(CompatError, match=r"compute_loss_func needs transformers 4\.46 or later, and without it"):
        names_for(Release("4.41.2", ("tokenizer",)), TRAINER, compute_loss_func=print)


def test_two_names_for_one_thing_must_agree():
    assert names_for(TODAY, warmup_ratio=0.1, warmup_steps=0.1) == {"warmup_steps": 0.1}
    with pytest.raises(CompatError, match=r"warmup_(ratio|steps) and warmup_steps mean the same, but say"):
        names_for(TODAY, warmup_ratio=0.1, warmup_steps=100)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(CompatError, match="argument 'evaluation_stratgy': did you mean 'evaluation_strategy'"):
        names_for(TODAY, evaluation_stratgy="steps")
    with pytest.raises(CompatError, match=r"has an argument 'zzz'$"):
        names_for(TODAY, zzz=1)


def test_the_tokenizer_of_a_trainer_and_the_precision_of_a_model_go_both_ways():
    before, now = Release("4.41.2", ("tokenizer", "torch_dtype")), Release("5.23.0", ("processing_class", "dtype"))
    assert names_for(now, TRAINER, tokenizer="t") == names_for(now, TRAINER, processing_class="t")
    assert names_for(before, TRAINER, processing_class="t") == {"tokenizer": "t"}
    assert names_for(before, FROM_PRETRAINED, dtype="d") == {"torch_dtype": "d"}


def test_the_callers_arguments_stay_as_they_are():
    given = {"evaluation_strategy": "steps", "split_batches": True, "accelerator_config": {"even_batches": False}}
    before = copy.deepcopy(given)
    assert names_for(TODAY, **given)["accelerator_config"] == {"split_batches": True, "even_batches": False}
    assert given == before
