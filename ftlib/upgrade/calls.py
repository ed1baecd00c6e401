"""Rules about the arguments of a call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.rule import Rule, short_name
from ftlib.upgrade.syntax import (
    add_arguments,
    code_of,
    find_argument,
    name_arguments,
    remove_argument,
    rename_argument,
    replace_argument,
)
from ftlib.upgrade.tree import Edit, Level, Target, Tree

_TRAINING_ARGUMENTS = ("transformers.TrainingArguments", "transformers.Seq2SeqTrainingArguments")
_KEYWORDS = ("rename", "remove", "value", "setting", "say")
# What makes a value more than a look at what is there: it can't be dropped or computed earlier.
_DOES_SOMETHING = m.Call() | m.Await() | m.Yield() | m.NamedExpr() | m.Lambda() | m.ListComp() | m.GeneratorExp()


@dataclass(frozen=True)
class Due:
    """A rule that the installed version calls for.

    Attributes:
        rule: The rule.
        works: The old spelling is still accepted: a note, no more.
        mends: ``--fix`` may rewrite it.
    """

    rule: Rule
    works: bool = False
    mends: bool = True


def settle(
    tree: Tree,
    due: Due,
    node: cst.CSTNode,
    edits: Sequence[tuple[cst.CSTNode, Edit]] = (),
    *,
    remark: str = "",
    user: cst.CSTNode | None = None,
) -> None:
    """Report what a rule found, and hand in the edits if nothing speaks against them.

    Args:
        tree: The program.
        due: The rule.
        node: Where it applies.
        edits: What mends it; without any, a person has to.
        remark: Why it can't be mended, or what to know about how it was.
        user: The node whose new form needs the rule's import.
    """
    rule = due.rule
    if edits and rule.needs and not tree.may_import(rule.needs, instead_of=rule.old):
        edits, remark = (), f"{rule.needs.split()[-1]} already means something else here"
    if due.works and not due.mends:
        edits = ()
    for each, change in edits:
        tree.edit(each, change)
    if edits and user is not None:
        tree.need_import(rule.needs, user)
    level: Level = "note" if due.works else "change" if edits else "decide"
    tree.report(node, rule, level=level, fixed=bool(edits), more=remark)


def check_call(tree: Tree, call: cst.Call, dues: Sequence[Due]) -> None:
    """Hold one call against the rules about arguments."""
    target = tree.target(call)
    here = [due for due in dues if target is not None and due.rule.applies_to(target.name)]
    if target is None or not here:
        return
    if hidden_keywords(tree, call) is None:
        tree.say(
            call, "hidden arguments", f"what ** unpacks into {code_of(call.func)} can't be seen here", level="note"
        )
    for due in here:
        if due.rule.kind == "task":
            _check_task(tree, call, due)
        elif due.rule.kind == "order":
            _check_order(tree, call, target, due)
        elif due.rule.kind == "config":
            _check_config(tree, call, target, due)
        elif due.rule.kind in _KEYWORDS and due.rule.old not in target.own:
            _check_keyword(tree, call, due)


def hidden_keywords(tree: Tree, call: cst.Call) -> set[str] | None:
    """Keywords that come out of ``**dictionaries``; ``None`` if one of them can't be seen.

    Only a dictionary written down in the call, or assigned once, can be.
    """
    found: set[str] = set()
    for each in call.args:
        if each.star != "**":
            continue
        value = each.value if isinstance(each.value, cst.Dict | cst.Call) else tree.value_of(each.value)
        if isinstance(value, cst.Dict) and all(isinstance(item, cst.DictElement) for item in value.elements):
            keys = [item.key for item in value.elements if isinstance(item, cst.DictElement)]
            found |= {str(key.evaluated_value) for key in keys if isinstance(key, cst.SimpleString)}
        elif isinstance(value, cst.Call) and m.matches(value.func, m.Name("dict")):
            found |= {item.keyword.value for item in value.args if item.keyword is not None}
        else:
            return None
    return found


def _check_keyword(tree: Tree, call: cst.Call, due: Due) -> None:
    rule = due.rule
    given = find_argument(call, rule.old)
    if given is None:
        if rule.old in (hidden_keywords(tree, call) or ()):
            settle(tree, due, call, remark="it stands in a dictionary that is unpacked here: change it there")
        return
    value = code_of(given.value)
    if rule.kind == "setting" and value.replace("'", '"') not in rule.values:
        return
    change, argument, problem = _keyword_change(rule, given)
    taken = argument.partition("=")[0]
    if taken not in ("", rule.old) and (
        find_argument(call, taken) is not None or not tree.claim(call, taken, argument)
    ):
        problem = f"{taken} is given as well: keep one of the two"
    elif rule.unless and re.fullmatch(rule.unless, value):
        problem = f"{value} does not mean the same there"
    edits = [(call, change)] if change is not None and not problem else []
    settle(tree, due, given, edits, remark=problem, user=call if rule.needs and taken else None)


def _keyword_change(rule: Rule, given: cst.Arg) -> tuple[Edit | None, str, str]:
    # The edit, the argument that it brings, and what speaks against it.
    value = code_of(given.value)
    if rule.kind == "rename":
        return (lambda call: rename_argument(call, rule.old, rule.new)), f"{rule.new}={value}", ""
    if rule.kind == "remove":
        busy = bool(m.findall(given.value, _DOES_SOMETHING))
        problem = "its value does something: see whether you need that" if busy else ""
        return (lambda call: remove_argument(call, rule.old)), "", problem
    text = rule.values.get(value.replace("'", '"'))
    if text is None and rule.otherwise and isinstance(given.value, cst.Name | cst.Attribute):
        text = f"{rule.new} if {value} else {rule.otherwise}"
    if text is not None:
        return (lambda call: replace_argument(call, rule.old, text)), text, ""
    return None, "", f"the value {value} is not one that can be translated" if rule.kind == "value" else ""


def _check_task(tree: Tree, call: cst.Call, due: Due) -> None:
    first = call.args[0] if call.args and call.args[0].keyword is None and not call.args[0].star else None
    given = find_argument(call, "task") or first
    if given is not None and isinstance(given.value, cst.SimpleString):
        task = str(given.value.evaluated_value)
        if ("translation" if task.startswith("translation_") else task) in due.rule.values:
            settle(tree, due, given)


def _check_order(tree: Tree, call: cst.Call, target: Target, due: Due) -> None:
    order = due.rule.order
    first = order.index("model_init") + 1
    given = [code_of(each.value).lower() for each in call.args if each.keyword is None]
    if not target.direct or any(each.star == "*" for each in call.args) or not first < len(given) <= len(order):
        return
    # A word of the parameter's name tells which order the author had in mind.
    words = [name.removeprefix("compute_")[:6] for name in order]
    old = any(words[at] in given[at] for at in range(first, len(given)))
    new = "loss" in given[first] or any(words[at - 1] in given[at] for at in range(first + 1, len(given)))
    if all(text == "none" for text in given[first:]) or (new and not old):
        return
    if old and not new:
        settle(tree, due, call, [(call, lambda node: name_arguments(node, order, first))])
    else:
        settle(tree, due, call, remark="it can't be told whether this call has the old order or the new one")


def _check_config(tree: Tree, call: cst.Call, target: Target, due: Due) -> None:
    rule = due.rule
    named = {each.keyword.value: each.value for each in call.args if each.keyword is not None}
    moved = {name: value for name, value in named.items() if name in rule.values and name not in target.own}
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
    new = [f"{name}={value}" for name, value in fields.items() if config is None or not find_argument(config, name)]
    arguments = ", ".join([*new, *_kept(tree, config, rule, fields)])
    user = None if config is not None and _makes(tree, config, rule.new) else config or call
    settle(tree, due, call, _config_edits(call, config, rule, moved, arguments), remark=here, user=user)


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
    value, does_something = code_of(expression), bool(m.findall(expression, _DOES_SOMETHING))
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
    hidden = hidden_keywords(tree, config) if config is not None else set()
    if hidden is None:  # what is there can't be seen, and an argument given twice is an error
        return []
    given = {*fields, *hidden}
    given |= {each.keyword.value for each in config.args if each.keyword is not None} if config is not None else set()
    return [each for each in rule.keeps if each.partition("=")[0] not in given]


def _makes(tree: Tree, call: cst.Call, name: str) -> bool:
    return short_name(tree.imported(call.func) or "") == name


def _config_edits(
    call: cst.Call, config: cst.Call | None, rule: Rule, names: Iterable[str], arguments: str
) -> list[tuple[cst.CSTNode, Edit]]:
    name = rule.new.rpartition(".")[2]

    def strip(node: cst.Call) -> cst.Call:
        for each in names:
            node = remove_argument(node, each)
        return node

    def fill(node: cst.Call) -> cst.Call:
        renamed = node if code_of(node.func).endswith(name) else node.with_changes(func=cst.Name(name))
        return add_arguments(renamed, arguments)

    if config is not None:
        return [(call, strip), (config, fill)]
    return [(call, strip), (call, lambda node: add_arguments(node, f"args={name}({arguments})"))]
