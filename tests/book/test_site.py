"""The built book, read as files: `make book` runs these after the build."""

import html
import json
import os
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import ftlib
from tests.course import ROOT, SITE
from tests.published import CANARY_VARIABLE, anywhere, machine_traces, raw_markup, traces_in

pytestmark = pytest.mark.book
# What a browser fetches by itself when it shows a page. A plain link (<a>) is fetched when a person clicks it.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
NOT_FETCHED_LINKS = {"canonical", "index", "search", "next", "prev", "author", "copyright"}


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if attributes.get("id"):
            self.anchors.add(attributes["id"])
        address = attributes.get(FETCHED.get(tag, ""))
        if address and not (tag == "link" and attributes.get("rel") in NOT_FETCHED_LINKS):
            self.fetched.append(address)
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])


@pytest.fixture(scope="module")
def pages():
    assert SITE.is_dir(), "build the book first: make book"
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_every_chapter_and_page_is_there(pages):
    names = {str(path.relative_to(SITE)) for path in pages}
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert {f"{name}.html" for name in re.findall(r"(?:file|root): (\S+)", toc)} <= names


def test_nothing_is_fetched_from_another_host(pages):
    for path, page in pages.items():
        for address in page.fetched:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), f"{path.name} fetches {address}"
            assert not parts.netloc, f"{path.name} fetches {address}"


def test_style_sheets_fetch_nothing_from_another_host():
    for path in SITE.rglob("*.css"):
        for address in re.findall(r"""(?:url\(|@import\s+)["']?([^"')\s]+)""", path.read_text(encoding="utf-8")):
            assert not re.match(r"(https?:)?//", address), f"{path.name} fetches {address}"


def test_what_is_fetched_exists(pages):
    for path, page in pages.items():
        for address in page.fetched:
            if not address.startswith("data:"):
                assert (path.parent / unquote(urlsplit(address).path)).is_file(), f"{path.name} fetches {address}"


def test_what_is_taught_in_a_chapter_links_there(pages):
    told = 0
    for path in sorted((SITE / "book/api").glob("*.html")):
        text = path.read_text(encoding="utf-8")
        told += text.count("Taught in: <a")
        assert "Taught in: chapters/" not in text, path.name
    assert told == sum(
        path.read_text(encoding="utf-8").count("Taught in: chapters/") for path in ROOT.glob("ftlib/**/*.py")
    )


def test_links_inside_the_book_lead_somewhere(pages):
    by_path = {path.resolve(): page for path, page in pages.items()}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            assert target.exists(), f"{path.name} links to {link}"
            if parts.fragment and target in by_path:
                assert unquote(parts.fragment) in by_path[target].anchors, f"{path.name} links to {link}"


def test_formulas_are_drawn_into_the_pages_and_need_no_script(pages):
    chapter = next(path for path in pages if path.name.startswith("07_"))
    formulas = re.findall(
        r'<span class="math"><svg role="img" aria-label="([^"]+)"', chapter.read_text(encoding="utf-8")
    )
    assert r"p = 1 / (1 + e^{-w})" in formulas
    assert not [address for page in pages.values() for address in page.fetched if "math" in address]


def test_a_page_loads_nothing_twice_and_nothing_of_thebe(pages):
    for path, page in pages.items():
        assets = [address for address in page.fetched if re.search(r"\.(js|css)\b", address)]
        assert len(assets) == len(set(assets)), path.name
        assert "thebe" not in path.read_text(encoding="utf-8").lower(), path.name


def test_every_figure_of_a_chapter_reached_its_page():
    for path in sorted((ROOT / "chapters").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = [cell["metadata"]["mystnb"]["image"]["alt"] for cell in cells if "mystnb" in cell["metadata"]]
        page = (SITE / "chapters" / f"{path.stem}.html").read_text(encoding="utf-8")
        shown = {html.unescape(text) for text in re.findall(r'<img [^>]*alt="([^"]*)"', page)}
        assert set(texts) <= shown, path.name


@pytest.fixture(scope="module")
def api_pages(pages):
    found = {path: page for path, page in pages.items() if path.parent == SITE / "book" / "api"}
    assert len(found) >= 12
    return found


def test_the_api_pages_have_every_public_name_and_link_to_its_source(api_pages):
    anchors = {anchor for page in api_pages.values() for anchor in page.anchors}
    links = {link for page in api_pages.values() for link in page.links}
    for name in ftlib.__all__:
        home = next(anchor for anchor in anchors if re.fullmatch(rf"ftlib\.[a-z_.]+\.{name}", anchor))
        home = home.removesuffix(f".{name}")
        if name != "QUESTION_ANSWER":  # a value, shown in full on the page
            assert f"../../_modules/{home.replace('.', '/')}.html#{name}" in links, name
    assert all(path.stat().st_size > 10_000 for path in api_pages)


def test_the_wheel_lies_beside_the_pages():
    (wheel,) = (SITE / "_static").glob("ftlib-*.whl")
    assert f"_static/{wheel.name}" in (SITE / "book" / "setup.html").read_text(encoding="utf-8")


def test_every_keyword_of_the_search_leads_somewhere(pages):
    keywords = yaml.safe_load((ROOT / "book" / "keywords.yml").read_text(encoding="utf-8"))
    anchors = {path.relative_to(SITE).as_posix(): page.anchors | {""} for path, page in pages.items()}
    lost = [place for place in keywords if place.partition("#")[2] not in anchors.get(place.partition("#")[0], set())]
    assert lost == []


def test_measured_sentences_reached_the_opening_page():
    text = (SITE / "book" / "index.html").read_text(encoding="utf-8")
    assert "right in all three fields" in text
    assert "win_" not in re.sub(r"<[^>]*>", "", text)


def test_nothing_tells_who_built_the_book_and_where():
    canary = os.environ.get(CANARY_VARIABLE, "")
    # One word in small letters, or else the search index would hold it in pieces.
    assert re.fullmatch("[a-z0-9]{16,}", canary), f"build and test with a canary in {CANARY_VARIABLE}: make book"
    assert traces_in(SITE, machine_traces() | {"the canary": anywhere(canary)}) == []


def test_no_markup_shows(pages):
    raw = {str(path.relative_to(SITE)): raw_markup(path.read_text(encoding="utf-8")) for path in pages}
    assert {name: found for name, found in raw.items() if found} == {}


def test_a_name_that_stands_for_a_default_is_on_an_api_page(api_pages):
    texts = [path.read_text(encoding="utf-8") for path in api_pages]
    shown = {
        name for text in texts for name in re.findall(r'class="default_value"><span class="pre">([A-Z][A-Z_]+)<', text)
    }
    documented = {anchor.rpartition(".")[2] for page in api_pages.values() for anchor in page.anchors}
    assert "QUESTION_ANSWER" in shown
    assert shown <= documented
