"""Answers that are JSON: which count as read, which as right, in which field, and what an evaluation makes of it."""

import pytest

from ftlib.errors import DataError
from ftlib.evaluation.comparison import compare, evaluate, read_json, write_json
from ftlib.evaluation.json_answers import json_scores, make_json_scores, read_object
from ftlib.evaluation.page import write_comparison_html, write_html

RIGHT = '{"topic": "defect", "name": null, "order": "60417"}'
ROWS = [{"question": f"Mail {number}", "answer": RIGHT} for number in range(4)]
# One answer each: right in another order; wrong in one field; no JSON; a field missing.
ANSWERS = [
    ' {"order":"60417",\n"name": null, "topic": "defect"}\n',
    '{"topic": "return", "name": null, "order": "60417"}',
    f"Here it is: {RIGHT}",
    '{"topic": "defect", "name": null}',
]
SCORES = {
    "json_valid": 0.75,
    "json_match": 0.25,
    "json_topic_match": 0.5,
    "json_name_match": 0.75,
    "json_order_match": 0.5,
}


def test_scores_by_hand():
    found = json_scores(ANSWERS, [RIGHT] * 4)
    assert {name: interval.value for name, interval in found.items()} == SCORES
    assert list(found) == list(SCORES)
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found.values())
    assert found["json_match"].low < 0.25 < found["json_match"].high


@pytest.mark.parametrize(
    "text",
    [
        RIGHT + ".",
        RIGHT + RIGHT,
        f"```json\n{RIGHT}\n```",
        RIGHT[:-1],
        RIGHT.replace('"', "'"),
        RIGHT.replace("null", "None"),
        RIGHT.replace('"60417"', "NaN"),
        RIGHT.replace('"60417"', "-Infinity"),
        RIGHT.replace('"60417"', "060417"),
        RIGHT.replace('"order"', '"topic"'),
        '{"a": {"b": 1, "b": 1}}',
        RIGHT.replace("}", ",}"),
        f"[{RIGHT}]",
        '"defect"',
        "null",
        "true",
        "5",
        "1.5",
        "",
        " ",
        "[" * 100_000,
        '{"a": ' * 100_000,
        f'{{"a": {"9" * 5000}}}',
        "\ufeff" + RIGHT,
    ],
)
def test_what_is_no_single_object_is_wrong_in_everything(text):
    assert read_object(text) is None
    assert {interval.value for interval in json_scores([text], [RIGHT]).values()} == {0}
    with pytest.raises(DataError, match=r"references, row 1 \(from 0\): expected one JSON object, found"):
        make_json_scores([RIGHT, text])


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("1", "1.0", True),
        ("1e2", "100", True),
        ("1", "true", False),
        ("0", "false", False),
        ('"1"', "1", False),
        ("null", '""', False),
        ("null", "false", False),
        ('"é"', '"\\u00e9"', True),
        ('"Defect"', '"defect"', False),
        ('"defect "', '"defect"', False),
        ("[1, 2]", "[1,2]", True),
        ("[1, 2]", "[2, 1]", False),
        ("[true]", "[1]", False),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ('{"a": 1}', '{"a": 1, "b": 2}', False),
        ('{"a": [{"b": true}]}', '{"a": [{"b": 1}]}', False),
    ],
)
def test_values_are_compared_as_json(first, second, same):
    for one, other in ((first, second), (second, first)):
        found = json_scores([f'{{"it": {one}}}'], [f'{{"it": {other}}}'])
        assert (found["json_match"].value, found["json_it_match"].value) == (same, same)


def test_a_field_too_many_makes_the_whole_wrong_and_no_field():
    found = json_scores([RIGHT.replace("}", ', "note": null}')], [RIGHT])
    assert {name for name, interval in found.items() if interval.value == 0} == {"json_match"}


def test_names_of_fields_never_meet():
    """An interval's ends stand beside a score as its name and _low or _high."""
    text = '{"temp": 1, "temp_low": 1, "temp_match": 1, "": 1, "valid": 1, "json": 1}'
    rows = [{"question": "Why?", "answer": text}]
    summary = evaluate({"it": lambda asked: [text]}, rows).summary
    assert len(set(summary.columns)) == len(summary.columns)
    assert all(summary.loc[0, name] == 1 for name in make_json_scores([text]))


def test_an_object_without_fields_has_scores_of_the_whole():
    assert list(json_scores(["{}"], [" { } "])) == ["json_valid", "json_match"]


@pytest.mark.parametrize(
    ("references", "told"),
    [
        ([], "no references"),
        ([RIGHT, "Ask a vet."], r"row 1 \(from 0\): expected one JSON object, found 'Ask a vet.' \(Expecting value"),
        ([RIGHT, f"[{RIGHT}]"], r"row 1 .* \(it is a list\)"),
        (['{"a": 1, "a": 2}'], r"row 0 .* \(the key 'a' stands twice\)"),
        (
            [RIGHT, '{"topic": "defect"}'],
            r"row 1 .*: the fields are 'topic', those of row 0 'topic', 'name', 'order'",
        ),
        ([RIGHT, "{}"], "the fields are none"),
    ],
)
def test_references_that_cannot_be_used_are_named(references, told):
    with pytest.raises(DataError, match=told):
        json_scores(["{}"] * len(references), references)


def test_answers_and_references_must_be_as_many():
    with pytest.raises(DataError, match="2 predictions but 1 references"):
        json_scores(["{}", "{}"], ["{}"])


@pytest.fixture
def evaluation():
    return evaluate({"it": lambda asked: ANSWERS}, ROWS)


def test_an_evaluation_has_them_where_the_right_answers_are_objects(evaluation, tmp_path):
    run = evaluation.summary.loc[0]
    assert {name: run[name] for name in SCORES} == SCORES
    assert list(evaluation.table["json_match"]) == [1, 0, 0, 0]
    assert (run["json_match_low"], run["json_match_high"]) == tuple(json_scores(ANSWERS, [RIGHT] * 4)["json_match"][1:])
    again = read_json(write_json(evaluation, tmp_path / "run.json"))
    assert again.summary.equals(evaluation.summary)
    other = evaluate({"it": lambda asked: [RIGHT] * 4}, ROWS)
    assert compare(again, other).set_index("score").loc["json_match", "difference"] == 0.75
    page = write_html(evaluation, tmp_path / "run.html").read_text(encoding="utf-8")
    both = write_comparison_html(evaluation, other, tmp_path / "both.html").read_text(encoding="utf-8")
    for shown in (page, both):
        assert "JSON, all fields right<small>0 to 1, higher is better" in shown
        assert "JSON, name right" in shown


def test_other_evaluations_do_not_have_them():
    rows = [*ROWS[:1], {"question": "Why?", "answer": "So."}, {"question": "And?", "answer": "Too."}]
    assert not any("json" in name for name in evaluate({"it": lambda asked: ["So."] * 3}, rows).summary)


@pytest.mark.parametrize("odd", ["So.", '{"topic": "defect"}'])
def test_that_they_are_left_out_of_an_evaluation_of_json_is_said(odd):
    with pytest.warns(UserWarning, match=r"no JSON scores: references, row 4"):
        found = evaluate({"it": lambda asked: [*ANSWERS, odd]}, [*ROWS, {"question": "Why?", "answer": odd}])
    assert not any("json" in name for name in found.summary)


def test_only_the_scores_that_were_asked_for_are_worked_out(tiny_model, tiny_tokenizer, monkeypatch, tmp_path):
    def never(*arguments, **named):
        raise AssertionError("no score needs a second pass over the answers")

    monkeypatch.setattr("ftlib.evaluation.comparison.answer_statistics", never)
    asked = {"scores": ["json_order_match", "exact_match"], "max_new_tokens": 4}
    found = evaluate({"tiny": (tiny_model, tiny_tokenizer), "it": lambda asked: ANSWERS}, ROWS, **asked)
    assert list(found.scores) == asked["scores"]
    assert [name for name in found.summary if name.endswith("_low")] == ["json_order_match_low", "exact_match_low"]
    assert list(found.summary["json_order_match"]) == [0, 0.5]
    again = read_json(write_json(found, tmp_path / "run.json"))
    assert again.summary.equals(found.summary)
    assert "ROUGE" not in write_html(again, tmp_path / "run.html").read_text(encoding="utf-8")
    refusals = evaluate({"it": lambda asked: ANSWERS}, ROWS, scores=["refuses"])
    assert {"refuses", "refuses_off_topic"} < set(refusals.summary)
    with pytest.raises(DataError, match="no score in common"):
        compare(again, refusals, models=("it", "it"))


def test_a_loss_alone_can_be_asked_for(tiny_model, tiny_tokenizer):
    sources = {"tiny": (tiny_model, tiny_tokenizer)}
    rows = [{"question": "Why?", "answer": "{}"}]
    whole = evaluate(sources, rows, max_new_tokens=2)
    found = evaluate(sources, rows, max_new_tokens=2, scores=["loss"])
    assert found.summary.loc[0, "loss"] == whole.summary.loc[0, "loss"] > 0
    assert "rouge_l" not in found.table


@pytest.mark.parametrize(
    ("answer", "names", "told"),
    [
        (RIGHT, ["json_topik_match"], "unknown score 'json_topik_match'; .* did you mean 'json_topic_match'"),
        (RIGHT, ["rouge"], "unknown score 'rouge'; expected one of rouge_l, .*json_match"),
        ("So.", ["rouge_l", "json_match"], "row 0 .*expected one JSON object, found 'So.'"),
        (RIGHT, [], "at least one"),
        (RIGHT, "json_match", "scores must be a list of text"),
        (RIGHT, [None], r"a list of names.*\[None\]"),
    ],
)
def test_scores_that_are_not_there_are_named_before_anybody_is_asked(answer, names, told):
    def ask(questions):
        raise AssertionError("nobody may be asked")

    with pytest.raises(DataError, match=told):
        evaluate({"it": ask}, [{"question": "Why?", "answer": answer}], scores=names)
