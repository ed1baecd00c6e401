"""Small things that every test may use. Nothing here needs a network, a key or a GPU."""

from __future__ import annotations

import copy
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# The numbers are a processor's, also beside a graphics card, and what listens here is not asked for through a proxy.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["FTLIB_DEVICE"] = "cpu"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

import pytest
import torch
from hypothesis import HealthCheck, settings

from ftlib.pretraining.corpus import train_tokenizer
from ftlib.pretraining.recipe import Recipe
from ftlib.pretraining.run import new_model
from tests.course import ROOT
from tests.waiting import HUNG_SECONDS

# A terminal's width and colours are what a test says.
for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
    os.environ.pop(name, None)
# The same examples each time, however long a slow machine takes for one.
_SUPPRESSED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("course", deadline=None, derandomize=True, suppress_health_check=_SUPPRESSED)
settings.load_profile("course")

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
    "contracts/test_machines.py::test_locale_and_time_zone_are_in_force": "there is no LANG",
    "book/test_build.py": "programs are interrupted and killed by signals",
    "test_files.py::test_a_link_stays_a_link_and_a_device_a_device": "there are no devices in folders",
    "test_locales.py::test_a_folder_whose_name_the_locale_cannot_read_is_named_with_a_cure": "names are never bytes",
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


@pytest.fixture(autouse=True)
def _as_if_it_were_the_first():
    """No test depends on those before it: draws begin at one seed, and variables that a test set are taken back."""
    before = dict(os.environ)
    torch.manual_seed(0)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


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
