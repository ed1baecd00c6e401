"""Many visitors of the chat page at once: how many get an answer, how many are told that it is busy, and when.

    python benchmarks/chat_load.py --visitors 32

The page runs in this process on nano; every visitor is a client of Gradio's own, with a session of its own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradio_client import Client

from ftlib.chat import Settings, serving


def visit(client: Client, together: threading.Barrier) -> tuple[str, float]:
    """Ask once; return what came of it, and the seconds it took."""
    together.wait()
    started = time.perf_counter()
    try:
        client.predict("What is LoRA?", "nano", 0.0, 0, 1.0, 1.0, 32, 0, api_name="/ask")
    except Exception as error:  # the client has no narrower class for "the queue is full"
        if "Queue is full" not in str(error):
            raise
        return "busy", time.perf_counter() - started
    return "answered", time.perf_counter() - started


def main() -> None:
    """Print one line for each outcome, and whether the page answers afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visitors", type=int, default=32)
    visitors = parser.parse_args().visitors
    feedback = Path(tempfile.gettempdir()) / "chat_load.jsonl"
    with serving(["nano"], settings=Settings(max_new_tokens=32), feedback=feedback) as url:
        clients = [Client(url, verbose=False, analytics_enabled=False) for _ in range(visitors)]
        together = threading.Barrier(visitors)
        with ThreadPoolExecutor(visitors) as threads:
            came = list(threads.map(lambda client: visit(client, together), clients))
        for outcome in ("answered", "busy"):
            seconds = sorted(took for what, took in came if what == outcome)
            if seconds:
                middle = statistics.median(seconds)
                print(
                    f"{outcome}: {len(seconds)}, after {seconds[0]:.1f} to {seconds[-1]:.1f} s, median {middle:.1f} s"
                )
        print("afterwards:", *visit(clients[0], threading.Barrier(1)))


if __name__ == "__main__":
    main()
