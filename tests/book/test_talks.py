"""What the build does for the talks of its pages: answers are recorded, kept, and put into the pages."""

import json

import pytest

from book import talks
from book.chapters import BookError
from ftlib.export.page_section import talk_section
from ftlib.inference import answer
from ftlib.models import loading
from tests.course import ROOT

PAGE = "# A page\n\n```{talk} nano\n:tokens: 5\nWhat is a token?\n\n<b>Why?</b>\n```\n"


@pytest.fixture
def course(tmp_path):
    """A course with one page, which is staged."""
    (tmp_path / "stage" / "book").mkdir(parents=True)
    (tmp_path / "stage" / "book" / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def recorded(course):
    talks.record(course, course / "stage")
    return json.loads((course / "stage" / talks.RECORDED).read_text(encoding="utf-8"))


def test_answers_are_those_of_the_library_and_are_computed_once(course, monkeypatch):
    told = recorded(course)
    model, tokenizer = loading.load_model("nano", device="cpu")
    questions = ["What is a token?", "<b>Why?</b>"]
    expected = answer(model, tokenizer, questions, max_new_tokens=5)
    (talk,) = told["answers"]
    assert [(pair["question"], pair["answer"]) for pair in talk["pairs"]] == list(zip(questions, expected, strict=True))
    monkeypatch.setattr(loading, "load_model", lambda *_, **__: pytest.fail("a model was loaded again"))
    assert recorded(course) == told


def test_a_model_lies_beside_the_pages_only_where_it_is_named(course):
    about = recorded(course)["models"]["nano"]
    talks.add_models(course, course / "none", [])
    assert not (course / "none").exists()
    talks.add_models(course, course / "static", ["nano", "smollm2"])
    (place,) = (course / "static" / "lm" / "models").iterdir()
    assert {path.name: path.stat().st_size for path in place.iterdir()} == {
        file["name"]: file["bytes"] for file in about["files"]
    }
    assert str(course) not in json.dumps(about)


def test_a_course_without_a_talk_records_nothing(course):
    (course / "stage" / "book" / "page.md").write_text("# A page\n", encoding="utf-8")
    talks.record(course, course / "stage")
    assert not (course / "stage" / talks.RECORDED).exists()


def test_a_model_that_is_not_there_is_named(course):
    (course / "stage" / "book" / "page.md").write_text(PAGE.replace("nano", "nanny"), encoding="utf-8")
    with pytest.raises(BookError, match="nanny"):
        talks.record(course, course / "stage")


def test_every_talk_of_the_course_asks_a_model_that_the_pages_may_load():
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").rglob("*.md")]
    asked = {talk.model for page in pages for talk in talks.talks_in(page)}
    assert asked == {"nano", "smollm2"}
    assert "talk_models: [nano, smollm2]" in config


def test_turned_off_a_talk_is_its_recorded_answers():
    page = talk_section("nano", None, 5, [("<b>Why?</b>", ["So."])])
    assert "data-about" not in page
    assert "&lt;b&gt;Why?&lt;/b&gt;" in page
