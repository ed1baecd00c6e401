"""Kills a run again and again at random moments, resumes it, and compares the result with a run left in peace.

A program of its own, because it forks: the libraries are loaded once, and each run is a child that can be killed.

    python tests/killing.py FOLDER KILLS
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

torch.set_num_threads(1)  # a forked child can't use the threads of its parent

from safetensors.torch import load_file  # noqa: E402

from ftlib.training.checkpoints import checkpoints  # noqa: E402
from ftlib.training.config import FinetuneConfig  # noqa: E402
from ftlib.training.run import train  # noqa: E402


@dataclass(frozen=True)
class Moment:
    """When a run is killed: counted in what it does with files, so that it is no matter how fast a machine is.

    Attributes:
        number: At which operation, counted from 1.
        while_writing: Count only what is done in a checkpoint that isn't whole yet.
        delay_seconds: Kill so much later, in the middle of something.
    """

    number: int
    while_writing: bool
    delay_seconds: float = 0.0


OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
UNFINISHED = re.compile(r"checkpoints[/\\]\.[^/\\]+\.partial")


def count_operations(then: Callable[[Counter[bool]], None]) -> Counter[bool]:
    """Count what this process does with files from now on, apart for unfinished checkpoints, and call with each."""
    counts: Counter[bool] = Counter()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in OPERATIONS:
            counts[False] += 1
            counts[True] += event in {"open", "os.rename"} and bool(UNFINISHED.search(str(arguments[0])))
            then(counts)

    sys.addaudithook(hook)
    return counts


def die_at(moment: Moment) -> None:
    """Have this process killed at a moment."""

    def look(counts: Counter[bool]) -> None:
        if counts[moment.while_writing] == moment.number:
            if moment.delay_seconds:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, moment.delay_seconds)  # its signal ends a process on the spot, too
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    count_operations(look)


def start(config: FinetuneConfig, folder: Path, moment: Moment | None = None) -> int:
    """Begin or resume the run in a child process, and kill it at a moment; return its number.

    A run in peace writes beside its folder how many operations it took.
    """
    child = os.fork()
    if child:
        return child
    try:
        if moment:
            die_at(moment)
            train(config, folder, resume=(folder / "config.yaml").exists())
        else:
            counts = count_operations(lambda counts: None)
            train(config, folder, resume=(folder / "config.yaml").exists())
            folder.with_suffix(".json").write_text(json.dumps([counts[False], counts[True]]), encoding="ascii")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def draw(chance: random.Random, number: int, operations: list[int]) -> Moment:
    """Draw the moment of a kill: in turn while a checkpoint is written, at any operation, and a little after one."""
    while_writing = number % 3 == 0
    last = max(1, int(0.8 * operations[while_writing]))
    return Moment(chance.randint(1, last), while_writing, chance.uniform(1e-5, 5e-3) if number % 3 == 2 else 0.0)


def states(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Return what the last checkpoint holds: weights, and the state of optimizer and random generators."""
    last = checkpoints(folder)[-1].folder
    return [load_file(last / name) for name in ("model.safetensors", "training_state.safetensors")]


def main(folder: Path, kills: int) -> None:
    """Print what happened as JSON."""
    config = FinetuneConfig.from_yaml(folder / "config.yaml")
    if os.waitpid(start(config, folder / "whole"), 0)[1]:
        raise SystemExit("the run in peace failed")
    operations = json.loads((folder / "whole.json").read_text(encoding="ascii"))
    expected = states(folder / "whole")
    chance = random.Random(0)
    done = {"kills": 0, "while_writing": 0, "finished": 0, "identical": 0, "metrics_identical": 0}
    while done["kills"] < kills:
        place = folder / f"run{done['finished']}"
        child = start(config, place, draw(chance, done["kills"], operations))
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
