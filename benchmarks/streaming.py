"""Does converting a large file row by row need more memory the larger it is, and is its time linear?

OpenOrca-shaped JSON Lines of 100,000 and of 1,000,000 rows are converted by ``ftlib data FILE --convert openai OUT``,
each in a process of its own, whose peak memory the operating system reports.

    python benchmarks/streaming.py [ROWS ...]
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ftlib import read_rows

SYSTEMS = ("", "You are a helpful assistant.", "Explain as to a child of five.", "Answer step by step.")


def write_rows(path: Path, count: int) -> None:
    """Write rows of OpenOrca's shape, of one to four FAQ sentences each."""
    generator = random.Random(0)
    faq = read_rows("faq")
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            drawn = generator.choices(faq, k=generator.randint(1, 4))
            row = {
                "id": f"row.{number}",
                "system_prompt": generator.choice(SYSTEMS),
                "question": " ".join(one["question"] for one in drawn),
                "response": " ".join(one["answer"] for one in drawn),
            }
            file.write(json.dumps(row) + "\n")


def measure(command: list[str]) -> tuple[float, float]:
    """Return the seconds and the peak memory in MiB of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with status {status}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main(*counts: int) -> None:
    """Print a line for each size."""
    for count in counts or (100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "rows.jsonl"), Path(folder, "out.jsonl")
            write_rows(source, count)
            command = [sys.executable, "-m", "ftlib.cli", "data", str(source), "--convert", "openai", str(target)]
            seconds, peak_mib = measure(command)
            size = source.stat().st_size / 2**20
            print(
                f"{count:9,} rows, {size:6.0f} MiB: {seconds:6.1f} s, "
                f"{count / seconds:8,.0f} rows/s, peak {peak_mib:4.0f} MiB"
            )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
