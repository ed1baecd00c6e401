import math

import numpy as np
import pandas as pd
import pytest

from ftlib.data.reading import to_conversations
from ftlib.errors import DataError
from ftlib.evaluation.comparison import compare, evaluate, read_json, side_by_side, write_csv, write_json
from ftlib.evaluation.metrics import answer_loss, bits_per_byte, perplexity, rouge_l, token_accuracy
from ftlib.evaluation.page import write_comparison_html, write_html
from ftlib.inference.generation import answer
from ftlib.text.batches import padded_batches
from ftlib.text.templates import QUESTION_ANSWER
from ftlib.text.tokenization import tokenize

ROWS = [
    {"question": "Why?", "answer": "Because of it."},
    {"question": "What is a token?", "answer": "A <b>piece</b> of text."},
    {"question": "And a dog?", "answer": "Sorry, ask a vet.", "topic": "off-topic"},
]


def knows(questions):
    return [next(row["answer"] for row in ROWS if row["question"] == question) for question in questions]


def wrong(questions):
    return ["No idea, no idea." for _ in questions]


@pytest.fixture
def evaluation(tiny_model, tiny_tokenizer):
    sources = {"tiny": (tiny_model, tiny_tokenizer), "knows": knows, "hosted": "not run: set OPENAI_API_KEY"}
    return evaluate(sources, ROWS, max_new_tokens=8)


def test_there_is_a_row_for_each_question_and_model(evaluation, tiny_model, tiny_tokenizer):
    table = evaluation.table
    assert list(table["model"]) == ["tiny"] * 3 + ["knows"] * 3
    own = answer(tiny_model, tiny_tokenizer, [row["question"] for row in ROWS], max_new_tokens=8)
    assert list(table["answer"]) == [*own, *(row["answer"] for row in ROWS)]
    assert list(table["rouge_l"][:3]) == rouge_l(own, [row["answer"] for row in ROWS])
    assert list(table["off_topic"]) == [False, False, True] * 2


def test_the_summary_gives_a_score_with_its_interval(evaluation):
    run = evaluation.summary.set_index("model").loc["knows"]
    assert (run["questions"], run["note"]) == (3, "")
    assert (run["rouge_l_low"], run["rouge_l"], run["rouge_l_high"]) == (1, 1, 1)
    assert run["bleu"] == pytest.approx(100)
    assert (run["refuses"], run["refuses_off_topic"]) == (0, 1)
    assert math.isnan(run["loss"])


def test_the_losses_are_those_of_the_metrics(evaluation, tiny_model, tiny_tokenizer):
    rows = tokenize(tiny_tokenizer, to_conversations(ROWS))
    run = evaluation.summary.set_index("model").loc["tiny"]
    loss = answer_loss(tiny_model, padded_batches(rows, 2, pad_token_id=1))
    tokens = sum(label != -100 for labels in rows["labels"] for label in labels)
    text_bytes = sum(len(row["answer"].encode()) for row in ROWS)
    assert run["loss"] == pytest.approx(loss, rel=1e-5)
    assert run["perplexity"] == pytest.approx(perplexity(loss), rel=1e-5)
    assert run["bits_per_byte"] == pytest.approx(bits_per_byte(loss, tokens=tokens, text_bytes=text_bytes), rel=1e-5)
    assert run["token_accuracy"] == token_accuracy(tiny_model, padded_batches(rows, 2, pad_token_id=1))
    assert run["loss_low"] < run["loss"] < run["loss_high"]


def test_a_model_that_was_not_run_says_why(evaluation):
    run = evaluation.summary.set_index("model").loc["hosted"]
    assert (run["questions"], run["note"]) == (0, "not run: set OPENAI_API_KEY")
    assert math.isnan(run["rouge_l"])
    only = evaluate({"hosted": "not run"}, ROWS)
    assert only.table.empty
    assert list(only.summary["note"]) == ["not run"]


def test_what_was_written_is_read_back(evaluation, tmp_path):
    again = read_json(write_json(evaluation, tmp_path / "run.json"))
    pd.testing.assert_frame_equal(again.table, evaluation.table)
    pd.testing.assert_frame_equal(again.summary, evaluation.summary)
    csv = pd.read_csv(write_csv(evaluation, tmp_path / "run.csv"))
    assert list(csv["question"]) == list(evaluation.table["question"])


def test_a_file_that_holds_something_else_is_named(tmp_path):
    (tmp_path / "other.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.json: no evaluation can be read"):
        read_json(tmp_path / "other.json")


def test_two_runs_are_tested_against_each_other():
    rows = [{"question": f"{number}?", "answer": f"Number {number} it is."} for number in range(12)]
    right = evaluate({"right": lambda asked: [row["answer"] for row in rows]}, rows)
    bad = evaluate({"bad": wrong}, rows)
    found = compare(bad, right).set_index("score")
    assert (found.loc["rouge_l", "first"], found.loc["rouge_l", "second"]) == (0, 1)
    assert found.loc["rouge_l", "p_value"] < 0.01
    assert (found.loc["repeats", "difference"], found.loc["repeats", "p_value"]) == (0, 1)
    assert np.allclose(compare(right, right)["difference"], 0)
    sides = side_by_side(bad, right)
    assert list(sides.columns) == ["question", "reference", "first", "second"]
    assert sides["second"][3] == "Number 3 it is."


def test_losses_are_compared_where_both_are_known(evaluation):
    assert "loss" in set(compare(evaluation, evaluation, models=("tiny", "tiny"))["score"])
    assert "loss" not in set(compare(evaluation, evaluation, models=("tiny", "knows"))["score"])


def test_runs_that_cannot_be_compared_are_refused(evaluation):
    with pytest.raises(DataError, match=r"which model of run 1.*tiny, knows"):
        compare(evaluation, evaluation)
    other = evaluate({"bad": wrong}, ROWS[:2])
    with pytest.raises(DataError, match="differ in their questions"):
        compare(evaluation, other, models=("knows", "bad"))


def test_rows_and_answers_are_checked():
    with pytest.raises(DataError, match="no rows"):
        evaluate({"bad": wrong}, [])
    with pytest.raises(DataError, match="row 1: no 'answer'"):
        evaluate({"bad": wrong}, [ROWS[0], {"question": "Why?"}])
    with pytest.raises(DataError, match="'short' gave 1 answers to 3 questions"):
        evaluate({"short": lambda asked: ["one"]}, ROWS)


def test_the_page_holds_everything_and_needs_nothing(evaluation, tmp_path):
    page = write_html(evaluation, tmp_path / "run.html", title="A & B").read_text(encoding="utf-8")
    for wanted in (
        "A &amp; B",
        "not run: set OPENAI_API_KEY",
        "A &lt;b&gt;piece&lt;/b&gt; of text.",
        "0 to 100, higher",
    ):
        assert wanted in page, wanted
    assert page.count("<article>") == 3
    for unwanted in ("http:", "https:", "<script", "<link", "nan", "A <b>"):
        assert unwanted not in page, unwanted


def test_the_page_of_two_runs_shows_both(tmp_path):
    first, second = evaluate({"bad": wrong}, ROWS), evaluate({"knows": knows}, ROWS)
    page = write_comparison_html(first, second, tmp_path / "two.html", titles=("bad", "good")).read_text(
        encoding="utf-8"
    )
    assert page.count("No idea, no idea.") == 3
    assert "<h1>bad and good</h1>" in page
    assert "nan" not in page


@pytest.mark.parametrize("template", [{}, {"other": QUESTION_ANSWER}, {"it": None}, {"it": "alpaca"}, "alpaca"])
def test_a_model_without_a_template_is_named_before_anybody_is_asked(tiny_model, tiny_tokenizer, template):
    def ask(questions):
        raise AssertionError("nobody may be asked")

    sources = {"first": ask, "it": (tiny_model, tiny_tokenizer)}
    with pytest.raises(DataError, match="'it' has no template"):
        evaluate(sources, [{"question": "Why?", "answer": "So."}], template=template)
    rows = [{"question": "Why?", "answer": "So."}]
    assert len(evaluate({"first": lambda asked: ["So."]}, rows, template={}).table) == 1
