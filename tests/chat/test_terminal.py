"""The chat in a real terminal."""

import os
import signal
import sys
from functools import partial

import pytest

from ftlib.data.reading import load_conversations
from tests.waiting import HUNG_SECONDS

pexpect = pytest.importorskip("pexpect")

TALK = """
import threading
from ftlib.chat import Settings, load_chat_model, talk

nano = load_chat_model("nano", device="cpu")
steps = iter(range(10**6))

def hold(*_):
    if next(steps) == 6:
        print("[held]", flush=True)
        threading.Event().wait()

nano.model.register_forward_hook(hold)
talk(nano, settings=Settings(temperature=0.0, max_new_tokens=30))
"""


def test_somebody_asks_stops_saves_and_leaves(tmp_path):
    path = tmp_path / "saved.jsonl"
    # A shell starts background jobs deaf to Ctrl-C, and they pass that on: listen again.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    how = {"encoding": "utf-8", "timeout": HUNG_SECONDS, "dimensions": (40, 200), "preexec_fn": listen}
    how["env"] = {**os.environ, "TERM": "dumb"}  # no colours in what is compared
    # Through env: pexpect takes a Python that only some rights let this user run for one that can't be run.
    terminal = pexpect.spawn("/usr/bin/env", [sys.executable, "-c", TALK], **how)
    terminal.expect("you: ")
    terminal.sendline("What is LoRA?")
    terminal.expect(r"nano: \S+")
    terminal.expect(r"\[held\]")  # from here on only Ctrl-C ends the answer
    terminal.kill(signal.SIGINT)
    terminal.expect(r"tokens/s, stopped\. Context: \d+ of 256 tokens")
    for line, told in (
        ("/set max_new_tokens 5", "max_new_tokens 5"),
        ("And why?", r"5 tokens, .*cut after 5 tokens"),
        (f"/save {path}", "Written to"),
        ("/nonsense", "unknown command '/nonsense'"),
    ):
        terminal.expect("you: ")
        terminal.sendline(line)
        terminal.expect(told)
    terminal.expect("you: ")  # a Ctrl-D that comes before the prompt is lost: the terminal isn't read key by key yet
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    (row,) = load_conversations(path)
    assert [message["content"] for message in row["messages"]][::2] == ["What is LoRA?", "And why?"]
