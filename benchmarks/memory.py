"""Does ``ftlib.estimate.estimation`` predict the peak memory of a training step on the CPU?

Each configuration trains for two steps with random weights in a process of its own, which measures the
second (the optimizer's state is there by then) in two ways:

- process: how far the resident memory of the process rose above what it was before the model was built. Linux
  keeps the highest value (VmHWM) and forgets it on request (clear_refs). glibc is told to give every freed block
  of 64 KiB and more back to the system at once, or else freed memory would count as used. A training step of
  a small model of the same kind runs first, so that code and buffers of the libraries are there already.
- allocator: the highest total that PyTorch's own allocator reports to its profiler, in a second process:
  tensors and what kernels allocate through PyTorch, and nothing else.

    python benchmarks/memory.py [NUMBER ...]

With a CUDA device it measures there instead: ``torch.cuda.max_memory_allocated``.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.optimization import Adafactor

from ftlib.estimate.estimation import architecture, estimate
from ftlib.evaluation.metrics import summed_target_loss
from ftlib.muon import muon_and_adamw

MIB = 2**20
CASES: list[dict[str, Any]] = [
    {"model": "EleutherAI/pythia-70m", "batch_size": 8, "length": 128},
    {"model": "EleutherAI/pythia-70m", "batch_size": 1, "length": 1024, "accumulation_steps": 2},
    {"model": "EleutherAI/pythia-70m", "batch_size": 16, "length": 128, "target_share": 0.25, "padded": True},
    {"model": "EleutherAI/pythia-70m", "batch_size": 8, "length": 512, "gradient_checkpointing": True},
    {"model": "EleutherAI/pythia-70m", "batch_size": 4, "length": 256, "optimizer": "adafactor"},
    {"model": "EleutherAI/pythia-70m", "batch_size": 4, "length": 256, "optimizer": "muon", "target_share": 0.5},
    {"model": "EleutherAI/pythia-160m", "batch_size": 4, "length": 256, "lora_rank": 8},
    {"model": "EleutherAI/pythia-160m", "batch_size": 4, "length": 512, "lora_rank": 8, "gradient_checkpointing": True},
    {"model": "distilgpt2", "batch_size": 4, "length": 256},
    {"model": "EleutherAI/gpt-neo-125m", "batch_size": 2, "length": 512, "padded": True},
    {"model": "nano", "batch_size": 8, "length": 256},
    {"model": "nano", "batch_size": 4, "length": 128, "precision": "bfloat16"},
    {"model": "nano", "batch_size": 4, "length": 128, "precision": "mixed"},
]
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}


def build(case: dict[str, Any], device: str, **changes: Any) -> tuple[Any, list[torch.optim.Optimizer]]:
    """Make model and optimizers as a training script does."""
    config = architecture(case["model"])
    if changes and config.model_type == "gpt_neo":
        changes = {**changes, "attention_types": [[["global", "local"], 1]]}
    config.update({name: value for name, value in changes.items() if hasattr(config, name)})
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config)
    model.to(torch.bfloat16 if case.get("precision") == "bfloat16" else torch.float32).train()
    if case.get("gradient_checkpointing"):
        model.activation_checkpointing_enable({"use_reentrant": False})
    if rank := case.get("lora_rank"):
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=rank, task_type="CAUSAL_LM"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if case.get("optimizer") == "muon":
        return model, muon_and_adamw(model, matrix_learning_rate=1e-3, other_learning_rate=1e-4, weight_decay=0.01)
    if case.get("optimizer") == "adafactor":
        return model, [Adafactor(trained, lr=1e-4, scale_parameter=False, relative_step=False)]
    return model, [torch.optim.AdamW(trained, lr=1e-4, fused=True)]


def batch(case: dict[str, Any], vocabulary: int, device: str) -> dict[str, torch.Tensor]:
    """Draw token ids, with the padding and the share of targets that the case asks for."""
    shape = case["batch_size"], case["length"]
    ids = torch.randint(vocabulary, shape, device=device)
    mask = torch.ones_like(ids)
    if case.get("padded"):
        mask[1:, -3:] = 0
    labels = ids.clone()
    labels[:, : round(shape[1] * (1 - case.get("target_share", 1.0)))] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train_step(case: dict[str, Any], model: Any, optimizers: list[torch.optim.Optimizer]) -> None:
    """Take one optimizer step."""
    for _ in range(case.get("accumulation_steps", 1)):
        inputs = batch(case, model.config.vocab_size, str(model.device))
        own = "target_share" in case
        with torch.autocast(model.device.type, torch.bfloat16, enabled=case.get("precision") == "mixed"):
            loss = summed_target_loss(model, inputs)[0] if own else model(**inputs, use_cache=False).loss
        loss.backward()
        del loss
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def resident(field: str) -> int:
    """Read a size of this process in bytes: VmRSS is now, VmHWM the highest."""
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(kilobytes) * 1024


def measure_process(case: dict[str, Any]) -> int:
    """Return the rise of this process's resident memory in bytes."""
    small = {**case, "batch_size": 2, "length": 32}
    train_step(small, *build(small, "cpu", **SMALL))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    model, optimizers = build(case, "cpu")
    train_step(case, model, optimizers)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    train_step(case, model, optimizers)
    return resident("VmHWM") - before


def measure_allocator(case: dict[str, Any]) -> int:
    """Return the most bytes that PyTorch's allocator had handed out."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        model, optimizers = build(case, "cpu")
        train_step(case, model, optimizers)
        torch.ones(1).exp_()
        train_step(case, model, optimizers)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    start = max(event["ts"] for event in events if event["name"] == "aten::exp_")
    return max(e["args"]["Total Allocated"] for e in events if e["name"] == "[memory]" and e["ts"] >= start)


def measure_cuda(case: dict[str, Any]) -> int:
    """Return the most bytes of tensors on the GPU."""
    model, optimizers = build(case, "cuda")
    train_step(case, model, optimizers)
    torch.cuda.reset_peak_memory_stats()
    train_step(case, model, optimizers)
    return torch.cuda.max_memory_allocated()


WAYS = {"process": measure_process, "allocator": measure_allocator, "cuda": measure_cuda}


def in_a_process(case: dict[str, Any], way: str) -> int:
    """Measure a case in a fresh process."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, __file__, "--measure", way, json.dumps(case)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(done.stdout.split()[-1])


def main(*numbers: int) -> None:
    """Print a line for each case."""
    ways = ["cuda"] if torch.cuda.is_available() else ["process", "allocator"]
    for number in numbers or range(len(CASES)):
        case = CASES[number]
        arguments = {name: value for name, value in case.items() if name != "model"}
        predicted = estimate(case["model"], **arguments, device="cuda" if ways == ["cuda"] else "cpu").peak.total
        line = f"{number:2} {case['model']} {arguments}: predicted {predicted / MIB:,.0f} MiB"
        for way in ways:
            measured = in_a_process(case, way)
            line += f", {way} {measured / MIB:,.0f} MiB ({predicted / measured - 1:+.1%})"
        print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(WAYS[sys.argv[2]](json.loads(sys.argv[3])))
    else:
        main(*(int(argument) for argument in sys.argv[1:]))
