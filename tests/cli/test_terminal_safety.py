"""Text of strangers (rows, answers, names, code) is shown by a terminal, and never obeyed."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftlib import cli
from ftlib.chat.console import talk
from ftlib.chat.server import launch
from ftlib.chat.session import Progress
from ftlib.cli import progress
from ftlib.cli.check import Check
from ftlib.cli.data_output import print_summary
from ftlib.cli.evaluate import _run_file
from ftlib.cli.output import (
    print_comparison,
    print_doctor,
    print_estimate,
    print_evaluation,
    print_run,
    print_server,
    print_texts,
    print_upgrade,
)
from ftlib.cli.pretrain import pretrain
from ftlib.data.messages import assistant, user
from ftlib.errors import DataError, SkippedRowWarning
from ftlib.estimate.estimation import estimate
from ftlib.evaluation.comparison import compare, evaluate, side_by_side, write_json
from ftlib.locales import printable
from ftlib.models.chat_model import ChatModel
from ftlib.text.summary import summarize
from ftlib.text.templates import QUESTION_ANSWER
from ftlib.training.sft_testing import SftTest
from ftlib.upgrade import Finding, UpgradedFile
from tests.cli.test_output import SUMMARY

EVIL = [
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x9b2J",
    "\x9d52;c;ZXZpbA==\x9c",
    "\r",
    "\x08\x08\x08",
    "\x00",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\U000e0041",
    "\u2028",
    ":bug:",
    ":smiley:",
    "[red]",
    "[/red]",
    "[bold",
    "[link=http://evil.example]here[/link]",
    "[@click=app.bell]",
    "\\[",
    "\\",
]
TEXTS = st.lists(st.sampled_from(EVIL) | st.text("ab é日\n\t[]:\\", max_size=4), min_size=1, max_size=6).map("".join)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # what rich writes itself on a terminal
BAR = re.compile(r"\x1b\[\??[0-9;]*[mKAhl]|\r")  # the same, of a bar that it draws anew
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)


def evaluation_of(text):
    rows = [{"question": text or "?", "answer": text or "!"}, {"question": "Why?", "answer": "So."}]
    return evaluate({f"model {text}": lambda asked: [text] * len(asked), f"none {text}": f"not run: {text}"}, rows)


def show_evaluation(text):
    print_evaluation(evaluation_of(text), show=2)


def show_comparison(text):
    found = evaluation_of(text)
    print_comparison([Path(text.replace("\0", "")), Path("b")], compare(found, found), side_by_side(found, found))


def show_data(text):
    rows = [[user(text), assistant(text)], [user(text), assistant(text)]]
    print_summary(text, summarize(rows, format=text), rows)


def show_upgrade(text):
    findings = (Finding(1, text, text, "change", False), Finding(2, text, text, "note", False, 3))
    print_upgrade(
        [UpgradedFile(Path(text.replace("\0", "")), findings, f"--- {text}\n+++ {text}\n", error=text)], fix=True
    )


def show_skipped(text):
    with progress.reading(None):
        warnings.warn(text, SkippedRowWarning, stacklevel=1)
    with progress.counting(text) as told:
        told(1, 2, text)


def show_error(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "app", lambda **options: fail(DataError(text)))
        with pytest.raises(SystemExit):
            cli.main()


def show_warning(text, kind=SkippedRowWarning):
    with cli._plain_warnings():
        sys.stderr.write(warnings.formatwarning(kind(text), kind, "rows.py", 1))


def show_traceback(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ftlib", "--debug", "doctor"])
        patch.setattr("ftlib.cli.diagnosis.examine", lambda: fail(DataError(text)))
        with pytest.raises(SystemExit):
            cli.main()


def show_estimate(text):
    need = estimate("nano", batch_size=1, length=16)
    print_estimate(text, need, {"a card": True}, None, None)


def show_pretraining(text):
    for report in (None, {"held_out_loss_nats_per_token": 3.0}):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ftlib.pretraining.corpus.package_names", lambda file: [])
            patch.setattr("ftlib.pretraining.nano.make_nano", lambda *args, report=report, **options: report)
            place = Path(text.replace("\0", ""))
            pretrain(run_folder=place, out=place, packages=place, total_tokens=1, checkpoint_every=1)


def show_testing_file(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftlib.training.config.read_yaml", lambda config: {})
        done = SftTest(Path(text.replace("\0", "")), 1, {"bleu": 1.0})
        patch.setattr("ftlib.training.sft_testing.run_sft_test", lambda values, source: done)
        _run_file("test.yaml", as_json=False)


def show_page(text):
    page = SimpleNamespace(chat_models=[text, text], blocks=SimpleNamespace(close=lambda **options: None))
    stopped = SimpleNamespace(wait=lambda: fail(KeyboardInterrupt()))
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "ipykernel", raising=False)
        patch.setattr("ftlib.chat.server._page", lambda *args, **options: page)
        patch.setattr("ftlib.chat.server._start", lambda *args, **options: "http://127.0.0.1:1")
        patch.setattr("ftlib.chat.server.threading", SimpleNamespace(Event=lambda: stopped))
        launch()


def fail(error):
    raise error


def show_stream(text):
    from ftlib.cli import generate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftlib.inference.generation.stream", lambda *args, **options: iter([text, text]))
        generate._stream([text, text], (None, None), QUESTION_ANSWER, {})


def show_chat(text):
    lines = iter(["Why?", "/edit", f"/save nodir/{text.splitlines()[0] if text.splitlines() else ''}", "/quit"])
    step = Progress(text, 1, 1.0, 1, 9, 0, end="ended by the model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.input", lambda prompt: next(lines))
        patch.setattr("ftlib.chat.console.reply", lambda *args, **options: (one for one in [step]))
        talk(ChatModel(text, None, None, QUESTION_ANSWER))


SHOWN = {
    "data": show_data,
    "train": lambda text: print_run(text, SUMMARY),
    "generate": lambda text: print_texts([text, text], [text, text]),
    "generate --stream": show_stream,
    "evaluate": show_evaluation,
    "evaluate --compare": show_comparison,
    "upgrade": show_upgrade,
    "doctor": lambda text: print_doctor([Check(text, "broken", text, text), Check(text, "ok", text)]),
    "serve": lambda text: print_server("http://127.0.0.1:1/v1", text),
    "chat": show_chat,
    "skipped rows": show_skipped,
    "an error": show_error,
    "a warning": show_warning,
    "somebody else's warning": lambda text: show_warning(text, UserWarning),
    "a traceback": show_traceback,
    "estimate": show_estimate,
    "chat's page": show_page,
    "pretrain": show_pretraining,
    "evaluate FILE.yaml": show_testing_file,
}


@pytest.mark.parametrize("colours", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("command", SHOWN)
@given(text=TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15)
def test_nothing_printed_is_obeyed(command, colours, text, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "400")
        patch.setenv("FORCE_COLOR", "1") if colours else patch.delenv("FORCE_COLOR", raising=False)
        capsys.readouterr()
        SHOWN[command](text)
    shown = "".join(capsys.readouterr())
    own = BAR if colours and command == "skipped rows" else COLOURS
    assert not OBEYED.findall(own.sub("", shown))
    for word in (":bug:", ":smiley:"):
        if word in text:
            assert word in shown
    assert "🐛" not in shown


@pytest.mark.parametrize("command", SHOWN)
def test_what_is_obeyed_elsewhere_is_seen(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    SHOWN[command]("a[red]\x1b[2J:bug:[/red]")
    shown = "".join(capsys.readouterr())
    assert "a[red]\\x1b[2J:bug:[/red]" in shown


@given(text=st.text())
def test_ordinary_text_stays_as_it_is(text):
    shown = printable(text)
    assert not OBEYED.search(shown)
    if not OBEYED.search(text) and "\xad" not in text and not re.search("[\u180e\ufff9-\ufffb]", text):
        assert shown == text
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text", ["e\u0301", "नमस्ते", "\u0645\u06cc\u200c\u062e", "👩\u200d🔬", "a\tb\nc", "日本", "\xa0"]
)
def test_letters_of_every_language_are_shown(text):
    assert printable(text) == text


def test_line_ends_of_windows_are_line_ends():
    assert printable("a\r\nb\rc") == "a\nb\\rc"


# Each command as the command line runs it, one after the other, in one process: what each wrote ends with a zero.
CODE = """
import contextlib, json, sys
from ftlib.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["ftlib", *words]
    with contextlib.suppress(SystemExit):
        main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        stream.buffer.write(b"\\0")
        stream.flush()
"""
ROW = {"question": "Łódź → 日本 🐛?", "answer": "█ “So” — \x1b[2J …"}
COMMANDS = {
    "data": ["data", "rows.jsonl"],
    "data --json": ["data", "rows.jsonl", "--json"],
    "evaluate --compare": ["evaluate", "--compare", "found.json", "found.json"],
    "upgrade": ["upgrade", "old.py"],
    "an error": ["data", "other.jsonl"],
}


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "utf-8"])
def test_a_pipe_of_any_encoding_takes_every_letter(tmp_path, encoding):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    (tmp_path / "other.jsonl").write_text('{"日本": 1}\n', encoding="utf-8")
    (tmp_path / "old.py").write_text(
        f"from transformers import TrainingArguments\nTrainingArguments({ROW['question']!r}, no_cuda=True)\n",
        encoding="utf-8",
    )
    found = evaluate({"it": lambda asked: [ROW["answer"]] * len(asked)}, [ROW])
    write_json(found, tmp_path / "found.json")
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(COMMANDS.values()))],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    written = zip(done.stdout.split(b"\0")[:-1], done.stderr.split(b"\0")[:-1], strict=True)
    for command, (out, err) in zip(COMMANDS, written, strict=True):
        assert b"UnicodeEncodeError" not in err + out
        assert b"did not expect" not in err
        shown = (out + err).decode("utf-8" if encoding == "ascii" else encoding)  # as click takes it
        assert "\x1b" not in shown
        if command == "data --json":
            assert json.loads(out)["rows"] == 1
        else:
            assert re.search(r"日本|\\u65e5\\u672c", "".join(shown.split())), command
