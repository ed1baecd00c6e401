"""What is loaded until something happens: a person waits for every module of it."""

import os
import re
import subprocess
import sys

import pytest

MODULES_OF_IMPORT, MODULES_OF_HELP = 120, 200  # beyond those of Python itself: about twice what it takes
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


def trace(*arguments):
    """Return the modules that a Python process imported, in the order in which each was ready."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, flags=re.M)


@pytest.mark.parametrize("arguments", [("-c", "import ftlib"), ("-m", "ftlib.cli", "--help")])
def test_nothing_heavy_is_loaded(arguments):
    loaded = {name.partition(".")[0] for name in trace(*arguments)}
    assert "ftlib" in loaded
    assert not loaded & HEAVY


def test_the_help_loads_no_command_and_not_rich():
    loaded = trace("-m", "ftlib.cli", "--help")
    assert "rich" not in loaded
    assert [name for name in loaded if name.startswith("ftlib.")] == [
        "ftlib.first_edition",
        "ftlib.errors",
        "ftlib.locales",
        "ftlib.nearest",
        "ftlib.cli.group",
        "ftlib.cli.usage",
        "ftlib.cli",
    ]


def test_importing_the_library_loads_itself_and_a_little_else():
    loaded = set(trace("-c", "import ftlib")) - set(trace("-c", "pass"))
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"ftlib", "lazy_loader"}
    assert len(loaded) < MODULES_OF_IMPORT


def test_the_help_loads_few_modules():
    assert len(set(trace("-m", "ftlib.cli", "--help")) - set(trace("-c", "pass"))) < MODULES_OF_HELP


def test_completing_a_name_loads_nothing_heavy():
    """A person waits for it with a finger on the key."""
    command = [sys.executable, "-c", _COMPLETE]
    variables = {"_FTLIB_COMPLETE": "complete_bash", "COMP_WORDS": "ftlib data f", "COMP_CWORD": "2"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env={**os.environ, **variables})
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
