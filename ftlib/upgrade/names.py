"""Rules about names, methods and classes: what is imported, called on an object, or overridden."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import TIGHT, add_arguments, append_item, find_argument, with_name
from ftlib.upgrade.calls import Due, settle
from ftlib.upgrade.editor import Edit
from ftlib.upgrade.kinds import kind_of
from ftlib.upgrade.rule import is_ours, short_name
from ftlib.upgrade.syntax import code_of, find_method, flattened, module_of
from ftlib.upgrade.tree import Tree

_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")


@dataclass(frozen=True)
class Names:
    """The names of the libraries in a program.

    Attributes:
        imported: The import, the part of it for one name, and the full name. Left out are imports in a ``try`` that
            is ready for the name not to be there.
        used: A place that uses something from a library, and its full name.
    """

    imported: list[tuple[cst.ImportFrom, cst.ImportAlias, str]]
    used: list[tuple[cst.Name | cst.Attribute, str]]

    @property
    def needed(self) -> list[tuple[cst.CSTNode, str]]:
        """Every place where a library has to have a name: what is imported, and what is read from a module."""
        read = [(node, name) for node, name in self.used if isinstance(node, cst.Attribute)]
        return [*((alias, name) for _, alias, name in self.imported), *read]


def find_names(tree: Tree) -> Names:
    """Look up the names of the libraries in a program."""
    imported = []
    for node in tree.all(cst.ImportFrom):
        if not isinstance(node.names, cst.ImportStar) and is_ours(module_of(node)) and not _is_guarded(tree, node):
            imported += [(node, alias, f"{module_of(node)}.{code_of(alias.name)}") for alias in node.names]
    used: list[tuple[cst.Name | cst.Attribute, str]] = []
    uses: list[cst.Name | cst.Attribute] = [*tree.all(cst.Name), *tree.all(cst.Attribute)]
    for use in uses:
        if not _is_label(tree, use) and (name := tree.imported(use)) and is_ours(name):
            used.append((use, name))
    return Names(imported, used)


def _is_label(tree: Tree, node: cst.CSTNode) -> bool:
    # The b of a.b and of f(b=1), and names that are just being given.
    above = tree.parent(node)
    if isinstance(above, cst.Attribute):
        return above.attr is node
    if isinstance(above, cst.Arg):
        return above.keyword is node
    return isinstance(above, cst.ImportAlias | cst.ImportFrom | cst.AsName | cst.Param | cst.AssignTarget)


def check_names(tree: Tree, names: Names, dues: Sequence[Due], is_there: Callable[[str], bool]) -> None:
    """Hold imports and uses of names against the rules about them.

    Args:
        tree: The program.
        names: Its names.
        dues: The rules.
        is_there: Does a library have this full name? Then it isn't gone, wherever in the library it lives.
    """
    gone = Names(
        [each for each in names.imported if not is_there(each[2])],
        [each for each in names.used if not is_there(each[1])],
    )
    for node in tree.all(cst.ImportFrom):
        if isinstance(node.names, cst.ImportStar) and is_ours(module_of(node)):
            tree.say(node, "star import", f"{code_of(node)}: names from here can't be traced: import them by name")
    for due in dues:
        if due.rule.kind == "moved":
            _check_moved(tree, names if due.works else gone, due)
        elif due.rule.kind == "gone":
            for place, name in gone.needed:
                if fnmatchcase(short_name(name), due.rule.old):
                    settle(tree, due, place, remark="" if short_name(name) == due.rule.old else short_name(name))


def check_classes(tree: Tree, dues: Sequence[Due]) -> None:
    """Hold classes that derive from a trainer against the rules about what they override and read."""
    for due in dues:
        if due.rule.kind == "parameter":
            for class_ in tree.all(cst.ClassDef):
                base = tree.base_of(class_)
                method = find_method(class_, due.rule.old)
                if base is not None and method is not None and due.rule.applies_to(base):
                    _check_override(tree, method, due)
        elif due.rule.kind == "attribute":
            for node in tree.all(cst.Attribute):
                if node.attr.value == due.rule.old and _is_trainer(tree, node.value, due):
                    settle(tree, due, node, [(node, with_name(due.rule.new))])


def _is_guarded(tree: Tree, node: cst.CSTNode) -> bool:
    around = tree.around(node, cst.Try)
    caught = (
        [code_of(each.type) if each.type is not None else "Exception" for each in around.handlers] if around else []
    )
    return any(name in text for text in caught for name in _IMPORT_ERRORS)


def _check_moved(tree: Tree, names: Names, due: Due) -> None:
    rule = due.rule
    spelled = rule.new if rule.needs.startswith("import ") else rule.new.rpartition(".")[2]
    uses = [(node, name) for node, name in names.used if short_name(name) == rule.old]
    for node, alias, name in names.imported:
        if short_name(name) == rule.old:
            line = tree.parent(node)
            whole = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
            gone = code_of(alias.with_changes(comma=cst.MaybeSentinel.DEFAULT))
            settle(
                tree,
                due,
                alias,
                [(line, _reimport(gone, rule.needs))] if whole else [],
                remark="" if whole else "give the import a line of its own",
            )
            if not tree.found[-1].fixed:
                return
    for use, _ in uses:
        if isinstance(use, cst.Attribute):
            settle(tree, due, use, [(use, lambda old: _spelled(old, spelled))], user=use)
        else:
            tree.edit(use, lambda old: _spelled(old, spelled))
        call = tree.parent(use)
        if rule.keeps and isinstance(call, cst.Call) and call.func is use and not any(each.star for each in call.args):
            tree.edit(call, lambda old: _with_defaults(old, due))


def _reimport(gone: str, line: str) -> Edit:
    # Takes a name out of an import statement and puts another import behind it.
    new = cst.ensure_type(cst.parse_statement(line), cst.SimpleStatementLine)

    def change(statement: Any) -> cst.FlattenSentinel[Any]:
        first, *rest = flattened(statement)
        node = first.body[0]
        if line.startswith(f"from {module_of(node)} import "):
            alias = cst.ImportAlias(cst.Name(line.rpartition(" ")[2]))
            names = [alias.with_changes(comma=each.comma) if _is(each, gone) else each for each in node.names]
            return cst.FlattenSentinel([first.with_changes(body=[node.with_changes(names=names)]), *rest])
        names = [each for each in node.names if not _is(each, gone)]
        if not names:
            return cst.FlattenSentinel([first.with_changes(body=new.body), *rest])
        if names[-1] is not node.names[-1]:
            names[-1] = names[-1].with_changes(comma=node.names[-1].comma)
        return cst.FlattenSentinel([first.with_changes(body=[node.with_changes(names=names)]), new, *rest])

    return change


def _is(alias: cst.ImportAlias, text: str) -> bool:
    return code_of(alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)) == text


def _spelled(old: Any, text: str) -> cst.BaseExpression:
    return cst.parse_expression(text).with_changes(lpar=old.lpar, rpar=old.rpar)


def _with_defaults(call: cst.Call, due: Due) -> cst.Call:
    by_place = due.rule.order[: sum(each.keyword is None for each in call.args)]
    for each in due.rule.keeps:
        name = each.partition("=")[0]
        if name not in by_place and find_argument(call, name) is None:
            call = add_arguments(call, each)
    return call


def _check_override(tree: Tree, method: cst.FunctionDef, due: Due) -> None:
    # compute_loss is passed the new argument by keyword, the others by position.
    rule, params, name = due.rule, method.params, due.rule.order[-1]
    listed = [each.name.value for each in [*params.posonly_params, *params.params]]
    by_name = name in listed or name in [each.name.value for each in params.kwonly_params]
    by_place = len(listed) >= len(rule.order) or isinstance(params.star_arg, cst.Param)
    if by_name or (params.star_kwarg is not None if rule.old == "compute_loss" else by_place):
        return
    edits: list[tuple[cst.CSTNode, Any]] = [(method, lambda old: _with_parameter(old, name))]
    for call in m.findall(method, m.Call(func=m.Attribute(value=m.Call(func=m.Name("super")), attr=m.Name(rule.old)))):
        if isinstance(call, cst.Call) and not any(each.star == "**" for each in call.args):
            edits.append((call, lambda old: add_arguments(old, f"{name}={name}")))
    settle(tree, due, method, edits)


def _with_parameter(method: cst.FunctionDef, name: str) -> cst.FunctionDef:
    new = cst.Param(cst.Name(name), default=cst.Name("None"), equal=TIGHT)
    params = append_item(method.params.params, new, method.whitespace_before_params)
    return method.with_changes(params=method.params.with_changes(params=params))


def _is_trainer(tree: Tree, node: cst.BaseExpression, due: Due) -> bool:
    class_ = tree.around(node, cst.ClassDef)
    if class_ is not None and m.matches(node, m.Name("self")):
        own = m.findall(class_, m.AssignTarget(target=m.Attribute(m.Name("self"), m.Name(due.rule.old))))
        base = tree.base_of(class_)
        return base is not None and due.rule.applies_to(base) and not own
    return due.rule.applies_to(kind_of(tree, node))
