"""How long it takes until something happens, and what is loaded by then."""

import os
import re
import resource
import subprocess
import sys

import pytest

IMPORT_SECONDS, HELP_SECONDS = 0.050, 0.200
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "gradio",
    "numpy",
    "pandas",
    "matplotlib",
    "openai",
    "peft",
    "trl",
    "yaml",
}
RUNS = 7


def trace(*arguments):
    """Return the modules that a Python process imported, in the order in which each was ready."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, flags=re.M)


def processor_seconds(*arguments):
    """Return what a process takes from a processor: unlike time by the clock, other processes hardly change it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [("-c", "import ftlib"), ("-m", "ftlib.cli", "--help")])
def test_nothing_heavy_is_loaded(arguments):
    loaded = {name.partition(".")[0] for name in trace(*arguments)}
    assert "ftlib" in loaded
    assert not loaded & HEAVY


def test_the_help_loads_no_command_and_not_rich():
    loaded = trace("-m", "ftlib.cli", "--help")
    assert "rich" not in loaded
    assert [name for name in loaded if name.startswith("ftlib.")] == [
        "ftlib.cli.group",
        "ftlib.errors",
        "ftlib.cli",
    ]


def test_importing_the_library_takes_less_than_50_ms():
    code = "import time; start = time.process_time(); import ftlib; print(time.process_time() - start)"
    command = [sys.executable, "-c", code]
    taken = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(RUNS)]
    assert min(map(float, taken)) < IMPORT_SECONDS


def test_the_help_takes_less_than_200_ms():
    fastest = min(processor_seconds("-m", "ftlib.cli", "--help") for _ in range(RUNS))
    assert fastest < HELP_SECONDS


def test_completing_a_name_loads_nothing_heavy():
    """A person waits for it with a finger on the key."""
    command = [sys.executable, "-c", _COMPLETE]
    variables = {"_FTLIB_COMPLETE": "complete_bash", "COMP_WORDS": "ftlib data f", "COMP_CWORD": "2"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables})
    offered, loaded = done.stdout.split("\n", 1)
    assert offered == "faq"
    assert not set(loaded.split()) & HEAVY


_COMPLETE = """
import sys, ftlib.cli
try:
    ftlib.cli.app(prog_name="ftlib")
except SystemExit:
    print("\\n".join({name.partition(".")[0] for name in sys.modules}))
"""
