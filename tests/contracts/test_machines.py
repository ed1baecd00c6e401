"""What ``make machines`` is made of; the variants themselves run apart."""

import codecs
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

from tests import machines
from tests.course import ROOT
from tests.variants import C_LOCALE, VARIANTS, Variant, busy_loop, copy_course, course_files, machine, taken

TESTS = """
import pytest

def test_passes(): pass
def test_fails(): assert False
@pytest.mark.skip
def test_is_skipped(): pass
"""

checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a copy without git's own folder")


def seen(where, code):
    command = [*where.prefix, str(where.python), "-c", code]
    return subprocess.run(
        command, cwd=where.folder, env=where.variables, capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()


def a_run(where, code, tmp_path, monkeypatch):
    (tmp_path / "test_some.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(machines, "arguments", lambda *_: ["-c", os.devnull, str(tmp_path / "test_some.py")])
    monkeypatch.setattr(machines, "ROOT", tmp_path)
    return machines.run(where, machines.LIBRARY, tmp_path / "run.log")


def test_the_library_is_tested_as_by_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    given = machines.arguments(machines.LIBRARY, VARIANTS["threads-1"])
    assert '-m "not book" --numprocesses $$1 --dist worksteal --durations 5\n' in makefile
    assert given == ["-m", "not book", "--numprocesses", "1", "--dist", "worksteal", "--durations", "5"]


def test_outcomes_are_counted_and_failures_named(tmp_path, monkeypatch):
    with machine(Variant("twice", runs=2)) as where:
        result = a_run(where, TESTS, tmp_path, monkeypatch)
    assert {kind: result[kind] for kind in machines.COUNTS} == {"passed": 2, "failed": 2, "skipped": 2}
    assert result["failures"] == ["test_some::test_fails"]


@pytest.mark.parametrize("code", ["import no_such_module", "import os; os._exit(9)", ""])
def test_a_run_that_ends_early_has_failed(code, tmp_path, monkeypatch):
    with machine(Variant("as it is")) as where:
        result = a_run(where, code, tmp_path, monkeypatch)
    assert result["failed"] == 1 == len(result["failures"])


@checkout
def test_only_what_is_missing_of_the_same_course_runs(tmp_path, monkeypatch):
    kept = machines.Kept(tmp_path / "results.json")
    kept.add("path", "library", {"passed": 1})
    again = machines.Kept(tmp_path / "results.json")
    assert machines.missing(again, "path", ["library", "chapters/one.ipynb"]) == ["chapters/one.ipynb"]
    monkeypatch.setattr(machines, "course_files", lambda: course_files()[1:])
    assert machines.Kept(tmp_path / "results.json").results == {}


@checkout
def test_a_copy_is_a_checkout_with_an_environment_of_its_own(tmp_path):
    name = VARIANTS["path"].folder if sys.getfilesystemencoding() == "utf-8" else VARIANTS["foreign"].folder
    folder, python = copy_course(tmp_path / name)
    code = "import ftlib, rich, sys; print(ascii([ftlib.__file__, sys.prefix]))"
    done = subprocess.run([str(python), "-c", code], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == ascii([str(folder / "ftlib/__init__.py"), str(folder / ".venv")])
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    assert sorted(filter(None, tracked.stdout.split("\0"))) == course_files()


def test_locale_and_time_zone_are_in_force():
    with machine(VARIANTS["foreign"]._replace(folder="")) as where:
        code = "import json, locale, sys, time; s = time.localtime(1_700_000_000); "
        code += (
            "print(json.dumps([sys.flags.utf8_mode, locale.getpreferredencoding(False), time.strftime('%d %H:%M', s)]))"
        )
        utf8_mode, encoding, clock = json.loads(seen(where, code))
        assert (utf8_mode, codecs.lookup(encoding).name, clock) == (0, "ascii", "15 11:58")
    assert set(C_LOCALE.items()) <= set(VARIANTS["lang-c"].variables.items())


def test_processors_are_held_to_older_instructions():
    with machine(VARIANTS["default-isa"]) as where:
        assert seen(where, "import torch; print(torch.backends.cpu.get_cpu_capability())") == "DEFAULT"


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="only root can start processes of another user, by setpriv",
)
def test_another_user_can_write_in_the_course_and_not_in_the_home():
    with machine(VARIANTS["not-root"]._replace(folder="")) as where:
        code = "import os; h = os.path.expanduser('~'); print(os.getuid(), os.path.isdir(h), os.access(h, os.W_OK))"
        uid, there, writable = seen(where, code).split()
    assert (uid != "0", there, writable) == (True, "True", "False")


def test_a_port_is_taken_and_given_back():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with taken(port), taken(port), socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_a_busy_loop_ends_with_the_block():
    with busy_loop() as process:
        assert process.poll() is None
    assert process.poll() is not None
    assert sys.executable in process.args
