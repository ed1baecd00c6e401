"""A parsed program: what its names stand for, and the edits that wait to be made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import libcst as cst
from libcst.metadata import (
    Assignment,
    CodeRange,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from ftlib.upgrade.arguments import with_imported_name
from ftlib.upgrade.editor import Edit, edited
from ftlib.upgrade.rule import PACKAGES, Rule, is_ours, short_name
from ftlib.upgrade.syntax import (
    brings,
    find_method,
    import_roots,
    imported_by,
    is_dotted,
    is_marker,
    is_super,
    leftmost,
    module_of,
    parse,
    plain_import,
    together,
    under_title,
    walk,
)

Level = Literal["change", "decide", "note"]
_Node = TypeVar("_Node", bound=cst.CSTNode)


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        line: Line in the file, or in the cell; 1 for the first.
        rule: Name of the rule, ``no rule``, or what kept the program from being read.
        explanation: One line.
        level: ``change``: the installed library refuses it, and it could be mended; ``decide``: it refuses it (or may
            do so), and a person has to see to it; ``note``: it still works.
        fixed: The new code no longer has it.
        cell: Number of the notebook's cell, 1 for the first of any kind; ``None`` in a script.
    """

    line: int
    rule: str
    explanation: str
    level: Level
    fixed: bool
    cell: int | None = None


@dataclass(frozen=True)
class Target:
    """What a call reaches.

    Attributes:
        name: Short name (``transformers.Trainer``), or ``.method`` for a method of an unknown object.
        own: Keywords that a subclass of the program takes for itself.
        direct: No code of the program stands between the call and the library.
    """

    name: str
    own: frozenset[str] = frozenset()
    direct: bool = True


@dataclass
class Tree:
    """A program, parsed once; rules look things up in it and leave edits behind.

    Attributes:
        code: The source; must parse.
        found: What was found so far.
    """

    code: str
    found: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Parse, and work out scopes.

        Raises:
            SyntaxError: The source is not Python.
        """
        wrapper = MetadataWrapper(parse(self.code))
        self.module = wrapper.module
        # All in one walk.
        known: Mapping[Any, Any] = wrapper.resolve_many((ScopeProvider, ParentNodeProvider, PositionProvider))
        self._scopes: Mapping[cst.CSTNode, Scope | None] = known[ScopeProvider]
        self._parents: Mapping[cst.CSTNode, cst.CSTNode] = known[ParentNodeProvider]
        self._positions: Mapping[cst.CSTNode, CodeRange] = known[PositionProvider]
        self._by_kind: dict[type[cst.CSTNode], list[Any]] = {}
        for node in walk(self.module):
            self._by_kind.setdefault(type(node), []).append(node)
        self._edits: dict[cst.CSTNode, list[Edit]] = {}
        self._needed: dict[str, cst.CSTNode] = {}
        self._told: set[tuple[cst.CSTNode, str]] = set()
        self._claims: dict[tuple[cst.CSTNode, str], str] = {}
        self.uses_libraries = any(
            import_roots(node) & set(PACKAGES) for node in [*self.all(cst.Import), *self.all(cst.ImportFrom)]
        )

    def all(self, kind: type[_Node]) -> list[_Node]:
        """Every node of a kind, in the order of the source."""
        return list(self._by_kind.get(kind, ()))

    def line(self, node: cst.CSTNode) -> int:
        """Line on which a node starts."""
        return int(self._positions[node].start.line)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """The node around a node."""
        return self._parents[node]

    def around(self, node: cst.CSTNode, kind: type[_Node]) -> _Node | None:
        """The nearest node of a kind that holds this one."""
        while node is not self.module:
            node = self._parents[node]
            if isinstance(node, kind):
                return node
        return None

    def imported(self, node: cst.CSTNode) -> str | None:
        """Full name of what was imported, if this name can't stand for anything else."""
        if not is_dotted(node) or (scope := self._scope(node)) is None:
            return None
        names = scope.get_qualified_names_for(node)
        only = next(iter(names)) if len(names) == 1 else None
        return only.name if only is not None and only.source is QualifiedNameSource.IMPORT else None

    def bindings(self, name: cst.Name) -> list[cst.CSTNode]:
        """Every place that gives a name its meaning: assigned names, classes, functions, imports."""
        scope = self._scope(name)
        return [each.node for each in scope[name.value] if isinstance(each, Assignment)] if scope is not None else []

    def value_of(self, node: cst.CSTNode) -> cst.BaseExpression | None:
        """The expression that a name stands for, if it is assigned once."""
        places = self.bindings(node) if isinstance(node, cst.Name) else []
        assign = self.assignment(places[0]) if len(places) == 1 else None
        several = isinstance(assign, cst.Assign) and len(assign.targets) > 1
        return assign.value if assign is not None and not several else None

    def assignment(self, place: cst.CSTNode) -> cst.Assign | cst.AnnAssign | cst.AugAssign | None:
        """The statement that assigns to a place, if the place is all that stands in front of its sign."""
        holder = self._parents.get(place)
        above = self._parents.get(holder) if isinstance(holder, cst.AssignTarget) else holder
        return above if isinstance(above, cst.Assign | cst.AnnAssign | cst.AugAssign) else None

    def class_of(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """The class of the program that a name stands for."""
        places = self.bindings(node) if isinstance(node, cst.Name) else []
        return places[0] if len(places) == 1 and isinstance(places[0], cst.ClassDef) else None

    def base_of(self, class_: cst.ClassDef, depth: int = 8) -> str | None:
        """Short name of the library's class that a class of the program derives from."""
        for base in class_.bases:
            if name := self.imported(base.value):
                if is_ours(name):
                    return short_name(name)
            elif (local := self.class_of(base.value)) and depth and (name := self.base_of(local, depth - 1)):
                return name
        return None

    def target(self, call: cst.Call) -> Target | None:
        """What a call reaches, where that can be told."""
        if name := self.imported(call.func):
            return Target(short_name(name)) if is_ours(name) else None
        if local := self.class_of(call.func):
            return self._through(local)
        if not isinstance(call.func, cst.Attribute):
            return None
        method = call.func.attr.value
        if is_super(call.func.value):
            outer = self.around(call, cst.ClassDef)
            base = self.base_of(outer) if outer is not None else None
            return Target(base if method == "__init__" else f"{base}.{method}") if base else None
        return Target(f".{method}") if self.uses_libraries and not self.imported(leftmost(call.func)) else None

    def _through(self, class_: cst.ClassDef) -> Target | None:
        base = self.base_of(class_)
        own = find_method(class_, "__init__")
        if base is None or own is None:
            return Target(base) if base else None
        listed = [*own.params.params, *own.params.kwonly_params]
        return Target(base, frozenset(each.name.value for each in listed), False) if own.params.star_kwarg else None

    def report(self, node: cst.CSTNode, rule: Rule, *, level: Level, fixed: bool, more: str = "") -> None:
        """Note what a rule found; ``more`` says why it stays as it is."""
        spelled = f"{rule.old} -> {rule.new}" if rule.new else rule.old
        text = f"{spelled}: {rule.why}" + (f" ({more})" if more else "")
        self.found.append(Finding(self.line(node), rule.name, text, level, fixed))

    def say(self, node: cst.CSTNode, name: str, text: str, *, level: Level = "decide") -> None:
        """Note something that no rule is about."""
        self.found.append(Finding(self.line(node), name, text, level, False))

    def is_news(self, node: cst.CSTNode, rule: Rule) -> bool:
        """Has this rule not yet been reported of this node?"""
        known = (node, rule.name) in self._told
        self._told.add((node, rule.name))
        return not known

    def claim(self, call: cst.Call, keyword: str, value: str) -> bool:
        """Reserve a keyword of a call for one value; is it free, or reserved for the same one?"""
        return self._claims.setdefault((call, keyword), value) == value

    def edit(self, node: cst.CSTNode, change: Edit) -> None:
        """Let ``change`` make a new node of this one once the program is put together again."""
        self._edits.setdefault(node, []).append(change)

    def may_import(self, line: str, *, instead_of: str = "") -> bool:
        """Is the name that an import line brings still free, or brought by that line or by the name it replaces?"""
        home, name = imported_by(line)
        scope = self._scope(self.module)
        meanings = [] if scope is None else [each.get_qualified_names_for(name) for each in scope.assignments[name]]
        known = {short_name(home), instead_of}
        return all(short_name(meaning.name) in known for each in meanings for meaning in each)

    def need_import(self, line: str, user: cst.CSTNode) -> None:
        """Ask for an import in front of the statement that holds ``user``."""
        first = self._needed.get(line)
        if first is None or self.line(user) < self.line(first):
            self._needed[line] = user

    def edited(self) -> str:
        """The program with every edit made."""
        for line, user in self._needed.items():
            self._place_import(line, user)
        self._needed = {}
        if not self._edits:
            return self.code
        return edited(self.module, self._edits).code

    def _place_import(self, line: str, user: cst.CSTNode) -> None:
        statement = user
        while self._parents[statement] is not self.module:
            statement = self._parents[statement]
        before = list(self.module.body[: self.module.body.index(statement)])
        home, name = imported_by(line)
        imports = [node for each in before if (node := plain_import(each)) is not None]
        if any(brings(node, home) for node in imports):
            return None
        for node in reversed(imports):
            if isinstance(node, cst.ImportFrom) and f"{module_of(node)}.{name}" == home:
                return self.edit(node, lambda old: with_imported_name(old, name))
        new = cst.ensure_type(cst.parse_statement(line), cst.SimpleStatementLine)
        cell = max((at for at, each in enumerate(before) if is_marker(each)), default=-1)
        anchor = next((each for each in reversed(before[cell + 1 :]) if plain_import(each) is not None), None)
        if anchor is not None:
            return self.edit(anchor, lambda old: together(old, new))
        return self.edit(statement, lambda old: under_title(new, old))

    def _scope(self, node: cst.CSTNode) -> Scope | None:
        return self._scopes.get(node)
