"""The chat page in a browser, as a person uses it."""

import json
import re
import subprocess
import sys

import pytest

from ftlib.data import load_conversations

pytest.importorskip("gradio")

pytestmark = pytest.mark.browser
ENDED = "cut after 40 tokens|ended by the model"
# nano, as slow as a model that is worth watching; see test_chat_page for why in a process of its own.
PAGES = """
import json, sys, time
from dataclasses import replace
from ftlib.chat import Settings, load_speaker, serving

nano = load_speaker("nano", device="cpu")
nano.model.register_forward_hook(lambda *_: time.sleep(0.12))
pair = [nano, replace(nano, name="tuned")]
settings = Settings(temperature=0.0, max_new_tokens=40)
with serving([nano], settings=settings, feedback=sys.argv[1]) as one:
    with serving(pair, compare=True, settings=settings, feedback=sys.argv[1]) as two:
        with serving(pair, settings=settings, feedback=sys.argv[1] + ".chosen") as three:
            print(json.dumps([one, two, three]), flush=True)
            sys.stdin.read()
"""


@pytest.fixture(scope="module")
def thumbs(tmp_path_factory):
    return tmp_path_factory.mktemp("thumbs") / "thumbs.jsonl"


@pytest.fixture(scope="module")
def pages(thumbs):
    pipe = subprocess.PIPE
    started = subprocess.Popen([sys.executable, "-c", PAGES, str(thumbs)], stdin=pipe, stdout=pipe, encoding="utf-8")
    line = started.stdout.readline()
    assert line
    yield json.loads(line)
    started.communicate("", timeout=60)
    assert started.returncode == 0


@pytest.fixture
def open_page(browser):
    opened = []

    def start(url):
        page = browser.new_page()
        page.set_default_timeout(30_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
        page.goto(url)
        page.wait_for_selector("textarea")
        opened.append((page, url, asked))
        return page

    yield start
    for page, url, asked in opened:
        elsewhere = [one for one in asked if not one.startswith((url, "data:", "blob:"))]
        assert asked
        assert elsewhere == []
        page.close()


def ask(page, question):
    page.fill("textarea", question)
    page.press("textarea", "Enter")


def answers(page):
    return [found.inner_text() for found in page.query_selector_all("[data-testid=bot]")]


def questions(page):
    return [found.inner_text() for found in page.query_selector_all("[data-testid=user]")]


def press(page, label):
    page.click(f"button:text-is('{label}')")


def wait_for_status(page, words, columns=1):
    page.wait_for_function(
        "([words, columns]) => new Set([...document.querySelectorAll('.told')].filter("
        "one => one.innerText.match(words)).map(one => one.closest('.column'))).size >= columns",
        arg=[words, columns],
    )


def test_an_answer_arrives_in_pieces_and_tells_its_tokens(pages, open_page):
    page = open_page(pages[0])
    ask(page, "What is LoRA?")
    page.wait_for_selector("[data-testid=bot]")
    wait_for_status(page, "Writing")
    seen = set()
    while "Writing" in page.inner_text(".told >> nth=0"):
        seen.update(answers(page))
        page.wait_for_timeout(100)
    wait_for_status(page, ENDED)
    final = answers(page)[0]
    assert len(seen) >= 4
    assert all(final.startswith(text.rstrip()) for text in seen if text not in ("\u2026", ""))
    assert re.search(r"40 tokens, [0-9.]+ tokens/s, .* Context: \d+ of 256 tokens", page.inner_text(".told >> nth=0"))
    assert page.input_value("textarea") == ""
    ask(page, "And why?")
    wait_for_status(page, ENDED)
    page.wait_for_function("document.querySelectorAll('[data-testid=user]').length == 2")


def test_stop_keeps_what_is_there_and_the_page_goes_on(pages, open_page):
    page = open_page(pages[0])
    ask(page, "What is LoRA?")
    page.wait_for_function("(document.querySelector('[data-testid=bot]')?.innerText ?? '').length > 5")
    press(page, "Stop")
    wait_for_status(page, "Stopped.")
    page.wait_for_timeout(500)
    stopped = answers(page)
    page.wait_for_timeout(1000)
    assert answers(page) == stopped
    ask(page, "What is a token?")
    wait_for_status(page, ENDED)
    assert questions(page) == ["What is LoRA?", "What is a token?"]
    assert answers(page)[0] == stopped[0]


def test_a_setting_counts(pages, open_page):
    page = open_page(pages[0])
    page.click("button:has-text('Settings')")
    page.fill("input[aria-label='number input for Maximum new tokens']", "5")
    page.press("input[aria-label='number input for Maximum new tokens']", "Enter")
    slider = "input[aria-label='range slider for Maximum new tokens']"
    page.wait_for_function("slider => document.querySelector(slider).value == 5", arg=slider)
    ask(page, "What is LoRA?")
    wait_for_status(page, "cut after 5 tokens")


def test_retry_edit_and_clear(pages, open_page):
    page = open_page(pages[0])
    page.click("text=Why is a batch padded?")
    page.wait_for_function("document.querySelector('textarea').value")
    page.press("textarea", "Enter")
    wait_for_status(page, ENDED)
    first = answers(page)
    press(page, "Retry")
    wait_for_status(page, "Writing")
    wait_for_status(page, ENDED)
    assert answers(page) == first  # greedy
    assert questions(page) == ["Why is a batch padded?"]
    press(page, "Edit")
    page.wait_for_function("document.querySelector('textarea').value")
    assert page.input_value("textarea") == "Why is a batch padded?"
    assert questions(page) == []
    ask(page, "Why?")
    page.wait_for_selector("[data-testid=bot]")
    press(page, "Clear")
    page.wait_for_function("!document.querySelector('[data-testid=user]')")
    page.wait_for_timeout(1000)
    assert questions(page) == []


def test_two_models_answer_side_by_side(pages, open_page):
    page = open_page(pages[1])
    ask(page, "What is LoRA?")
    page.wait_for_function("document.querySelectorAll('[data-testid=bot]').length == 2")
    wait_for_status(page, "Writing", columns=2)
    wait_for_status(page, ENDED, columns=2)
    left, right = answers(page)
    assert left == right  # the same weights, the same prompt
    assert page.is_visible("text=tuned")


def test_of_several_models_one_is_chosen_and_begins_anew(pages, open_page, thumbs):
    page = open_page(pages[2])
    ask(page, "What is LoRA?")
    wait_for_status(page, ENDED)
    page.click("button:has-text('Settings')")
    page.click("input[aria-label=Model]")
    page.click("[role=option]:has-text('tuned')")
    page.wait_for_function("!document.querySelector('[data-testid=user]')")
    ask(page, "What is a token?")
    wait_for_status(page, ENDED)
    assert questions(page) == ["What is a token?"]
    page.click("[aria-label=Like]")
    page.wait_for_selector("text=Kept in")
    (rated,) = map(json.loads, thumbs.with_name(thumbs.name + ".chosen").read_text(encoding="utf-8").splitlines())
    assert rated["model"] == "tuned"


def test_html_is_shown_and_not_run(pages, open_page):
    page = open_page(pages[0])
    asked = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'> <b>&amp;</b>\n    in **four**"
    ask(page, asked)
    wait_for_status(page, ENDED)
    assert questions(page) == [asked]
    assert page.evaluate("window.hurt") is None
    assert page.query_selector("[data-testid=user] :is(img, script, b, strong)") is None


def test_a_prompt_that_is_too_long_is_refused_and_kept(pages, open_page):
    page = open_page(pages[0])
    ask(page, "x" * 100_000)
    page.wait_for_selector("text=100,000 characters and 4,000 are allowed")
    assert len(page.input_value("textarea")) == 100_000
    assert questions(page) == []
    ask(page, "What is LoRA?")
    wait_for_status(page, ENDED)


def test_a_reload_begins_anew_and_frees_the_model(pages, open_page):
    page = open_page(pages[0])
    ask(page, "What is LoRA?")
    page.wait_for_selector("[data-testid=bot]")
    page.reload()
    page.wait_for_selector("textarea")
    assert questions(page) == []
    ask(page, "What is a token?")
    wait_for_status(page, ENDED)
    assert questions(page) == ["What is a token?"]


def test_download_and_thumbs_are_read_back(pages, open_page, thumbs):
    page = open_page(pages[0])
    ask(page, "What is <b>LoRA</b>?")
    wait_for_status(page, ENDED)
    with page.expect_download() as waiting:
        press(page, "Download")
    assert waiting.value.suggested_filename == "conversation.jsonl"
    copy = thumbs.with_name("copy.jsonl")
    waiting.value.save_as(copy)
    (row,) = load_conversations(copy)
    assert row["messages"][0]["content"] == "What is <b>LoRA</b>?"
    page.click("[aria-label=Like]")
    page.wait_for_selector("text=Kept in")
    (rated,) = load_conversations(thumbs)
    assert [message["weight"] for message in rated["messages"]] == [None, 1]
    assert rated["messages"][1]["content"] == row["messages"][1]["content"]
