"""The command line where the locale is ASCII and Python isn't told otherwise."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftlib import cli
from ftlib.errors import DataError
from ftlib.locales import let_any_text_be_printed, typed
from ftlib.paths import nano_folder

C_LOCALE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
QUESTION = "Wie groß ist „Äquator“?"


def ftlib(*words, variables=None, **how):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | C_LOCALE
    environment |= variables or {}
    command = [sys.executable, "-m", "ftlib.cli", *(word.encode("utf-8", "surrogateescape") for word in words)]
    return subprocess.run(command, capture_output=True, env=environment, check=False, **how)


@pytest.fixture
def nano(tmp_path):
    """nano in a folder whose name every locale can read: the course's own may lie below another."""
    folder = tmp_path / "nano"
    folder.mkdir()
    for file in nano_folder().iterdir():
        (folder / file.name).symlink_to(file)
    return str(folder)


def test_prompts_of_the_command_line_and_of_standard_input_are_read_as_utf_8(nano):
    asked = ("generate", "--model", nano, "--max-new-tokens", "3", "--json")
    given = ftlib(*asked, QUESTION)
    assert given.returncode == 0, given.stderr
    assert json.loads(given.stdout)["rows"][0]["prompt"] == QUESTION
    piped = ftlib(*asked, input=f"{QUESTION}\n".encode())
    assert piped.stdout == given.stdout


@pytest.mark.parametrize(
    ("encoding", "bar", "words"),
    [(None, "█".encode(), "groß?".encode()), ("latin-1", b"#" * 40, b"gro\xdf?"), ("cp437", b"#" * 40, b"gro\xe1?")],
)
def test_a_summary_of_rows_is_printed_whatever_letters_there_are(encoding, bar, words, nano, tmp_path):
    row = '{"question": "Wie groß?", "answer": "3 m \u2013 ja."}\n'
    (tmp_path / "rows.jsonl").write_text(row, encoding="utf-8")
    variables = {"PYTHONIOENCODING": encoding} if encoding else {}
    done = ftlib("data", str(tmp_path / "rows.jsonl"), "--tokenizer", nano, "--show", "1", variables=variables)
    assert done.returncode == 0, done.stderr
    assert bar in done.stdout
    assert words in done.stdout
    assert (rb"\u2013" in done.stdout) == (encoding is not None)


def test_bytes_that_are_not_utf_8_are_named():
    with pytest.raises(DataError, match=r"'Gr\\udcf6sse': not UTF-8 text"):
        typed("Gr\udcf6sse")


@pytest.mark.skipif(sys.platform == "darwin", reason="the names of files are UTF-8 in every locale")
def test_a_folder_whose_name_the_locale_cannot_read_is_named_with_a_cure(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "f") + "ür mich".encode()))  # in whatever locale this test runs
    folder.mkdir()
    for file in nano_folder().iterdir():
        (folder / file.name).symlink_to(file)
    failed = ftlib("generate", "--model", str(folder), "Why?")
    assert failed.returncode == 1
    (line,) = failed.stderr.decode().splitlines()
    assert re.fullmatch(
        r"ftlib: '.*f\\udcc3\\udcbcr mich': its name holds bytes .* \(ascii\) lacks: set PYTHONUTF8=1 .*", line
    )
    mended = ftlib("generate", "--model", str(folder), "--max-new-tokens", "2", "Why?", variables={"PYTHONUTF8": "1"})
    assert mended.returncode == 0, mended.stderr


def test_a_name_that_a_library_refuses_is_explained():
    with pytest.raises(UnicodeEncodeError) as caught:
        "runs/r\udcc3\udcbcben".encode()
    status, message = cli._explained(caught.value)
    assert status == 1
    assert message.startswith(r"ftlib: 'runs/r\udcc3\udcbcben': its name holds bytes that the locale's encoding")
    assert (
        cli._explained(UnicodeEncodeError("ascii", "█", 0, 1, "ordinal not in range"))[1].count("did not expect") == 1
    )


@pytest.mark.parametrize(("encoding", "printed"), [("ascii", "█".encode()), ("latin-1", b"\\u2588")])
def test_only_streams_of_the_process_are_changed(encoding, printed, monkeypatch):
    own, other = io.TextIOWrapper(io.BytesIO(), encoding=encoding), io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "stderr", other)
    let_any_text_be_printed()
    own.write("█")
    own.flush()
    assert own.buffer.getvalue() == printed
