import json
import signal
import subprocess
import sys
from functools import partial

import pytest
from typer.testing import CliRunner

from ftlib import cli
from tests.waiting import HUNG_SECONDS


def test_help_names_the_commands():
    result = CliRunner().invoke(cli.app, ["pretrain", "--help"])
    assert result.exit_code == 0
    assert "--run-folder" in result.output


def test_pretrain_stops_and_says_how_to_go_on(tmp_path):
    (tmp_path / "packages.txt").write_text("jsonlines==4.0.0\n", encoding="utf-8")
    options = [
        "--run-folder",
        str(tmp_path / "run"),
        "--out",
        str(tmp_path / "out"),
        "--packages",
        str(tmp_path / "packages.txt"),
    ]
    import ftlib.pretraining.corpus

    original = ftlib.pretraining.corpus.STANDARD_LIBRARY
    try:
        ftlib.pretraining.corpus.STANDARD_LIBRARY = "typer"  # the real one takes half a minute to read
        result = CliRunner().invoke(cli.app, ["pretrain", *options, "--stop-after-steps", "0"])
    finally:
        ftlib.pretraining.corpus.STANDARD_LIBRARY = original
    assert result.exit_code == 0, result.output
    assert "goes on from the last checkpoint" in result.output


def test_an_error_is_one_line_and_status_one(tmp_path, monkeypatch, capsys):
    arguments = ["ftlib", "pretrain", "--run-folder", str(tmp_path), "--out", str(tmp_path), "--packages", "none.txt"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("ftlib: none.txt: can't be read")
    assert error.count("\n") == 1


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_data_shows_what_is_in_a_file():
    result = run("data", "faq", "--split", "test")
    assert result.exit_code == 0
    assert "140 rows of the format question-answer" in result.output
    assert result.output.count("user: ") == 1
    assert run("data", "faq", "--show", 0).output.count("user: ") == 0


def test_data_gives_counts_as_json():
    found = json.loads(run("data", "dialogues", "--json").output)
    assert (found["format"], found["rows"], found["extras"]) == ("dialogue", 124, {"name": 124})
    assert found["turns"] == {"least": 6, "median": 8, "greatest": 11}


def test_data_converts(tmp_path):
    out = tmp_path / "chat.jsonl.gz"
    result = run("data", "house_plants", "--convert", "sharegpt", out)
    assert result.exit_code == 0, result.output
    assert "100 rows of instruction-response written" in result.output
    assert json.loads(run("data", out, "--json").output)["format"] == "sharegpt"
    assert [path.name for path in tmp_path.iterdir()] == ["chat.jsonl.gz"]


def test_data_reports_the_rows_that_it_skips(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "Why?", "answer": "So."}\n{"question": "What?"}\n', encoding="utf-8")
    result = run("data", path, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["rows"] == 1
    assert "line 2" in json.loads(result.stdout)["unusable"][0]
    assert "line 2" in result.stderr


def test_converting_stops_at_a_bad_row_unless_told_to_go_on(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "chat.jsonl"
    path.write_text('{"question": "Why?", "answer": "So."}\n{"question": "What?"}\n', encoding="utf-8")
    assert run("data", path, "--convert", "openai", out).exit_code == 1
    assert not out.exists()
    assert run("data", path, "--convert", "openai", out, "--skip-bad-rows").exit_code == 1
    assert len(out.read_text(encoding="utf-8").splitlines()) == 1


def test_data_says_what_is_wrong_and_ends_with_status_one(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = json.dumps({"question": "What is a cafÃ©?", "answer": "A place.<br>"})
    path.write_text(row + "\n" + row + "\n", encoding="utf-8")
    result = run("data", path)
    assert result.exit_code == 1
    for kind in ("duplicate", "broken encoding", "HTML"):
        assert kind in result.stdout
    assert run("data", path, "--context", "10", "--json", "--no-tokens").exit_code == 1


def test_data_counts_tokens_and_padding():
    found = json.loads(run("data", "faq", "--json").stdout)
    assert found["faults"] == []
    tokens = found["tokens"]
    assert sum(rows for _, _, rows in tokens["histogram"]) == found["rows"] == 1260
    assert tokens["padding_by_length"] < tokens["padding_in_file_order"] < tokens["padding_to_longest_row"] < 1
    assert json.loads(run("data", "faq", "--json", "--no-tokens").stdout)["tokens"] is None


# The conversion, held in its sixth row until Ctrl-C.
CONVERT = """
import sys, threading
import ftlib.cli, ftlib.data.reading

read = ftlib.data.reading.iter_conversations

def held(*arguments, **options):
    name, rows = read(*arguments, **options)
    return name, (row for number, row in enumerate(rows) if number < 5 or wait())

def wait():
    print("held", flush=True)
    threading.Event().wait()

ftlib.data.reading.iter_conversations = held
sys.exit(ftlib.cli.main())
"""


def test_ctrl_c_leaves_no_half_written_file(tmp_path):
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    line = json.dumps({"system_prompt": "", "question": "Why?" * 30, "response": "So." * 50}) + "\n"
    path.write_text(line * 100, encoding="utf-8")
    command = [sys.executable, "-c", CONVERT, "data", str(path), "--convert", "openai", str(out)]
    # A shell starts background jobs deaf to Ctrl-C, and they pass that on: listen again.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, encoding="utf-8", preexec_fn=listen) as process:
        try:
            assert process.stdout.readline() == "held\n"
            assert out.with_name(".out.jsonl.partial").exists()
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=HUNG_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130, error
    assert error == "ftlib: stopped; nothing was left half-written\n"
    assert [found.name for found in tmp_path.iterdir()] == ["rows.jsonl"]


def test_estimate_says_what_fits_and_what_would():
    result = run("estimate", "EleutherAI/pythia-70m", "--batch", "64", "--length", "2048", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["parameters"] == 70_426_624
    assert found["fits"]["H200"]
    assert not found["fits"]["T4"]
    assert found["suggestion"]["gpu"] == "T4"
    assert found["suggestion"]["changes"]
    assert "together" in run("estimate", "nano", "--lora-rank", "4").output


def test_estimate_of_an_unknown_model_is_an_error_that_names_the_nearest(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ftlib", "estimate", "EleutherAI/pythia-70n"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "pythia-70m" in capsys.readouterr().err


def test_upgrade_shows_and_then_fixes(tmp_path):
    path = tmp_path / "old.py"
    path.write_text(
        "from transformers import TrainingArguments\nTrainingArguments('out', no_cuda=True)\n", encoding="utf-8"
    )
    shown = run("upgrade", path)
    assert shown.exit_code == 1
    assert "use_cpu=True" in shown.output
    assert "no_cuda" in path.read_text(encoding="utf-8")
    assert run("upgrade", path, "--fix").exit_code == 0
    assert "use_cpu=True" in path.read_text(encoding="utf-8")
    assert json.loads(run("upgrade", path, "--json").stdout)[0]["findings"] == []


def test_train_makes_a_run_and_refuses_to_overwrite_it(tmp_path):
    options = ["--out", tmp_path / "run", "--set", "train.epochs=null", "--set", "train.max_steps=2", "--json"]
    result = run("train", "faq", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 2
    again = run("train", "faq", *options)
    assert again.exit_code == 1
    assert "never overwritten" in str(again.exception)
