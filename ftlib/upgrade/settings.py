"""Settings of trainers that moved into their configurations: from one call into another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import add_arguments, by_keyword, comment_behind, find_argument, remove_argument
from ftlib.upgrade.calls import DOES_SOMETHING, Due, settle
from ftlib.upgrade.editor import Edit
from ftlib.upgrade.rule import Rule, short_name
from ftlib.upgrade.syntax import code_of
from ftlib.upgrade.tree import Target, Tree
from ftlib.upgrade.unpacked import Unpacked, unpacked

_TRAINING_ARGUMENTS = ("transformers.TrainingArguments", "transformers.Seq2SeqTrainingArguments")


def check_settings(tree: Tree, call: cst.Call, dues: Sequence[Due]) -> None:
    """Hold one call against the rules about settings of trainers."""
    target = tree.target(call)
    for due in dues:
        if due.rule.kind == "config" and target is not None and due.rule.applies_to(target.name):
            _check_settings(tree, call, target, due)


def _check_settings(tree: Tree, call: cst.Call, target: Target, due: Due) -> None:
    rule = due.rule
    moved = {
        name: each.value for name, each in by_keyword(call).items() if name in rule.values and name not in target.own
    }
    if not moved:
        return
    gone = [name for name in moved if not rule.values[name]]
    here = "here " + ", ".join(moved) + (f"; of these gone: {', '.join(gone)}" if gone else "")
    config, problem = _config_call(tree, call, rule)
    # None stood for the default, which the configuration has anyway; there it would mean no limit.
    told = {name: value for name, value in moved.items() if not _is_none(tree, value)}
    obstacles = (_obstacle(tree, call, config, (name, rule.values[name], value)) for name, value in told.items())
    problem = problem or next((text for text in obstacles if text), "")
    if problem:
        settle(tree, due, call, remark=f"{here}; {problem}")
        return
    fields = {rule.values[name]: code_of(value) for name, value in told.items() if name not in gone}
    there = {name for name in fields if config is not None and find_argument(config, name)}
    new = [f"{name}={value}" for name, value in fields.items() if name not in there]
    comments = {
        rule.values[name]: comment_behind(call, name) for name in told if rule.values[name] in {*fields} - there
    }
    comments = {field: text for field, text in comments.items() if text}
    arguments = ", ".join([*new, *_kept(tree, config, rule, fields)])
    user = None if config is not None and _makes(tree, config, rule.new) else config or call
    edits = _config_edits(call, config, rule, moved, arguments, comments=comments)
    settle(tree, due, call, edits, remark=here, user=user)


def _is_none(tree: Tree, value: cst.BaseExpression) -> bool:
    return "None" in (code_of(value), code_of(tree.value_of(value) or value))


def _config_call(tree: Tree, call: cst.Call, rule: Rule) -> tuple[cst.Call | None, str]:
    # The call that makes the configuration; None where the trainer is given none.
    by_place = [each for each in call.args if each.keyword is None]
    given = find_argument(call, "args") or (by_place[1] if len(by_place) > 1 and rule.new == "trl.SFTConfig" else None)
    if any(each.star for each in call.args) or (given is None and len(by_place) > 1):
        return None, "the configuration may be among the arguments that can't be seen"
    if given is None:
        return None, ""
    value = given.value if isinstance(given.value, cst.Call) else tree.value_of(given.value)
    if isinstance(value, cst.Call) and any(_makes(tree, value, name) for name in (*_TRAINING_ARGUMENTS, rule.new)):
        return value, ""
    return None, f"it can't be seen where {code_of(given.value)} is made"


def _obstacle(tree: Tree, call: cst.Call, config: cst.Call | None, moved: tuple[str, str, cst.BaseExpression]) -> str:
    # Why an argument (its old name, its new one, its value) can't move from the trainer to its configuration.
    old, field, expression = moved
    value, does_something = code_of(expression), bool(m.findall(expression, DOES_SOMETHING))
    if not field:
        return "its value does something" if does_something else ""
    if config is None:
        return ""
    there = [each for name in (field, old) if (each := find_argument(config, name))]
    if any(code_of(each.value) != value for each in there) or not tree.claim(config, field, value):
        return f"{field} is given there with another value"
    if tree.around(config, cst.Call) is call:
        return ""
    if does_something:
        return f"{value} can't be computed earlier"
    for name in m.findall(expression, m.Name()):
        places = tree.bindings(name) if isinstance(name, cst.Name) else []
        known = len(places) == 1 and tree.line(places[0]) < tree.line(config)
        if not known and code_of(name) not in ("True", "False"):
            return f"{code_of(name)} may not be known yet where the configuration is made"
    return ""


def _kept(tree: Tree, config: cst.Call | None, rule: Rule, fields: Iterable[str]) -> list[str]:
    if config is not None and _makes(tree, config, rule.new):
        return []
    brought = unpacked(tree, config) if config is not None else Unpacked()
    if not brought.complete:  # what is there can't be seen, and an argument given twice is an error
        return []
    given = {*fields, *brought.keys, *(by_keyword(config) if config is not None else ())}
    return [each for each in rule.keeps if each.partition("=")[0] not in given]


def _makes(tree: Tree, call: cst.Call, name: str) -> bool:
    return short_name(tree.imported(call.func) or "") == name


def _config_edits(
    call: cst.Call,
    config: cst.Call | None,
    rule: Rule,
    names: Iterable[str],
    arguments: str,
    *,
    comments: Mapping[str, str],
) -> list[tuple[cst.CSTNode, Edit]]:
    name = rule.new.rpartition(".")[2]

    def strip(node: cst.Call) -> cst.Call:
        for each in names:
            node = remove_argument(node, each, with_comment=rule.values[each] in comments)
        return node

    def fill(node: cst.Call) -> cst.Call:
        renamed = node if code_of(node.func).endswith(name) else node.with_changes(func=cst.Name(name))
        return add_arguments(renamed, arguments, comments)

    if config is not None:
        return [(call, strip), (config, fill)]
    new = fill(cst.Call(cst.Name(name)))
    return [(call, strip), (call, lambda node: add_arguments(node, f"args={code_of(new)}"))]
