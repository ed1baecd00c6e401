"""The built chapters in a browser, as a reader uses them: by keyboard, without JavaScript, on paper."""

import functools
import json
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.book.test_quiet_pages import QUIET, cells_of, predictions_in, questions_in
from tests.published import ROOT

pytestmark = [pytest.mark.book, pytest.mark.browser]
CHAPTER = next(path for path in QUIET if path.stem.startswith("04_"))
REFUSE_TO_KEEP = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('refused'); }})"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    site = ROOT / "_build" / "html"
    assert site.is_dir(), "build the book first: make book"
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/chapters/{CHAPTER.stem}.html"
    server.shutdown()
    server.server_close()


@pytest.fixture
def reader(browser, address):
    """Opens the chapter in a profile of its own; ``scripts`` run before those of the page."""
    opened, failed = [], []

    def open_chapter(*scripts, **context):
        profile = browser.new_context(**context)
        opened.append(profile)
        page = profile.new_page()
        page.on("pageerror", lambda error: failed.append(f"{error} {error.stack}"))
        for script in scripts:
            page.add_init_script(script)
        page.goto(address, wait_until="domcontentloaded")
        return page

    yield open_chapter
    for profile in opened:
        profile.close()
    assert [error for error in failed if "quiz.js" in error] == []  # the theme has scripts of its own


@pytest.fixture(scope="module")
def questions():
    (quiz,) = [cell["text"] for cell in cells_of(CHAPTER) if cell["text"].startswith("## Quiz")]
    return list(questions_in(quiz))


def plain(markdown):
    """What a line of Markdown says, in any quotation marks."""
    return re.sub(r"[`*\u2018\u2019'\u201c\u201d\"]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown))


def progress(page):
    return page.inner_text(".quiz-progress")


def places(question):
    """Return the places of the right option and of a wrong one."""
    verdicts = [verdict for _, verdict, _ in question[3]]
    return verdicts.index("right"), verdicts.index("wrong")


def choose(page, number, place):
    """Answer question ``number`` by keyboard alone, with the option at ``place``; return what is said to it."""
    group = page.locator(".quiz").nth(number)
    options = group.get_by_role("radio")
    options.nth(0).focus()
    page.keyboard.press("Space")
    for _ in range(place):
        page.keyboard.press("ArrowDown")
    assert options.nth(place).is_checked()
    page.keyboard.press("Enter")
    return group.get_by_role("status").inner_text()


def test_a_quiz_is_answered_by_keyboard_and_remembered(reader, questions):
    page = reader()
    assert progress(page).startswith(f"0 of {len(questions)} answered right")
    right, wrong = places(questions[0])
    for place in (wrong, right):
        letter, verdict, why = questions[0][3][place]
        assert plain(choose(page, 0, place)) == f"{letter} is {verdict}. {plain(why)}"
    assert progress(page).startswith(f"1 of {len(questions)} answered right")
    said = choose(page, 1, places(questions[1])[1])
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".quiz form")
    assert progress(page).startswith(f"1 of {len(questions)} answered right")
    assert page.locator(".quiz").nth(0).get_by_role("radio").nth(right).is_checked()
    assert page.locator(".quiz").nth(1).get_by_role("status").inner_text() == said
    page.get_by_role("button", name="Start again").press("Enter")
    assert progress(page).startswith(f"0 of {len(questions)} answered right")
    assert page.locator(".quiz input:checked").count() == 0


def test_the_tab_key_leads_from_the_options_to_the_button(reader):
    page = reader()
    page.locator(".quiz input").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Check"
    page.keyboard.press("Enter")
    assert page.locator(".quiz").first.get_by_role("status").inner_text() == "Choose an option first."


def test_a_screen_reader_hears_question_options_and_feedback(reader, questions):
    page = reader()
    for number, asked, (letters, _), _ in questions:
        group = page.locator(".quiz").nth(number - 1).get_by_role("group")
        assert plain(group.locator("legend").inner_text()) == f"{number}. {plain(asked)}"
        for letter in letters:
            assert group.get_by_role("radio", name=re.compile(rf"^{letter}\. ")).count() == 1
    assert page.locator(".quiz [role=status]").count() == len(questions)


def test_what_is_damaged_or_refused_in_the_browser_stops_no_quiz(reader, questions):
    damaged = ["null", "[]", "{", '"text"', *(json.dumps({CHAPTER.stem: value}) for value in (None, 3, []))]
    scripts = [f"localStorage.setItem('course-quiz', {json.dumps(value)})" for value in damaged]
    for script in [REFUSE_TO_KEEP, *scripts]:
        page = reader(script)
        for number in (0, 1):
            choose(page, number, places(questions[number])[0])
        assert progress(page).startswith(f"2 of {len(questions)} answered right"), script


def test_a_predicted_output_opens_on_demand_and_by_keyboard(reader):
    page = reader()
    box = page.locator(".admonition.predict").first
    assert "Predict" in box.inner_text()
    fold = page.locator(".admonition.predict + .cell details.quiet-output").first
    output = fold.locator(".cell_output")
    assert fold.locator("summary").inner_text() == "Show what happened"
    assert not output.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert output.is_visible()
    assert output.inner_text().strip()
    assert fold.locator("summary").inner_text() == "Hide what happened"


def test_folds_say_what_they_hold(reader):
    page = reader()
    said = page.locator("details.quiet-fold > summary").all_inner_texts()
    assert said[0] == "Imports and settings"
    assert said.count("Imports and settings") == 1
    assert "Checked at every build" in said
    assert not page.locator("details.quiet-fold[open]").count()
    assert not page.locator(".bd-article summary[aria-label]").count()
    assert "This run took" not in page.content()


def test_without_javascript_a_quiz_is_its_text(reader, questions):
    page = reader(java_script_enabled=False)
    for number, asked, _, verdicts in questions:
        quiz = page.locator(".quiz").nth(number - 1)
        assert plain(asked) in plain(quiz.inner_text())
        assert quiz.locator(".quiz-options > li").count() == len(verdicts)
        answers = quiz.locator(".quiz-answers")
        assert not answers.is_visible()
        quiz.locator("summary").press("Enter")
        assert all(plain(why) in plain(answers.inner_text()) for *_, why in verdicts)


def test_on_paper_everything_is_open(reader, questions):
    page = reader()
    page.wait_for_selector(".quiz form")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for number, _, _, verdicts in questions:
        shown = plain(page.locator(".quiz").nth(number - 1).inner_text())
        assert all(plain(why) in shown for *_, why in verdicts)
    assert not page.locator(".quiz form >> visible=true").count()
    assert page.locator("details.quiet-output .cell_output >> visible=true").count()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("details.quiet-fold[open]").count()


@pytest.mark.parametrize("path", QUIET, ids=lambda path: path.stem)
def test_all_that_a_chapter_writes_quietly_reached_its_page(path):
    html = (ROOT / "_build" / "html" / "chapters" / f"{path.stem}.html").read_text(encoding="utf-8")
    cells = cells_of(path)
    asked = sum(len(predictions_in(cell["text"])[1]) for cell in cells if cell["cell_type"] == "markdown")
    checks = sum("hide-cell" in cell["tags"] for cell in cells)
    outputs = sum("hide-output" in cell["tags"] for cell in cells)
    assert len(re.findall(r'class="(?:[^"]* )?strip[ "]', html)) == 1
    assert len(re.findall(r'class="[^"]*\bpredict\b', html)) == asked
    assert html.count("quiet-fold quiet-setup") == 1
    assert html.count("quiet-fold quiet-check") == checks
    assert html.count("quiet-fold quiet-output") == outputs
    quiz = "".join(cell["text"] + "\n" for cell in cells if cell["text"].startswith("## Quiz"))
    assert len(re.findall(r'class="quiz(?: |")', html)) == len(list(questions_in(quiz)))
    assert html.count('class="quiz-right"') == len(list(questions_in(quiz)))
