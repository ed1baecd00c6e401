"""The troubleshooting page: every message is provoked, every fix is tried, and the page says what is in the entries."""

import contextlib
import copy
import functools
import http.server
import inspect
import os
import re
import threading
from unittest import mock

import pytest
import torch

import ftlib.errors
from book.troubles import TROUBLES
from book.troubles.page import current
from ftlib.hosted.providers import PROVIDERS
from ftlib.text.tokenization import tokenize
from tests.book.provoking import holds, matches, mend, provoke, serve
from tests.course import ROOT
from tests.waiting import wait_until

PAGE = ROOT / "book/troubleshooting.md"
SITE = ROOT / "_build/html"
# The page scrolls for as long as it likes, and over several headings.
FIRST_SHOWN = """
() => [...document.querySelectorAll("h3")].find((one) => one.getBoundingClientRect().top >= 0)?.innerText ?? ""
"""
ENTRIES = [trouble for troubles in TROUBLES.values() for trouble in troubles]


@pytest.fixture
def names(tiny_model, tiny_tokenizer, conversations, tmp_path, monkeypatch):
    """What the code of an entry finds, in an empty folder and with nobody's keys."""
    monkeypatch.chdir(tmp_path)
    variables = [(one.key_variable, one.url_variable, one.model_variable) for one in PROVIDERS.values()]
    with mock.patch.dict(os.environ), contextlib.ExitStack() as stack:
        for name in filter(None, sum(variables, ())):
            os.environ.pop(name, None)
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.deprecation_warnings = {}  # what another test has made it say once it would not say again
        found = {"tokenizer": tokenizer, "conversations": conversations, "stack": stack, "serve": serve}
        yield {**found, "model": tiny_model, "rows": tokenize(tiny_tokenizer, conversations)}


@pytest.mark.parametrize("trouble", ENTRIES, ids=lambda trouble: trouble.title)
def test_the_message_comes_and_the_fix_works(trouble, names):
    if trouble.needs == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a graphics card; the fix is tried all the same")
    heard = provoke(trouble, names)
    assert heard.has(trouble.message), "\n".join(heard.said)
    mended = mend(trouble, names)
    assert not mended.has(trouble.message)
    assert holds(trouble, names)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tried together with the message")
@pytest.mark.parametrize("trouble", [one for one in ENTRIES if one.needs], ids=lambda trouble: trouble.title)
def test_a_fix_needs_no_graphics_card(trouble, names):
    mend(trouble, names)
    assert holds(trouble, names)


def test_the_page_is_current():
    assert current(PAGE) == PAGE.read_text(encoding="utf-8"), (
        "run: python -m book.troubles.page book/troubleshooting.md"
    )


def test_every_kind_of_error_and_warning_of_the_library_has_an_entry():
    kinds = {name for name, kind in inspect.getmembers(ftlib.errors, inspect.isclass) if issubclass(kind, Warning)}
    kinds |= {kind.__name__ for kind in ftlib.errors.FtlibError.__subclasses__()}
    assert kinds <= {trouble.message.partition(":")[0] for trouble in ENTRIES}


def test_titles_say_what_the_message_says():
    assert len({trouble.title for trouble in ENTRIES}) == len(ENTRIES)
    for trouble in ENTRIES:
        there = set(re.findall(r"\w+", trouble.message.lower()))
        words = set(re.findall(r"\w+", trouble.title.lower()))
        assert len(words & there) >= len(words) / 2, trouble.title


def test_what_is_said_is_compared_word_for_word():
    assert matches("ValueError: row 3\nis empty.", "ValueError: row ... is empty.")
    assert not matches("ValueError: row 3 is empty.", "ValueError: row ... is")
    assert not matches("ValueError: row 3 is empty.", "row 3 is empty")
    assert not matches("shape (2)", "shape [2]")


@pytest.fixture
def site():
    """The address of the built book."""
    assert SITE.is_dir(), "build the book first: make book"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.book
def test_a_message_that_is_pasted_into_the_search_leads_to_its_entry(site, browser):
    tab = browser.new_page()
    for trouble in (ENTRIES[0], *(troubles[0] for troubles in TROUBLES.values()), ENTRIES[-1]):
        tab.goto(f"{site}/index.html")
        tab.locator("input[name=q]").first.evaluate(
            "(field, text) => { field.value = text; field.form.submit() }", trouble.message.replace("...", " ")
        )
        tab.locator("#search-results li a[href*=troubleshooting]").first.click()
        tab.wait_for_url("**/troubleshooting.html*")
        wait_until(lambda title=trouble.title: words(tab.evaluate(FIRST_SHOWN)) == words(title), trouble.title)


def words(text):
    return re.findall(r"\w+", text)
