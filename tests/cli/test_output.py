import pytest

from ftlib.cli.data_output import print_summary
from ftlib.cli.output import print_run, print_texts
from ftlib.data.reading import iter_conversations
from ftlib.errors import SkippedRowWarning
from ftlib.text.summary import summarize

SUMMARY = {
    "parameters": 1000,
    "trainable_parameters": 10,
    "steps": 2,
    "tokens": 300,
    "tokens_per_second": 1234.5,
    "model_flops_utilization": 0.314,
    "first_loss": 3.0,
    "last_loss": 2.0,
    "best_eval_loss": 2.5,
    "best_step": 2,
    "precision": "float32",
}


def rows(text):
    return {cells[1].strip(): cells[2].strip() for line in text.splitlines() if len(cells := line.split("│")) == 4}


def test_a_run_is_summed_up(capsys):
    print_run("runs/[mine]", SUMMARY)
    shown = capsys.readouterr().out
    assert "Written to runs/[mine]:" in shown
    assert rows(shown) == {
        "parameters trained": "10 of 1,000",
        "steps": "2",
        "tokens (no padding)": "300",
        "tokens a second": "1,234",
        "model FLOPs utilization": "31%",
        "computed in": "float32",
        "loss, first step": "3.0000",
        "loss, last step": "2.0000",
        "best evaluation loss (step 2)": "2.5000",
    }


def test_what_was_not_measured_is_said(capsys):
    missing = {"tokens_per_second": None, "model_flops_utilization": None, "best_eval_loss": None}
    print_run("runs/mine", SUMMARY | missing)
    found = rows(capsys.readouterr().out)
    assert found["tokens a second"] == "not measured"
    assert not [name for name in found if "evaluation" in name or "utilization" in name]


@pytest.mark.parametrize(
    ("texts", "shown"),
    [(["[red]"], "[red]\n"), (["a", "\x1b[31mb"], "one\na\n\ntwo\n\\x1b[31mb\n")],
)
def test_texts_are_shown_as_they_are(texts, shown, capsys):
    print_texts(["one", "two"][: len(texts)], texts)
    assert capsys.readouterr().out == shown


def test_a_file_without_a_row_that_can_be_used_is_not_called_right(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "", "answer": "So."}\n', encoding="utf-8")
    _, rows = iter_conversations(path, on_error="skip")
    with pytest.warns(SkippedRowWarning):
        found = summarize(rows, format="question-answer")
    print_summary("a.jsonl", found, [])
    shown = capsys.readouterr().out
    assert "No row of it can be used." in shown
    assert "Nothing wrong" not in shown
