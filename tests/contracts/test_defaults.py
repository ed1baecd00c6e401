"""No default and no public value of the library is the state of the machine: the API page shows them to everybody.

Two ways, since neither sees everything: what is evaluated at import is read in the source (a count of processors is a
number like another), and what came of it is looked at (a path may come from a private name).
"""

import ast
import dataclasses
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import ftlib
from tests.course import ROOT
from tests.published import machine_traces, traces

SOURCES = sorted(ROOT.glob("ftlib/**/*.py"))
# A module that is asked for what is true of one machine or one moment only; and what others are asked for.
MODULES_OF_STATE = {"getpass", "platform", "psutil", "secrets", "socket", "tempfile", "uuid"}
STATE = {
    *(
        "argv",
        "cpu_count",
        "cuda",
        "cwd",
        "device_count",
        "environ",
        "environb",
        "executable",
        "expanduser",
        "expandvars",
    ),
    *("get_num_threads", "get_terminal_size", "getaffinity", "getcwd", "getenv", "getfqdn", "gethostname", "getlogin"),
    *("getpid", "getuid", "getuser", "home", "is_available", "localtime", "monotonic", "now", "perf_counter"),
    *("process_cpu_count", "sched_getaffinity", "time_ns", "today", "uname", "urandom", "utcnow"),
}


def imported():
    for found in pkgutil.walk_packages(ftlib.__path__, "ftlib."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def at_import(statements):
    """Yield the expressions that are evaluated when a module is imported, and kept: defaults, and values of names."""
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from filter(None, [*statement.args.defaults, *statement.args.kw_defaults])
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            yield from filter(None, [statement.value])
        else:  # a class, a condition, an attempt
            yield from at_import(child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt))


def asks_the_machine(source):
    """Return what a module asks of the machine for a default or a value, with the lines."""
    tree, found = ast.parse(source), []
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = {alias.asname or alias.name: f"{one.module}.{alias.name}" for one in imports for alias in one.names}
    for node in (node for expression in at_import(tree.body) for node in ast.walk(expression)):
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id in named):
            root, *_, name = named.get(ast.unparse(node), ast.unparse(node)).split(".")
            if name in STATE or root in MODULES_OF_STATE or (root, name) == ("time", "time"):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def state_in(value, depth=4):
    """Return what there is of the machine in a value; nothing if it would be the same on any other."""
    if isinstance(value, Path | str | bytes):
        is_place = isinstance(value, Path) and value.is_absolute()
        found = traces(str(value), machine_traces())
        return "an absolute path" if is_place else found[0] if found else ""
    if isinstance(value, Mapping):
        if any(isinstance(key, str) and os.environ.get(key) == one for key, one in value.items()):
            return "variables of the environment"
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:
        parts = list(dict(value).values()) if isinstance(value, BaseModel) else []
    return next(filter(None, (state_in(part, depth - 1) for part in parts)), "") if depth else ""


def defaults(thing):
    """Yield the defaults of a function, or of a class: its methods, fields and attributes, inherited ones included."""
    if inspect.isroutine(thing):
        for parameter in inspect.signature(thing).parameters.values():
            yield parameter.name, parameter.default
        return
    for field in getattr(thing, "__dataclass_fields__", {}).values():
        yield field.name, field.default
    for name, field in getattr(thing, "model_fields", {}).items():
        yield name, None if field.default is PydanticUndefined else field.default
    for name, member in vars(thing).items():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if inspect.isfunction(member):
            yield from ((f"{name}({parameter})", default) for parameter, default in defaults(member))
        elif not name.startswith("_"):
            yield name, member


def published(module):
    """Yield names and values of what a page on a module may show: its public values, and the defaults of the rest."""
    for name, thing in vars(module).items():
        if name.startswith("_") or inspect.ismodule(thing):
            continue
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing
        elif thing.__module__ == module.__name__:
            yield from ((f"{name}({field})", default) for field, default in defaults(thing))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "ftlib")))
def test_nothing_is_asked_of_the_machine_at_import(path):
    assert asks_the_machine(path.read_text(encoding="utf-8")) == []


def test_no_default_and_no_public_value_holds_the_machine():
    seen = {f"{module.__name__}.{name}": state_in(value) for module in imported() for name, value in published(module)}
    assert len(seen) > 500
    assert {name: found for name, found in seen.items() if found} == {}


BAD = """
import os, socket, sys, tempfile, time
from dataclasses import dataclass, field
from datetime import datetime
from os import cpu_count as processors
from pathlib import Path
from typing import NamedTuple
from pydantic import BaseModel, Field

_HERE = Path(__file__).resolve().parent
HERE = _HERE
PLACES = {"assets": [_HERE / "assets"]}

def environment(variables=os.environ): ...
def copied(*, variables=dict(os.environ)): ...
def folder(path=Path.cwd(), *, home=str(Path.home())): ...
def derived(path=str(_HERE)): ...
def workers(count=processors(), other=lambda: os.cpu_count()): ...
async def started(at=time.time(), day=datetime.now()): ...

class ChatModel:
    place = sys.executable
    if sys.platform == "linux":
        def say(self, host=socket.gethostname(), *, folder=tempfile.gettempdir()): ...

@dataclass
class Job:
    folder: Path = _HERE
    key: str = os.environ.get("FTLIB_CANARY_KEY", "")
    made: str = field(default_factory=os.getcwd)

class Model(BaseModel):
    folder: str = Field(str(_HERE), min_length=1)

class Row(NamedTuple):
    key: str = os.getenv("FTLIB_CANARY_KEY")
"""


@pytest.fixture
def bad(tmp_path, monkeypatch):
    monkeypatch.setenv("FTLIB_CANARY_KEY", "canary7d1f0c9e52b84a36")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "planted_defaults.py").write_text(BAD, encoding="utf-8")
    yield importlib.import_module("planted_defaults")
    del sys.modules["planted_defaults"]


def test_planted_values_are_found(bad, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.published.ROOT", tmp_path)
    found = {name: state_in(value) for name, value in published(bad)}
    assert {name for name, what in found.items() if what} >= {
        "HERE",
        "PLACES",
        "environment(variables)",
        "copied(variables)",
        "folder(path)",
        "folder(home)",
        "derived(path)",
        "ChatModel(place)",
        "Job(folder)",
        "Job(key)",
        "Model(folder)",
        "Row(__new__(key))",
    }
    assert found["environment(variables)"] == "variables of the environment"
    assert found["Job(key)"] == "the value of FTLIB_CANARY_KEY"
    assert found["workers(count)"] == ""  # a number like another: that is what the source is read for


def test_planted_questions_are_found():
    found = " ".join(asks_the_machine(BAD))
    for asked in (
        "os.environ",
        "Path.cwd",
        "Path.home",
        "processors",
        "os.cpu_count",
        "time.time",
        "datetime.now",
        "sys.executable",
        "socket.gethostname",
        "tempfile.gettempdir",
        "os.getcwd",
        "os.getenv",
    ):
        assert f" {asked}" in found, asked


def test_what_is_asked_when_a_function_runs_is_nobodys_default():
    source = "import os\ndef f(folder=None):\n    here = folder or os.getcwd()\n    return os.environ, here\n"
    assert asks_the_machine(source) == []
