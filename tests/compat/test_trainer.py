import copy
import os
import threading
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from datasets import Dataset
from ftlib.compat import trainer as compat
from ftlib.compat.meta_device import autocast_on_meta
from ftlib.compat.trainer import CompatWarning, make_trainer, training_arguments
from ftlib.compat.translate import CompatError
from ftlib.errors import ModelError
from ftlib.estimate.estimation import estimate
from ftlib.text.batches import pad_batch

ROWS = [[3 + (7 * row + place) % 300 for place in range(3 + row % 4)] for row in range(12)]


@pytest.fixture
def rows():
    return Dataset.from_list([{"input_ids": ids, "labels": ids} for ids in ROWS])


@pytest.fixture(autouse=True)
def _nothing_was_said_yet(monkeypatch):
    monkeypatch.setattr(compat, "_warned", set())


def arguments(folder, **names):
    fixed = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "per_device_train_batch_size": 4}
    return training_arguments(warn=False, **{**fixed, "learning_rate": 1e-2, "max_steps": 4, **names})


def best_arguments(folder, **names):
    """Evaluate and save every step, and call the highest loss the best: that is the first step's, never the last's."""
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    return arguments(folder, **{**every_step, **best, **names})


def parts(rows):
    return {"train_dataset": rows, "eval_dataset": rows, "data_collator": partial(pad_batch, pad_token_id=1)}


def head(model):
    return model.get_output_embeddings().weight.detach().clone()


def stored_head(folder):
    weights = load_file(Path(folder) / "model.safetensors")
    return weights["embed_out.weight" if "embed_out.weight" in weights else "lm_head.weight"]


def test_the_tutorials_arguments_of_2023_work_here(tmp_path):
    """Every field that the source tutorial explains, by the name it had then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        args = training_arguments(
            learning_rate=1.0e-5,
            num_train_epochs=1,
            max_steps=3,
            per_device_train_batch_size=1,
            output_dir=str(tmp_path / "out"),
            overwrite_output_dir=False,
            disable_tqdm=False,
            eval_steps=120,
            save_steps=120,
            warmup_steps=1,
            per_device_eval_batch_size=1,
            evaluation_strategy="steps",
            logging_strategy="steps",
            logging_steps=1,
            optim="adafactor",
            gradient_accumulation_steps=4,
            gradient_checkpointing=False,
            load_best_model_at_end=True,
            save_total_limit=1,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
        )
    assert (args.eval_strategy, args.eval_steps, args.warmup_steps, args.optim) == ("steps", 120, 1, "adafactor")
    assert {warning.category for warning in caught} == {CompatWarning}
    assert any("evaluation_strategy: translated to eval_strategy" in str(warning.message) for warning in caught)


def test_a_share_of_warmup_means_the_same_on_every_release(tmp_path):
    for names in ({"warmup_ratio": 0.25}, {"warmup_steps": 0.25}):
        assert arguments(tmp_path, **names).get_warmup_steps(100) == 25
    assert arguments(tmp_path, warmup_steps=3).get_warmup_steps(100) == 3


def test_each_name_warns_once_with_reason_and_version(tmp_path):
    with pytest.warns(CompatWarning, match=r"evaluation_strategy: .* since 4\.41 .*transformers \d+\.\d+\.\d+ is inst"):
        training_arguments(output_dir=str(tmp_path), use_cpu=True, evaluation_strategy="no")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompatWarning)
        training_arguments(output_dir=str(tmp_path), use_cpu=True, evaluation_strategy="no")


# Every name that one of the releases 4.25.1, 4.41.2, 4.57.1 and 5.23.0 has and another has not.
VALUES = {
    "activation_checkpointing": False,
    "activation_checkpointing_kwargs": None,
    "adafactor": False,
    "average_tokens_across_devices": False,
    "dataloader_in_order": True,
    "dataloader_multiprocessing_context": None,
    "ddp_static_graph": None,
    "dispatch_batches": None,
    "enable_jit_checkpoint": False,
    "eval_on_start": False,
    "eval_use_gather_object": False,
    "evaluation_strategy": "no",
    "fp16_backend": "auto",
    "fp16_opt_level": "O1",
    "fsdp_min_num_params": 0,
    "fsdp_transformer_layer_cls_to_wrap": None,
    "group_by_length": True,
    "half_precision_backend": "auto",
    "hub_revision": None,
    "include_for_metrics": ["inputs"],
    "include_inputs_for_metrics": True,
    "include_tokens_per_second": False,
    "jit_mode_eval": False,
    "liger_kernel_config": None,
    "logging_dir": "logs",
    "mp_parameters": "",
    "no_cuda": True,
    "overwrite_output_dir": True,
    "past_index": -1,
    "per_gpu_eval_batch_size": None,
    "per_gpu_train_batch_size": None,
    "project": "course",
    "push_to_hub_model_id": None,
    "push_to_hub_organization": None,
    "push_to_hub_token": None,
    "ray_scope": "last",
    "save_safetensors": True,
    "sharded_ddp": "",
    "split_batches": None,
    "torch_empty_cache_steps": None,
    "torchdynamo": None,
    "tp_size": 0,
    "tpu_metrics_debug": False,
    "tpu_num_cores": None,
    "trackio_bucket_id": None,
    "trackio_space_id": None,
    "trackio_static_space_id": None,
    "train_sampling_strategy": "group_by_length",
    "use_cache": False,
    "use_ipex": False,
    "use_legacy_prediction_loop": False,
    "use_liger_kernel": False,
    "use_mps_device": False,
    "warmup_ratio": 0.1,
    "xpu_backend": None,
}


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_every_name_that_a_release_had_is_accepted(tmp_path, name, value):
    arguments(tmp_path)  # old releases of transformers and accelerate set variables of their own
    before = dict(os.environ)
    arguments(tmp_path, **{name: value})
    assert dict(os.environ) == before  # the environment is everybody's


def test_an_unknown_name_is_an_error_with_the_nearest(tmp_path):
    with pytest.raises(CompatError, match="'evalstrategy': did you mean 'eval_strategy'"):
        training_arguments(output_dir=str(tmp_path), evalstrategy="no")
    with pytest.raises(CompatError, match="'data_colator': did you mean 'data_collator'"):
        make_trainer(None, None, data_colator=None)


WRITES = ("add_text", "add_scalar", "flush", "close")


def test_the_folder_of_logs_goes_where_tensorboard_looks(tiny_model, rows, tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    trainers = {}
    for folder in ("my-logs", "other-logs"):
        args = arguments(tmp_path, logging_dir=folder, max_steps=1)
        trainers[folder] = make_trainer(tiny_model, args, **parts(rows))
        callback = object.__new__(TensorBoardCallback)  # its package needn't be there
        callback.logging_dir = callback.tb_writer = None
        callback._SummaryWriter = partial(SimpleNamespace, **dict.fromkeys(WRITES, lambda *_, **__: None))
        trainers[folder].add_callback(callback)
    for folder, trainer in trainers.items():
        trainer.train()
        assert trainer.callback_handler.callbacks[-1].logging_dir == folder
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_a_rate_of_tokens_that_was_asked_for_is_logged(tiny_model, rows, tmp_path):
    args = arguments(tmp_path, include_tokens_per_second=True, max_steps=2, logging_steps=1)
    trainer = make_trainer(tiny_model, args, **parts(rows))
    trainer.train()
    assert any(entry.get("train_tokens_per_second", 0) > 0 for entry in trainer.state.log_history)


def test_nothing_is_reported_unless_asked(tmp_path):
    assert arguments(tmp_path).report_to == []


@pytest.mark.parametrize("name", ["tokenizer", "processing_class"])
def test_a_trainer_takes_its_tokenizer_by_both_names(tiny_model, tiny_tokenizer, rows, tmp_path, name):
    trainer = make_trainer(tiny_model, arguments(tmp_path), warn=False, **{name: tiny_tokenizer}, **parts(rows))
    trainer.save_model(str(tmp_path / "model"))
    assert (tmp_path / "model" / "tokenizer.json").is_file()


def test_a_subclass_of_trainer_stays_what_it_is(tiny_model, rows, tmp_path):
    class Own(Trainer):
        def __init__(self, *args, flavour, **names):
            super().__init__(*args, **names)
            self.flavour = flavour

    trainer = make_trainer(tiny_model, arguments(tmp_path), trainer_class=Own, flavour="mild", **parts(rows))
    assert isinstance(trainer, Own)
    assert trainer.flavour == "mild"
    with pytest.raises(CompatError, match="'flavor': did you mean 'flavour'"):
        make_trainer(tiny_model, arguments(tmp_path), trainer_class=Own, flavor="mild")


def test_the_best_checkpoint_is_loaded_with_its_output_layer(tiny_model, rows, tmp_path):
    trainer = make_trainer(tiny_model, best_arguments(tmp_path), **parts(rows))
    trainer.train()
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-1"
    assert trainer.model is tiny_model
    assert torch.equal(head(tiny_model), stored_head(tmp_path / "checkpoint-1"))
    assert not torch.equal(head(tiny_model), stored_head(tmp_path / "checkpoint-4"))
    best = type(tiny_model).from_pretrained(tmp_path / "checkpoint-1")
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(tiny_model.parameters(), best.parameters(), strict=True)
    )


def test_the_best_checkpoint_outlives_a_limit_of_one(tiny_model, rows, tmp_path):
    trainer = make_trainer(tiny_model, best_arguments(tmp_path, save_total_limit=1), **parts(rows))
    trainer.train()
    assert torch.equal(head(tiny_model), stored_head(tmp_path / "checkpoint-1"))


@pytest.mark.skipif(
    compat.is_before("5.14"), reason="before 5.14 the output layer has one name in memory and in a file"
)
def test_the_plain_trainer_keeps_the_last_output_layer(tiny_model, rows, tmp_path):
    """Why there is a shim. When this fails, the Trainer has learnt to rename, and the shim can go."""
    trainer = Trainer(model=tiny_model, args=best_arguments(tmp_path), **parts(rows))
    trainer.train()
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-1"
    assert torch.equal(head(tiny_model), stored_head(tmp_path / "checkpoint-4"))
    compat.load_best(trainer)
    assert torch.equal(head(tiny_model), stored_head(tmp_path / "checkpoint-1"))


def test_a_resumed_run_ends_like_one_that_never_stopped(tiny_model, rows, tmp_path):
    whole, resumed = tiny_model, copy.deepcopy(tiny_model)
    saving = {"save_strategy": "steps", "save_steps": 2}
    make_trainer(whole, arguments(tmp_path, **saving), **parts(rows)).train()
    make_trainer(resumed, arguments(tmp_path, **saving), **parts(rows)).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-2")
    )
    assert torch.equal(head(whole), head(resumed))


def test_tied_embeddings_are_no_missing_weights(rows, tmp_path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0))
    trainer = make_trainer(model, best_arguments(tmp_path, max_steps=2), **parts(rows))
    trainer.train()
    best = load_file(tmp_path / "checkpoint-1" / "model.safetensors")["transformer.wte.weight"]
    assert torch.equal(head(model), best)


def test_no_best_checkpoint_is_an_error_that_says_why(tiny_model, rows, tmp_path):
    for more, why in (
        ({}, "nothing says what is best: set metric_for_best_model='eval_loss'"),
        ({"metric_for_best_model": "eval_loss"}, "no step was both evaluated and saved: set eval_strategy"),
    ):
        trainer = make_trainer(tiny_model, arguments(tmp_path, max_steps=1, **more), **parts(rows))
        trainer.train()
        with pytest.raises(ModelError, match=why):
            compat.load_best(trainer)


def test_a_checkpoint_of_another_model_is_refused_and_nothing_changes(tiny_model, rows, tmp_path):
    trainer = make_trainer(tiny_model, best_arguments(tmp_path, max_steps=2), **parts(rows))
    trainer.train()
    config = copy.deepcopy(tiny_model.config)
    config.num_hidden_layers = 1
    type(tiny_model)(config).save_pretrained(tmp_path / "other")
    before = head(tiny_model)
    larger = (
        (tmp_path / "other" / "config.json")
        .read_text(encoding="utf-8")
        .replace('"num_hidden_layers": 1', '"num_hidden_layers": 2')
    )
    (tmp_path / "other" / "config.json").write_text(larger, encoding="utf-8")
    trainer.state.best_model_checkpoint = str(tmp_path / "other")
    with pytest.raises(ModelError, match=r"other: the checkpoint lacks weights of the model \(gpt_neox\.layers\.1"):
        compat.load_best(trainer)
    assert torch.equal(head(tiny_model), before)


def test_the_last_step_is_evaluated_on_every_release(tiny_model, rows, tmp_path):
    seen = []

    class Watch(TrainerCallback):
        def on_evaluate(self, args, state, control, **_):
            seen.append(state.global_step)

    args = arguments(tmp_path, eval_strategy="steps", eval_steps=3)
    make_trainer(tiny_model, args, callbacks=[Watch()], **parts(rows)).train()
    assert seen == [3, 4]


def test_operations_are_six_for_each_token_and_weight(tiny_model):
    embedding = tiny_model.get_input_embeddings().weight.numel()
    weights = sum(parameter.numel() for parameter in tiny_model.parameters())
    inputs = {"input_ids": torch.zeros(2, 5, dtype=torch.int64)}
    assert compat.floating_point_ops(tiny_model, inputs) == 6 * 10 * (weights - embedding)
    assert compat.floating_point_ops(tiny_model, inputs, exclude_embeddings=False) == 6 * 10 * weights


def test_operations_of_the_source_tutorial():
    from ftlib.estimate.estimation import architecture

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(architecture("EleutherAI/pythia-70m"))
    inputs = {"input_ids": torch.zeros(1, 2048, device="meta")}
    assert compat.floating_point_ops(model, inputs) * 4 / 1e9 == 2195.667812352


def test_targets_are_encoded_as_texts(tiny_tokenizer):
    assert compat.as_target(tiny_tokenizer, ["a token"])["input_ids"] == tiny_tokenizer(["a token"])["input_ids"]
    cut = compat.as_target(tiny_tokenizer, "a token and more", max_length=2, truncation=True)
    assert len(cut["input_ids"]) == 2


def test_precision_reaches_from_pretrained(tiny_model, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    for given in ({"torch_dtype": torch.bfloat16}, {"dtype": torch.bfloat16}):
        names = compat.pretrained_arguments(warn=False, **given)
        assert type(tiny_model).from_pretrained(tmp_path, **names).dtype == torch.bfloat16
    loaded = type(tiny_model).from_pretrained(tmp_path, **compat.dtype_argument(torch.float16))
    assert loaded.dtype == torch.float16


def test_the_estimate_needs_no_release_in_particular():
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.GPTNeoXConfig(**sizes)
    need = estimate(config, batch_size=2, length=16, gradient_checkpointing=True)
    assert need.state_bytes == 16 * need.parameters
    assert need.peak.total > need.state_bytes
    assert (torch.autocast, torch.is_autocast_enabled) == (autocast, is_enabled)


@pytest.mark.skipif(compat.is_before("5.1"), reason="before 5.1 torch answers otherwise in this thread")
def test_torch_stays_as_it_is_for_all_threads():
    originals = torch.autocast, torch.is_autocast_enabled
    with autocast_on_meta():
        assert (torch.autocast, torch.is_autocast_enabled) == originals


def test_older_releases_change_torch_for_themselves_alone(monkeypatch):
    monkeypatch.setattr("ftlib.compat.meta_device.is_before", lambda version: True)
    originals = torch.autocast, torch.is_autocast_enabled
    entered, leave, seen = threading.Barrier(3), [threading.Event(), threading.Event()], {}

    def run(number):
        with autocast_on_meta():
            entered.wait()
            with torch.autocast("meta", enabled=False):
                seen[number] = torch.is_autocast_enabled("meta")
            leave[number].wait()

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in (0, 1)]
    for thread in threads:
        thread.start()
    entered.wait()
    with torch.autocast("cpu", torch.bfloat16):  # a thread that has nothing to do with it
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    with pytest.raises(RuntimeError):
        torch.autocast("meta")
    for number in (0, 1):  # the first that came leaves first
        leave[number].set()
        threads[number].join()
    assert seen == {0: False, 1: False}
    assert (torch.autocast, torch.is_autocast_enabled) == originals
