"""Ask the real llama.cpp: its server reads a GGUF file and lays out each conversation with the template in it."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from ftlib.hosted.server import gguf_arguments
from ftlib.hosted.server_process import running

WAIT_SECONDS = 600


class Answer(NamedTuple):
    """What llama.cpp makes of a conversation: ids of its prompt and of its answer, with the end if it came to one."""

    prompt: list[int]
    ids: list[int]
    text: str
    stopped: bool
    seconds: float


def ask(file: Path, conversations: list[Any], *, limit: int, adapter: Path | None = None) -> list[Answer]:
    """Let it write greedily, at most so many tokens, with the file of an adapter where there is one."""
    arguments = [*gguf_arguments(file, "asked", device="cpu"), *([str(adapter)] if adapter else [])]
    with (
        tempfile.TemporaryDirectory() as folder,
        running("ftlib.hosted.serve_gguf", arguments, folder=Path(folder), wait_seconds=WAIT_SECONDS) as port,
    ):
        return [_answered(port, messages, limit) for messages in conversations]


def _answered(port: str, messages: list[Any], limit: int) -> Answer:
    text = _post(port, "/apply-template", {"messages": messages})["prompt"]
    prompt = _post(port, "/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]
    asked = {"prompt": prompt, "n_predict": limit, "temperature": 0, "return_tokens": True, "cache_prompt": False}
    started = time.perf_counter()
    told = _post(port, "/completion", asked)
    seconds = time.perf_counter() - started
    return Answer(prompt, told["tokens"], told["content"], told["stop_type"] == "eos", seconds)


def _post(port: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=WAIT_SECONDS) as response:
        told: dict[str, Any] = json.load(response)
    return told
