"""Small things that every test may use. Nothing here needs a network, a key or a GPU."""

from __future__ import annotations

import copy
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

from ftlib.pretraining.corpus import train_tokenizer
from ftlib.pretraining.recipe import Recipe
from ftlib.pretraining.run import new_model
from tests.course import ROOT
from tests.waiting import HUNG_SECONDS

TINY = Recipe(
    vocabulary_size=320,
    layers=2,
    width=32,
    heads=2,
    context=64,
    batch_windows=4,
    micro_windows=2,
    total_tokens=4 * 64 * 6,
    warmup_fraction=0.2,
)
TEXTS = [
    "Question: why is a batch padded? Answer: because all rows of a tensor have the same length.",
    "A tokenizer turns text into ids. The labels are -100 on the prompt.",
    "### Question:\nWhat is a token?\n\n### Answer:\nA piece of text.",
]
POSIX_ONLY = {
    "chat/test_terminal.py": "a terminal with a person at it needs POSIX's pseudo-terminals",
    "training/test_killing.py": "the run is forked and killed",
    "training/test_distributed.py": "processes meet through torchrun's store, which its build for Windows lacks",
    "cli/test_commands.py::test_ctrl_c_leaves_no_half_written_file": "a signal is sent",
    "cli/test_generate.py::test_a_served_model_answers_until_ctrl_c": "a signal is sent",
    "cli/test_help.py::test_completion_can_be_installed": "the shells are POSIX's",
    "hosted/test_client.py::test_an_interrupt_ends_it_at_once": "a signal is sent",
    "training/test_run.py::test_a_folder_that_can_not_be_written_is_named": "there is no /proc",
    "upgrade/test_files.py::test_a_link_stays_a_link": "links are a privilege",
    "upgrade/test_files.py::test_files_are_written_with_fix_only_and_keep_newlines_and_mode": "files have no mode",
}
"""What can't be tested on Windows: files or single tests, and why."""
BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items):
    if os.name == "posix":
        return
    for item in items:
        file = item.path.relative_to(ROOT / "tests").as_posix()
        names = (file, f"{file}::{item.originalname}" if hasattr(item, "originalname") else "")
        if reason := next((POSIX_ONLY[name] for name in names if name in POSIX_ONLY), None):
            item.add_marker(pytest.mark.skip(reason=f"not on Windows: {reason}"))


@pytest.fixture(scope="session", autouse=True)
def _ipython_folder(tmp_path_factory):
    """Kernels take nothing from somebody's own settings, and need no home that can be written."""
    os.environ["IPYTHONDIR"] = str(tmp_path_factory.mktemp("ipython"))


def patient(opens):
    """Give what a browser opens all the time that a machine may need, in place of Playwright's thirty seconds."""

    def opens_patiently(*arguments, **options):
        opened = opens(*arguments, **options)
        opened.set_default_timeout(1000 * HUNG_SECONDS)
        return opened

    return opens_patiently


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium. Where there is none, tests are skipped; with FTLIB_NEEDS_BROWSER they fail."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "no Chromium found: install Debian's package chromium"
        pytest.fail(reason) if os.environ.get("FTLIB_NEEDS_BROWSER") else pytest.skip(reason)
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=list(BROWSER_FLAGS), timeout=1000 * HUNG_SECONDS)
        for name in ("new_page", "new_context"):  # a test waits for a state; a slow machine is no failure
            setattr(opened, name, patient(getattr(opened, name)))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return train_tokenizer(TEXTS * 3, TINY.vocabulary_size, TINY.context)


@pytest.fixture(scope="session")
def _tiny_model(tiny_tokenizer):
    return new_model(tiny_tokenizer, TINY).eval()


@pytest.fixture
def tiny_model(_tiny_model):
    return copy.deepcopy(_tiny_model)


@pytest.fixture
def conversations():
    from ftlib.data.reading import to_conversations

    pairs = [
        ("Why?", "Because."),
        ("What is a token?", "A piece of text."),
        ("How long is it?", "Not very long at all."),
    ]
    return to_conversations([{"question": q, "answer": a} for q, a in pairs])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The library's cache (not pytest's), with nothing in it."""
    monkeypatch.setenv("FTLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
