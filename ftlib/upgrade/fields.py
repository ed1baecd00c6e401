"""Rules about arguments of training, where they are no arguments of a call: fields of subclasses, and attributes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import find_argument, with_name
from ftlib.upgrade.calls import KEYWORDS, Due, concerns, is_guarded, settle
from ftlib.upgrade.editor import Edit
from ftlib.upgrade.kinds import ELSEWHERE, kind_of
from ftlib.upgrade.rule import Rule
from ftlib.upgrade.syntax import code_of, fields_of
from ftlib.upgrade.tree import Tree

_Edits = list[tuple[cst.CSTNode, Edit]]


def check_fields(tree: Tree, dues: Sequence[Due]) -> None:
    """Hold dataclass fields, attributes and ``setattr`` against the rules about arguments of training."""
    about = [due for due in dues if due.rule.kind in KEYWORDS and any(_is_arguments(each) for each in due.rule.where)]
    by_name: dict[str, list[Due]] = {}
    for due in about:
        by_name.setdefault(due.rule.old, []).append(due)
    fields = [
        (class_, name, each)
        for class_ in tree.all(cst.ClassDef)
        for name, each in fields_of(class_).items()
        if name in by_name
    ]
    for class_, name, field in fields:
        base = tree.base_of(class_) or ""
        for due in by_name[name]:
            if due.rule.applies_to(base) and not is_guarded(tree, class_):
                _check_field(tree, class_, field, due)
    own = {name for _, name, _ in fields if by_name[name][0].rule.kind != "setting"}
    for node in tree.all(cst.Attribute):
        for due in by_name.get(node.attr.value, ()):
            if node.attr.value not in own and due.rule.applies_to(kind_of(tree, node.value)):
                _check_attribute(tree, node, due)
    for call in tree.all(cst.Call):
        _check_setattr(tree, call, by_name)


def _is_arguments(where: str) -> bool:
    return where == "trl.*Config" or where.endswith(("TrainingArguments", "Config"))


def _check_field(tree: Tree, class_: cst.ClassDef, field: cst.AnnAssign, due: Due) -> None:
    rule, default = due.rule, _default(field.value)
    if rule.kind == "setting" and (default is None or not concerns(rule, default)):
        return
    same = [each for each in tree.all(cst.Attribute) if each.attr.value == rule.old and rule.kind != "setting"]
    reads = [each for each in same if kind_of(tree, each.value) != ELSEWHERE]
    ours = [each for each in reads if rule.applies_to(kind_of(tree, each.value))]
    edits = _field_edits(rule, field, default)
    problem = ""
    if len(ours) < len(reads) or (ours and rule.kind != "rename"):
        problem = f"the program reads {rule.old} itself, and the library no longer does"
    elif rule.unless and default is not None and re.fullmatch(rule.unless, code_of(default)):
        problem = f"{code_of(default)} does not mean the same there"
    elif rule.new.partition("=")[0] in fields_of(class_) and rule.kind != "setting":
        problem = f"{rule.new.partition('=')[0]} is a field as well: keep one of the two"
    elif not edits and (rule.kind == "remove" or default is None or rule.instead_of(code_of(default)) == ""):
        tree.report(field, rule, level="note", fixed=False, more="the field has no effect")
        return
    edits += [(each, with_name(rule.new)) for each in ours]
    remark = problem or "the option of the command line, too" if edits else "the library no longer reads this field"
    settle(tree, due, field, [] if problem else edits, remark=problem or remark)


def _default(value: cst.BaseExpression | None) -> cst.BaseExpression | None:
    if value is None or not m.matches(value, m.Call(func=m.Name("field") | m.Attribute(attr=m.Name("field")))):
        return value
    given = find_argument(cst.ensure_type(value, cst.Call), "default")
    return given.value if given is not None else None


def _field_edits(rule: Rule, field: cst.AnnAssign, default: cst.BaseExpression | None) -> _Edits:
    if rule.kind == "rename":
        return [(field, lambda old: old.with_changes(target=cst.Name(rule.new)))]
    text = (rule.instead_of(code_of(default)) if default is not None else "") or ""
    name, _, value = text.partition("=")
    if not value or default is None or value[0] not in '"T':
        return []
    edits: _Edits = [(default, lambda _: cst.parse_expression(value))]
    if name != rule.old:
        typed = field.annotation.with_changes(annotation=cst.Name("str" if value[0] == '"' else "bool"))
        edits.append((field, lambda old: old.with_changes(target=cst.Name(name), annotation=typed)))
    return edits


def _check_attribute(tree: Tree, node: cst.Attribute, due: Due) -> None:
    rule, target = due.rule, tree.parent(node)
    assign = tree.parent(target) if isinstance(target, cst.AssignTarget) else None
    if is_guarded(tree, node) or not tree.is_news(node, rule):
        return
    if not isinstance(assign, cst.Assign):
        if rule.kind != "setting":
            settle(tree, due, node, [(node, with_name(rule.new))] if rule.kind == "rename" else [])
        return
    if not concerns(rule, assign.value):
        return
    value = code_of(assign.value)
    if rule.unless and re.fullmatch(rule.unless, value):
        settle(tree, due, node, remark=f"{value} does not mean the same there")
        return
    text = f"{rule.new}={value}" if rule.kind == "rename" else rule.instead_of(value) or ""
    name, _, new = text.partition("=")
    edits: _Edits = [(node, with_name(name))] if text else []
    if text and new != value:
        edits.append((assign.value, lambda _: cst.parse_expression(new)))
    if rule.kind == "remove" or (rule.kind == "value" and rule.instead_of(value) == ""):
        tree.report(node, rule, level="note", fixed=False, more="the attribute has no effect")
    else:
        settle(tree, due, node, edits, remark="" if edits else "the library no longer reads the attribute")


def _check_setattr(tree: Tree, call: cst.Call, by_name: dict[str, list[Due]]) -> None:
    name = call.args[1].value if len(call.args) > 1 else None
    reads = m.matches(call.func, m.Name("getattr")) and len(call.args) == 2
    if not isinstance(name, cst.SimpleString) or not (reads or m.matches(call.func, m.Name("setattr"))):
        return
    for due in by_name.get(str(name.evaluated_value), ()):
        about = due.rule.applies_to(kind_of(tree, call.args[0].value)) and due.rule.kind != "setting"
        if about and not is_guarded(tree, call):
            settle(tree, due, call)
