"""What the libraries changed, as data: one table that ``ftlib upgrade`` applies and that renders as a page of the book.

To teach the command a change, add a row. ``tests/test_upgrade.py`` holds the rows to the installed libraries.
"""

from __future__ import annotations

from collections.abc import Mapping

from ftlib.upgrade.rule import Rule, fields, gone, moved, removed, said, switch

_TF5 = "transformers 5.0"
_TRAINING = (
    "transformers.TrainingArguments",
    "transformers.Seq2SeqTrainingArguments",
    "trl.SFTConfig",
    "trl.DPOConfig",
)
_TRAINERS = ("transformers.Trainer", "transformers.Seq2SeqTrainer")
_TRL_TRAINERS = ("trl.SFTTrainer", "trl.DPOTrainer", "trl.RewardTrainer")
_ALL_TRAINERS = _TRAINERS + _TRL_TRAINERS
_FROM_PRETRAINED = ("transformers.*.from_pretrained", "peft.AutoPeft*.from_pretrained")
_LOADERS = (*_FROM_PRETRAINED, "transformers.pipeline")
_LOAD_DATASET = ("datasets.load_dataset", "datasets.load_dataset_builder")
_SFT_CONFIG = ("trl.SFTConfig",)
_ADAMW = ("transformers.AdamW",)
_SHARED = "one name in all libraries"
_TARGETS = "the number of targets in the whole step, to divide by"


def _quantised(bits: str) -> Rule:
    new = f"quantization_config=BitsAndBytesConfig({bits}=True)"
    why = "each kind of quantisation has a configuration"
    return switch(_TF5, _FROM_PRETRAINED, bits, new, why, needs="from transformers import BitsAndBytesConfig")


def _task(release: str, names: str) -> Rule:
    values = dict.fromkeys(names.split(), "")
    why = "take text-generation with a chat model, or the model's own class"
    return Rule("task", release, ("transformers.pipeline",), names.replace(" ", ", "), why=why, values=values)


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


_TRAINING_RULES = (
    Rule("rename", "transformers 4.51", _TRAINING, "evaluation_strategy", "eval_strategy", "named like eval_steps"),
    Rule("rename", _TF5, _TRAINING, "no_cuda", "use_cpu", "it keeps out every accelerator, not only CUDA"),
    Rule("rename", _TF5, _TRAINING, "per_gpu_train_batch_size", "per_device_train_batch_size", "a CPU is a device too"),
    Rule("rename", _TF5, _TRAINING, "per_gpu_eval_batch_size", "per_device_eval_batch_size", "a CPU is a device too"),
    Rule("rename", _TF5, _TRAINING, "push_to_hub_token", "hub_token", "named like hub_strategy"),
    Rule("rename", _TF5, _TRAINING, "push_to_hub_model_id", "hub_model_id", "named like hub_strategy"),
    Rule(
        "rename",
        "transformers 5.15",
        _TRAINING,
        "warmup_ratio",
        "warmup_steps",
        "below 1 it is a share of all steps",
        unless=r"[1-9][\d.]*|None",
    ),
    switch(
        "transformers 5.2",
        _TRAINING,
        "group_by_length",
        'train_sampling_strategy="group_by_length"',
        "one argument chooses the sampler",
        otherwise='"random"',
    ),
    switch(
        _TF5,
        _TRAINING,
        "adafactor",
        'optim="adafactor"',
        "one argument chooses the optimizer",
        otherwise='"adamw_torch"',
    ),
    switch(
        _TF5,
        _TRAINING,
        "include_tokens_per_second",
        "include_num_input_tokens_seen=True",
        "counting the tokens reports their rate too",
        otherwise='"no"',
    ),
    switch(
        _TF5,
        _TRAINING,
        "include_inputs_for_metrics",
        'include_for_metrics=["inputs"]',
        "a list says what compute_metrics is given",
        otherwise="[]",
    ),
    Rule(
        "setting",
        _TF5,
        _TRAINING,
        "optim",
        "adamw_torch",
        "transformers' own AdamW is gone",
        values={'"adamw_hf"': 'optim="adamw_torch"'},
    ),
    Rule(
        "setting",
        _TF5,
        _TRAINING,
        "report_to",
        "none",
        "None once stood for every tracker that is installed; with None the trainer can't be made",
        values={"None": 'report_to="none"'},
    ),
    *removed(_TF5, _TRAINING, "overwrite_output_dir", "the trainer never read it"),
    *removed(_TF5, _TRAINING, "use_mps_device", "Apple's GPU is used wherever there is one"),
    *removed(_TF5, _TRAINING, "save_safetensors", "weights are always saved as safetensors"),
    *removed(_TF5, _TRAINING, "use_legacy_prediction_loop", "there is one evaluation loop"),
    *removed(
        _TF5,
        _TRAINING,
        "fp16_backend half_precision_backend fp16_opt_level",
        "PyTorch's own mixed precision is the only one",
    ),
    *said("transformers 5.15", _TRAINING, "logging_dir", "set the environment variable TENSORBOARD_LOGGING_DIR"),
    *said(_TF5, _TRAINING, "tpu_num_cores", "set the environment variable TPU_NUM_CORES"),
    *said(_TF5, _TRAINING, "ray_scope", "set the environment variable RAY_SCOPE"),
    *said(_TF5, _TRAINING, "jit_mode_eval", "TorchScript is no longer supported: try torch_compile=True"),
    *said(_TF5, _TRAINING, "past_index", "states are no longer carried from one batch to the next"),
    *said(_TF5, _TRAINING, "fsdp_min_num_params", 'give it in fsdp_config, as "min_num_params"'),
    *said(
        _TF5,
        _TRAINING,
        "fsdp_transformer_layer_cls_to_wrap",
        'give it in fsdp_config, as "transformer_layer_cls_to_wrap"',
    ),
)

_TRAINER_RULES = (
    Rule("rename", _TF5, _TRAINERS, "tokenizer", "processing_class", "it may be the processor of images or sound too"),
    Rule("rename", "trl 0.16", _TRL_TRAINERS, "tokenizer", "processing_class", "it may be the processor of images too"),
    Rule("attribute", _TF5, _ALL_TRAINERS, "tokenizer", "processing_class", "the attribute is named like the argument"),
    Rule(
        "order",
        "transformers 4.46",
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
    Rule(
        "rename",
        "trl 0.20",
        _SFT_CONFIG,
        "max_seq_length",
        "max_length",
        "one name in all configurations",
        unless="None",
    ),
    Rule("rename", "trl 0.18", _SFT_CONFIG, "use_liger", "use_liger_kernel", "named as in TrainingArguments"),
    *removed("trl 0.18", _SFT_CONFIG, "dataset_batch_size", "rows are tokenised in batches of a fixed size"),
    *removed("trl 0.18", _SFT_CONFIG, "num_of_sequences chars_per_token", "packing no longer fills a buffer"),
)

_LOADING_RULES = (
    Rule(
        "rename",
        "transformers",
        (*_LOADERS, "transformers.*.from_config"),
        "torch_dtype",
        "dtype",
        "the old name still works",
        since="4.56",
    ),
    Rule("rename", _TF5, _LOADERS, "use_auth_token", "token", _SHARED),
    Rule("rename", _TF5, (".push_to_hub",), "use_auth_token", "token", _SHARED),
    _quantised("load_in_8bit"),
    _quantised("load_in_4bit"),
    switch(
        _TF5,
        _FROM_PRETRAINED,
        "use_flash_attention_2",
        'attn_implementation="flash_attention_2"',
        "one argument chooses the kind of attention",
    ),
    _task("transformers 4.42", "conversational"),
    _task(_TF5, "summarization translation text2text-generation"),
    _task("transformers 5.14", "question-answering"),
    Rule("rename", "datasets 3.0", _LOAD_DATASET, "use_auth_token", "token", _SHARED),
    switch(
        "datasets 3.0",
        _LOAD_DATASET[:1],
        "ignore_verifications",
        'verification_mode="no_checks"',
        "one argument says how much is verified",
    ),
    *said("datasets 3.0", _LOAD_DATASET[:1], "task", "rename and cast the columns yourself"),
    *removed(
        "datasets 4.0",
        _LOAD_DATASET,
        "trust_remote_code",
        "loading scripts are never run; a data set that has nothing else must be converted by its owner",
    ),
)

_METHOD_RULES = (
    Rule(
        "method", _TF5, (), "as_target_tokenizer", "tokenizer(text_target=...)", "targets are an argument of the call"
    ),
    Rule("method", _TF5, (), "batch_encode_plus", "tokenizer(...)", "calling the tokenizer does the same"),
    Rule("method", _TF5, (), "encode_plus", "tokenizer(...)", "calling the tokenizer does the same"),
    Rule(
        "method",
        _TF5,
        (),
        "prepare_seq2seq_batch",
        "tokenizer(sources, text_target=targets)",
        "the call returns the targets as labels; another length for them needs a call of its own",
    ),
    Rule(
        "method",
        _TF5,
        (),
        "apply_chat_template",
        "apply_chat_template(..., return_dict=...)",
        "it returned ids and now returns a dictionary: say which you want, return_dict=False for ids",
    ),
    Rule(
        "method",
        _TF5,
        (),
        "floating_point_ops",
        "ftlib.compat.floating_point_ops",
        "models have lost it; the function counts the same",
        needs="from ftlib.compat import floating_point_ops",
    ),
)

_NAME_RULES = (
    Rule(
        "moved",
        "transformers 4.50",
        (),
        "transformers.AdamW",
        "torch.optim.AdamW",
        "PyTorch's own, with the defaults of the old one written out",
        keeps=("eps=1e-6", "weight_decay=0.0"),
        needs="from torch.optim import AdamW",
        order=("params", "lr", "betas", "eps", "weight_decay"),
    ),
    *removed("transformers 4.50", _ADAMW, "no_deprecation_warning", "PyTorch's AdamW has nothing to warn of"),
    Rule(
        "value",
        "transformers 4.50",
        _ADAMW,
        "correct_bias",
        why="PyTorch's AdamW always corrects the bias",
        values={"True": ""},
    ),
    moved(
        "peft 0.10",
        "peft.prepare_model_for_int8_training",
        "peft.prepare_model_for_kbit_training",
        "it prepares 4-bit models too",
    ),
    Rule(
        "moved",
        "datasets 3.0",
        (),
        "datasets.load_metric",
        "evaluate.load",
        "metrics are a package of their own: pip install evaluate",
        needs="import evaluate",
    ),
    *(
        moved("trl 1.0", f"trl.{name}", f"trl.experimental.{home}.{name}", "it may change there without notice")
        for home, name in (("orpo", "ORPOTrainer"), ("orpo", "ORPOConfig"), ("cpo", "CPOTrainer"), ("cpo", "CPOConfig"))
    ),
    *gone(
        "trl 0.20",
        "DataCollatorForCompletionOnlyLM",
        "give rows of prompt and completion, or messages and SFTConfig(assistant_only_loss=True)",
    ),
    *gone("trl 0.20", "ConstantLengthDataset", "use SFTConfig(packing=True)"),
    *gone("trl 0.27", "setup_chat_format", "use SFTConfig(chat_template_path=...) or trl.clone_chat_template"),
    *gone("trl 1.0", "AutoModelForCausalLMWithValueHead PPOTrainer PPOConfig", "use GRPOTrainer or RLOOTrainer"),
    *gone(
        _TF5,
        "AutoModelWithLMHead",
        "take AutoModelForCausalLM, AutoModelForMaskedLM or AutoModelForSeq2SeqLM, as the model is",
    ),
    *gone(_TF5, "TFAuto* TFTrain* FlaxAuto*", "only PyTorch is left: take the class without TF or Flax in its name"),
    *gone(
        _TF5,
        "TextDataset LineByLineTextDataset LineByLineWithRefDataset LineByLineWithSOPTextDataset",
        'load the file with datasets.load_dataset("text", data_files=...) and tokenise it with map',
    ),
    *gone("transformers 4.41", "top_k_top_p_filtering", "pass top_k and top_p to model.generate"),
    *gone("transformers 4.42", "Conversation", "a conversation is a list of messages, each with role and content"),
    *gone(
        "datasets 3.0", "Metric list_metrics inspect_metric", "metrics are a package of their own: pip install evaluate"
    ),
    *gone("datasets 3.0", "list_datasets", "use huggingface_hub.list_datasets, whose items have an id"),
)

RULES: tuple[Rule, ...] = _TRAINING_RULES + _TRAINER_RULES + _LOADING_RULES + _METHOD_RULES + _NAME_RULES
