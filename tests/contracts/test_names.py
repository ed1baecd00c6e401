"""One public name, one meaning: no two modules of the library define the same one."""

import ast
from collections import defaultdict

from ftlib.cli.group import COMMANDS
from tests.contracts.test_house import MODULES

# Names that several modules define, and why they may.
ALLOWED = {
    "Array": "numpy's array of any type, short for the annotations of one subpackage",
    "EXAMPLES": "each command's own, which its help ends with",
    "FIELDS": "each file's own: what its rows hold",
    "STATUSES": "each command's own, which its help ends with",
    "main": "where a process begins",
    "run": "what each engine offers to whoever trains",
}


def defined(source):
    """Yield the public names that a module defines at its top: functions, classes, constants, types."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [one.id for target in targets if target for one in ast.walk(target) if isinstance(one, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))


def places():
    """Return the modules that define each name; a command is called as the function that it calls."""
    found = defaultdict(set)
    for module, path in MODULES.items():
        for name in defined(path.read_text(encoding="utf-8")):
            if not (name in COMMANDS and module == f"cli.{name}"):
                found[name].add(module)
    return found


def test_a_definition_is_not_overlooked():
    assert list(defined("A, b = 1, 2\nC: int = 3\nclass D: ...\ndef e(): ...\n_f = 4\nif b: g = 5")) == [*"AbCDe"]


def test_no_public_name_is_defined_in_two_modules():
    twice = {name: sorted(modules) for name, modules in places().items() if len(modules) > 1}
    new = {name: modules for name, modules in twice.items() if name not in ALLOWED}
    assert new == {}, "call one of them something else, or take one from the other's module"
    assert set(ALLOWED) <= set(twice), "no longer met twice: take it from ALLOWED"
