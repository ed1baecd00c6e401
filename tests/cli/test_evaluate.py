"""``ftlib evaluate``: who is asked what, and what becomes of the answers."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ftlib import cli
from ftlib.cli import completion
from ftlib.cli.evaluate import _rows
from ftlib.errors import ColumnWarning, DataError
from ftlib.evaluation.json_answers import make_json_scores
from ftlib.evaluation.scores import LOSS_SCORES, SCORES
from ftlib.inference.generation import answer
from ftlib.models.loading import load_model
from ftlib.training.config import read_yaml

SHORT = ["--limit", "3", "--max-new-tokens", "3", "--device", "cpu"]


def run(*arguments):
    return CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An evaluation of nano and of a provider without a key, in three files."""
    folder = tmp_path_factory.mktemp("written")
    files = {kind: folder / f"table.{kind}" for kind in ("json", "csv", "html")}
    options = ["--out", files["json"], "--csv", files["csv"], "--html", files["html"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        result = run("faq", "--split", "test", *SHORT, "--model", "nano", "--provider", "openai", *options)
    assert result.exit_code == 0, result.output
    return files, result.stdout


def test_scores_and_answers_are_printed(written):
    _, shown = written
    questions = [row["question"] for row in _rows("faq", "test")[:3]]
    answers = answer(*load_model("nano", device="cpu"), questions, max_new_tokens=3)
    for text in (*questions, *answers, "ROUGE-L (higher)", "3 questions"):
        assert " ".join(text.split()) in " ".join(shown.split())
    assert "openai: not run: set OPENAI_API_KEY" in shown


def test_the_evaluation_is_written(written):
    files, _ = written
    found = json.loads(files["json"].read_text(encoding="utf-8"))
    assert {row["model"] for row in found["table"]} == {"nano"}
    assert [row["model"] for row in found["summary"]] == ["nano", "openai"]
    assert len(files["csv"].read_text(encoding="utf-8").splitlines()) >= 4
    assert "<table" in files["html"].read_text(encoding="utf-8")


def test_json_holds_both_tables_and_nothing_else_is_printed():
    found = json.loads(run("faq", "--split", "test", *SHORT, "--json").stdout)
    assert len(found["table"]) == 3
    assert found["summary"][0]["questions"] == 3


def test_two_evaluations_are_compared(written):
    path = written[0]["json"]
    shown = run("--compare", path, path, "--show", "1").stdout
    assert f"first: {path}" in shown
    assert "+0.000 [+0.000, +0.000]" in shown
    assert shown.count("reference: ") == 1
    scores = json.loads(run("--compare", path, path, "--json").stdout)
    assert {row["difference"] for row in scores} == {0.0}
    assert json.loads(run("--compare", path, path, "--json", "--model", "nano", "--model", "nano").stdout) == scores


def test_a_provider_with_a_key_is_asked(monkeypatch):
    class Reply:
        def __init__(self, text):
            self.text = text

    asked = []

    def ask(provider, questions, *, max_tokens):
        asked.append((provider, max_tokens))
        return [Reply(f"{provider} says {number}") for number, _ in enumerate(questions)]

    monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-nothing")
    monkeypatch.setattr("ftlib.hosted.ask", ask)
    shown = run("faq", "--split", "test", *SHORT, "--provider", "deepseek", "--json").stdout
    assert asked == [("deepseek", 3)]
    assert [row["answer"] for row in json.loads(shown)["table"] if row["model"] == "deepseek"] == [
        "deepseek says 0",
        "deepseek says 1",
        "deepseek says 2",
    ]
    assert "sk-nothing" not in shown


def test_any_format_gives_questions(tmp_path):
    path = tmp_path / "chat.jsonl"
    turns = [("system", "Be kind."), ("user", "Why?"), ("assistant", "So."), ("user", "And?"), ("assistant", "Ah.")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.warns(ColumnWarning, match="only the first question is asked"):
        assert _rows(str(path), None) == [{"question": "Why?", "answer": "So."}]
    assert "topic" in _rows("faq", "test")[0]


def _said(*turns):
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def test_the_first_question_goes_with_the_answer_behind_it_and_the_rest_is_told(tmp_path):
    rows = [
        _said(("user", "Why?"), ("assistant", "So.")),
        _said(("system", "Be brief."), ("user", "How?"), ("assistant", "Thus."), ("user", "Who?"), ("assistant", "I.")),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.warns(ColumnWarning) as told:
        found = _rows(str(path), None)
    assert found == [{"question": "Why?", "answer": "So."}, {"question": "How?", "answer": "Thus."}]
    assert [str(one.message) for one in told] == [
        "1 of 2 rows hold a system message: only the first question is asked, without it",
        "1 of 2 rows hold turns behind the first answer: only the first question is asked, without it",
    ]


@pytest.mark.parametrize(
    ("more", "question"), [({"context": "It rains."}, "Why?\n\nIt rains."), ({"context": ""}, "Why?")]
)
def test_a_question_is_asked_with_its_context_as_it_is_trained(tmp_path, more, question):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Why?", "answer": "So.", **more}) + "\n", encoding="utf-8")
    assert [row["question"] for row in _rows(str(path), None)] == [question]


def test_a_system_column_that_is_not_asked_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Why?", "answer": "So.", "system": "Be brief."}) + "\n", encoding="utf-8")
    with pytest.warns(ColumnWarning, match="hold a system message"):
        assert _rows(str(path), None) == [{"question": "Why?", "answer": "So."}]


def test_a_testing_file_says_everything_itself(tmp_path):
    values = dict(read_yaml("sft_freezing_test")["test"])
    values["data"] = {**values["data"], "data_dir": str(tmp_path / "rows")}
    values["test_params"] = {"log_file": str(tmp_path / "log.jsonl"), "do_compute_metrics": True}
    values["generate_params"] = {"max_new_tokens": 2}
    del values["wandb"]
    (tmp_path / "rows").mkdir()
    rows = "".join(json.dumps(row) + "\n" for row in _rows("faq", "test")[:2])
    for split in ("train", "val", "test"):
        (tmp_path / "rows" / f"{split}.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    result = run(tmp_path / "test.yaml", "--json")
    assert result.exit_code == 0, result.exception or result.output
    found = json.loads(result.stdout)
    assert found["rows"] == len(Path(found["log_file"]).read_text(encoding="utf-8").splitlines()) == 2
    assert set(found["scores"]) >= {"bleu", "rouge_l"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give QUESTIONS"),
        (["faq", "--compare", "a.json", "b.json"], "--compare reads two files"),
        (["--compare", "a.json", "b.json", "--model", "nano"], "--model twice"),
        (["sft_freezing_test", "--model", "nano"], "says by itself"),
        (["sft_freezing_test", "--score", "bleu"], "says by itself"),
        (["--compare", "a.json", "b.json", "--score", "bleu"], "--compare reads two files"),
        (["mine.yaml", "--limit", "2"], "says by itself"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(arguments, why):
    result = run(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_file_that_holds_no_evaluation_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    result = run("--compare", tmp_path / "a.json", tmp_path / "a.json")
    assert isinstance(result.exception, DataError)
    assert "a.json" in str(result.exception)


def test_scores_are_chosen_by_name(tmp_path):
    """JSON in the answers: nano writes none, and no other score is worked out."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "It is late.", "completion": '{"late": true}'}) + "\n", encoding="utf-8")
    chosen = ["--score", "json_valid", "--score", "json_late_match", "--max-new-tokens", "3", "--device", "cpu"]
    shown = run(rows, *chosen).stdout
    assert "valid JSON (higher)" in shown
    assert "JSON, late right (higher)" in shown
    assert "ROUGE" not in shown
    assert json.loads(run(rows, *chosen, "--json").stdout)["summary"][0]["json_late_match"] == 0
    refused = run(rows, "--score", "json_early_match")
    assert isinstance(refused.exception, DataError)
    assert "did you mean 'json_late_match'" in str(refused.exception)


def test_the_shell_offers_every_score_that_has_a_fixed_name():
    assert set(completion.SCORE_NAMES) == {*SCORES, *make_json_scores(["{}"]), *LOSS_SCORES}
