"""The chat page in a browser, as a person uses it."""

import json
import re
import subprocess
import sys

import pytest

from ftlib.data.reading import load_conversations
from tests.course import ROOT
from tests.held import HeldModel
from tests.waiting import HUNG_SECONDS

pytest.importorskip("gradio")

pytestmark = pytest.mark.browser
ENDED = "cut after 40 tokens|ended by the model"
NUMBER = "input[aria-label='number input for Maximum new tokens']"
SLIDER = "input[aria-label='range slider for Maximum new tokens']"
# nano, held by the tests; see test_chat_page for why in a process of its own.
PAGES = """
import json, sys
from dataclasses import replace
from ftlib.chat import Limits, Settings, load_chat_model, serving
from tests.held import hold

folder, thumbs = sys.argv[1:]
nano = load_chat_model("nano", device="cpu")
hold(nano.model, folder)
pair = [nano, replace(nano, name="tuned")]
settings = Settings(temperature=0.0, max_new_tokens=40)
patient = Limits(answer_seconds=100_000)  # a held answer is not ended by the clock
with serving([nano], settings=settings, feedback=thumbs, limits=patient) as one:
    with serving(pair, compare=True, settings=settings, feedback=thumbs, limits=patient) as two:
        with serving(pair, settings=settings, feedback=thumbs + ".chosen", limits=patient) as three:
            print(json.dumps([one, two, three]), flush=True)
            sys.stdin.read()
"""
# A browser that draws no frame for a while, as one that is busy.
HOLD_FRAMES = """() => {
  const draw = window.requestAnimationFrame.bind(window);
  const waiting = [];
  window.requestAnimationFrame = (step) => waiting.push(step);
  window.drawFrames = () => {
    window.requestAnimationFrame = draw;
    waiting.splice(0).forEach((step) => draw(step));
    return new Promise((done) => draw(() => draw(done)));
  };
}"""
# What the page says in passing: it is gone after seconds, and kept here.
TOASTS = """
window.toasts = new Set();
const keep = () => document.querySelectorAll("[data-testid=toast-body]").forEach((one) => toasts.add(one.innerText));
new MutationObserver(keep).observe(document, {childList: true, subtree: true, characterData: true});
"""


@pytest.fixture(scope="module")
def thumbs(tmp_path_factory):
    return tmp_path_factory.mktemp("thumbs") / "thumbs.jsonl"


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    return HeldModel(tmp_path_factory.mktemp("held"))


@pytest.fixture
def model(held):
    held.free()
    yield held
    held.free()
    held.wait_until_idle()  # a page that is left while it writes has ended before the next test begins


@pytest.fixture(scope="module")
def pages(held, thumbs):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PAGES, str(held.folder), str(thumbs)]
    root = ROOT
    started = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8", cwd=root)
    line = started.stdout.readline()
    assert line
    yield json.loads(line)
    started.communicate("", timeout=HUNG_SECONDS)
    assert started.returncode == 0


@pytest.fixture
def open_page(browser, model):
    opened = []

    def start(url):
        page = browser.new_page()
        page.add_init_script(TOASTS)
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


def wait_for_text(page, beyond=("", "\u2026")):
    """Wait until the last answer shows another text than these, and return it."""
    page.wait_for_function(
        "beyond => ((shown) => shown && !beyond.includes(shown.innerText))"
        "([...document.querySelectorAll('[data-testid=bot]')].at(-1))",
        arg=list(beyond),
    )
    return answers(page)[-1]


def wait_for_status(page, words, columns=1):
    page.wait_for_function(
        "([words, columns]) => new Set([...document.querySelectorAll('.told')].filter("
        "one => one.innerText.match(words)).map(one => one.closest('.column'))).size >= columns",
        arg=[words, columns],
    )


def wait_for_end(page, count=1, columns=1, words=ENDED):
    """Wait until question number ``count`` is answered, and the page would take another one.

    While an answer is under way Gradio shows its progress over the status, and takes no question.
    """
    shown = "document.querySelectorAll('[data-testid=user]').length"
    page.wait_for_function(f"count => {shown} == count", arg=count * columns)
    wait_for_status(page, words, columns)
    tracker = "document.querySelectorAll('.told [data-testid=status-tracker]:not(.hide)').length"
    page.wait_for_function(f"{tracker} == 0")


def wait_for_toast(page, words):
    page.wait_for_function("words => [...window.toasts].some(one => one.includes(words))", arg=words)


def tokens_told(page):
    return int(re.match(r"(\d+) token", page.inner_text(".told >> nth=0"))[1])


def test_an_answer_arrives_in_chunks_and_tells_its_tokens(pages, open_page, model):
    page = open_page(pages[0])
    model.allow(5)
    ask(page, "What is LoRA?")
    seen = [wait_for_text(page)]
    for _ in range(3):
        model.allow(5)
        seen.append(wait_for_text(page, ["", "\u2026", *seen]))
    assert "Writing" in page.inner_text(".told >> nth=0")
    model.free()
    wait_for_end(page)
    final = answers(page)[0]
    assert all(final.startswith(text.rstrip()) for text in seen)
    assert re.search(r"40 tokens, [0-9.]+ tokens/s, .* Context: \d+ of 256 tokens", page.inner_text(".told >> nth=0"))
    assert page.input_value("textarea") == ""
    ask(page, "And why?")
    wait_for_end(page, count=2)


def test_stop_keeps_what_is_there_and_the_page_goes_on(pages, open_page, model):
    page = open_page(pages[0])
    model.allow(6)
    ask(page, "What is LoRA?")
    wait_for_text(page)
    press(page, "Stop")
    wait_for_status(page, "Stopped.")
    model.wait_until_idle()
    steps, stopped = model.steps, answers(page)
    model.free()
    ask(page, "What is a token?")
    wait_for_end(page, count=2)
    assert model.steps == steps + tokens_told(page)  # all of them for the second answer
    assert questions(page) == ["What is LoRA?", "What is a token?"]
    assert answers(page)[0] == stopped[0]


def test_a_setting_counts(pages, open_page):
    page = open_page(pages[0])
    page.click("button:has-text('Settings')")
    page.fill(NUMBER, "5")
    ask(page, "What is LoRA?")
    wait_for_end(page, words="cut after 5 tokens")


def test_a_setting_typed_before_the_next_frame_counts(pages, open_page):
    page = open_page(pages[0])
    page.evaluate(HOLD_FRAMES)
    page.evaluate("[...document.querySelectorAll('button')].find(one => one.innerText.match('Settings')).click()")
    page.wait_for_selector(NUMBER, state="attached")
    typed = "one => { one.value = '5'; one.dispatchEvent(new Event('input', {bubbles: true})); }"
    page.eval_on_selector(NUMBER, typed)
    page.evaluate("window.drawFrames()")
    assert [page.input_value(one) for one in (NUMBER, SLIDER)] == ["5", "5"]
    ask(page, "What is LoRA?")
    wait_for_end(page, words="cut after 5 tokens")


def test_a_setting_counts_when_the_question_comes_in_the_same_moment(pages, open_page):
    page = open_page(pages[0])
    page.fill("textarea", "What is LoRA?")
    page.wait_for_selector(NUMBER, state="attached")
    page.evaluate(
        """([number, value]) => {
          const [slider, box] = [number, "textarea"].map((one) => document.querySelector(one));
          slider.value = value;
          slider.dispatchEvent(new Event("input", {bubbles: true}));
          box.dispatchEvent(new KeyboardEvent("keypress", {key: "Enter", bubbles: true}));
        }""",
        [NUMBER, "3"],
    )
    wait_for_end(page, words="cut after 3 tokens")


def test_retry_edit_and_clear(pages, open_page, model):
    page = open_page(pages[0])
    page.click("text=Why is a batch padded?")
    page.wait_for_function("document.querySelector('textarea').value")
    page.press("textarea", "Enter")
    wait_for_end(page)
    first = answers(page)
    model.allow(1)  # no more: the whole answer takes two steps, and one that has ended says "Writing" no longer
    press(page, "Retry")
    wait_for_status(page, "Writing")
    model.free()
    wait_for_end(page)
    assert answers(page) == first  # greedy
    assert questions(page) == ["Why is a batch padded?"]
    press(page, "Edit")
    page.wait_for_function("document.querySelector('textarea').value")
    assert page.input_value("textarea") == "Why is a batch padded?"
    assert questions(page) == []
    model.allow(3)
    ask(page, "Why?")
    wait_for_text(page)
    press(page, "Clear")
    page.wait_for_function("!document.querySelector('[data-testid=user]')")
    model.wait_until_idle()
    steps = model.steps
    model.free()
    other = open_page(pages[0])
    ask(other, "What is a token?")
    wait_for_end(other)
    assert model.steps == steps + tokens_told(other)  # none for the answer that was cleared away
    assert questions(page) == []


def test_two_models_answer_side_by_side(pages, open_page):
    page = open_page(pages[1])
    ask(page, "What is LoRA?")
    page.wait_for_function("document.querySelectorAll('[data-testid=bot]').length == 2")
    wait_for_end(page, columns=2)
    left, right = answers(page)
    assert left == right  # the same weights, the same prompt
    assert page.is_visible("text=tuned")


def test_of_several_models_one_is_chosen_and_begins_anew(pages, open_page, thumbs):
    page = open_page(pages[2])
    ask(page, "What is LoRA?")
    wait_for_end(page)
    page.click("button:has-text('Settings')")
    page.click("input[aria-label=Model]")
    page.click("[role=option]:has-text('tuned')")
    page.wait_for_function("!document.querySelector('[data-testid=user]')")
    ask(page, "What is a token?")
    wait_for_end(page)
    assert questions(page) == ["What is a token?"]
    page.click("[aria-label=Like]")
    wait_for_toast(page, "Kept in")
    (rated,) = map(json.loads, thumbs.with_name(thumbs.name + ".chosen").read_text(encoding="utf-8").splitlines())
    assert rated["model"] == "tuned"


def test_html_is_shown_and_not_run(pages, open_page):
    page = open_page(pages[0])
    asked = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'> <b>&amp;</b>\n    in **four**"
    ask(page, asked)
    wait_for_end(page)
    assert questions(page) == [asked]
    assert page.evaluate("window.hurt") is None
    assert page.query_selector("[data-testid=user] :is(img, script, b, strong)") is None


def test_a_prompt_that_is_too_long_is_refused_and_kept(pages, open_page):
    page = open_page(pages[0])
    ask(page, "x" * 100_000)
    wait_for_toast(page, "100,000 characters and 4,000 are allowed")
    assert len(page.input_value("textarea")) == 100_000
    assert questions(page) == []
    ask(page, "What is LoRA?")
    wait_for_end(page)


def test_a_reload_begins_anew_and_frees_the_model(pages, open_page, model):
    page = open_page(pages[0])
    model.allow(3)
    ask(page, "What is LoRA?")
    wait_for_text(page)
    held_at = model.steps
    page.reload()
    page.wait_for_selector("textarea")
    assert questions(page) == []
    model.go_on_until_idle(pages[0])
    assert model.steps < held_at + 30  # of 40
    model.free()
    ask(page, "What is a token?")
    wait_for_end(page)
    assert questions(page) == ["What is a token?"]


def test_download_and_thumbs_are_read_back(pages, open_page, thumbs):
    page = open_page(pages[0])
    ask(page, "What is <b>LoRA</b>?")
    wait_for_end(page)
    with page.expect_download() as waiting:
        press(page, "Download")
    assert waiting.value.suggested_filename == "conversation.jsonl"
    copy = thumbs.with_name("copy.jsonl")
    waiting.value.save_as(copy)
    (row,) = load_conversations(copy)
    assert row["messages"][0]["content"] == "What is <b>LoRA</b>?"
    page.click("[aria-label=Like]")
    wait_for_toast(page, "Kept in")
    (rated,) = load_conversations(thumbs)
    assert [message["weight"] for message in rated["messages"]] == [None, 1]
    assert rated["messages"][1]["content"] == row["messages"][1]["content"]
