"""Thirteen subpackages in ten layers. Imports go down only, and in no circle."""

import ast
import graphlib
import re

import pytest

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
        "muon",
        "nearest",
        "paths",
        "plots",
    },
]
# The package itself, and what it is made of: no part of ftlib imports them.
ENTRANCES = {"", "first_edition", "chat.__main__"}


def modules():
    """Return the path of each module by its name without ``ftlib.``; a package stands for its ``__init__``."""
    names = {path: ".".join(path.relative_to(FTLIB).with_suffix("").parts) for path in FTLIB.rglob("*.py")}
    return {name.removesuffix("__init__").removesuffix("."): path for path, name in names.items()}


MODULES = modules()


def imported(path):
    """Yield what a file imports of ftlib: by statement, ``from ftlib import x`` too, and by the name in a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ftlib":
            for one in node.names:
                whole = f"{node.module}.{one.name}"
                yield whole if whole.removeprefix("ftlib.") in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            yield re.sub(r"\.?\{.*", "", ast.unparse(node.args[0]).strip("f'\""))


def arrows():
    """Yield every import of ftlib by ftlib: from which module to which."""
    for name, path in MODULES.items():
        for target in imported(path):
            below = target.removeprefix("ftlib").removeprefix(".")
            if target.partition(".")[0] == "ftlib" and below not in ("", name):
                yield name, below


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


def test_a_module_is_short_enough_to_read_in_one_sitting():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
