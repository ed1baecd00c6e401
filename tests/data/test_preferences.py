"""Preference rows: every spelling reads as the same three lists, and each bad row says what is wrong with it."""

import json

import pytest
from typer.testing import CliRunner

from ftlib.cli import app
from ftlib.data.messages import assistant, user
from ftlib.data.preferences import load_preferences, read_preference
from ftlib.errors import DataError
from ftlib.text.preference_summary import summarize_preferences

Q, A, B = user("Why?"), assistant("So."), assistant("No.")
HH = "\n\nHuman: Why?\n\nAssistant: "
SYSTEM = {"role": "system", "content": "Be brief."}
READ = {"prompt": [Q], "chosen": [A], "rejected": [B]}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, id="trl-text"),
        pytest.param({"Prompt": "Why?", "Chosen": "So.", "Rejected": "No."}, id="any-case"),
        pytest.param({"prompt": [Q], "chosen": [A], "rejected": [B]}, id="trl-messages"),
        pytest.param({"chosen": [Q, A], "rejected": [Q, B]}, id="trl-implicit"),
        pytest.param({"prompt": "Why?", "chosen": [Q, A], "rejected": [Q, B], "score_chosen": 8.0}, id="ultrafeedback"),
        pytest.param({"chosen": HH + "So.", "rejected": HH + "No."}, id="hh"),
        pytest.param({"prompt": HH, "chosen": "So.", "rejected": "No."}, id="hh-prompt"),
        pytest.param({"prompt": "Why?", "chosen": A, "rejected": B}, id="one-message"),
    ],
)
def test_every_spelling_reads_as_the_same(row):
    assert read_preference(row) == READ


def test_turns_before_the_last_question_belong_to_the_prompt():
    before = "\n\nHuman: Hi.\n\nAssistant: Hello."
    row = read_preference({"chosen": before + HH + "So.", "rejected": before + HH + "No."})
    assert [message["role"] for message in row["prompt"]] == ["user", "assistant", "user"]
    assert (row["chosen"], row["rejected"]) == ([A], [B])


def test_a_system_message_in_front_of_both_sides_goes_to_the_prompt():
    row = read_preference({"prompt": "Why?", "chosen": [SYSTEM, Q, A], "rejected": [SYSTEM, Q, B]})
    assert row == {"prompt": [SYSTEM, Q], "chosen": [A], "rejected": [B]}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"prompt": "Why?", "chosen": "So."}, "no field 'rejected'; found 'prompt', 'chosen'"),
        ({"prompt": "Why?", "completion": "So.", "label": True}, "KTO takes it, is no pair"),
        ({"chosen": "So.", "rejected": "No."}, "'chosen' is a text without a prompt"),
        ({"prompt": "", "chosen": "So.", "rejected": "No."}, "'prompt' is empty"),
        ({"prompt": "Why?", "chosen": " ", "rejected": "No."}, "'chosen' is empty"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": 3}, "'rejected' must be text, found int"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So."}, "say the same"),
        ({"prompt": "Why?", "chosen": [], "rejected": [B]}, "'chosen' is an empty list"),
        ({"prompt": [Q, A], "chosen": [A], "rejected": [B]}, "'prompt' must end with what the user says"),
        ({"prompt": "How?", "chosen": [Q, A], "rejected": [Q, B]}, "'chosen' begins with another prompt"),
        ({"chosen": [Q, A], "rejected": [user("How?"), B]}, "they part at turn 0"),
        ({"prompt": "Why?", "chosen": [Q], "rejected": [Q, B]}, "'chosen': what follows the prompt must begin"),
        (
            {"prompt": "Why?", "chosen": [{"role": "poet", "content": "x"}], "rejected": "No."},
            "'poet': expected",
        ),
        ("text", "expected an object with fields, found str"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_where(row, told, tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    path.write_text("".join(json.dumps(one) + "\n" for one in (good, row)), encoding="utf-8")
    with pytest.raises(DataError, match="line 2") as caught:
        load_preferences(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_shipped_pairs_are_read_and_counted():
    summary = summarize_preferences(load_preferences("preferences"), load_preferences("preferences", split="test"))
    assert (summary.rows, summary.duplicates, summary.same_prompt, summary.leaked) == (160, 0, 0, 0)
    assert summary.chosen_longer == 53 / 160
    assert summary.rejected_longer == 102 / 160
    assert summary.words["chosen"].greatest == 37


def test_what_stands_twice_contradicts_or_leaks_is_counted():
    turned = {"prompt": [Q], "chosen": [B], "rejected": [A]}
    summary = summarize_preferences([READ, READ, turned], [READ])
    assert (summary.duplicates, summary.same_prompt, summary.contradictions, summary.leaked) == (1, 2, 3, 3)


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_the_command_looks_into_preferences():
    result = run("preferences", "--held-out", "preferences")
    assert result.exit_code == 1
    assert "160 pairs of a chosen and a rejected answer" in result.output
    assert "longer in 33% of the pairs" in result.output
    assert "also held out: 160" in result.output
    found = run("preferences", "--split", "test", "--json")
    assert found.exit_code == 0
    assert json.loads(found.output)["chosen_longer"] == 18 / 40


def test_the_command_refuses_what_makes_no_sense_of_pairs(tmp_path):
    refused = run("preferences", "--convert", "openai", tmp_path / "out.jsonl")
    assert refused.exit_code == 1
    assert "can't be converted" in str(refused.exception) + refused.output
    refused = run("faq", "--held-out", "faq")
    assert "compares preference rows only" in str(refused.exception) + refused.output
