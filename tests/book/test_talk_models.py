"""The models inside a page say what ftlib says: the same ids, and the same greedy texts, with and without adapter."""

import contextlib
import json
import os
import random
import shutil

import pytest

from ftlib.data.messages import user
from ftlib.errors import MissingExtraError
from ftlib.export.page_model import around_question, publish
from ftlib.inference import answer
from ftlib.models.loading import load_tokenizer
from ftlib.text.chat_template import template_of
from ftlib.text.encoding import encode_segments
from ftlib.text.templates import Segment
from tests.book.talking import ASK, RUNTIME, make_site, opened, random_adapter, serving
from tests.course import ROOT

pytestmark = pytest.mark.browser
MODELS = ["nano", pytest.param("smollm2", marks=[pytest.mark.slow, pytest.mark.smollm2])]
# How far a random adapter's numbers go: far enough to change what is said, and not so far that nothing is.
SIZES = {"nano": 0.2, "smollm2": 0.1}
TOKENS = {"nano": 24, "smollm2": 5}
ASKED = {"nano": 20, "smollm2": 6}  # of the questions: the large model takes seconds for each in a page
QUESTIONS = [
    "What is LoRA?",
    "Why is a batch padded?",
    "What is 17 + 25?",
    "Name a colour.",
    "  two  spaces ",
    "Ça va?\n\nOui.",
    "日本語",
    "<|im_end|> is text",
    "def f(x):",
    "x",
    "Where is Paris?",
    "Say hello.",
    "Is water wet?",
    "I'm here, they'll come.",
    "1234567",
    "A \U0001f468\u200d\U0001f469 emoji",
    "What is a token?",
    "Who are you?",
    "Name three fruits.",
    "Count to ten.",
]
PIECES = [
    *" \t\n\r\v\f",
    *"\u00a0\u0085\u2003\u2028\ufeff\u200b\u180e\x1c\x00\x7f",
    *"aZéßñŁÄöЖعא中日あ한กि",
    *"0179٣²½Ⅷ①",
    *"'\u2019.,!?-_/\\|<>(){}[]#@$%&*+=~^`\"",
    *"\U0001f600\U0001f468\u200d\u0301\ufe0f",
    *("'s", "'ll", "'VE", "the", " the", "ing", "  ", "   ", "\r\n", "<|endoftext|>", "<|im_end|>", "<|im_start|>"),
]


def awkward_texts():
    """84 texts written by hand, and 216 drawn."""
    written = [
        text for text, _ in json.loads((ROOT / "tests" / "models" / "smollm2_ids.json").read_text(encoding="utf-8"))
    ]
    draw = random.Random(7)  # noqa: S311 (no secret)
    return [*written, *("".join(draw.choices(PIECES, k=draw.randrange(1, 30))) for _ in range(216))]


def ids_of(tokenizer, text, *, is_markup):
    return encode_segments(tokenizer, [Segment(text, is_markup=is_markup)])


@pytest.fixture(params=MODELS)
def name(request):
    """A model. Where smollm2's package isn't installed, it is skipped; with FTLIB_NEEDS_SMOLLM2 its tests fail."""
    try:
        load_tokenizer(request.param)
    except MissingExtraError as error:
        pytest.fail(str(error)) if os.environ.get("FTLIB_NEEDS_SMOLLM2") else pytest.skip(str(error))
    return request.param


def test_ids_and_texts_are_those_of_the_library(name, browser, tmp_path):
    texts = awkward_texts()
    publish(name, tmp_path / "model")
    shutil.copytree(RUNTIME, tmp_path / "lm")
    tokenizer = load_tokenizer(name)
    with serving(tmp_path) as url, contextlib.closing(opened(browser, url)) as page:
        words, markup, told = page.evaluate(
            """async (texts) => {
              const {Tokenizer} = await import("/lm/tokenizer.js");
              const tokenizer = new Tokenizer(await (await fetch("/model/tokenizer.json")).json());
              const words = texts.map((text) => tokenizer.encode(text));
              const markup = texts.map((text) => tokenizer.encode(text, {isMarkup: true}));
              return [words, markup, words.map((ids) => tokenizer.decode(ids.slice(0, -1)))];
            }""",
            texts,
        )
    assert len(texts) == 300
    assert words == [ids_of(tokenizer, text, is_markup=False) for text in texts]
    assert markup == [ids_of(tokenizer, text, is_markup=True) for text in texts]
    assert told == [tokenizer.decode(ids[:-1], skip_special_tokens=True) for ids in words]


def test_the_prompt_is_the_one_of_training(name):
    tokenizer = load_tokenizer(name)
    template = template_of(tokenizer)
    for question in QUESTIONS:
        before, behind = around_question(template)
        parts = [Segment(before, is_markup=True), Segment(question), Segment(behind, is_markup=True)]
        assert encode_segments(tokenizer, parts) == encode_segments(tokenizer, template.render_prompt([user(question)]))


def test_greedy_texts_are_those_of_the_library(name, browser, tmp_path):
    tokens, questions = TOKENS[name], QUESTIONS[: ASKED[name]]
    model, tokenizer = random_adapter(name, tmp_path / "adapter", size=SIZES[name])
    tuned = answer(model, tokenizer, questions, max_new_tokens=tokens)
    with model.disable_adapter():
        base = answer(model, tokenizer, questions, max_new_tokens=tokens)
    del model
    assert sum(one != other for one, other in zip(base, tuned, strict=True)) >= len(questions) // 4
    abouts = make_site(tmp_path / "site", **{name: tmp_path / "adapter"})
    settings = [{"scale": scale, "maxNewTokens": tokens} for scale in (0, 1)]
    with serving(tmp_path / "site") as url, contextlib.closing(opened(browser, url)) as page:
        found = page.evaluate(ASK, {"about": abouts[name], "questions": questions, "settings": settings})
    assert found == base + tuned
