"""Rows that can't be used: an error names the row, and a word leaves it out, whichever command reads it."""

import json

import pytest
from typer.testing import CliRunner

from datasets import Dataset
from ftlib import cli
from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations, read_rows
from ftlib.data.writing import save_conversations
from ftlib.errors import DataError, SkippedRowWarning, TruncationWarning
from ftlib.models.loading import load_tokenizer, save_model
from ftlib.text.summary import summarize
from ftlib.text.templates import TEMPLATES
from ftlib.text.tokenization import known_limit, tokenize
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from tests.course import ROOT

SYSTEM = {"role": "system", "content": "Be brief."}
NO_PLACE = {
    "system and assistant": [SYSTEM, assistant("So.")],
    "assistant first": [assistant("So.")],
    "a tool call": [user("Why?"), {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}],
}


def good(number):
    return {"messages": [user(f"Question {number}?"), assistant("So.")]}


def written(folder, rows, name="rows.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


@pytest.fixture
def base(tmp_path, tiny_model, tiny_tokenizer):
    return save_model(tiny_model, tiny_tokenizer, tmp_path / "base")


def config(base, source, **data):
    values = {"source": str(source), "validation_share": 0.25} | data
    steps = {"max_steps": 1, "batch_size": 2}
    return FinetuneConfig.from_dict({"model": {"name": str(base)}, "data": values, "train": steps})


@pytest.mark.parametrize("kind", NO_PLACE)
@pytest.mark.parametrize("template", TEMPLATES)
def test_an_error_of_tokenize_names_the_row(tiny_tokenizer, kind, template):
    rows = [*map(good, range(1200)), {"messages": NO_PLACE[kind]}]
    data = Dataset.from_dict({"messages": [row["messages"] for row in rows]})
    with pytest.raises(DataError, match=r"^row 1200: "):
        tokenize(tiny_tokenizer, data, template=TEMPLATES[template], max_length=500)
    with pytest.warns(SkippedRowWarning, match=r"^skipped: row 1200: "):
        kept = tokenize(tiny_tokenizer, data, template=TEMPLATES[template], max_length=500, on_error="skip")
    assert len(kept) == 1200
    with pytest.raises(DataError, match="on_error must be"):
        tokenize(tiny_tokenizer, data, on_error="ignore")


@pytest.mark.parametrize("kind", ["system and assistant", "assistant first"])
def test_a_run_names_the_row_of_the_file_and_can_leave_it_out(tmp_path, base, kind):
    source = written(tmp_path, [*map(good, range(9)), {"messages": NO_PLACE[kind]}, *map(good, range(9, 15))])
    with pytest.raises(DataError, match=r"row 9: .*; or leave such rows out with data.on_error: skip"):
        train(config(base, source), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.warns(SkippedRowWarning, match="row 9: "):
        train(config(base, source, on_error="skip"), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["steps"] == 1


def test_an_empty_row_can_be_left_out_of_a_run(tmp_path, base):
    rows = [{"question": f"Question {number}?", "answer": "So." if number != 5 else ""} for number in range(8)]
    source = written(tmp_path, rows)
    with pytest.raises(DataError, match=r"line 6 .*'answer' is empty.*data.on_error: skip"):
        train(config(base, source), tmp_path / "run")
    with pytest.warns(SkippedRowWarning, match="line 6 "):
        train(config(base, source, on_error="skip"), tmp_path / "run")
    with pytest.raises(DataError, match=r"nonsuch.jsonl: no such file") as caught:
        train(config(base, "nonsuch.jsonl"), tmp_path / "other")
    assert "on_error" not in str(caught.value)


def evaluated(source, base, *options):
    arguments = ["evaluate", str(source), "--model", str(base), "--max-new-tokens", "2", "--json", *options]
    return CliRunner().invoke(cli.app, arguments)


@pytest.mark.parametrize("pairs", [True, False], ids=["question-answer", "openai"])
def test_an_evaluation_reads_only_what_it_asks(tmp_path, base, pairs):
    rows = [{"question": f"{number}?", "answer": "So."} for number in range(4)] if pairs else [*map(good, range(4))]
    broken = {"question": "4?", "answer": ""} if pairs else {"messages": NO_PLACE["system and assistant"]}
    source = written(tmp_path, [*rows, broken, *rows])
    asked = [row["question"] for row in json.loads(evaluated(source, base, "--limit", "4").stdout)["table"]]
    assert len(asked) == 4
    assert isinstance(evaluated(source, base, "--limit", "5").exception, DataError)
    with pytest.warns(SkippedRowWarning):
        rest = json.loads(evaluated(source, base, "--limit", "6", "--skip-bad-rows").stdout)["table"]
    assert [row["question"] for row in rest] == [*asked, *asked[:2]]


def test_rows_are_read_up_to_a_limit_and_skipped(tmp_path):
    source = written(tmp_path, [{"question": "a", "answer": "b"}, {"question": "c", "answer": " "}])
    assert read_rows(source, limit=1) == [{"question": "a", "answer": "b"}]
    with pytest.raises(DataError, match="line 2"):
        read_rows(source)
    with pytest.warns(SkippedRowWarning, match="line 2"):
        assert len(read_rows(source, on_error="skip")) == 1


def test_a_last_question_that_nobody_answers_is_counted(tmp_path):
    rows = [[user("a"), assistant("b"), user("c")], [user("a"), assistant("b")]]
    assert summarize(rows).unanswered == 1
    shown = CliRunner().invoke(cli.app, ["data", str(written(tmp_path, [{"messages": row} for row in rows]))])
    assert "Rows that end without an answer: 1" in shown.stdout


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_last_question_that_nobody_answers_is_kept_and_changes_nothing(tmp_path, tiny_tokenizer, template):
    whole = [user("a"), assistant("b"), user("c")]
    (row,) = load_conversations(written(tmp_path, [{"messages": whole}]))
    assert row["messages"] == whole
    save_conversations([row], tmp_path / "again.jsonl")
    assert json.loads((tmp_path / "again.jsonl").read_text(encoding="utf-8")) == {"messages": whole}
    ids = [
        tokenize(
            tiny_tokenizer, Dataset.from_list([{"messages": messages}]), template=TEMPLATES[template], max_length=500
        )[0]
        for messages in (whole, whole[:2])
    ]
    assert ids[0] == ids[1]
    page = " ".join((ROOT / "book" / "formats.md").read_text(encoding="utf-8").split())
    assert "`tokenize` leaves it out, because nothing behind the last answer can change what is learnt" in page


@pytest.fixture
def unlimited(base):
    """Let a tokenizer name no limit, as many do: transformers then says 1e30."""
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("model_max_length", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert load_tokenizer(base).model_max_length > 10**20
    assert known_limit(load_tokenizer(base)) is None
    return base


@pytest.mark.parametrize("truncate", ["prompt", "end"])
@pytest.mark.parametrize("named", [None, 10**9, 4096, 32])
def test_a_row_is_cut_at_the_models_context_whatever_the_tokenizer_says(tmp_path, unlimited, truncate, named):
    if named:
        settings = json.loads((unlimited / "tokenizer_config.json").read_text(encoding="utf-8"))
        (unlimited / "tokenizer_config.json").write_text(
            json.dumps({**settings, "model_max_length": named}), encoding="utf-8"
        )
    rows = [{"question": f"Question {number}?", "answer": "ok"} for number in range(8)]
    rows[5]["question" if truncate == "prompt" else "answer"] += " word" * 90
    with pytest.warns(TruncationWarning, match="truncated 1 of "):
        train(config(unlimited, written(tmp_path, rows), truncate=truncate), tmp_path / "run")


def test_no_limit_is_no_number(tmp_path, unlimited):
    source = written(tmp_path, [{"question": "word " * 90, "answer": "ok"}])
    shown = CliRunner().invoke(cli.app, ["data", str(source), "--tokenizer", str(unlimited)])
    assert "nothing says what the context holds (--context)" in " ".join(shown.stdout.split())
    assert "000,000" not in shown.stdout
    assert "over the context" not in shown.stdout
    told = CliRunner().invoke(cli.app, ["data", str(source), "--tokenizer", str(unlimited), "--json"])
    assert json.loads(told.stdout)["tokens"]["context"] is None
    shown = CliRunner().invoke(cli.app, ["data", str(source), "--tokenizer", str(unlimited), "--context", "64"])
    assert "over the context" in shown.stdout
