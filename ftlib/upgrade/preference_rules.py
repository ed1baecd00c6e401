"""Rules about TRL's trainers of preferences and rewards: DPO, KTO, GRPO and RLOO, and what left the library with them.

Found by comparing the source of TRL's releases 0.7.11, 0.8.6, 0.9.6, 0.11.4, 0.12.2, 0.13.0 to 0.29.1 (one of each
minor release), 1.0.0, 1.3.0, 1.6.0, 1.9.0, 1.12.0 and 1.16.0: "gone by" is the first of these without the old
spelling. What takes its place is what TRL itself said of the old one before it went: 0.22's ``rloo_config.py`` has a
table of old and new names, 0.28's ``dpo_config.py`` says it of each argument, and so do ``grpo_config.py`` of 0.17,
0.26 and 0.27.
"""

from __future__ import annotations

from ftlib.upgrade.rule import Rule, gone, moved, removed, said

_DPO, _KTO, _GRPO, _RLOO = (("trl.DPOConfig",), ("trl.KTOConfig",), ("trl.GRPOConfig",), ("trl.RLOOConfig",))
_DPO_TRAINER, _KTO_TRAINER, _RLOO_TRAINER = (("trl.DPOTrainer",), ("trl.KTOTrainer",), ("trl.RLOOTrainer",))
_CUT = "prompts are no longer cut: filter those that are too long out of the data set"
_WHOLE = "max_length limits prompt and completion together"
_PADDING = "set tokenizer.pad_token and pass processing_class=tokenizer"
_ADAPTERS = "the adapter named default is trained, and a copy of it is the reference"
_REFERENCE = "load the reference yourself and pass it as ref_model"
_LOGGED = "generate in a callback, such as trl.LogCompletionsCallback"
_DECODER_ONLY = "encoder-decoder models are no longer trained on preferences"
_TARGETS = "labels that don't count are always -100"
_NO_REFERENCE = "CPOTrainer in trl.experimental.cpo needs no reference"
_SERVED = 'it is an option of vllm serve, with vllm_mode="server"'
_OWN_OPTIMIZER = "pass an optimizer of your own in optimizers"
_OVERRIDE = "override prediction_step in a subclass"
_BY_NAME = "pass the model, or its name with model_init_kwargs in the configuration"
_BCO = 'the loss bco is gone: DPOConfig(loss_type="bco_pair") takes pairs'
_SCORED = "the model that scores is an entry of reward_funcs"
_OLD_RLOO = "the trainer works as GRPOTrainer does since TRL 0.22"


def _unless(release: str, where: tuple[str, ...], old: str, harmless: str, why: str) -> Rule:
    """Keyword that can go where its value (``harmless``, with blanks between several) changed nothing."""
    return Rule("value", release, where, old, why=why, values=dict.fromkeys(harmless.split(), ""))


def _renamed(release: str, where: tuple[str, ...], names: dict[str, str], why: str, *, since: str = "") -> list[Rule]:
    return [Rule("rename", release, where, old, new, why, since) for old, new in names.items()]


def _liger(where: tuple[str, ...]) -> list[Rule]:
    return _renamed("trl 0.28", where, {"use_liger_loss": "use_liger_kernel"}, "named as in TrainingArguments")


_DPO_RULES = (
    *said("trl 0.13", _DPO_TRAINER, "model_adapter_name ref_adapter_name", _ADAPTERS),
    *said("trl 0.13", _DPO_TRAINER, "ref_model_init_kwargs", _REFERENCE),
    _unless("trl 0.13", _DPO_TRAINER, "reference_free", "False", _NO_REFERENCE),
    *removed("trl 0.13", _DPO_TRAINER, "force_use_ref_model", "a reference that is passed is used"),
    *said("trl 0.19", _DPO_TRAINER, "model_init", _BY_NAME),
    *said("trl 0.29", _DPO_TRAINER, "optimizer_cls_and_kwargs", _OWN_OPTIMIZER),
    *said("trl 0.29", _DPO_TRAINER, "preprocess_logits_for_metrics", _OVERRIDE),
    Rule("setting", "trl 0.9", _DPO_TRAINER, "loss_type", "", "take KTOTrainer", values={'"kto_pair"': ""}),
    Rule(
        "setting",
        "trl 0.28",
        _DPO,
        "loss_type",
        "aot_unpaired",
        "named by what it takes: two sets of answers, not pairs",
        values={'"aot_pair"': 'loss_type="aot_unpaired"'},
    ),
    *said("trl 0.14", _DPO, "max_target_length", _WHOLE),
    _unless("trl 0.15", _DPO, "is_encoder_decoder", "False None", _DECODER_ONLY),
    *removed("trl 0.17", _DPO, "use_num_logits_to_keep", "the trainer chooses the logits that it needs"),
    *said("trl 0.26", _DPO, "padding_value", _PADDING),
    *_liger(_DPO),
    *said("trl 0.29", _DPO, "max_prompt_length", _CUT),
    *said("trl 0.29", _DPO, "max_completion_length", _WHOLE),
    *said("trl 0.29", _DPO, "model_adapter_name ref_adapter_name", _ADAPTERS),
    *said("trl 0.29", _DPO, "ref_model_init_kwargs", _REFERENCE),
    *said("trl 0.29", _DPO, "rpo_alpha", 'give loss_type=["sigmoid", "sft"] and loss_weights=[1.0, rpo_alpha]'),
    *said("trl 0.29", _DPO, "tools", "give each row its tools, in the column tools"),
    *removed("trl 0.29", _DPO, "force_use_ref_model", "a reference that is passed is used"),
    *removed("trl 0.29", _DPO, "base_model_attribute_name", "the model is asked by get_decoder"),
    *removed("trl 0.29", _DPO, "use_logits_to_keep", "the trainer chooses the logits that it needs"),
    _unless("trl 0.29", _DPO, "reference_free", "False", _NO_REFERENCE),
    _unless("trl 0.29", _DPO, "generate_during_eval", "False", _LOGGED),
    _unless("trl 0.29", _DPO, "label_pad_token_id", "-100", _TARGETS),
)

_KTO_RULES = (
    *said("trl 0.11", _KTO_TRAINER, "embedding_func embedding_tokenizer", _BCO),
    *said("trl 1.3", _KTO_TRAINER, "model_adapter_name ref_adapter_name", _ADAPTERS),
    *said("trl 1.6", _KTO_TRAINER, "model_init", _BY_NAME),
    *said("trl 1.6", _KTO_TRAINER, "preprocess_logits_for_metrics", _OVERRIDE),
    Rule("setting", "trl 0.11", _KTO, "loss_type", "", _BCO, values={'"bco"': ""}),
    *said("trl 0.11", _KTO, "prompt_sample_size min_density_ratio max_density_ratio", _BCO),
    *said("trl 0.27", _KTO, "max_prompt_length", _CUT),
    *said("trl 0.27", _KTO, "max_completion_length", _WHOLE),
    _unless(
        "trl 0.27", _KTO, "truncation_mode", '"keep_start"', "rows that are too long lose their end: cut them yourself"
    ),
    _unless("trl 0.27", _KTO, "is_encoder_decoder", "False None", _DECODER_ONLY),
    *_liger(_KTO),
    *removed("trl 0.28", _KTO, "base_model_attribute_name", "the model is asked by get_decoder"),
    *said("trl 0.28", _KTO, "padding_value", _PADDING),
    *said("trl 0.28", _KTO, "ref_model_init_kwargs", _REFERENCE),
    _unless("trl 0.28", _KTO, "label_pad_token_id", "-100", _TARGETS),
    _unless("trl 1.3", _KTO, "generate_during_eval", "False", _LOGGED),
)

_GRPO_RULES = (
    *said("trl 0.18", _GRPO, "vllm_device", 'say where vLLM runs: vllm_mode="colocate", or "server"'),
    *said("trl 0.18", _GRPO, "vllm_dtype vllm_enable_prefix_caching", _SERVED),
    *_renamed(
        "trl 0.18",
        _GRPO,
        {"vllm_max_model_len": "vllm_max_model_length"},
        "prompt and completion together",
        since="0.26",
    ),
    *_renamed(
        "trl 0.27",
        _GRPO + _RLOO,
        {"wandb_log_unique_prompts": "log_unique_prompts"},
        "other trackers than W&B take them too",
    ),
    *_renamed(
        "trl 0.28",
        _GRPO + _RLOO,
        {"vllm_guided_decoding_regex": "vllm_structured_outputs_regex"},
        "vLLM's own name for it",
    ),
    *_liger(_GRPO),
    *said("trl 0.28", _GRPO, "max_prompt_length", _CUT),
    *said("trl 0.29", _RLOO, "max_prompt_length", _CUT),
)

_RLOO_RULES = (
    *_renamed(
        "trl 0.25", _RLOO_TRAINER, {"config": "args", "policy": "model"}, "named as in all trainers", since="0.22"
    ),
    *said("trl 0.25", _RLOO_TRAINER, "reward_model", _SCORED),
    *said("trl 0.25", _RLOO_TRAINER, "ref_policy", "the trainer keeps the model it began with, where beta is not 0"),
    *said("trl 0.25", _RLOO_TRAINER, "data_collator", "the trainer collates prompts itself"),
    *_renamed(
        "trl 0.25",
        _RLOO,
        {
            "rloo_k": "num_generations",
            "cliprange": "epsilon",
            "kl_coef": "beta",
            "exp_name": "run_name",
            "normalize_reward": "normalize_advantages",
            "num_ppo_epochs": "num_iterations",
            "num_mini_batches": "steps_per_generation",
            "response_length": "max_completion_length",
        },
        "named as in GRPOConfig",
        since="0.22",
    ),
    *said("trl 0.25", _RLOO, "total_episodes", "give max_steps, which counts steps of the optimizer"),
    *said("trl 0.25", _RLOO, "stop_token stop_token_id", "a completion ends with the tokenizer's end token"),
    *said("trl 0.25", _RLOO, "missing_eos_penalty", "mask_truncated_completions=True leaves such completions out"),
    *said("trl 0.25", _RLOO, "token_level_kl", _OLD_RLOO),
    *removed("trl 0.25", _RLOO, "dataset_num_proc local_rollout_forward_batch_size num_sample_generations", _OLD_RLOO),
    *said("trl 0.22", _RLOO, "reward_model_path", _SCORED),
    *_renamed("trl 0.22", _RLOO, {"normalize_advantage": "normalize_advantages"}, "there are as many as completions"),
)

_NAMES_THAT_LEFT = (
    *gone("trl 0.13", "DPOScriptArguments SFTScriptArguments RandomPairwiseJudge RandomRankJudge", "write it yourself"),
    moved("trl 0.14", "trl.set_seed", "transformers.set_seed", "it is transformers' own"),
    *gone("trl 0.20", "pack_examples", "take trl.pack_dataset, which packs a whole data set"),
    *gone("trl 0.21", "TextEnvironment TextHistory", "give GRPOTrainer tools or an environment_factory"),
    *gone("trl 0.24", "IterativeSFTTrainer IterativeSFTConfig", "call SFTTrainer for each round"),
    *gone("trl 0.24", "DDPOTrainer DDPOConfig AlignPropTrainer AlignPropConfig", "images are left to diffusers"),
    *gone("trl 0.25", "BestOfNSampler", "generate several answers, and keep the best by a score"),
    *gone("trl 0.14", "respond_to_batch", "GRPOTrainer generates by itself"),
    *gone("trl 0.25", "LengthSampler", "GRPOTrainer takes max_completion_length"),
    *gone("trl 0.27", "DPODataCollatorWithPadding", "leave data_collator out: the trainer pads pairs itself"),
    *gone("trl 0.29", "FDivergenceType FDivergenceConstants", 'f_divergence_type is text, such as "reverse_kl"'),
    *gone(
        "trl 0.29",
        "BaseJudge BasePairwiseJudge BaseRankJudge BaseBinaryJudge AllTrueJudge HfPairwiseJudge OpenAIPairwiseJudge "
        "PairRMJudge WinRateCallback",
        "write the judge as a function of reward_funcs",
    ),
    *gone("trl 0.29", "AutoModelForSeq2SeqLMWithValueHead PreTrainedModelWrapper", "use GRPOTrainer or RLOOTrainer"),
    *gone("trl 0.29", "PRMTrainer PRMConfig", "RewardTrainer scores whole answers; steps are no longer scored"),
    *gone("trl 0.29", "BCOTrainer BCOConfig", 'take KTOTrainer, or DPOConfig(loss_type="bco_pair") for pairs'),
    *gone("trl 0.29", "NashMDTrainer NashMDConfig XPOTrainer XPOConfig", "OnlineDPOTrainer is left, an experiment"),
    moved(
        "trl 1.0", "trl.truncate_dataset", "trl.experimental.utils.truncate_dataset", "configurations have max_length"
    ),
    *gone("trl 1.9", "get_kbit_device_map", 'give device_map={"": PartialState().local_process_index} of accelerate'),
    *gone(
        "trl 1.16",
        "experimental.PPOTrainer experimental.PPOConfig experimental.AutoModelForCausalLMWithValueHead",
        "use GRPOTrainer or RLOOTrainer",
    ),
    *gone("trl 1.16", "experimental.BCOTrainer experimental.BCOConfig", "take KTOTrainer"),
    *gone(
        "trl 1.16",
        "experimental.NashMDTrainer experimental.NashMDConfig experimental.XPOTrainer experimental.XPOConfig",
        "OnlineDPOTrainer is left, an experiment",
    ),
    *gone("trl 1.16", "experimental.PRMTrainer experimental.PRMConfig", "RewardTrainer scores whole answers"),
)

PREFERENCE_RULES: tuple[Rule, ...] = (*_DPO_RULES, *_KTO_RULES, *_GRPO_RULES, *_RLOO_RULES, *_NAMES_THAT_LEFT)
