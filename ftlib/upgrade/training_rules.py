"""Rules about the arguments of training, most of them made of the table in :mod:`ftlib.compat.api_changes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ftlib.compat.api_changes import COMPUTE_LOSS_FUNC, TOKENIZER, TRAINING_ARGUMENTS, WARMUP_RATIO
from ftlib.upgrade.derived import derived
from ftlib.upgrade.rule import Rule, fields, removed, said

_TF5 = "transformers 5.0"
_OWN = ("transformers.TrainingArguments", "transformers.Seq2SeqTrainingArguments")
_TRAINING = (*_OWN, "trl.*Config")
_TRAINERS = ("transformers.Trainer", "transformers.Seq2SeqTrainer")
_TRL_TRAINERS = ("trl.*Trainer",)
_ALL_TRAINERS = _TRAINERS + _TRL_TRAINERS
_SFT, _DPO, _GRPO, _RLOO = (("trl.SFTConfig",), ("trl.DPOConfig",), ("trl.GRPOConfig",), ("trl.RLOOConfig",))
_PADDED = (*_SFT, *_DPO, "trl.RewardConfig")
_ONLINE = _GRPO + _RLOO
_TARGETS = "the number of targets in the whole step, to divide by"
_NEXT = "it goes in TRL 2.0"
_LOOKED_AT = "1.16"  # the release of TRL whose warnings were read


def _parameter(release: str, method: str, order: str, why: str) -> Rule:
    names = tuple(order.split())
    new = f"{method}(..., {names[-1]}=None)"
    return Rule("parameter", release, _ALL_TRAINERS, method, new, f"the trainer also passes {why}", order=names)


def _config(trainer: str, config: str, settings: Mapping[str, str]) -> Rule:
    why = f"they belong to {config}; where its defaults differ, those that the code relied on are written out"
    # The defaults of TrainingArguments, which the trainers took before they had a configuration of their own.
    keeps = ("learning_rate=5e-5", "logging_steps=500", "gradient_checkpointing=False", "bf16=False")
    needs = f"from trl import {config}"
    where, new = (f"trl.{trainer}",), f"trl.{config}"
    return Rule("config", "trl 0.13", where, "settings", new, why, "0.16", settings, keeps=keeps, needs=needs)


def _setting(release: str, where: tuple[str, ...], old: tuple[str, str], new: str, why: str) -> Rule:
    since = "" if " " in release else _LOOKED_AT
    name, value = old
    return Rule("setting", release, where, name, new.partition("=")[2].strip('"'), why, since, values={value: new})


TRAINING_RULES = (
    # TRL sets the old name itself where it is not gone yet.
    *(derived(row, _TRAINING if row.gone else _OWN) for row in TRAINING_ARGUMENTS if row.old),
    _setting(_TF5, _TRAINING, ("optim", '"adamw_hf"'), 'optim="adamw_torch"', "transformers' own AdamW is gone"),
    _setting(
        _TF5,
        _TRAINING,
        ("report_to", "None"),
        'report_to="none"',
        "None once stood for every tracker that is installed; with None the trainer can't be made",
    ),
)

TRAINER_RULES = (
    derived(WARMUP_RATIO, (".set_lr_scheduler",), why="as in TrainingArguments"),
    derived(TOKENIZER, _TRAINERS),
    derived(TOKENIZER, _TRL_TRAINERS, release="trl 0.16"),
    replace(derived(TOKENIZER, _ALL_TRAINERS, why="the attribute is named like the argument"), kind="attribute"),
    Rule(
        "order",
        f"transformers {COMPUTE_LOSS_FUNC.since}",
        _TRAINERS,
        "arguments by position",
        "arguments by name",
        "compute_loss_func came in at the eighth place, and those from there on moved",
        order=(
            *("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class", "model_init"),
            *("compute_metrics", "callbacks", "optimizers", "preprocess_logits_for_metrics"),
        ),
    ),
    _parameter("transformers 4.46", "compute_loss", "self model inputs return_outputs num_items_in_batch", _TARGETS),
    _parameter("transformers 4.46", "training_step", "self model inputs num_items_in_batch", _TARGETS),
    _parameter("transformers 4.47", "log", "self logs start_time", "the time at which training began"),
    _parameter("transformers 4.52", "_get_train_sampler", "self train_dataset", "the data set that is to be sampled"),
    _config(
        "SFTTrainer",
        "SFTConfig",
        fields(
            "dataset_text_field packing dataset_num_proc dataset_kwargs eval_packing model_init_kwargs "
            "neftune_noise_alpha",
            "dataset_batch_size num_of_sequences chars_per_token infinite",
            max_seq_length="max_length",
        ),
    ),
    _config(
        "DPOTrainer",
        "DPOConfig",
        fields(
            "beta loss_type max_length label_smoothing truncation_mode disable_dropout precompute_ref_log_probs "
            "dataset_num_proc model_init_kwargs",
            "max_prompt_length max_target_length generate_during_eval is_encoder_decoder label_pad_token_id "
            "padding_value",
        ),
    ),
    Rule("rename", "trl 0.20", _SFT, "max_seq_length", "max_length", "one name in all configurations", unless="None"),
    Rule("rename", "trl 0.18", _SFT, "use_liger", "use_liger_kernel", "named as in TrainingArguments"),
    *removed("trl 0.18", _SFT, "dataset_batch_size", "rows are tokenised in batches of a fixed size"),
    *removed("trl 0.18", _SFT, "num_of_sequences chars_per_token", "packing no longer fills a buffer"),
    _config("RewardTrainer", "RewardConfig", fields("max_length", "")),
)

# What TRL still takes, and warns of.
DEPRECATED_BY_TRL = (
    _setting("trl", _SFT, ("packing_strategy", '"bfd-requeue"'), 'packing_strategy="bfd_split"', _NEXT),
    _setting("trl", _SFT, ("loss_type", '"chunked_nll"'), 'loss_type="nll"', "the default computes the same"),
    _setting(
        "trl",
        _SFT + _DPO,
        ("truncation_mode", '"keep_end"'),
        "",
        f"{_NEXT}, and keep_start, the default, cuts at the other end: cut the rows yourself",
    ),
    _setting(
        "trl",
        (*_SFT, *_DPO, *_ONLINE, "trl.KTOConfig"),
        ("use_liger_kernel", "True"),
        "",
        f'{_NEXT}: try model_init_kwargs={{"use_kernels": True}}, which takes kernels from the Hub',
    ),
    *said("trl", _PADDED, "pad_token", f"{_NEXT}: set tokenizer.pad_token and pass processing_class=tokenizer"),
    *said("trl", _SFT, "label_smoothing_factor", f"{_NEXT}, since it needs all logits at once"),
    *said("trl", ("trl.SFTTrainer",), "compute_loss_func", f"{_NEXT}: override compute_loss in a subclass"),
    Rule("rename", "trl", _ONLINE, "use_transformers_paged", "use_transformers_continuous_batching", _NEXT, _LOOKED_AT),
    Rule(
        "rename", "trl", _GRPO, "vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max", _NEXT, _LOOKED_AT
    ),
    Rule("rename", "trl", ("trl.get_training_chat_template",), "tokenizer", "processing_class", _NEXT, _LOOKED_AT),
)
