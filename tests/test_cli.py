import sys

import pytest
from typer.testing import CliRunner

from ftlib import cli


def test_help_names_the_commands():
    result = CliRunner().invoke(cli.app, ["pretrain", "--help"])
    assert result.exit_code == 0
    assert "--run-folder" in result.output


def test_pretrain_stops_and_says_how_to_go_on(tmp_path):
    (tmp_path / "packages.txt").write_text("jsonlines==4.0.0\n")
    options = [
        "--run-folder",
        str(tmp_path / "run"),
        "--out",
        str(tmp_path / "out"),
        "--packages",
        str(tmp_path / "packages.txt"),
    ]
    import ftlib.corpus

    original = ftlib.corpus.STANDARD_LIBRARY
    try:
        ftlib.corpus.STANDARD_LIBRARY = "typer"  # the real one takes half a minute to read
        result = CliRunner().invoke(cli.app, ["pretrain", *options, "--stop-after-steps", "0"])
    finally:
        ftlib.corpus.STANDARD_LIBRARY = original
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
