"""What holds for every command: its help, its errors, completion, and the listings made from the help."""

import importlib
import inspect
import re
import shlex
import sys
import warnings

import pytest
import typer
from typer.testing import CliRunner

from book.generators.command_help import current, help_of, main
from ftlib import cli
from ftlib.cli.group import COMMANDS, load_command
from ftlib.errors import DataError, TruncationWarning
from tests.course import ROOT

NAMES = list(COMMANDS)


def start(monkeypatch, capsys, *arguments):
    """Run the command line as its script does; return status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["ftlib", *map(str, arguments)])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    shown = capsys.readouterr()
    return ending.value.code, shown.out, shown.err


def complete(*words):
    """Return what the shell would offer for the last of these words."""
    variables = {"_FTLIB_COMPLETE": "complete_bash", "COMP_WORDS": shlex.join(["ftlib", *words])}
    if not words[-1]:
        variables["COMP_WORDS"] = shlex.join(["ftlib", *words[:-1]]) + " "
    variables["COMP_CWORD"] = str(len(words))
    return CliRunner().invoke(cli.app, [], prog_name="ftlib", env=variables).stdout.split()


def test_without_a_command_the_help_is_shown(monkeypatch, capsys):
    status, shown, _ = start(monkeypatch, capsys)
    assert status == 0
    assert all(f"\n  {name} " in shown for name in NAMES)
    assert start(monkeypatch, capsys, "-h")[1] == shown
    assert start(monkeypatch, capsys, "--version")[1].startswith("ftlib 0.")


@pytest.mark.parametrize("name", NAMES)
def test_help_has_the_summary_of_the_table_examples_and_statuses(name):
    shown = help_of(name)
    summary = inspect.getdoc(getattr(importlib.import_module(f"ftlib.cli.{name}"), name)).splitlines()[0]
    assert summary == COMMANDS[name]
    usage, examples, statuses = re.fullmatch(r"(.*)\nExamples:\n(.*)\nExit status:\n(.*)", shown, flags=re.S).groups()
    assert f"ftlib {name}" in usage
    assert f" {name}" in examples
    assert re.findall(r"^  (\d+) +\w", statuses, flags=re.M) == ["0", "1", "2", "130"]
    assert "--debug" in usage
    too_long = [line for line in usage.splitlines() if len(line) > 70]
    assert not too_long


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_understood(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.txt").write_text("Why?\n", encoding="utf-8")
    for example in load_command(name).examples:
        words = shlex.split(example.replace("\\\n", "").rpartition("| ")[2])
        group = typer.main.get_command(cli.app)
        context = group.make_context("ftlib", words[words.index(name) :])
        command = group.get_command(context, name)
        command.make_context(name, words[words.index(name) + 1 :], parent=context).close()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["dat"], "ftlib: no such command 'dat', did you mean 'data'? (see ftlib --help)\n"),
        (["train"], "ftlib train: Missing argument 'CONFIG' (see ftlib train --help)\n"),
        (["data", "faq", "--show", "-1"], "ftlib data: Invalid value for '--show'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_two(arguments, error, monkeypatch, capsys):
    status, _, said = start(monkeypatch, capsys, *arguments)
    assert status == 2
    assert said.startswith(error)
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "data", "none.jsonl"], ["data", "none.jsonl", "--debug"]])
def test_debug_shows_the_traceback_above_the_line(arguments, monkeypatch, capsys):
    status, _, said = start(monkeypatch, capsys, *arguments)
    assert status == 1
    assert said.startswith("Traceback")
    assert said.splitlines()[-1].startswith("ftlib: none.jsonl: no such file")
    assert start(monkeypatch, capsys, "data", "none.jsonl")[2] == said.splitlines()[-1] + "\n"


def test_what_nobody_expected_is_one_line_too(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("the disk\nis gone")

    monkeypatch.setattr("ftlib.upgrade.run_upgrade", fail)
    status, _, said = start(monkeypatch, capsys, "upgrade", "file.py")
    assert status == 1
    assert said.count("\n") == 1
    assert "RuntimeError: the disk is gone" in said
    assert "--debug" in said


def test_a_file_that_cannot_be_written_is_named(monkeypatch, capsys):
    def fail(*_, **__):
        raise PermissionError(13, "Permission denied", "old.py")

    monkeypatch.setattr("ftlib.upgrade.run_upgrade", fail)
    assert start(monkeypatch, capsys, "upgrade", "old.py")[::2] == (1, "ftlib: old.py: Permission denied\n")


def test_a_warning_of_the_library_is_one_line(tmp_path, monkeypatch, capsys):
    def warn(*_, **__):
        warnings.warn("3 rows are longer", TruncationWarning, stacklevel=1)
        return [], 0

    monkeypatch.setattr("ftlib.upgrade.run_upgrade", warn)
    usual = warnings.formatwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *told: sys.stderr.write(warnings.formatwarning(*told[:4]))
        assert start(monkeypatch, capsys, "upgrade", "file.py")[2] == "ftlib: 3 rows are longer\n"
    assert warnings.formatwarning is usual


def test_a_missing_package_comes_with_its_install_command(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "ftlib.estimate.cards", raising=False)
    status, _, said = start(monkeypatch, capsys, "estimate", "nano")
    assert status == 1
    assert said == (
        "ftlib: this command needs the package 'transformers': install it with pip install 'ftlib[train]'\n"
    )


def test_the_shell_completes_commands_and_options():
    assert complete("") == NAMES
    assert complete("es") == ["estimate"]
    assert "--resume" in complete("train", "faq", "--re")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("train", "fa"), ["faq", "faq_notes", "faq_tutorial"]),
        (("train", "faq", "--engine", "l"), ["loop", "lightning"]),
        (("data", "f"), ["faq"]),
        (("data", "faq", "--format", "sha"), ["sharegpt"]),
        (("data", "faq", "--convert", "op"), ["openai"]),
        (("data", "faq", "--template", "ch"), ["chatml"]),
        (("estimate", "EleutherAI/pythia-1."), ["EleutherAI/pythia-1.4b"]),
        (("estimate", "nano", "--optimizer", "ad"), ["adamw", "adafactor"]),
        (("generate", "--model", "na"), ["nano"]),
    ],
)
def test_the_shell_completes_names(words, found):
    assert complete(*words) == found


def test_completion_offers_only_what_the_command_takes():
    """``openorca`` can be read and not written, and a testing file is nothing to train from."""
    assert "openorca" in complete("data", "faq", "--format", "op")
    assert "openorca" not in complete("data", "faq", "--convert", "op")
    assert "sft_freezing_train" in complete("train", "sft")
    assert "sft_freezing_test" not in complete("train", "sft")


def test_completion_offers_runs(tmp_path, monkeypatch):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.yaml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert complete("generate", "--model", "runs/") == ["runs/mine"]


def test_completion_can_be_installed(tmp_path, monkeypatch):
    # typer would ask which shell started this process, and there needn't be one.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    for shell in ("bash", "zsh", "fish"):
        result = CliRunner().invoke(cli.app, ["--show-completion", shell], prog_name="ftlib")
        assert "_FTLIB_COMPLETE" in result.stdout
    home = {"HOME": str(tmp_path), "SHELL": "/bin/bash"}
    result = CliRunner().invoke(cli.app, ["--install-completion", "bash"], prog_name="ftlib", env=home)
    assert result.exit_code == 0, result.output
    assert "_FTLIB_COMPLETE" in (tmp_path / ".bash_completions" / "ftlib.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "book/commands.md"])
def test_the_listing_of_a_page_is_that_of_today(page):
    assert current(ROOT / page) == (ROOT / page).read_text(encoding="utf-8"), (
        f"run: python -m book.generators.command_help {page}"
    )


def test_a_listing_is_renewed(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- overview: begin -->\nold\n<!-- overview: end -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["listing", str(page)])
    main()
    renewed = page.read_text(encoding="utf-8")
    assert renewed.startswith("before\n<!--")
    assert renewed.endswith("-->\nafter\n")
    assert "old" not in renewed
    assert "$ ftlib --help\nUsage: ftlib [OPTIONS]" in renewed


def test_a_page_without_a_listing_is_an_error(tmp_path):
    (tmp_path / "page.md").write_text("nothing", encoding="utf-8")
    with pytest.raises(DataError, match=r"page\.md: the marker <!-- overview: begin --> stands there 0 times"):
        current(tmp_path / "page.md")


def test_a_mistyped_test_file_is_told_which_one_was_meant(monkeypatch, capsys):
    status, _, said = start(monkeypatch, capsys, "evaluate", "sft_freezing_tst")
    assert status == 1
    assert "Did you mean 'sft_freezing_test'?" in said


@pytest.mark.parametrize("options", [["--device", "cud"], ["--seed", "9" * 30], ["--temperature", "inf"]])
def test_what_no_machine_can_do_is_no_surprise(options, monkeypatch, capsys):
    status, _, said = start(monkeypatch, capsys, "generate", "hi", *options)
    assert status == 1
    assert said.startswith("ftlib: ")
    assert "did not expect" not in said
