"""Which precision suits the machine: bfloat16 where there are instructions for it, and else float32."""

from __future__ import annotations

import os
import platform
import warnings
from typing import Literal, NamedTuple, get_args

import torch

from ftlib.errors import ConfigError
from ftlib.nearest import one_of

INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that hold oneDNN, which multiplies matrices on processors, down to less than there is."""
# Levels of oneDNN's that leave out the instructions for bfloat16, should one of its variables hold it down to one.
_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
_X86 = ("x86_64", "amd64", "x86", "i386", "i686")
_AMPERE = 8  # the generation of NVIDIA's cards that began to multiply bfloat16

Precision = Literal["float32", "bfloat16", "float16"]
WantedPrecision = Literal["float32", "bfloat16", "float16", "mixed", "auto"]


class BestPrecision(NamedTuple):
    """What to compute in on a device, and why."""

    name: Literal["float32", "bfloat16"]
    reason: str


def best_precision(device: torch.device | str = "cpu") -> BestPrecision:
    """Choose what matrices are multiplied in: bfloat16 only where the device has instructions for it.

    Without them each product is computed by way of float32: it was measured at a tenth of float32's speed. On x86 they
    are called AVX512_BF16 and AMX, and variables that hold PyTorch down to less count (``ONEDNN_MAX_CPU_ISA``,
    ``ATEN_CPU_CAPABILITY``). On ARM it is what PyTorch says. Apple's graphics processors stay with float32.

    Args:
        device: Where the model is.

    >>> best_precision("mps").name
    'float32'
    """
    kind = torch.device(device).type
    if kind == "cpu":
        return _of_processor()
    if kind == "cuda" and (torch.version.hip or _multiplies_bfloat16(torch.device(device))):
        return BestPrecision("bfloat16", "this graphics card multiplies bfloat16")
    name = "this graphics card" if kind == "cuda" else f"the device {kind}"
    return BestPrecision("float32", f"{name} isn't known to multiply bfloat16 faster")


def choose_precision(wanted: WantedPrecision, device: torch.device | str) -> Precision:
    """Turn what was asked for into what matrices are multiplied in on a device.

    Args:
        wanted: A type; ``"mixed"``: the half precision that the device has (float16 on older graphics cards);
            ``"auto"``: what :func:`best_precision` chooses.
        device: Where the model is.

    Returns:
        As asked. On a processor, which has no float16, bfloat16 in its place, with a warning.

    Raises:
        ConfigError: There is no such precision.

    >>> choose_precision("mixed", "cpu")
    'bfloat16'
    """
    if wanted not in (known := get_args(WantedPrecision)):
        raise ConfigError(f"unknown precision {wanted!r}; {one_of(wanted, known)}")
    device = torch.device(device)
    if wanted == "auto":
        return best_precision(device).name
    if wanted == "mixed":
        return "bfloat16" if device.type != "cuda" or _multiplies_bfloat16(device) else "float16"
    if wanted == "float16" and device.type == "cpu":
        message = "precision float16 needs a graphics card: on this processor it becomes bfloat16"
        warnings.warn(message, UserWarning, stacklevel=3)
        return "bfloat16"
    return wanted


def _multiplies_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device)[0] >= _AMPERE


def _of_processor() -> BestPrecision:
    if platform.machine().lower() not in _X86:
        if _on_arm():
            return BestPrecision("bfloat16", "this processor multiplies bfloat16")
        return BestPrecision("float32", "this processor has no instructions for bfloat16")
    found = [name for name, there in _instructions().items() if there]
    if not found or not torch.backends.mkldnn.is_available():
        return BestPrecision("float32", "this processor has no instructions for bfloat16")
    for variable in INSTRUCTION_LIMITS:
        if os.environ.get(variable, "").upper() in _WITHOUT_BFLOAT16:
            return BestPrecision("float32", f"{variable} forbids the instructions for bfloat16")
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return BestPrecision("float32", "ATEN_CPU_CAPABILITY forbids the instructions for bfloat16")
    return BestPrecision("bfloat16", f"this processor multiplies bfloat16 ({' and '.join(found)})")


def _instructions() -> dict[str, bool]:
    """Ask the processor what it has for bfloat16 on x86."""
    asked = {"AVX512_BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    return {name: bool(getattr(torch.cpu, function, bool)()) for name, function in asked.items()}


def _on_arm() -> bool:
    """Ask oneDNN, whose answer is about ARM's instructions there; on x86 it says yes without instructions, too."""
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
