"""Files and folders: what is read, what is written, and what can't be."""

import json
import subprocess
import sys

import pytest

from ftlib.upgrade import run_upgrade, upgrade_path, upgrade_source
from tests.upgrade.upgrading import IMPORTS, findings


def test_files_are_written_with_fix_only_and_keep_newlines_and_mode(tmp_path):
    file = tmp_path / "a.py"
    file.write_bytes(IMPORTS.replace("\n", "\r\n").encode() + b"TrainingArguments(no_cuda=True)\r\nx = 1\r\n")
    file.chmod(0o755)
    before = file.read_bytes()
    (report,) = upgrade_path(file)
    assert (file.read_bytes(), report.written, report.needs_attention) == (before, False, True)
    (report,) = upgrade_path(file, fix=True)
    assert file.read_bytes() == before.replace(b"no_cuda", b"use_cpu")
    assert (report.written, report.needs_attention) == (True, False)
    assert file.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in tmp_path.iterdir()] == ["a.py"]
    assert run_upgrade([file])[1] == 0


def test_the_encoding_cookie_is_obeyed(tmp_path):
    file = tmp_path / "a.py"
    code = f"# -*- coding: latin-1 -*-\n{IMPORTS}TrainingArguments('Übung', no_cuda=True)\n"
    file.write_bytes(code.encode("latin-1"))
    assert next(upgrade_path(file, fix=True)).written
    assert file.read_bytes() == code.replace("no_cuda", "use_cpu").encode("latin-1")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.py").write_text(IMPORTS + "TrainingArguments(no_cuda=True)", encoding="utf-8")
    (tmp_path / "link.py").symlink_to("real.py")
    next(upgrade_path(tmp_path / "link.py", fix=True))
    assert (tmp_path / "link.py").is_symlink()
    assert "use_cpu" in (tmp_path / "real.py").read_text(encoding="utf-8")


def test_a_folder_is_walked_without_environments_and_unreadable_files_are_named(tmp_path):
    for name in ("a.py", "sub/b.py", ".venv/c.py", ".ipynb_checkpoints/d.py", "env/lib/e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(IMPORTS + "Trainer(tokenizer=t)\n", encoding="utf-8")
    (tmp_path / "env/pyvenv.cfg").write_text("", encoding="utf-8")
    (tmp_path / "bad.py").write_bytes(b"# \xff\xfe transformers\n")
    (tmp_path / "bad.ipynb").write_text("{", encoding="utf-8")
    reports, status = run_upgrade([tmp_path], fix=True)
    assert [report.path.name for report in reports] == ["a.py", "bad.ipynb", "bad.py", "b.py"]
    assert [bool(report.error) for report in reports] == [False, True, True, False]
    assert status == 1
    assert "processing_class" in (tmp_path / "sub/b.py").read_text(encoding="utf-8")
    assert "tokenizer=" in (tmp_path / ".venv/c.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "said"), [("nothing.py", "No such file"), ("a.txt", "ends in .py or .ipynb"), ("", "no file")]
)
def test_a_path_that_can_not_be_read_is_an_error_with_a_reason(tmp_path, name, said):
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    reports, status = run_upgrade([tmp_path / name])
    assert said in reports[0].error
    assert status == 1


def test_what_does_not_parse_is_reported_and_left_alone():
    code = IMPORTS + "print 'Python 2'\n"
    upgraded = upgrade_source(code)
    assert upgraded.code == code
    assert findings(code) == [(2, "not parsed", "decide")]


OLD = "from transformers import TrainingArguments\nTrainingArguments('o', no_cuda=True)\n"


def notebook(**cell):
    return json.dumps({"cells": [{"cell_type": "code", "source": OLD} | cell], "metadata": {}})


NESTS = {
    "brackets": lambda depth: "(" * depth + "1" + ")" * depth,
    "text": lambda depth: "f'{" + "(" * depth + "1" + ")" * depth + "}'",
    "calls": lambda depth: "f(" * depth + ")" * depth,
    "signs": lambda depth: "-" * depth + "1",
    "nots": lambda depth: "not " * depth + "1",
    "lambdas": lambda depth: "lambda: " * depth + "1",
    "choices": lambda depth: "1 if 1 else " * depth + "1",
    "powers": lambda depth: "1**" * depth + "1",
    "sums": lambda depth: "1+" * depth + "1",
    "attributes": lambda depth: "a" + ".b" * depth,
    "indices": lambda depth: "a" + "[0]" * depth,
}

IN_NOTEBOOKS = ("brackets", "indices")  # one that Python itself refuses, and one that is only too much for its stack


def test_code_that_no_parser_can_hold_ends_no_process(tmp_path):
    """The parser is native code: what is nested too deeply for it ends the process, with the reports of other files."""
    for kind, nest in NESTS.items():
        for depth in (50, 150, 1_000, 20_000):
            code = f"{OLD}x = {nest(depth)}\n"
            (tmp_path / f"{kind}_{depth}.py").write_text(code, encoding="utf-8")
            if kind in IN_NOTEBOOKS:
                (tmp_path / f"{kind}_{depth}.ipynb").write_text(notebook(source=code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ftlib.cli", "upgrade", str(tmp_path), "--json"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stderr[-500:]
    reports = json.loads(done.stdout)
    assert len(reports) == 4 * len([*NESTS, *IN_NOTEBOOKS])
    assert all(report["findings"] or "nested too deeply" in report["error"] for report in reports)
    assert all(report["findings"] for report in reports if "_50." in report["path"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (notebook(source=3), "source of cell 1 is no text"),
        (notebook(source=[1, None]), "source of cell 1 is no text"),
        (notebook(source={"a": 1}), "source of cell 1 is no text"),
        (notebook(source="\ud83d"), "cell 1 holds half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"cells": [], "x": %s}' % ("9" * 5000), "no notebook"),
    ],
)
def test_a_broken_notebook_costs_no_other_reports(tmp_path, text, told):
    (tmp_path / "a.ipynb").write_text(text, encoding="utf-8")
    (tmp_path / "b.py").write_text(OLD, encoding="utf-8")
    first, second = upgrade_path(tmp_path)
    assert told in first.error
    assert second.findings


@pytest.mark.parametrize("metadata", [None, [], {"language_info": None}, {"language_info": {"name": None}}])
def test_odd_metadata_ends_nothing(tmp_path, metadata):
    text = json.dumps({"metadata": metadata, "cells": [{"source": "x"}, {"cell_type": "code", "source": OLD}]})
    (tmp_path / "a.ipynb").write_text(text, encoding="utf-8")
    (report,) = upgrade_path(tmp_path)
    assert report.findings or "its language is" in report.error


def test_a_byte_order_mark_before_a_notebook_stays(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(notebook(), encoding="utf-8-sig")
    (report,) = upgrade_path(path, fix=True)
    assert report.written
    assert path.read_bytes() == notebook().replace("no_cuda", "use_cpu").encode("utf-8-sig")


@pytest.mark.parametrize("name", ["run.yaml", "run.yml", "args.json", "pyproject.toml"])
def test_a_file_of_settings_is_told_what_to_do(tmp_path, name):
    (tmp_path / name).write_text("evaluation_strategy: steps\n", encoding="utf-8")
    (report,) = upgrade_path(tmp_path / name)
    assert "write them as a call, such as SFTConfig(...), in a script" in report.error
