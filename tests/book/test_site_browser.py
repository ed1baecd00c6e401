"""The built book in a browser, as it is read: on a screen and on a phone, in light and dark, on paper, by search."""

from __future__ import annotations

import functools
import http.server
import threading
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import unquote, urlsplit

import pytest

from tests.axe_core import violations
from tests.course import SITE

pytestmark = [pytest.mark.book, pytest.mark.browser]
LIMIT_BYTES = 1_200_000  # of a page and all that it loads, as it lies on the disk
WIDE, NARROW = 1280, 390
# What is folded is looked at, too, and nothing is looked at while it fades. Of the thousands of words of code on a page
# that look alike, the first of each kind stays marked up: a keyword has the same colours everywhere.
UNFOLD = """() => {
  const still = document.head.appendChild(document.createElement("style"));
  still.textContent = "*, *::before, *::after { transition: none !important; animation: none !important; }";
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  const kinds = new Set();
  document.querySelectorAll("pre span, code span, dt span").forEach((one) => {
    const line = one.closest("pre, code, dt");
    const kind = `${one.className} in ${line.className}, ${line.parentElement.parentElement.className}`;
    if (kinds.has(kind)) one.replaceWith(...one.childNodes);
    kinds.add(kind);
  });
}"""
CUT = """() => [...document.querySelectorAll("article pre, article .output")]
  .filter((one) => one.clientWidth && one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText.slice(0, 60))"""
BEYOND = """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("article *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
# A wide table may lie in a box that scrolls; the box then shows that there is more.
UNCUED = """() => [...document.querySelectorAll("article .pst-scrollable-table-container")].filter((one) =>
  one.scrollWidth > one.clientWidth && !getComputedStyle(one).backgroundImage.includes("gradient")).length"""
QUESTIONS = {
    "out of memory": "book/troubleshooting.html#cuda-out-of-memory",
    "resume a run": "chapters/07_training_loop.html#a-kill-and-a-resume",
    "padding side": "chapters/04_tokens_padding_truncation.html#left-or-right-see-it-fail",
    "loss is nan": "book/troubleshooting.html#the-loss-is-nan",
    "chat template": "book/formats.html#templates",
    "LoRA rank": "chapters/10_lora_chatbot.html#rank-against-quality",
    "learning rate 0": "chapters/08_training_pythia_70m.html#what-warm-up-does-to-the-first-step",
    "key": "book/glossary.html#term-key",
    "save a model": "chapters/08_training_pythia_70m.html#save-and-load",
    "load_model": "book/api/models.html#ftlib.models.loading.load_model",
    "perplexity": "book/glossary.html#term-perplexity",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB": "book/troubleshooting.html"
    "#cuda-out-of-memory",
    "ValueError: Unable to create tensor, you should probably activate truncation and/or padding with "
    "'padding=True' 'truncation=True' to have batched tensors": "book/troubleshooting.html"
    "#unable-to-create-tensor-you-should-probably-activate-truncation-and-or-padding",
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    assert SITE.is_dir(), "build the book first: make book"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@dataclass
class Seen:
    """What was seen of one page."""

    loaded: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    found: dict[str, list[str]] = field(default_factory=lambda: {"beyond": [], "cut": [], "uncued": [], "axe": []})


def pages():
    """Every page that is read; of those with source text, which are alike, the longest and the shortest."""
    read = sorted(path for part in ("chapters", "book") for path in (SITE / part).rglob("*.html"))
    sources = sorted((SITE / "_modules").rglob("*.html"), key=lambda path: (path.stat().st_size, path))
    return [
        *read,
        *dict.fromkeys(sources[:1] + sources[-1:]),
        *(SITE / name for name in ("search.html", "genindex.html")),
    ]


def open_page(browser, address, path, seen):
    page = browser.new_page(viewport={"width": WIDE, "height": 900})
    page.on("request", lambda request: seen.loaded.add(request.url))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(address + path.relative_to(SITE).as_posix())
    page.wait_for_load_state("networkidle")
    return page


def look(browser, address, path):
    seen = Seen()
    page = open_page(browser, address, path, seen)
    page.evaluate(UNFOLD)
    for width, theme in product((WIDE, NARROW), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        seen.found["beyond"] += page.evaluate(BEYOND)
        seen.found["cut"] += page.evaluate(CUT)
        seen.found["uncued"] += page.evaluate(UNCUED) * ["a table"]
        # The theme lets the keyboard reach what scrolls, a moment after the window has another size.
        page.wait_for_function(REACHED)
        wrong = violations(page, colours_alone=theme == "dark")  # the themes differ in nothing else
        seen.found["axe"] += [
            f"{width} {theme} {one['id']}: {node['html'][:120]}" for one in wrong for node in one["nodes"]
        ]
    page.close()
    return seen


REACHED = """() => [...document.querySelectorAll("article .pst-scrollable-table-container")]
  .every((one) => one.scrollWidth <= one.clientWidth || one.tabIndex === 0)"""


def weight(url):
    return (SITE / unquote(urlsplit(url).path).lstrip("/")).stat().st_size


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(SITE).as_posix())
def test_a_page_can_be_read_whole_in_both_widths_and_themes(browser, address, path):
    """The page isn't heavy, asks no other host and doesn't complain.

    In all four settings nothing is wider than the screen or cut, a table that scrolls shows it, and axe-core has
    nothing to say.
    """
    seen = look(browser, address, path)
    assert {what: found for what, found in seen.found.items() if found} == {}
    assert seen.complaints == []
    assert [url for url in seen.loaded if not url.startswith((address, "data:"))] == []
    files = {url.partition("?")[0].partition("#")[0] for url in seen.loaded if url.startswith(address)}
    assert sum(map(weight, files)) <= LIMIT_BYTES


def test_on_paper_a_page_is_light_open_and_whole(browser, address):
    path = next((SITE / "chapters").glob("12_*.html"))
    page = open_page(browser, address, path, Seen())
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; dispatchEvent(new Event('beforeprint')); }")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    for button in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-header-article", ".copybtn", ".headerlink"):
        assert not page.locator(button).first.is_visible(), button
    for folded in ("article h1", "details .cell_input", "details.solution > p"):
        assert page.locator(folded).first.is_visible(), folded
    page.set_viewport_size({"width": 680, "height": 900})  # A4 between its margins
    assert page.evaluate(BEYOND) == []
    assert page.evaluate(CUT) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()


@pytest.mark.parametrize(("question", "place"), QUESTIONS.items(), ids=list(QUESTIONS))
def test_the_search_names_the_right_place_first(browser, address, question, place):
    page = browser.new_page()
    page.goto(f"{address}search.html")
    page.fill(".bd-search-container input[name=q]", question)
    page.press(".bd-search-container input[name=q]", "Enter")
    found = page.locator("#search-results a")
    found.first.wait_for()
    assert found.first.get_attribute("href") == place
    page.close()


def test_a_search_without_a_result_says_so_and_what_to_do(browser, address):
    page = browser.new_page()
    page.goto(f"{address}search.html?q=qqqzzzxxx")
    page.wait_for_selector("#search-summary:text('Nothing was found')")
    page.close()
