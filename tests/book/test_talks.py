"""What the build does for the talks of its pages: answers are recorded, kept, and put into the pages."""

import json

import pytest

from book import talks
from book.chapters import BookError
from book.staged import markdown_of
from ftlib.data import load_conversations
from ftlib.export import page
from ftlib.export.page_section import talk_section
from ftlib.inference import answer
from ftlib.models import loading
from ftlib.training import kept
from tests.course import ROOT

PAGE = "# A page\n\n```{talk} nano\n:tokens: 5\nWhat is a token?\n\n<b>Why?</b>\n```\n"


@pytest.fixture
def course(tmp_path):
    """A course with one page, which is staged."""
    (tmp_path / "stage" / "book").mkdir(parents=True)
    (tmp_path / "stage" / "book" / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def recorded(course, *names):
    talks.record(course, course / "stage", names)
    return json.loads((course / "stage" / talks.RECORDED).read_text(encoding="utf-8"))


def test_answers_are_those_of_the_library_and_are_computed_once(course, monkeypatch):
    told = recorded(course)
    model, tokenizer = loading.load_model("nano", device="cpu")
    questions = ["What is a token?", "<b>Why?</b>"]
    expected = answer(model, tokenizer, questions, max_new_tokens=5)
    (talk,) = told
    assert [pair["question"] for pair in talk["pairs"]] == questions
    assert [pair["answers"] for pair in talk["pairs"]] == [[one] for one in expected]
    monkeypatch.setattr(page, "load_model", lambda *_, **__: pytest.fail("a model was loaded again"))
    assert recorded(course) == told


def test_a_model_lies_beside_the_pages_only_where_it_is_named(course):
    about = recorded(course)[0]["about"]
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


CONFIG = """model: {name: nano, lora: {rank: 2, targets: blocks}}
data: {source: house_plants, validation_share: 0}
train: {epochs: 3, batch_size: 4, learning_rate: 2e-2}
"""
ADAPTED = "# A page\n\n```{talk} nano\n:tokens: 6\n:adapter: plants\n:steps: 4\nDear shop,\\\nwhy? Ana\n```\n"


@pytest.fixture
def adapted(course, cache):
    """A course whose page asks nano before and after a training."""
    (course / "configs").mkdir()
    (course / "configs" / "plants.yaml").write_text(CONFIG, encoding="utf-8")
    (course / "stage" / "book" / "page.md").write_text(ADAPTED, encoding="utf-8")
    return course


def test_an_adapter_is_trained_once_and_both_answer(adapted, cache, capsys, monkeypatch):
    told = recorded(adapted, "nano")
    assert capsys.readouterr().out == "training plants for a page, 4 steps: minutes, once\n"
    (place,) = (cache / "runs").glob("*/plants/checkpoints/step-*")
    question = "Dear shop,\nwhy? Ana"
    sides = [loading.load_model(name, device="cpu") for name in ("nano", place)]
    expected = [text for side in sides for text in answer(*side, [question], max_new_tokens=6)]
    (talk,) = told
    assert talk["pairs"] == [{"question": question, "answers": expected}]
    assert expected[0] != expected[1]
    talks.add_models(adapted, adapted / "static", ["nano"])
    there = adapted / "static" / "lm" / "models" / "nano"
    assert {file["name"]: file["bytes"] for file in talk["about"]["files"]} == {
        path.relative_to(there).as_posix(): path.stat().st_size for path in there.rglob("*") if path.is_file()
    }
    assert "plants-4/adapter_model.safetensors" in [file["name"] for file in talk["about"]["files"]]
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("it was trained again"))
    monkeypatch.setattr(page, "load_model", lambda *_, **__: pytest.fail("a model was loaded again"))
    assert recorded(adapted, "nano") == told


def test_a_model_that_may_not_be_loaded_is_not_trained_either(adapted, monkeypatch):
    monkeypatch.setattr(kept, "train", lambda *_, **__: pytest.fail("it was trained"))
    (talk,) = recorded(adapted)
    assert (talk["shelf"], talk["about"]["tuned"], len(talk["pairs"][0]["answers"])) == (None, False, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: nano", "name: smollm2"), "a LoRA adapter of nano, and it trains something else"),
        (("batch_size: 4", "batch_sise: 4"), "a page wants an adapter that can't be trained: .*batch_size"),
        (("house_plants", "houseplants"), "plants.yaml: a page wants an adapter that can't be trained: .*house_plants"),
    ],
)
def test_an_adapter_that_cannot_be_trained_is_said(adapted, change, message):
    (adapted / "configs" / "plants.yaml").write_text(CONFIG.replace(*change), encoding="utf-8")
    with pytest.raises(BookError, match=message):
        recorded(adapted, "nano")


ROWS = "# A page\n\n```{talk} nano\n:tokens: 5\n:rows: support_mail test 2 8\nWhy?\n```\n"


def test_questions_may_be_rows_of_the_data(course):
    (course / "stage" / "book" / "page.md").write_text(ROWS, encoding="utf-8")
    (talk,) = recorded(course)
    mails = load_conversations("support_mail", split="test")["messages"]
    assert [pair["question"] for pair in talk["pairs"]] == ["Why?", mails[1][0]["content"], mails[7][0]["content"]]
    assert talk["rows"] == "support_mail test 2 8"


@pytest.mark.parametrize("rows", ["support_mail test 0", "support_mail test 999", "support_mail", "no_mail test 2"])
def test_rows_that_are_not_there_are_named(course, rows):
    (course / "stage" / "book" / "page.md").write_text(ROWS.replace("support_mail test 2 8", rows), encoding="utf-8")
    with pytest.raises(BookError, match=f"rows that aren't there, in '{rows}'"):
        talks.record(course, course / "stage")


def test_without_steps_an_adapter_is_trained_as_long_as_its_configuration_says(adapted, capsys):
    config = CONFIG.replace("epochs: 3", "max_steps: 2")
    (adapted / "configs" / "plants.yaml").write_text(config, encoding="utf-8")
    page = adapted / "stage" / "book" / "page.md"
    page.write_text(ADAPTED.replace(":steps: 4\n", ""), encoding="utf-8")
    (talk,) = recorded(adapted, "nano")
    assert capsys.readouterr().out == "training plants for a page: minutes, once\n"
    assert talk["shelf"] == talk["about"]["adapter"] == "plants"
    assert "plants/adapter_model.safetensors" in [file["name"] for file in talk["about"]["files"]]


def test_pages_that_want_the_same_training_share_its_adapter(adapted, monkeypatch):
    other = adapted / "stage" / "book" / "other.md"
    other.write_text(ADAPTED.replace("Dear shop", "Dear all").replace("6", "5"), encoding="utf-8")
    train, trainings = kept.train, []

    def noted(*asked, **how):
        trainings.append(asked)
        return train(*asked, **how)

    monkeypatch.setattr(kept, "train", noted)
    one, two = recorded(adapted, "nano")
    assert one["about"] == two["about"]
    assert len(trainings) == 1


def test_every_talk_of_the_course_asks_a_model_that_the_pages_may_load():
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    asked = [talk for page in markdown_of(ROOT) for talk in talks.talks_in(page)]
    assert {talk.model for talk in asked} == {"nano", "smollm2"}
    assert len({talk.shelf for talk in asked if talk.adapter == "support_mail"}) == 1  # trained once for all pages
    assert "talk_models: [nano, smollm2]" in config


def test_turned_off_a_talk_is_its_recorded_answers():
    section = talk_section("nano", None, 5, [("<b>Why?</b>", ["So."])])
    assert "data-about" not in section
    assert "&lt;b&gt;Why?&lt;/b&gt;" in section
