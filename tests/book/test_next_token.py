"""What a model expects next, on a page: recorded by the build as ftlib says it, and in the browser at every token."""

import contextlib
import json
import re
import shutil

import nbformat
import pytest
import torch

from book import next_tokens
from book._extensions.next_token import next_section, visible
from book.chapters import BookError
from book.talks import TALKS
from ftlib.models.loading import load_model
from tests.axe_core import violations
from tests.book.talking import RUNTIME, opened, serving
from tests.course import ROOT

pytestmark = pytest.mark.browser
TEXT = "If the key is not in the dictionary, raise a"
OWN = "Ça\tva\u00a0bien?\n\n  def \u200b\u65e5(x):"
RECORDED = 3
PAGE = f"# A page\n\n```{{next-token}} nano\n:token: {RECORDED}\n{TEXT}\n```\n"
UNSEEN = "a b\n\t\r\x00\x1f\x7f\x85\u00a0\u00ad\u2003\u2028\u200b\u200d\ufeff\u3000é日\ufffd\U0001f600"


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


@pytest.fixture
def course(tmp_path):
    """A course whose page shows what nano expects."""
    (tmp_path / "stage" / "book").mkdir(parents=True)
    (tmp_path / "stage" / "book" / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def recorded(course):
    next_tokens.record(course, course / "stage")
    (told,) = json.loads((course / "stage" / next_tokens.RECORDED).read_text(encoding="utf-8"))
    return told


@pytest.fixture
def show(browser, course):
    """Opens a page with the section in a profile of its own."""
    with contextlib.ExitStack() as held:

        def start(url=None, **context):
            section = next_section(recorded(course), is_live=True)
            site = course / "site"
            shutil.copytree(RUNTIME, site / "lm")
            shutil.copytree(course / TALKS / "models", site / "lm" / "models")
            for path in (RUNTIME.parent / "talk.css", ROOT / "book" / "_static" / "next_token.js"):
                shutil.copy(path, site)
            head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Next</title>'
            scripts = "".join(f'<script defer src="{name}.js"></script>' for name in ("lm/widgets", "next_token"))
            text = f'{head}<link rel="stylesheet" href="talk.css">{scripts}<main><h1>Next</h1>{section}</main>'
            (site / "index.html").write_text(text, encoding="utf-8")
            profile = held.enter_context(contextlib.closing(browser.new_context(**context)))
            page = opened(profile, url or held.enter_context(serving(site)))
            page.asked = []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
            return page

        yield start


def expected(nano, text, token):
    """What ftlib's model says may come after a token of a text: the ten likeliest, as a page writes them."""
    model, tokenizer = nano
    ids = tokenizer(text)["input_ids"]
    with torch.inference_mode():
        likeliest = model(torch.tensor([ids])).logits[0, token - 1].softmax(-1).topk(10)
    names = [visible(tokenizer.decode([one])) for one in likeliest.indices.tolist()]
    return dict(zip(names, likeliest.values.tolist(), strict=True))


def bars(page):
    rows = page.locator(".talk-bars > li")
    names = rows.locator("code").all_text_contents()
    shares = [float(text.removesuffix(" %")) / 100 for text in rows.locator("> :last-child").all_text_contents()]
    return dict(zip(names, shares, strict=True))


def wait_for_token(page, token):
    said = "token => document.querySelector('.talk-after').textContent.startsWith(`After token ${token},`)"
    page.wait_for_function(said, arg=token)
    return bars(page)


def about_equal(found, wanted):
    """The same tokens in the same order, with probabilities to three digits behind the point."""
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, abs=0.00051)


def test_without_javascript_the_recorded_bars_are_those_of_the_library(show, nano):
    page = show(java_script_enabled=False)
    assert page.text_content(".talk-after") == f"After token {RECORDED}, ·key"
    about_equal(bars(page), expected(nano, TEXT, RECORDED))
    tokens = page.locator(".talk-strip > li").all_text_contents()
    assert "".join(tokens).replace("·", " ") == TEXT
    assert page.text_content(".talk-strip > .is-chosen") == tokens[RECORDED - 1] == "·key"
    assert not page.locator("button").count()


def test_on_a_click_the_model_says_at_each_token_what_the_library_says(show, nano):
    page = show()
    about_equal(wait_for_token(page, RECORDED), expected(nano, TEXT, RECORDED))
    assert [url for url in page.asked if "models" in url or "worker" in url] == []
    for token in (10, 1, 11, 7):
        page.click(f".talk-token >> nth={token - 1}")
        about_equal(wait_for_token(page, token), expected(nano, TEXT, token))
        assert page.locator(".talk-token[aria-pressed=true]").all_text_contents() == [
            page.locator(".talk-token").nth(token - 1).text_content()
        ]
    assert page.text_content(".talk-note").startswith("Computed now, in this page.")
    assert [url for url in page.asked if not url.startswith(page.url)] == []


def test_by_keyboard_any_token_is_chosen_and_a_text_of_ones_own(show, nano):
    page = show()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "·key"
    page.keyboard.press("ArrowRight")
    assert [url for url in page.asked if "worker" in url] == []  # to look around loads nothing
    page.keyboard.press("Enter")
    about_equal(wait_for_token(page, 4), expected(nano, TEXT, 4))
    assert page.evaluate("document.activeElement.textContent") == "·is"
    page.fill("textarea", OWN)
    page.press("textarea", "Tab")
    page.keyboard.press("Enter")
    _, tokenizer = nano
    names = [visible(tokenizer.decode([one])) for one in tokenizer(OWN)["input_ids"]]
    about_equal(wait_for_token(page, len(names)), expected(nano, OWN, len(names)))
    assert page.locator(".talk-token").all_text_contents() == names
    page.click(".talk-token >> nth=1")
    about_equal(wait_for_token(page, 2), expected(nano, OWN, 2))


def test_the_worker_tells_probabilities_and_not_only_roundings_of_them(show, nano):
    page = show()
    page.evaluate("""() => {
      window.told = [];
      const Real = Worker;
      window.Worker = class extends Real {
        set onmessage(take) { super.onmessage = (event) => { told.push(event.data); take(event); }; }
      };
    }""")
    page.click(".talk-token >> nth=8")
    wait_for_token(page, 9)
    (found,) = page.evaluate("told.filter((one) => one.kind === 'expected')")
    shares = [one["share"] for one in found["likeliest"]]
    assert shares == pytest.approx(list(expected(nano, TEXT, 9).values()), rel=1e-4)


def test_a_text_without_end_is_refused_and_the_next_is_taken(show, nano):
    page = show()
    page.click(".talk-token >> nth=0")
    wait_for_token(page, 1)
    page.fill("textarea", "words " * 300)
    page.click("text=Take this text")
    page.wait_for_function("document.querySelector('.talk-status').textContent.includes('The text is too long')")
    page.fill("textarea", "What is a key")
    page.click("text=Take this text")
    wait_for_token(page, len(nano[1]("What is a key")["input_ids"]))
    assert page.text_content(".talk-status") == ""


def test_a_lost_connection_is_said_and_the_next_click_helps(show):
    page = show()
    page.context.route("**/model.safetensors*", lambda route: route.abort("internetdisconnected"))
    page.click(".talk-token >> nth=5")
    page.wait_for_function("document.querySelector('.talk-status').textContent.includes('The connection was lost')")
    page.context.unroute("**/model.safetensors*")
    page.click(".talk-token >> nth=5")
    wait_for_token(page, 6)


def test_everybody_can_read_it_before_and_after(show):
    page = show()
    assert [one["id"] for one in violations(page)] == []
    page.click(".talk-token >> nth=4")
    wait_for_token(page, 5)
    assert [one["id"] for one in violations(page)] == []
    assert page.get_by_role("group", name=re.compile("Tokens of the text")).get_by_role("button").count() == 11
    assert page.get_by_role("listitem").count() == 10


def test_a_page_opened_as_a_file_says_what_to_do(show, course):
    page = show(url=(course / "site" / "index.html").as_uri())
    page.click(".talk-token >> nth=4")
    page.wait_for_function("document.querySelector('.talk-status').textContent.includes('python -m http.server')")
    assert page.text_content(".talk-after") == f"After token {RECORDED}, ·key"


def test_both_sides_show_what_leaves_no_mark_in_the_same_way(show):
    page = show()
    _, rows = page.evaluate(
        """(text) => [0, [...ModelWidgets.bars([...text].map((one) => ({text: one, share: 0})))
          .querySelectorAll("code")].map((one) => one.textContent)]""",
        UNSEEN,
    )
    assert rows == [visible(sign) for sign in UNSEEN]
    assert all(row.strip() for row in rows)


def test_a_chapter_may_show_it_too(course):
    (course / "stage" / "book" / "page.md").write_text("# A page\n", encoding="utf-8")
    (course / "stage" / "chapters").mkdir()
    cells = [nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_markdown_cell(PAGE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), course / "stage" / "chapters" / "01_one.ipynb")
    toc = "format: jb-book\nroot: book/page\nchapters:\n  - file: chapters/01_one\n"
    (course / "stage" / "_toc.yml").write_text(toc, encoding="utf-8")
    assert recorded(course)["text"] == TEXT


def test_turned_off_it_is_the_recorded_bars(course):
    section = next_section(recorded(course), is_live=False)
    assert "data-" not in section
    assert section.count("<li>") == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [((":token: 3", ":token: 12"), "after token 12 of .* which has 11"), ((" nano", " nanny"), "nanny")],
)
def test_what_cannot_be_shown_is_said(course, change, message):
    (course / "stage" / "book" / "page.md").write_text(PAGE.replace(*change), encoding="utf-8")
    with pytest.raises(BookError, match=message):
        recorded(course)


def test_a_course_without_it_records_nothing(course):
    (course / "stage" / "book" / "page.md").write_text("# A page\n", encoding="utf-8")
    next_tokens.record(course, course / "stage")
    assert not (course / "stage" / next_tokens.RECORDED).exists()
