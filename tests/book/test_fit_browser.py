"""The calculator of "Will it fit?" in a browser: its script says what Python says, and its form does what it should."""

import itertools
import json
from pathlib import Path
from typing import get_args

import pytest

from book.fit.table import page_models, read_table
from book.generators.fit_examples import DEFAULTS, EXAMPLES, buttons
from ftlib.estimate.cards import GPUS
from ftlib.estimate.optimizer_memory import Optimizer
from tests.book.worked_out import counts, peak
from tests.course import ROOT

STATIC = ROOT / "book" / "_static"
TABLE = read_table(STATIC / "fit_table.js")
PAGE = ROOT / "book" / "will_it_fit.md"
pytestmark = pytest.mark.browser
WORK_OUT = """(all) => all.map((chosen) => {
  const need = willItFit.estimate(FIT_TABLE, chosen);
  const cards = willItFit.onCards(FIT_TABLE, chosen, need);
  const text = (_, value) => (typeof value === "bigint" ? String(value) : value);
  return JSON.parse(JSON.stringify({ need, cards }, text));
})"""


def raw_html(text):
    """Return the parts of a page that are HTML."""
    return "\n".join(part.partition("```")[0] for part in text.split("```{raw} html\n")[1:])


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    """The page's own HTML, script and table, without the book around it."""
    folder = tmp_path_factory.mktemp("fit")
    body = raw_html(PAGE.read_text(encoding="utf-8"))
    links = {"../_static/": f"{STATIC.as_uri()}/"}
    for old, new in links.items():
        body = body.replace(old, new)
    style = f'<link rel="stylesheet" href="{(STATIC / "fit.css").as_uri()}">'
    head = f'<meta charset="utf-8"><title>Will it fit?</title>{style}'
    html = f'<!doctype html><html lang="en">{head}<main>{body}</main></html>'
    (folder / "page.html").write_text(html, encoding="utf-8")
    return Path(folder / "page.html").as_uri()


@pytest.fixture
def page(browser, small_page):
    opened = browser.new_page()
    complaints = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(small_page)
    yield opened
    assert complaints == []
    opened.close()


def grid():
    """Every model, and every setting that it has, each with sizes of its own."""
    rows, lengths = itertools.cycle([1, 2, 7, 64, 1024]), itertools.cycle([2, 31, 64, 500, 2048, 33, 1000])
    ranks, steps = itertools.cycle([1, 8, 100, 256]), itertools.cycle([1, 1000, 10**9])
    optimizers, prices = itertools.cycle(get_args(Optimizer)), itertools.cycle([0.0, 1.0, 2.49])
    for _, (name, model) in itertools.product(range(3), TABLE["models"].items()):
        for setting in model["steps"]:
            device, precision, adapters, again = setting.split()
            yield DEFAULTS | {
                "model": name,
                "device": device,
                "precision": precision,
                "adapters": adapters,
                "checkpointing": again == "again",
                "optimizer": next(optimizers),
                "rows": next(rows),
                "length": min(model["context"], next(lengths)),
                "rank": next(ranks),
                "steps": next(steps),
                "price": next(prices),
            }


def test_the_script_says_what_python_says(page):
    """Whole numbers are equal, and so are hours and costs: both divide in the same order."""
    asked = list(grid())
    assert len(asked) >= 300
    for settings, found in zip(asked, page.evaluate(WORK_OUT, asked), strict=True):
        model = TABLE["models"][settings["model"]]
        memory, count = peak(model, settings), counts(model, settings)
        need = found["need"]
        assert {kind: int(number) for kind, number in need["peak"].items()} == vars(memory), settings
        assert int(need["total"]) == memory.total
        names = {"parameters": "parameters", "trainable": "trainable", "flops": "flopsPerToken"}
        names |= {"per_step": "flopsPerStep", "per_run": "flopsPerRun"}
        assert {ours: int(need[theirs]) for ours, theirs in names.items()} == count
        for card, shown in zip(GPUS, found["cards"], strict=True):
            precision = "float32" if settings["precision"] == "float32" else "bfloat16"
            assert shown["fits"] == (memory.total <= card.usable_bytes)
            assert shown["hours"] == card.seconds(count["per_run"], precision) / 3600
            assert shown["cost"] == shown["hours"] * settings["price"]


def shown(page):
    """Return the bytes of each part as the table shows them."""
    rows = page.locator(".fit-parts tr[data-bytes]")
    return [int(row.get_attribute("data-bytes")) for row in rows.all()]


def expected(**changes):
    settings = DEFAULTS | changes
    return list(vars(peak(TABLE["models"][settings["model"]], settings)).values())


def test_the_form_shows_what_is_chosen_and_the_address_holds_it(page, browser):
    assert shown(page) == expected()
    page.get_by_label("Rows of a batch").fill("16")
    page.get_by_label("Method").select_option("blocks")
    page.get_by_label("Gradient checkpointing").check()
    assert shown(page) == expected(rows=16, adapters="blocks", checkpointing=True)
    again = browser.new_page()
    again.goto(page.url)
    assert shown(again) == shown(page)
    assert again.get_by_label("Rows of a batch").input_value() == "16"
    again.close()


def test_each_example_is_a_button(page):
    for name, changes in EXAMPLES.items():
        page.get_by_role("button", name=name, exact=True).click()
        assert shown(page) == expected(**changes), name


def test_it_works_by_keyboard_and_says_what_changed(page):
    page.get_by_label("Model").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "device"
    page.get_by_label("Rows of a batch").focus()
    page.keyboard.press("ArrowUp")
    assert shown(page) == expected(rows=9)
    assert "GiB at the fullest moment of a step" in page.get_by_role("status").inner_text()


def test_what_cannot_be_is_put_right(page):
    page.get_by_label("Model").select_option("nano")
    page.get_by_label("Tokens of a row").fill("5000")
    page.get_by_label("Tokens of a row").blur()
    assert page.get_by_label("Tokens of a row").input_value() == str(TABLE["models"]["nano"]["context"])
    page.get_by_label("Rows of a batch").fill("")
    assert shown(page) == expected(model="nano", rows=1, length=TABLE["models"]["nano"]["context"])


def test_an_address_with_nonsense_does_no_harm(browser, small_page):
    opened = browser.new_page()
    opened.goto(f"{small_page}#model=none&rows=-4&optimizer=x&length=abc")
    assert shown(opened) == expected(rows=1, length=2)
    opened.close()


def test_without_javascript_the_examples_stand_in_a_table():
    text = PAGE.read_text(encoding="utf-8")
    assert '<div id="fit" hidden>' in text
    assert all(f"| {name} |" in text for name in EXAMPLES)
    assert buttons() in text
    assert json.dumps(text).isascii()
    assert set(TABLE["models"]) <= set(page_models())
