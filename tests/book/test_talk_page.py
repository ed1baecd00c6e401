"""A talk on a page, as a reader uses it: recorded answers, a model on a click, and a plain word for each failure."""

import contextlib
import json
import shutil

import pytest

from ftlib.export.page_model import publish
from ftlib.export.page_section import NOTE, talk_section
from ftlib.inference import answer
from ftlib.models.loading import load_model
from tests.book.talking import RUNTIME, opened, random_adapter, serving

pytestmark = pytest.mark.browser
QUESTIONS = ["What is a token?", "<b>Why</b> is a batch padded?"]
RECORDED = "A recorded answer, <i>as it is</i>."
TOKENS = 12
LOAD = ".talk-row button.talk-primary:visible"
TOO_LARGE = 2**52  # bytes, for any machine


@pytest.fixture
def make_page(tmp_path):
    """Makes a site of one page with nano; ``change`` may change what the page knows of it."""

    def make(change=lambda about: None):
        shutil.copytree(RUNTIME, tmp_path / "lm")
        shutil.copyfile(RUNTIME.parent / "talk.css", tmp_path / "talk.css")
        about = publish("nano", tmp_path / "lm" / "models" / "nano")
        change(about)
        body = talk_section("nano", about, TOKENS, [(question, [RECORDED]) for question in QUESTIONS])
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Talk</title>'
        scripts = "".join(f'<script defer src="lm/{name}.js"></script>' for name in ("widgets", "talk"))
        script = f'<link rel="stylesheet" href="talk.css">{scripts}'
        (tmp_path / "index.html").write_text(f"{head}{script}<main><h1>Talk</h1>{body}</main>", encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture
def talk(browser, make_page):
    """Opens the page in a profile of its own, whose cache is empty."""
    with contextlib.ExitStack() as held:

        def start(change=lambda about: None, **context):
            url = held.enter_context(serving(make_page(change)))
            profile = held.enter_context(contextlib.closing(browser.new_context(**context)))
            page = opened(profile, url)
            page.asked = []
            page.on("request", lambda request: page.asked.append(request.url))
            page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
            return page

        yield start


def wait_for_status(page, words):
    page.wait_for_function("words => document.querySelector('.talk-status').textContent.includes(words)", arg=words)


def wait_for_answer(page, name="nano"):
    said = "name => document.querySelector('.talk-spoken').textContent.startsWith(`Answer of ${name}`)"
    page.wait_for_function(said, arg=name)


def load(page):
    page.click(LOAD)
    wait_for_status(page, "nano runs in this page")


def ask(page, question):
    page.fill("textarea", question)
    page.press("textarea", "Enter")
    wait_for_answer(page)
    return page.text_content(".talk-answer .talk-text")


def test_recorded_answers_stand_there_without_javascript(talk):
    page = talk(java_script_enabled=False)
    assert page.locator("dt").all_text_contents() == QUESTIONS
    assert page.locator("dd").all_text_contents() == [RECORDED] * 2
    assert not page.locator("section.talk button").count()


def test_a_reader_loads_the_model_and_asks_it(talk):
    page = talk()
    assert page.text_content(".talk-answer .talk-text") == RECORDED
    assert page.text_content(".talk-answer .talk-note") == NOTE
    assert "6.8 MB" in page.text_content(LOAD)
    assert [url for url in page.asked if "models" in url or "worker" in url] == []
    load(page)
    model, tokenizer = load_model("nano", device="cpu")
    expected = answer(model, tokenizer, QUESTIONS, max_new_tokens=TOKENS)
    page.click(".talk-chip >> nth=1")
    wait_for_answer(page)
    assert page.text_content(".talk-answer .talk-text") == expected[1]
    assert ask(page, QUESTIONS[0]) == expected[0]
    assert page.text_content(".talk-answer .talk-note").startswith(f"{TOKENS} tokens, ")
    assert page.locator(".talk-token").count() == TOKENS
    assert not page.locator("section.talk :is(b, i)").count()  # text is shown as text
    assert [url for url in page.asked if not url.startswith(page.url)] == []


def test_by_keyboard_each_token_shows_what_else_was_likely(talk):
    page = talk()
    load(page)
    ask(page, QUESTIONS[0])
    page.focus(".talk-tokens summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('.talk-token')")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.talk-token')[1]")
    shares = [
        float(text.removesuffix(" %")) for text in page.locator(".talk-bars > li > :last-child").all_text_contents()
    ]
    assert shares == sorted(shares, reverse=True)
    bars = page.eval_on_selector_all(
        ".talk-bar", "bars => bars.map((bar) => 100 * bar.firstChild.offsetWidth / bar.offsetWidth)"
    )
    assert bars == pytest.approx(shares, abs=1)  # a bar's width is its probability
    assert page.text_content(".talk-bars .is-chosen code") == page.locator(".talk-token").nth(1).text_content()
    assert page.text_content(".talk-bars > li:first-child code") == page.text_content(".talk-bars .is-chosen code")


def test_a_seed_repeats_what_is_drawn_and_settings_count(talk):
    page = talk()
    load(page)
    greedy = ask(page, QUESTIONS[0])
    page.click(".talk-settings summary")
    page.get_by_label("Temperature").fill("1.5")
    page.get_by_label("Tokens at most").fill("9")
    drawn = [ask(page, QUESTIONS[0])]
    assert page.locator(".talk-token").count() <= 9
    page.click(".talk-chip >> nth=1")
    wait_for_answer(page)
    drawn.append(ask(page, QUESTIONS[0]))
    page.get_by_label("Seed").fill("1")
    drawn.append(ask(page, QUESTIONS[0]))
    assert drawn[0] == drawn[1] != drawn[2]
    assert not greedy.startswith(drawn[0])
    page.get_by_label("Top k").fill("1")  # of one token there is nothing to draw
    assert greedy.startswith(ask(page, QUESTIONS[0]))


def test_it_comes_from_the_cache_the_second_time(talk):
    page = talk()
    load(page)
    page.reload()
    page.asked.clear()
    load(page)
    assert "from this browser's cache" in page.text_content(".talk-status")


def test_a_long_question_is_refused_and_a_shorter_one_is_answered(talk):
    page = talk()
    load(page)
    page.fill("textarea", "words " * 300)
    page.press("textarea", "Enter")
    wait_for_status(page, "The question is too long")
    assert ask(page, QUESTIONS[0])


def test_stop_keeps_what_is_there(talk):
    page = talk()
    load(page)
    page.click(".talk-settings summary")
    page.get_by_label("Tokens at most").fill("240")
    page.fill("textarea", QUESTIONS[0])
    # In one moment: the question is sent, and stopped before the model can have ended.
    page.evaluate("""() => {
      document.querySelector("section.talk form").requestSubmit();
      [...document.querySelectorAll("section.talk button")].find((one) => one.textContent === "Stop").click();
    }""")
    wait_for_answer(page)
    assert "stopped" in page.text_content(".talk-answer .talk-note")
    assert ask(page, QUESTIONS[0])


def truncate(page, url_part="model.safetensors", body=b"half"):
    page.context.route(f"**/{url_part}*", lambda route: route.fulfill(status=200, body=body))


@pytest.mark.parametrize("lost", ["worker.js", "tensors.js", "model.safetensors", "tokenizer.json"])
def test_a_lost_connection_is_said_and_loading_again_helps(talk, lost):
    page = talk()
    page.context.route(f"**/{lost}*", lambda route: route.abort("internetdisconnected"))
    page.click(LOAD)
    wait_for_status(page, "The connection was lost before")
    page.context.unroute(f"**/{lost}*")
    load(page)


def test_a_truncated_file_is_said(talk):
    page = talk()
    truncate(page)
    page.click(LOAD)
    wait_for_status(page, "model.safetensors is not whole: 4 of 6,711,160 bytes came.")
    page.context.unroute("**/model.safetensors*")
    load(page)


def test_a_file_that_is_not_there_is_said(talk):
    page = talk()
    page.context.route("**/model.safetensors*", lambda route: route.fulfill(status=404))
    page.click(LOAD)
    wait_for_status(page, "model.safetensors is not on this site (status 404)")


def test_a_damaged_file_is_said(talk):
    page = talk()
    truncate(page, body=b"\xff" * 6_711_160)
    page.click(LOAD)
    wait_for_status(page, "The model can't be read: it is no safetensors file, or is cut off.")


def test_too_little_memory_is_said(talk):
    def grow(about):
        about["files"][-1]["bytes"] = TOO_LARGE

    page = talk(grow)
    page.click(LOAD)
    wait_for_status(page, "too little memory")


def test_a_cancelled_load_can_be_begun_again(talk):
    page = talk()
    page.context.route("**/model.safetensors*", lambda route: None)  # never answered
    page.click(LOAD)
    page.wait_for_function("document.querySelector('.talk progress').value > 0")
    page.click("text=Cancel")
    wait_for_status(page, "Cancelled.")
    page.context.unroute("**/model.safetensors*")
    load(page)


def test_a_second_tab_waits_for_the_first_and_takes_the_file_from_the_cache(talk):
    page = talk()
    held = []
    page.context.route("**/model.safetensors*", lambda route: held.append(route))
    with page.expect_request("**/model.safetensors*"):
        page.click(LOAD)
    other = opened(page.context, page.url)
    other.click(LOAD)
    wait_for_status(other, "Another tab is loading this model")
    held[0].continue_()
    wait_for_status(page, "nano runs in this page")
    wait_for_status(other, "nano runs in this page")
    assert len(held) == 1


def test_a_page_opened_as_a_file_says_what_to_do(browser, make_page):
    place = make_page()
    with contextlib.closing(opened(browser, (place / "index.html").as_uri())) as page:
        assert page.text_content(".talk-answer .talk-text") == RECORDED
        page.click(LOAD)
        wait_for_status(page, "python -m http.server")


def test_the_page_knows_its_files(make_page):
    seen = []
    place = make_page(seen.append)
    for file in seen[0]["files"]:
        assert (place / "lm" / "models" / "nano" / file["name"]).stat().st_size == file["bytes"]
    assert str(place) not in json.dumps(seen)


def test_with_an_adapter_two_columns_answer_and_its_strength_is_set_without_loading_again(talk, tmp_path):
    model, tokenizer = random_adapter("nano", tmp_path / "adapter", size=0.2)
    tuned = answer(model, tokenizer, QUESTIONS, max_new_tokens=TOKENS)
    with model.disable_adapter():
        base = answer(model, tokenizer, QUESTIONS, max_new_tokens=TOKENS)
    assert base[0] != tuned[0]
    place = tmp_path / "lm" / "models" / "nano"
    page = talk(lambda about: about.update(publish("nano", place, tuned=tmp_path / "adapter")))
    load(page)
    shown = page.locator(".talk-answer .talk-text")
    page.click(".talk-chip >> nth=0")
    wait_for_answer(page, "tuned")
    assert page.locator(".talk-column").all_text_contents() == ["base", "tuned"]
    assert shown.all_text_contents() == [base[0], tuned[0]]
    page.click(".talk-settings summary")
    page.get_by_label("Strength of the adapter").fill("0")
    page.asked.clear()
    page.click(".talk-chip >> nth=1")
    page.wait_for_function("document.querySelector('.talk-asked').textContent.includes('<b>')")
    wait_for_answer(page, "tuned")
    assert shown.all_text_contents() == [base[1], base[1]]
    assert page.asked == []


# Hears what the worker says, and notes how much of the page changes in answer.
LISTEN = """() => {
  window.told = [];
  const Real = Worker;
  window.Worker = class extends Real {
    set onmessage(take) {
      super.onmessage = (event) => {
        const length = JSON.stringify(event.data).length - JSON.stringify(event.data.text ?? "").length;
        const binary = Object.values(event.data).some((one) => one instanceof ArrayBuffer || ArrayBuffer.isView(one));
        told.push({kind: event.data.kind, count: event.data.count, length, binary, before: Talked.changed});
        take(event);
      };
    }
  };
  window.Talked = {changed: 0, frames: 0};
  const counts = (records) => { Talked.changed += records.length; };
  const all = {subtree: true, childList: true, characterData: true};
  new MutationObserver(counts).observe(document.querySelector("section.talk"), all);
  const real = requestAnimationFrame;
  window.requestAnimationFrame = (draw) => real((now) => { Talked.frames += 1; draw(now); });
}"""


def test_while_a_model_writes_the_page_has_little_to_do(talk):
    """No duration is asserted, since it depends on the machine: counted is what the page's own thread gets to do.

    All of the model runs in the worker, each of whose messages brings one token; and however many come, the page draws
    once a frame, and then changes two texts.
    """
    page = talk()
    page.evaluate(LISTEN)
    load(page)
    page.click(".talk-settings summary")
    page.get_by_label("Tokens at most").fill("200")
    page.evaluate("told.length = Talked.frames = 0")
    page.fill("textarea", "Returns the number of")
    page.press("textarea", "Enter")
    wait_for_answer(page)
    told = page.evaluate("told")
    written = [one for one in told if one["kind"] == "token"]
    assert [one["count"] for one in written] == list(range(1, len(written) + 1))
    assert len(written) > 50
    assert [one["kind"] for one in told if one["kind"] != "token"] == ["answered"]
    assert max(one["length"] for one in told) < 1000  # beside the text: the token, and five that were likely too
    assert not any(one["binary"] for one in told)
    # A slow processor leaves more frames between two tokens, so the two counts aren't held against each other.
    assert written[-1]["before"] - written[0]["before"] <= 2 * page.evaluate("Talked.frames")
    scripts = page.evaluate("[...document.scripts].map((one) => one.src.split('/').pop())")
    assert scripts == ["widgets.js", "talk.js"]
    assert not any("import" in (RUNTIME / name).read_text(encoding="utf-8") for name in scripts)


def test_the_programs_are_plain_and_show_text_as_text():
    for path in sorted(RUNTIME.glob("*.js")):
        program = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "insertAdjacentHTML", "eval(", "WebAssembly", "https:"):
            assert word not in program, f"{path.name}: {word}"
