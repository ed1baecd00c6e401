"""Finds assertions that hang on a clock: follows measured times and rates through a piece of code, by names.

The code is read in its order and never run. What a name holds is clean, measured, or a record of which only some keys
are measured: a table may show a column of times beside columns that an assertion relies on. Where that can't be told,
a name counts as measured.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import ChainMap
from collections.abc import Iterable
from dataclasses import dataclass, replace

CLOCKS = {"perf_counter", "monotonic", "process_time", "thread_time", "clock_gettime", "getrusage", "elapsed_time"}
CLOCKS |= {f"{name}_ns" for name in CLOCKS}
CLOCKS |= {"timeit", "timeit.repeat", "default_timer", "run_line_magic", "time.time", "time.time_ns", "os.times"}
CLOCKS |= {"datetime.now", "datetime.utcnow", "datetime.today", "Timestamp.now"}
# What ftlib and transformers measure by a clock: functions, and fields read as x.name or x["name"]. A *method* of that
# name is arithmetic, gpu("H100").seconds(flops) say, and so are the fields of an object made from written numbers.
MEASURING = {"matrix_product_flops_per_second"}
MEASURED = {
    *("seconds", "training_seconds", "remaining_seconds", "iter_time", "remaining_time", "elapsed"),
    *("tokens_per_second", "flops_per_second", "matrix_product_flops_per_second"),
    *("utilization", "model_flops_utilization"),
    *(f"{part}_{name}" for part in ("train", "eval") for name in ("runtime", "samples_per_second", "steps_per_second")),
}
CLOCK_IN_TEXT = re.compile(rf"\b({'|'.join(map(re.escape, sorted(CLOCKS)))})\(")  # a program in a string
COUNTING = {"len", "isinstance", "type"}  # what they say about a time doesn't hang on it
NAMING = {"columns", "index", "keys", "shape", "dtype", "ru_maxrss"}


@dataclass(frozen=True)
class Taint:
    """What is measured: everything (``whole``), or these ``keys``; ``apart`` if a clean key of them was chosen."""

    whole: bool = False
    keys: frozenset[str] = frozenset()
    apart: bool = False

    def __or__(self, other: Taint) -> Taint:
        apart = all(one.apart for one in (self, other) if one.keys)
        return Taint(self.whole or other.whole, self.keys | other.keys, apart)

    def at(self, key: str) -> Taint:
        """Return what stands under a key."""
        if self.whole or key in self.keys or key in MEASURED:
            return MEASURED_WHOLE
        return replace(self, apart=True) if self.keys else CLEAN

    @property
    def measured(self) -> bool:
        """Is there a time in it?"""
        return self.whole or (bool(self.keys) and not self.apart)


CLEAN, MEASURED_WHOLE = Taint(), Taint(whole=True)


def asserts_on_a_clock(code: str) -> list[tuple[int, str]]:
    """Return line and text of each assertion of a module, of the functions in it too, that hangs on a clock."""
    reader = _Reader()
    reader.run(ast.parse(code).body)
    clocks = {name for name, function in reader.functions.items() if _sets_the_clock(function)}
    for name, function in reader.functions.items():
        wanted = [argument.arg for argument in function.args.args]
        if not clocks & {name, *wanted}:
            fixtures = [reader.functions.get(one) for one in wanted]
            reader.call(function, [reader.call(one, []) if one else CLEAN for one in fixtures])
    return sorted(reader.found.items())


def _sets_the_clock(function: ast.AST) -> bool:
    """A test or fixture that puts a clock of its own in the place of the real one relies on no time."""
    text = ast.unparse(function)
    return bool(re.search(r"monkeypatch\.setattr\([^\n]*\b(time|perf_counter|monotonic)\b", text))


class _Reader:
    def __init__(self) -> None:
        self.names: ChainMap[str, Taint] = ChainMap()
        self.functions: dict[str, ast.FunctionDef] = {}
        self.imported: dict[str, str] = {}  # names that an import gives to something else
        self.found: dict[int, str] = {}
        self.written: set[str] = set()
        self.outer: set[str] = set()  # names that "global" or "nonlocal" gives to the code around
        self.under_way: list[str] = []
        self.returned: list[ast.expr | None] = []

    def inside(self) -> _Reader:
        """Return a reader of what stands in a function or comprehension: it sees the names here, and has its own."""
        inner = _Reader()
        inner.names, inner.functions, inner.imported = self.names.new_child(), dict(self.functions), self.imported
        inner.found, inner.written, inner.under_way = self.found, set(self.written), list(self.under_way)
        return inner

    # Statements

    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            getattr(self, f"_{type(statement).__name__.lower()}", self._other)(statement)

    def _functiondef(self, node: ast.FunctionDef) -> None:
        self.functions[node.name] = node

    _asyncfunctiondef = _functiondef

    def _importfrom(self, node: ast.ImportFrom) -> None:
        self.imported |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}

    def _import(self, node: ast.Import) -> None:
        self.imported |= {one.asname: one.name for one in node.names if one.asname}

    def _classdef(self, node: ast.ClassDef) -> None:
        self.run(node.body)
        self.names[node.name] = MEASURED_WHOLE if self._reads_a_clock(node) else CLEAN  # so are its objects

    def _global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.outer |= set(node.names)

    _nonlocal = _global

    def _assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._store(target, node.value, self.taint(node.value))

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self._store(node.target, node.value, self.taint(node.value))

    def _augassign(self, node: ast.AugAssign) -> None:
        self._add(node.target, self.taint(node.value))

    def _for(self, node: ast.For) -> None:
        for _ in range(2):  # what the end of a round stores, the next one reads
            self._store(node.target, node.iter, self.taint(node.iter))
            self.run(node.body + node.orelse)

    _asyncfor = _for

    def _while(self, node: ast.While) -> None:
        for _ in range(2):
            self.taint(node.test)
            self.run(node.body + node.orelse)

    def _if(self, node: ast.If) -> None:
        if self.taint(node.test).measured and any(map(_fails, node.body + node.orelse)):
            self.found[node.lineno] = f"if {ast.unparse(node.test)}: {ast.unparse(node.body[-1])}"
        self.run(node.body + node.orelse)

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            taint = self.taint(item.context_expr)
            if item.optional_vars:
                self._store(item.optional_vars, item.context_expr, taint)
        self.run(node.body)

    _asyncwith = _with

    def _try(self, node: ast.Try) -> None:
        self.run(node.body + [line for handler in node.handlers for line in handler.body])
        self.run(node.orelse + node.finalbody)

    def _return(self, node: ast.Return) -> None:
        self.returned.append(node.value)

    def _assert(self, node: ast.Assert) -> None:
        if self.taint(node.test).measured:
            self.found[node.lineno] = ast.unparse(node)

    def _expr(self, node: ast.Expr) -> None:
        taint = self.taint(node.value)
        call = node.value
        if isinstance(call, ast.Call):
            if taint.measured and re.match(r"assert", ast.unparse(call.func).rpartition(".")[2]):
                self.found[node.lineno] = ast.unparse(node)
            if isinstance(call.func, ast.Attribute):  # times.append(...), table.update(...)
                given = [*call.args, *(word.value for word in call.keywords)]
                self._add(call.func.value, self._any(given))

    def _other(self, node: ast.stmt) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                self.run([child])
            elif isinstance(child, ast.match_case):
                self.run(child.body)
            else:
                self.taint(child)

    def _store(self, target: ast.expr, value: ast.expr, taint: Taint) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            apart = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts)
            for number, part in enumerate(target.elts):
                one = value.elts[number] if apart else value
                self._store(part, one, self.taint(one) if apart else taint)
        elif isinstance(target, ast.Starred):
            self._store(target.value, value, taint)
        elif isinstance(target, ast.Name) and target.id not in self.outer:
            self.names[target.id] = taint
            (self.written.add if _is_written(value) else self.written.discard)(target.id)
        else:
            self._add(target, taint)

    def _add(self, target: ast.expr, taint: Taint) -> None:
        """Put something into what a name holds: ``table["ms"] = ...``, ``times[name].append(...)``."""
        while isinstance(target, ast.Subscript | ast.Attribute):
            key = target.slice if isinstance(target, ast.Subscript) else None
            if taint.whole and isinstance(key, ast.Constant) and isinstance(key.value, str):
                taint = Taint(keys=frozenset({key.value}))
            target = target.value
        if isinstance(target, ast.Name):
            place = next((names for names in self.names.maps if target.id in names), self.names)
            place[target.id] = place.get(target.id, CLEAN) | taint

    # Expressions

    def taint(self, node: ast.AST | None) -> Taint:
        if node is None:
            return CLEAN
        return getattr(self, f"_of_{type(node).__name__.lower()}", self._of_other)(node)

    def _any(self, nodes: Iterable[ast.AST | None]) -> Taint:
        found = CLEAN
        for node in nodes:
            found |= self.taint(node)
        return found

    def _of_other(self, node: ast.AST) -> Taint:
        return self._any(ast.iter_child_nodes(node))

    def _of_constant(self, node: ast.Constant) -> Taint:
        return MEASURED_WHOLE if isinstance(node.value, str) and CLOCK_IN_TEXT.search(node.value) else CLEAN

    def _of_name(self, node: ast.Name) -> Taint:
        return self.names.get(node.id, CLEAN)

    def _of_dict(self, node: ast.Dict) -> Taint:
        found = CLEAN
        for key, value in zip(node.keys, node.values, strict=True):
            taint = self.taint(value)
            named = isinstance(key, ast.Constant) and isinstance(key.value, str)
            found |= Taint(keys=frozenset({key.value})) if taint.whole and named else taint
        return found

    def _of_subscript(self, node: ast.Subscript) -> Taint:
        holds = self.taint(node.value) | self.taint(node.slice)
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple | ast.List) else [node.slice]
        if all(isinstance(part, ast.Constant | ast.Slice) for part in parts):
            keys = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            chosen = [holds.at(key) for key in keys] or [holds]
            return functools.reduce(Taint.__or__, chosen)
        return MEASURED_WHOLE if holds.measured else holds  # it can't be told which key was chosen

    def _of_attribute(self, node: ast.Attribute) -> Taint:
        holds = self.taint(node.value)
        if node.attr in NAMING:
            return CLEAN
        if self._is_a_clock(node):  # handed on by name
            return MEASURED_WHOLE
        if node.attr in MEASURED and not _is_written(node.value) and ast.unparse(node.value) not in self.written:
            return MEASURED_WHOLE
        return holds.at(node.attr) if node.attr in holds.keys else holds

    def _of_call(self, node: ast.Call) -> Taint:
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if self._is_a_clock(node.func):
            return MEASURED_WHOLE
        if last in COUNTING:
            return CLEAN
        words = [ast.Dict([ast.Constant(word.arg)], [word.value]) if word.arg else word.value for word in node.keywords]
        if not (last[:1].isupper() or last in ("dict", "assign")):  # elsewhere a keyword is no name of a field
            words = [word.value for word in node.keywords]
        given = [self.taint(part) for part in [*node.args, *words]]
        if name in self.functions and name not in self.under_way:
            return self.call(self.functions[name], given)
        found = self.taint(node.func.value) if isinstance(node.func, ast.Attribute) else self.taint(node.func)
        if last == "get" and node.args and isinstance(node.args[0], ast.Constant):
            return found.at(str(node.args[0].value))
        return functools.reduce(Taint.__or__, given, found)

    def _is_a_clock(self, function: ast.expr) -> bool:
        first, dot, rest = ast.unparse(function).partition(".")
        parts = (self.imported.get(first, first) + dot + rest).split(".")
        return parts[-1] in CLOCKS | MEASURING or ".".join(parts[-2:]) in CLOCKS

    def _reads_a_clock(self, node: ast.AST) -> bool:
        return any(isinstance(part, ast.Call) and self._is_a_clock(part.func) for part in ast.walk(node))

    def _comprehension(self, node: ast.expr) -> Taint:
        inner = self.inside()
        found = CLEAN
        for part in node.generators:
            inner._store(part.target, part.iter, inner.taint(part.iter))
            for condition in part.ifs:
                inner.taint(condition)
        for made in (getattr(node, name, None) for name in ("elt", "value")):
            found |= inner.taint(made)
        return found

    _of_listcomp = _of_setcomp = _of_generatorexp = _of_dictcomp = _comprehension

    def _of_yield(self, node: ast.Yield) -> Taint:
        self.returned.append(node.value)
        return CLEAN

    def _of_lambda(self, node: ast.Lambda) -> Taint:
        return self.taint(node.body)

    def _of_namedexpr(self, node: ast.NamedExpr) -> Taint:
        taint = self.taint(node.value)
        self._store(node.target, node.value, taint)
        return taint

    def call(self, function: ast.FunctionDef, given: list[Taint]) -> Taint:
        """Read a function's body with what it is given; return what it returns."""
        everything = CLEAN
        for taint in given:
            everything |= taint
        inner = self.inside()
        inner.under_way.append(function.name)
        for number, argument in enumerate(function.args.posonlyargs + function.args.args):
            inner.names[argument.arg] = given[number] if number < len(given) else CLEAN
        for argument in function.args.kwonlyargs:
            inner.names[argument.arg] = everything
        inner.run(function.body)
        for nested in inner.functions.keys() - self.functions.keys():
            inner.call(inner.functions[nested], [])
        around = [self.functions.get(ast.unparse(name), name) for name in function.decorator_list]
        return MEASURED_WHOLE if any(map(self._reads_a_clock, around)) else inner._any(inner.returned)


def _fails(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) or bool(re.match(r"(pytest|sys)\.(fail|exit)\(", ast.unparse(node)))


def _is_written(node: ast.expr) -> bool:
    """Is it an object made on the spot from written numbers, ``Throughput(4, 200, 10.0)`` say?"""
    if not isinstance(node, ast.Call) or not ast.unparse(node.func).rpartition(".")[2][:1].isupper():
        return False
    given = [*node.args, *(word.value for word in node.keywords)]
    return all(isinstance(part, ast.Constant) for one in given for part in ast.walk(one) if isinstance(part, ast.expr))
