"""Fourteen subpackages in ten layers. Imports go down only, and in no circle."""

import ast
import graphlib
import re
from typing import get_args

import pytest

from ftlib.cli.group import COMMANDS
from ftlib.training.config import Engine
from tests.course import ROOT

FTLIB = ROOT / "ftlib"
# A layer may import from those below it. A subpackage may lie in two: its modules in the other one are named.
LAYERS = [
    {"cli"},
    {"chat", "hosted", "pretraining", "upgrade"},
    {"training"},
    {"evaluation"},
    {"compat", "export.page"},
    {"inference", "estimate", "export"},
    {"models"},
    {"text", "compat.api_changes", "compat.installed", "compat.meta_device", "compat.translate"},
    {"data"},
    {
        "argument_checks",
        "cache",
        "callable_package",
        "errors",
        "files",
        "spare_memory",
        "locales",
        "loopback",
        "muon",
        "nearest",
        "old_calls",
        "paths",
        "plots",
    },
]
# The package itself, and what it is made of: no part of ftlib imports them.
ENTRANCES = {"", "first_edition", "chat.__main__", "cli.__main__"}


def modules():
    """Return the path of each module by its name without ``ftlib.``; a package stands for its ``__init__``."""
    names = {path: ".".join(path.relative_to(FTLIB).with_suffix("").parts) for path in FTLIB.rglob("*.py")}
    return {name.removesuffix("__init__").removesuffix("."): path for path, name in names.items()}


MODULES = modules()


# What a name that is put together at run time can be.
PUT_TOGETHER = {
    "cli.group": {f"cli.{command}" for command in COMMANDS},
    "training.run": {f"training.{engine}" for engine in (*get_args(Engine), "trl_dpo", "trl_grpo")},
}
# Their import_module gets a name that its caller knows: of another package, or of the subpackage that can be called.
NAMED_BY_CALLERS = {"first_edition", "callable_package", "upgrade.installed"}


def imported(source, name=""):
    """Yield what a module imports of ftlib: by statement, and by a name in a string.

    What would hide an import is refused: a relative one, a name that a package offers instead of its module, an
    ``import_module`` under another name or of a name that isn't written out.
    """
    for node in ast.walk(ast.parse(source)):
        where = f"ftlib/{name.replace('.', '/')}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: a relative import"
            assert node.module != "importlib" or node.names[0].name != "import_module", f"{where}: import importlib"
            if node.module.partition(".")[0] == "ftlib":
                yield from (_home_of(node.module, one.name, where) for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] == "ftlib")
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            told = [*node.args, *(one.value for one in node.keywords if one.arg == "name")][0]
            first = told.values[0] if isinstance(told, ast.JoinedStr) else told
            written = isinstance(first, ast.Constant)
            assert written or name in NAMED_BY_CALLERS, f"{where}: {ast.unparse(told)} can be any module"
            if written and first.value.partition(".")[0] == "ftlib":
                assert told is first or name in PUT_TOGETHER, f"{where}: say in PUT_TOGETHER what it can be"
                yield from [first.value] if told is first else [f"ftlib.{one}" for one in PUT_TOGETHER[name]]


def _home_of(module, name, where):
    """Return the module that an import from ``module`` leads to."""
    if f"{module}.{name}".removeprefix("ftlib.") in MODULES:
        return f"{module}.{name}"
    path = MODULES[module.removeprefix("ftlib").removeprefix(".")]
    offered = path.name == "__init__.py" and path.with_suffix(".pyi").is_file() and name != "__version__"
    assert not offered, f"{where}: import {name} from its own module, not from {module}"
    return module


def arrows():
    """Yield every import of ftlib by ftlib: from which module to which."""
    for name, path in MODULES.items():
        for target in () if name in ENTRANCES else imported(path.read_text(encoding="utf-8"), name):
            below = target.removeprefix("ftlib").removeprefix(".")
            if below not in ("", name):
                yield name, below


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("import ftlib.models.loading as m", "ftlib.models.loading"),
        ("from ftlib import models", "ftlib.models"),
        ("from ftlib.models import loading", "ftlib.models.loading"),
        ("from ftlib.models.loading import load_model", "ftlib.models.loading"),
        ("importlib.import_module('ftlib.cli.train')", "ftlib.cli.train"),
        ("importlib.import_module(name='ftlib.cli')", "ftlib.cli"),
        ("__import__('ftlib.cli')", "ftlib.cli"),
        ("from ftlib import load_model", "refused"),
        ("from ftlib.models import load_model", "refused"),
        ("from .loading import load_model", "refused"),
        ("from importlib import import_module as find", "refused"),
        ("importlib.import_module(name)", "refused"),
        ("importlib.import_module(f'ftlib.{name}')", "refused"),
    ],
)
def test_no_import_is_overlooked(planted, found):
    if found == "refused":
        with pytest.raises(AssertionError):
            list(imported(planted))
    else:
        assert list(imported(planted)) == [found]


def layer(name):
    """Return the height of a module: that of its longest prefix with a layer."""
    names_of_path = name.split(".")
    for end in range(len(names_of_path), 0, -1):
        for height, names in enumerate(reversed(LAYERS)):
            if ".".join(names_of_path[:end]) in names:
                return height
    raise AssertionError(f"ftlib/{name.replace('.', '/')} has no layer: give it one in LAYERS")


def test_every_module_has_a_layer_and_every_layer_a_module():
    assert len(LAYERS) == 10
    for name in MODULES.keys() - ENTRANCES:
        layer(name)
    for name in set().union(*LAYERS):
        assert any(module == name or module.startswith(f"{name}.") for module in MODULES), f"{name}: no such module"


@pytest.mark.parametrize(("above", "below"), sorted(set(arrows())))
def test_imports_run_downwards(above, below):
    if above in ENTRANCES:
        return
    same_package = above.split(".")[0] == below.split(".")[0]
    on_the_ground = layer(above) == layer(below) == 0
    assert layer(above) > layer(below) or (layer(above) == layer(below) and (same_package or on_the_ground))


def test_nothing_imports_in_a_circle():
    graph = {}
    for above, below in arrows():
        if above not in ENTRANCES and below not in ENTRANCES:
            graph.setdefault(above, set()).add(below)
    graphlib.TopologicalSorter(graph).prepare()  # names the circle, if there is one


def test_contributing_draws_this_house():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = re.search(r"From the top:\n```\n(.*?)\n```", text, re.DOTALL)[1].split("\n")
    drawn = [set(re.split(r"\s+", line.partition("  # ")[0].strip())) for line in picture]
    assert drawn == LAYERS
    packages = [name for name, path in MODULES.items() if name and path.name == "__init__.py"]
    assert f"`ftlib/` has {len(packages)} subpackages in {len(LAYERS)} layers" in text


def test_the_readme_says_in_a_dozen_rows_what_each_subpackage_is_for():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.search(r"\| subpackage \|.*\n\|---\|---\|\n((?:\|.*\n)+)", text)[1].splitlines()
    assert len(rows) <= 12
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(name for name, path in MODULES.items() if name and path.name == "__init__.py")


def test_a_module_is_short_enough_to_read_in_one_sitting():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
