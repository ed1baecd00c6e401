"""What the libraries changed, as data: one table that ``ftlib upgrade`` applies and that renders as a page of the book.

To teach the command a change, add a row. ``tests/upgrade/test_rules.py`` holds the rows to the installed libraries.
"""

from __future__ import annotations

from ftlib.compat.api_changes import TORCH_DTYPE, USE_AUTH_TOKEN
from ftlib.upgrade.derived import derived
from ftlib.upgrade.preference_rules import PREFERENCE_RULES
from ftlib.upgrade.rule import Rule, gone, moved, removed, said, switch
from ftlib.upgrade.training_rules import DEPRECATED_BY_TRL, TRAINER_RULES, TRAINING_RULES

_TF5 = "transformers 5.0"
_FROM_PRETRAINED = ("transformers.*.from_pretrained", "peft.AutoPeft*.from_pretrained")
_LOADERS = (*_FROM_PRETRAINED, "transformers.pipeline")
_LOAD_DATASET = ("datasets.load_dataset", "datasets.load_dataset_builder")
_DOWNLOADS = ("huggingface_hub.hf_hub_download", "huggingface_hub.snapshot_download")
_ACCELERATOR = ("accelerate.Accelerator",)
_ADAMW = ("transformers.AdamW",)


def _quantised(bits: str) -> Rule:
    new = f"quantization_config=BitsAndBytesConfig({bits}=True)"
    why = "each kind of quantisation has a configuration"
    return switch(_TF5, _FROM_PRETRAINED, bits, new, why, needs="from transformers import BitsAndBytesConfig")


def _task(release: str, names: str) -> Rule:
    values = dict.fromkeys(names.split(), "")
    why = "take text-generation with a chat model, or the model's own class"
    return Rule("task", release, ("transformers.pipeline",), names.replace(" ", ", "), why=why, values=values)


_LOADING_RULES = (
    derived(TORCH_DTYPE, (*_LOADERS, "transformers.*.from_config")),
    derived(USE_AUTH_TOKEN, _LOADERS),
    derived(USE_AUTH_TOKEN, (".push_to_hub",)),
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
    derived(USE_AUTH_TOKEN, _LOAD_DATASET, release="datasets 3.0"),
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
    Rule("remove", _TF5, _LOADERS, "resume_download", why="downloads always resume"),
    Rule("say", _TF5, _FROM_PRETRAINED, "torchscript", why="TorchScript is no longer supported: try torch.compile"),
    *removed("huggingface_hub", _DOWNLOADS, "resume_download", "downloads always resume"),
    *removed("huggingface_hub", _DOWNLOADS, "force_filename", "a file keeps the name that it has on the Hub"),
    *removed("huggingface_hub", _DOWNLOADS, "local_dir_use_symlinks", "there are no links in a folder of your own"),
    *said("huggingface_hub", _DOWNLOADS, "proxies", "set the environment variable HTTPS_PROXY"),
    Rule("rename", "accelerate 1.15", _ACCELERATOR, "logging_dir", "project_dir", "more than logs goes there"),
    switch("accelerate 1.15", _ACCELERATOR, "fp16", 'mixed_precision="fp16"', "one argument chooses the precision"),
    *said(
        "accelerate 1.15",
        _ACCELERATOR,
        "dispatch_batches even_batches use_seedable_sampler",
        "give it in dataloader_config=DataLoaderConfiguration(...)",
    ),
)

_GENERATE = (".generate", "transformers.GenerationConfig")
_TOKENIZERS, _MODELS, _CACHES = ("transformers.*Tokenizer*",), ("transformers.*Model*",), ("transformers.*Cache",)
_CONFIGS = ("transformers.*Config",)
_NO_ROLE = "the special tokens that have no role"


def _members(where: tuple[str, ...], names: str, why: str, new: str = "") -> list[Rule]:
    return [Rule("member", _TF5, where, name, new, why) for name in names.split()]


def _method(old: str, new: str, why: str, needs: str = "") -> Rule:
    return Rule("method", _TF5, (), old, new, why, needs=needs)


_MEMBER_RULES = (
    Rule(
        "setting",
        _TF5,
        (".save_pretrained", ".push_to_hub"),
        "safe_serialization",
        why="transformers writes safetensors only, whatever it says; models of peft still take it",
        values={"False": ""},
    ),
    *said(
        _TF5,
        _GENERATE,
        "num_beam_groups diversity_penalty penalty_alpha force_words_ids constraints dola_layers",
        "this way of decoding left the library: it runs only with custom_generate and trust_remote_code=True",
    ),
    *said(
        _TF5,
        _GENERATE,
        "return_legacy_cache",
        "generate returns a cache, never tuples: get_seq_length() counts its tokens",
    ),
    *_members(_TOKENIZERS, "additional_special_tokens", _NO_ROLE, "extra_special_tokens"),
    *_members(_TOKENIZERS, "additional_special_tokens_ids", _NO_ROLE, "extra_special_tokens_ids"),
    *_members(_TOKENIZERS, "special_tokens_map_extended", "read special_tokens_map, and extra_special_tokens"),
    *_members(_TOKENIZERS, "all_special_tokens_extended", "read all_special_tokens, which are plain strings"),
    *_members(_TOKENIZERS, "sanitize_special_tokens", "special tokens are in the vocabulary already"),
    *_members(
        _TOKENIZERS,
        "prepare_for_model build_inputs_with_special_tokens create_token_type_ids_from_sequences truncate_sequences",
        "only tokenizers written in Python have it: give the text to the tokenizer's call",
    ),
    *_members(_TOKENIZERS, "max_model_input_sizes", "read model_max_length"),
    *_members(_MODELS, "to_bettertransformer reverse_bettertransformer", 'load with attn_implementation="sdpa"'),
    *_members(_MODELS, "prune_heads get_head_mask", "heads are no longer pruned or masked"),
    *_members(_MODELS, "parallelize deparallelize", 'load with device_map="auto"'),
    *_members(_CONFIGS, "rope_theta", 'read rope_parameters["rope_theta"]'),
    *_members(_CACHES, "to_legacy_cache from_legacy_cache", "models take and return a cache, never tuples"),
    *_members(_CACHES, "get_usable_length", "call get_seq_length"),
)

_METHOD_RULES = (
    _method("as_target_tokenizer", "tokenizer(text_target=...)", "targets are an argument of the call"),
    _method("batch_encode_plus", "tokenizer(...)", "calling the tokenizer does the same"),
    _method("encode_plus", "tokenizer(...)", "calling the tokenizer does the same"),
    _method(
        "prepare_seq2seq_batch",
        "tokenizer(sources, text_target=targets)",
        "the call returns the targets as labels; another length for them needs a call of its own",
    ),
    _method(
        "apply_chat_template",
        "apply_chat_template(..., return_dict=...)",
        "it returned ids and now returns a dictionary: say which you want, return_dict=False for ids",
    ),
    _method(
        "floating_point_ops",
        "ftlib.compat.floating_point_ops",
        "models have lost it; the function counts the same",
        needs="from ftlib.compat import floating_point_ops",
    ),
    _method(
        "past_key_values",
        "past_key_values.layers[i].keys, .values",
        "it is a cache and no tuple: get_seq_length() counts its tokens",
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
        for home, name in (
            *(("orpo", "ORPOTrainer"), ("orpo", "ORPOConfig"), ("cpo", "CPOTrainer"), ("cpo", "CPOConfig")),
            *(("gkd", "GKDTrainer"), ("gkd", "GKDConfig"), ("merge_model_callback", "MergeModelCallback")),
            *(("online_dpo", "OnlineDPOTrainer"), ("online_dpo", "OnlineDPOConfig")),
        )
    ),
    moved(
        "trl",
        "trl.create_reference_model",
        "trl.experimental.utils.create_reference_model",
        "the old import warns",
        since="1.16",
    ),
    *(
        moved("trl", f"trl.experimental.{name}", f"trl.{name}", "it is no experiment any more", since="1.16")
        for name in ("KTOTrainer", "KTOConfig", "DistillationTrainer", "DistillationConfig")
    ),
    moved(
        _TF5,
        "transformers.AutoModelForVision2Seq",
        "transformers.AutoModelForImageTextToText",
        "named by what goes in and comes out",
    ),
    moved(
        _TF5, "transformers.EvaluationStrategy", "transformers.IntervalStrategy", "one enumeration for all intervals"
    ),
    *gone(
        "trl 0.20",
        "DataCollatorForCompletionOnlyLM",
        "give rows of prompt and completion, or messages and SFTConfig(assistant_only_loss=True)",
    ),
    *gone("trl 0.20", "ConstantLengthDataset", "use SFTConfig(packing=True)"),
    *gone("trl 0.27", "setup_chat_format", "use SFTConfig(chat_template_path=...) or trl.clone_chat_template"),
    *gone(
        "trl 1.0",
        "AutoModelForCausalLMWithValueHead PPOTrainer PPOConfig PPOv2Trainer PPOv2Config",
        "use GRPOTrainer or RLOOTrainer",
    ),
    *gone(
        _TF5,
        "AutoModelWithLMHead",
        "take AutoModelForCausalLM, AutoModelForMaskedLM or AutoModelForSeq2SeqLM, as the model is",
    ),
    *gone(_TF5, "TF[A-Z]* Flax[A-Z]*", "only PyTorch is left: take the class without TF or Flax in its name"),
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
    *gone(
        _TF5,
        "SummarizationPipeline TranslationPipeline Text2TextGenerationPipeline",
        "take TextGenerationPipeline with a chat model, or the model's own class",
    ),
    *gone(_TF5, "SinkCache HybridCache SlidingWindowCache OffloadedCache", "DynamicCache and StaticCache are left"),
    *gone("huggingface_hub 1.0", "Repository", "use HfApi, whose upload_folder needs no git"),
    *gone("huggingface_hub 1.0", "cached_download", "use hf_hub_download"),
    *gone("huggingface_hub 1.0", "HfFolder", "use get_token and login"),
    *gone("huggingface_hub 1.0", "InferenceApi", "use InferenceClient"),
)

RULES: tuple[Rule, ...] = (
    *TRAINING_RULES,
    *TRAINER_RULES,
    *PREFERENCE_RULES,
    *DEPRECATED_BY_TRL,
    *_LOADING_RULES,
    *_MEMBER_RULES,
    *_METHOD_RULES,
    *_NAME_RULES,
)
