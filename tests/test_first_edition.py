"""Notebooks of the first edition find every module where they knew it."""

import importlib.util
import pkgutil
import subprocess
import sys

import pytest

import ftlib
from ftlib.first_edition import MOVED, RENAMED, Moved


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_moved_module_is_found_and_says_where_it_is(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"ftlib.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"ftlib.{old} is ftlib.{MOVED[old]} since the second edition"):
        found = importlib.import_module(f"ftlib.{old}")
    now = importlib.import_module(f"ftlib.{MOVED[old]}")
    for name, value in vars(now).items():
        if not name.startswith("__"):
            assert getattr(found, name) is value


HOMES = {
    "chat.speaker": ["Speaker", "load_speaker"],
    "ledger": ["Ledger"],
    "measures": ["MEASURES"],
    "parts": ["PARTS", "Part", "PartCount", "part_of"],
    "pieces": ["pieces_of"],
    "records": ["Record", "read_records"],
    "skeleton": ["make_skeleton"],
    "training.sections": ["FrameSection"],
    "training.team": ["Team", "make_team"],
    "training.trial": ["Trial"],
}


def test_names_that_changed_are_found_under_the_old_ones(monkeypatch):
    assert sorted(name for names in HOMES.values() for name in names) == sorted(RENAMED)
    for module, names in HOMES.items():
        monkeypatch.delitem(sys.modules, f"ftlib.{module}", raising=False)
        with pytest.warns(DeprecationWarning, match="since the second edition"):
            found = importlib.import_module(f"ftlib.{module}")
        now = importlib.import_module(f"ftlib.{MOVED[module]}")
        for old in names:
            assert getattr(found, old) is getattr(now, RENAMED[old])


def test_no_module_of_today_has_a_name_of_then():
    today = {one.name.removeprefix("ftlib.") for one in pkgutil.walk_packages(ftlib.__path__, "ftlib.")}
    assert not today & MOVED.keys()


def test_what_was_never_there_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"ftlib\.nothing"):
        importlib.import_module("ftlib.nothing")


@pytest.mark.parametrize("name", sorted(name for name in MOVED if "." not in name))
def test_a_module_of_somebody_elses_is_not_taken_for_one_of_the_first_edition(name):
    spec = importlib.util.find_spec(name)
    assert spec is None or not isinstance(spec.loader, Moved)


@pytest.mark.parametrize("name", ["estimate", "inference"])
@pytest.mark.parametrize("first", ["import ftlib.{0}", "from ftlib.{0} import __doc__", "import ftlib"])
def test_a_package_that_is_a_function_too_can_be_called_after_any_import(name, first):
    code = f"{first.format(name)}; from ftlib import {name}; print(callable({name}), {name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"True ftlib.{name}\n"
