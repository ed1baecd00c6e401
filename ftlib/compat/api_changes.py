"""What transformers calls its arguments, and called them before: plain data, and nothing here imports transformers.

A fact about a release stands here, and nowhere else: :func:`ftlib.compat.translate.translate_arguments` works from
these rows, and the rules of ``ftlib upgrade`` about the same arguments are made of them.

Found by comparing the releases 4.25.1, 4.41.2, 4.46.3, 4.47.0 to 4.51.0, 4.56.0, 4.57.1, 5.0.0 to 5.4.0, 5.8.0, 5.14.0,
5.15.0 and 5.19.0 to 5.23.0. ``since`` is the first of these with the new name, ``gone`` the first without the old one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Rename:
    """One argument that has another name in other releases, or is known to some of them only.

    Attributes:
        old: Its name in earlier releases; None where they have nothing like it.
        new: Its name today; None where it has no successor.
        since: Release that has the new name (or reads its value in the new way).
        gone: Release that refuses the old name; None where all accept it.
        reason: Why it changed, and what to do instead where nothing is translated.
        forward: Turns a value for ``old`` into one for ``new``; None from it means: leave the argument out.
        backward: The reverse; raises KeyError or ValueError where earlier releases have no such choice.
        in_new_sense: Says whether a value for ``new`` means something else to releases before ``since``,
            for rows whose new name is older than its new meaning.
        variable: Environment variable that takes the value today.
        needed: Leaving it out would change what is trained, so that a release without it can't be used.
        off: Value for ``new`` that says what a switch ``old`` said when it was off; None where it is no switch.
        idle: It did nothing, or nothing else is possible any more: it can go without a word.
        unless: Regular expression for the source of a value that doesn't mean the same for ``new``.
    """

    old: str | None
    new: str | None
    since: str | None
    gone: str | None
    reason: str
    forward: Callable[[Any], Any] = _same
    backward: Callable[[Any], Any] = _same
    in_new_sense: Callable[[Any], bool] | None = None
    variable: str | None = None
    needed: bool = False
    off: Any = None
    idle: bool = False
    unless: str = ""


def _successor(old: str, new: str, since: str, gone: str | None, reason: str, **how: Any) -> Rename:
    return Rename(old, new, since, gone, reason, **how)


def _switch(old: str, on: tuple[str, Any], off: Any, releases: tuple[str, str], reason: str, **how: Any) -> Rename:
    """Write a row about a flag: on, it is a value of another argument now, and off it is that argument's default."""
    new, value = on
    since, gone = releases
    return Rename(old, new, since, gone, reason, forward=lambda flag: value if flag else None, off=off, **how)


def _dropped(old: str, gone: str, reason: str, **how: Any) -> Rename:
    return Rename(old, None, None, gone, reason, **how)


def _added(new: str, since: str, *, needed: bool = False) -> Rename:
    return Rename(None, new, since, None, "earlier releases have nothing like it", needed=needed)


def _all_added(since: str, names: str) -> list[Rename]:
    return [_added(name, since) for name in names.split()]


def _gathered(old: str, new: str, key: str, gone: str) -> Rename:
    """Write a row about a setting that is in a dictionary of settings now; 0 and nothing of FSDP are left out."""
    whose, always = ("Accelerate", True) if new == "accelerator_config" else ("FSDP", False)
    reason = f"{whose}'s settings stand together"
    return _successor(old, new, "4.41", gone, reason, forward=lambda value: {key: value} if value or always else None)


def _is_share(steps: Any) -> bool:
    return 0 < float(steps) < 1


def _share_below_one(ratio: Any) -> float | None:
    # 1.0 would be read as one step.
    return min(float(ratio), math.nextafter(1.0, 0.0)) if ratio else None


def _inputs_only(names: list[str]) -> bool:
    if set(names) - {"inputs"}:
        raise ValueError(names)
    return bool(names)


_NO_APEX = "mixed precision is PyTorch's own: bf16=True or fp16=True"

# Rows about more than one callable.
WARMUP_RATIO = _successor(
    "warmup_ratio",
    "warmup_steps",
    "5.0",
    "5.15",
    "a number of steps below 1 is a share of all steps",
    forward=_share_below_one,
    in_new_sense=_is_share,
    unless=r"[1-9][\d.]*|None",
)
TOKENIZER = _successor("tokenizer", "processing_class", "4.46", "5.0", "it may be the processor of images or sound too")
COMPUTE_LOSS_FUNC = _added("compute_loss_func", "4.46", needed=True)
TORCH_DTYPE = _successor("torch_dtype", "dtype", "4.56", None, "the old name still works")
USE_AUTH_TOKEN = _successor("use_auth_token", "token", "4.41", "5.0", "one name in all libraries")

TRAINING_ARGUMENTS = (
    _successor("evaluation_strategy", "eval_strategy", "4.41", "4.51", "it begins like eval_steps and eval_delay now"),
    _successor("no_cuda", "use_cpu", "4.41", "5.0", "the switch stands for any accelerator, not for CUDA alone"),
    _switch(
        "group_by_length",
        ("train_sampling_strategy", "group_by_length"),
        "random",
        ("5.2", "5.2"),
        "there are more ways than two to draw rows",
        backward={"group_by_length": True, "random": False}.__getitem__,
    ),
    WARMUP_RATIO,
    _successor(
        "gradient_checkpointing", "activation_checkpointing", "5.23", None, "activations are what is kept or made again"
    ),
    _successor(
        "gradient_checkpointing_kwargs",
        "activation_checkpointing_kwargs",
        "5.23",
        None,
        "it goes with activation_checkpointing",
    ),
    _switch("adafactor", ("optim", "adafactor"), "adamw_torch", ("4.41", "5.0"), "all optimizers have one argument"),
    _successor("per_gpu_train_batch_size", "per_device_train_batch_size", "4.25", "5.0", "a device need not be a GPU"),
    _successor("per_gpu_eval_batch_size", "per_device_eval_batch_size", "4.25", "5.0", "a device need not be a GPU"),
    _successor("push_to_hub_token", "hub_token", "4.25", "5.0", "the Hub's arguments begin with hub_"),
    _successor("push_to_hub_model_id", "hub_model_id", "4.25", "5.0", "the Hub's arguments begin with hub_"),
    _successor("torchdynamo", "torch_compile_backend", "4.41", "5.0", "dynamo is part of torch.compile"),
    _successor("xpu_backend", "ddp_backend", "4.41", "4.41", "one argument serves all kinds of device"),
    _switch(
        "include_inputs_for_metrics",
        ("include_for_metrics", ["inputs"]),
        [],
        ("4.46", "5.0"),
        "losses can be asked for too",
        backward=_inputs_only,
    ),
    _gathered("dispatch_batches", "accelerator_config", "dispatch_batches", "4.51"),
    _gathered("split_batches", "accelerator_config", "split_batches", "4.51"),
    _gathered("fsdp_min_num_params", "fsdp_config", "min_num_params", "5.0"),
    _gathered("fsdp_transformer_layer_cls_to_wrap", "fsdp_config", "transformer_layer_cls_to_wrap", "5.0"),
    _switch("tpu_metrics_debug", ("debug", "tpu_metrics_debug"), "", ("4.25", "5.0"), "debug takes names"),
    _dropped(
        "logging_dir",
        "5.15",
        "TensorBoard's callback reads its folder from the environment",
        variable="TENSORBOARD_LOGGING_DIR",
    ),
    _dropped(
        "overwrite_output_dir",
        "5.0",
        "the Trainer never refused a folder with files in it: choose a fresh one",
        idle=True,
    ),
    _dropped("use_mps_device", "5.0", "an Apple GPU is used when there is one; use_cpu=True forbids it", idle=True),
    _dropped("save_safetensors", "5.0", "weights are always saved as safetensors", idle=True),
    _switch(
        "include_tokens_per_second",
        ("include_num_input_tokens_seen", True),
        "no",
        ("5.0", "5.0"),
        "counting the tokens reports their rate too",
        # Earlier releases have both, and each is left as it was given: at first only the old one reported a rate.
        in_new_sense=lambda _: False,
    ),
    *(
        _dropped(old, "5.0", _NO_APEX, idle=True)
        for old in ("fp16_backend", "fp16_opt_level", "half_precision_backend")
    ),
    _dropped("push_to_hub_organization", "5.0", "write it in front of hub_model_id: 'organization/name'"),
    _dropped("sharded_ddp", "4.41", "PyTorch's fsdp took its place"),
    _dropped("use_ipex", "4.57", "Intel's extension is retired; PyTorch holds what it did"),
    _dropped("jit_mode_eval", "5.0", "TorchScript is no longer developed: torch_compile=True took its place"),
    _dropped("mp_parameters", "5.0", "SageMaker sets it by itself"),
    _dropped("past_index", "5.0", "only Transformer-XL and XLNet handed on such a state, and they are gone"),
    _dropped("ray_scope", "5.0", "Ray's search reads it from the environment", variable="RAY_SCOPE"),
    _dropped("tp_size", "4.56", "tensor parallelism is asked for when a model is loaded: tp_plan='auto'"),
    _dropped("tpu_num_cores", "5.0", "the launcher counts the cores"),
    _dropped("use_legacy_prediction_loop", "5.0", "one evaluation loop is left", idle=True),
    *_all_added("4.46", "average_tokens_across_devices eval_on_start eval_use_gather_object torch_empty_cache_steps"),
    *_all_added("4.46", "use_liger_kernel"),
    *_all_added("4.56", "hub_revision liger_kernel_config"),
    _added("parallelism_config", "4.56", needed=True),
    *_all_added("4.57", "project trackio_space_id"),
    *_all_added("5.0", "enable_jit_checkpoint use_cache"),
    *_all_added("5.8", "ddp_static_graph trackio_bucket_id trackio_static_space_id"),
    *_all_added("5.15", "dataloader_in_order dataloader_multiprocessing_context"),
)

TRAINER = (TOKENIZER, COMPUTE_LOSS_FUNC, _added("optimizer_cls_and_kwargs", "4.47", needed=True))

FROM_PRETRAINED = (TORCH_DTYPE, USE_AUTH_TOKEN)
