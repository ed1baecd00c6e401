"""A few steps at a model's real size, in a fresh process: how much memory and time do they take here?"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from datasets import Dataset
from ftlib.errors import TrainingError
from ftlib.models.loading import check_device
from ftlib.spare_memory import peak_bytes
from ftlib.training.job import Step
from ftlib.training.loop import finetune

_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}


@dataclass(frozen=True)
class MeasuredSteps:
    """What a few training steps took.

    Attributes:
        steps: The steps.
        peak_bytes: How far memory rose above what the process held before the model was built: of the process, or on
            a graphics card of PyTorch's allocator there. Less than some 20 MiB can't be told.
    """

    steps: list[Step]
    peak_bytes: int


def try_steps(
    config: PretrainedConfig, rows: Dataset, *, pad_token_id: int = 0, device: str | None = None, **arguments: Any
) -> MeasuredSteps:
    """Train a model of this configuration, with random weights, for a few steps in a process of its own.

    Speed and memory don't depend on what the weights are, so nothing has to be downloaded.

    Args:
        config: Of the model (:func:`ftlib.estimate.estimation.architecture` knows some offline).
        rows: Tokenised, as :func:`ftlib.training.loop.finetune` takes them.
        pad_token_id: Fills the batches: of the tokenizer that the rows are from.
        device: ``"cpu"`` or ``"cuda"``; default: the best one that is there.
        arguments: Further ones of ``finetune``, such as ``max_steps``.

    Raises:
        TrainingError: The process failed; the message holds the last line of what it said.

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    asked: dict[str, Any] = {"config": config.to_dict(), "device": check_device(device), "arguments": arguments}
    asked["pad_token_id"] = pad_token_id
    asked["rows"] = rows.with_format(None).to_dict()
    done = subprocess.run(
        [sys.executable, "-m", "ftlib.training.measured_steps"],
        input=json.dumps(asked),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]
        raise TrainingError(f"the measured steps failed: {reason}")
    found = json.loads(done.stdout.splitlines()[-1])
    return MeasuredSteps([Step(**step) for step in found["steps"]], found["peak_bytes"])


def _main() -> None:
    asked = json.load(sys.stdin)
    device, arguments = torch.device(asked["device"]), asked["arguments"]
    rows = Dataset.from_dict(asked["rows"])
    # A small model goes first: the code and the buffers of the libraries are there then, and what the process
    # holds is about what it has held at most.
    tokenizer: Any = SimpleNamespace(pad_token_id=asked["pad_token_id"])  # the rows are tokens already
    one_step = {**arguments, "max_steps": 1, "warmup_steps": 0}
    finetune(_build(asked["config"] | _SMALL, device), tokenizer, rows, **one_step)
    torch.manual_seed(arguments.get("seed", 0))
    with _Watch(device) as watch:
        steps = finetune(_build(asked["config"], device), tokenizer, rows, **arguments)
    found = {"steps": [asdict(step) for step in steps], "peak_bytes": watch.peak_bytes}
    sys.stdout.write(json.dumps(found) + "\n")


def _build(config: dict[str, Any], device: torch.device) -> Any:
    with device:
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


class _Watch:
    """Takes note of how far memory rises: both the kernel and PyTorch's allocator on a card count the highest."""

    def __init__(self, device: torch.device) -> None:
        self.on_card = device.type == "cuda"

    def __enter__(self) -> _Watch:
        if self.on_card:
            torch.cuda.reset_peak_memory_stats()
        self.before = torch.cuda.memory_allocated() if self.on_card else int(psutil.Process().memory_info().rss)
        return self

    def __exit__(self, *_: object) -> None:
        self.peak_bytes = (torch.cuda.max_memory_allocated() if self.on_card else peak_bytes()) - self.before


if __name__ == "__main__":
    _main()
