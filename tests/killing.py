"""Kills a run again and again at random moments, resumes it, and compares the result with a run left in peace.

A program of its own, because it forks: the libraries are loaded once, and each run is a child that can be killed.

    python tests/killing.py FOLDER KILLS
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

torch.set_num_threads(1)  # a forked child can't use the threads of its parent

from safetensors.torch import load_file  # noqa: E402

from ftlib.training.checkpoints import checkpoints  # noqa: E402
from ftlib.training.config import FinetuneConfig  # noqa: E402
from ftlib.training.run import train  # noqa: E402


def start(config: FinetuneConfig, folder: Path) -> int:
    """Begin or resume the run in a child process; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        train(config, folder, resume=(folder / "config.yaml").exists())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait_for_a_moment(folder: Path, seconds: float, *, while_writing: bool) -> None:
    """Sleep, or watch for a checkpoint that is being written."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if while_writing and next((folder / "checkpoints").glob(".*.partial"), None):
            return
        time.sleep(0.0005)


def states(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Return what the last checkpoint holds: weights, and the state of optimizer and random generators."""
    last = checkpoints(folder)[-1].folder
    return [load_file(last / name) for name in ("model.safetensors", "training_state.safetensors")]


def main(folder: Path, kills: int) -> None:
    """Print what happened as JSON."""
    config = FinetuneConfig.from_yaml(folder / "config.yaml")
    started = time.monotonic()
    if os.waitpid(start(config, folder / "whole"), 0)[1]:
        raise SystemExit("the run in peace failed")
    seconds = time.monotonic() - started
    expected = states(folder / "whole")
    chance = random.Random(0)
    done = {"kills": 0, "while_writing": 0, "finished": 0, "identical": 0, "metrics_identical": 0}
    while done["kills"] < kills:
        place = folder / f"run{done['finished']}"
        child = start(config, place)
        wait_for_a_moment(place, chance.uniform(0, 0.8 * seconds), while_writing=done["kills"] % 3 == 0)
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            done["kills"] += 1
            done["while_writing"] += next((place / "checkpoints").glob(".*.partial"), None) is not None
        elif os.WEXITSTATUS(status):
            raise SystemExit(f"a resumed run failed after {done['kills']} kills")
        if not os.WIFSIGNALED(status) or done["kills"] == kills:
            if os.WIFSIGNALED(status) and os.waitpid(start(config, place), 0)[1]:
                raise SystemExit("the last resumed run failed")
            done["finished"] += 1
            both = zip(expected, states(place), strict=True)
            done["identical"] += all(
                one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
                for one, other in both
            )
            done["metrics_identical"] += losses(place) == losses(folder / "whole")
    print(json.dumps(done))


def losses(folder: Path) -> list[tuple[int, float]]:
    """Return number and loss of each step."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [(step["number"], step["loss"]) for step in map(json.loads, lines)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
