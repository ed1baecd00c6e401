"""The command line where the locale is ASCII and Python isn't told otherwise."""

import io
import os
import subprocess
import sys

import pytest

from ftlib.errors import DataError
from ftlib.locales import escape_what_cannot_be_written, typed

C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
QUESTION = "Wie groß ist „Äquator“?"


def ftlib(*words, **how):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | C_LOCALE
    command = [sys.executable, "-m", "ftlib.cli", *words]
    return subprocess.run(command, capture_output=True, env=environment, check=False, **how)


def test_prompts_of_the_command_line_and_of_standard_input_are_read_as_utf_8():
    asked = ("generate", "--model", "nano", "--max-new-tokens", "3", "--json")
    given = ftlib(*asked, QUESTION)
    assert given.returncode == 0, given.stderr
    piped = ftlib(*asked, input=f"{QUESTION}\n".encode())
    assert piped.stdout == given.stdout
    assert ascii(QUESTION).strip("'").encode() in given.stdout.replace(rb"\\", b"\\")


def test_a_summary_of_rows_prints_what_ascii_lacks(tmp_path):
    row = '{"question": "Wie gro\u00df?", "answer": "3 m \u2013 ja."}\n'
    (tmp_path / "rows.jsonl").write_text(row, encoding="utf-8")
    done = ftlib("data", str(tmp_path / "rows.jsonl"), "--show", "1")
    assert done.returncode == 0, done.stderr
    assert b"#" * 40 in done.stdout  # the bar of the histogram
    assert rb"gro\xdf?" in done.stdout


def test_bytes_that_are_not_utf_8_are_named():
    with pytest.raises(DataError, match=r"'Gr\\\\udcf6sse': not UTF-8 text"):
        typed("Gr\udcf6sse")


def test_only_streams_of_the_process_are_changed(monkeypatch):
    own, other = io.TextIOWrapper(io.BytesIO(), encoding="ascii"), io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "stderr", other)
    escape_what_cannot_be_written()
    own.write("█\n")
    own.flush()
    assert own.buffer.getvalue() == b"\\u2588\n"
