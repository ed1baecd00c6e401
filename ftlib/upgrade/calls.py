"""Rules about the arguments of a call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import (
    find_argument,
    name_arguments,
    remove_argument,
    rename_argument,
    replace_argument,
)
from ftlib.upgrade.editor import Edit
from ftlib.upgrade.kinds import kind_of
from ftlib.upgrade.rule import Rule, is_ours
from ftlib.upgrade.syntax import code_of
from ftlib.upgrade.tree import Level, Target, Tree
from ftlib.upgrade.unpacked import Unpacked, unpacked, uses_of

KEYWORDS = ("rename", "remove", "value", "setting", "say")
"""Kinds of rules about one argument of a call."""
_BY_RELEASE = re.compile(r"version|Version|hasattr|signature|_fields\b")
DOES_SOMETHING = m.Call() | m.Await() | m.Yield() | m.NamedExpr() | m.Lambda() | m.ListComp() | m.GeneratorExp()
"""What makes a value more than a look at what is there: it can't be dropped or computed earlier."""


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
    target = reached(tree, call)
    here = [due for due in dues if target is not None and _applies(tree, call, target, due.rule)]
    if target is None or not here or is_guarded(tree, call):
        return
    brought = unpacked(tree, call)
    if not brought.complete and not target.name.startswith("."):
        tree.say(
            call, "hidden arguments", f"what ** unpacks into {code_of(call.func)} can't be seen here", level="note"
        )
    for due in here:
        if due.rule.kind == "task":
            _check_task(tree, call, due)
        elif due.rule.kind == "order":
            _check_order(tree, call, target, due)
        elif due.rule.kind in KEYWORDS and due.rule.old not in target.own:
            if find_argument(call, due.rule.old) is not None:
                _check_keyword(tree, call, due)
            elif due.rule.old in brought.keys:
                _check_unpacked(tree, call, due, brought)


def reached(tree: Tree, call: cst.Call) -> Target | None:
    """What a call reaches: also the class of an object that ``dataclasses.replace`` makes anew."""
    if tree.imported(call.func) == "dataclasses.replace" and call.args:
        kind = kind_of(tree, call.args[0].value)
        return Target(kind) if is_ours(kind) else None
    return tree.target(call)


def is_guarded(tree: Tree, node: cst.CSTNode, *words: str) -> bool:
    """Does the program choose between releases here, by a version, a look at a signature or a caught TypeError?

    Args:
        tree: The program.
        node: Where.
        words: What else in a condition says that it chooses.
    """
    while node is not tree.module:
        above = tree.parent(node)
        test = code_of(above.test) if isinstance(above, cst.If | cst.IfExp) and node is not above.test else ""
        if _BY_RELEASE.search(test) or any(word in test for word in words):
            return True
        handlers = above.handlers if isinstance(above, cst.Try) else [above]
        caught = [each.type for each in handlers if isinstance(each, cst.ExceptHandler) and each.type is not None]
        if any(name in code_of(each) for each in caught for name in ("TypeError", "AttributeError")):
            return True
        node = above
    return False


def _applies(tree: Tree, call: cst.Call, target: Target, rule: Rule) -> bool:
    if not rule.applies_to(target.name) or not isinstance(call.func, cst.Attribute) or target.name[0] != ".":
        return rule.applies_to(target.name)
    kind = kind_of(tree, call.func.value)
    return not kind or kind.partition(".")[0] == rule.package


def _check_keyword(tree: Tree, call: cst.Call, due: Due) -> None:
    rule = due.rule
    given = find_argument(call, rule.old)
    if given is None or not concerns(rule, given.value):
        return
    value = code_of(given.value)
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
        busy = bool(m.findall(given.value, DOES_SOMETHING))
        problem = "its value does something: see whether you need that" if busy else ""
        return (lambda call: remove_argument(call, rule.old)), "", problem
    text = rule.instead_of(value)
    if rule.kind == "setting" and not text:
        return None, "", ""
    if text is None and rule.otherwise and isinstance(given.value, cst.Name | cst.Attribute):
        text = f"{rule.new} if {value} else {rule.otherwise}"
    if text is not None:
        return (lambda call: replace_argument(call, rule.old, text)), text, ""
    return None, "", f"the value {value} is not one that can be translated" if rule.kind == "value" else ""


def concerns(rule: Rule, value: cst.BaseExpression) -> bool:
    """Is a rule about this value? Only a setting looks at it."""
    return rule.kind != "setting" or rule.instead_of(code_of(value)) is not None


def _check_unpacked(tree: Tree, call: cst.Call, due: Due, brought: Unpacked) -> None:
    rule, place = due.rule, brought.keys[due.rule.old]
    value = place.value if isinstance(place, cst.DictElement | cst.Arg) else None
    if (value is not None and not concerns(rule, value)) or not tree.is_news(place, rule):
        return
    edits: list[tuple[cst.CSTNode, Edit]] = []
    taken = find_argument(call, rule.new) is not None or rule.new in brought.keys
    other = rule.unless and (value is None or re.fullmatch(rule.unless, code_of(value)))
    if rule.kind == "rename" and not taken and not other and _is_only_unpacked(tree, place, rule):
        edits = renamed_key(tree, place, rule)
    remark = f"it goes by ** into {code_of(call.func)} on line {tree.line(call)}"
    settle(tree, due, place, edits, remark=remark if tree.line(place) != tree.line(call) else "")


def _is_only_unpacked(tree: Tree, place: cst.CSTNode, rule: Rule) -> bool:
    # Is the dictionary used for nothing but calls that the rule is about?
    holder = tree.parent(tree.parent(place))
    if isinstance(holder, cst.Arg):
        return holder.star == "**"
    target = holder.targets[0].target if isinstance(holder, cst.Assign) and len(holder.targets) == 1 else None
    if not isinstance(target, cst.Name):
        return False
    arguments = [tree.parent(use) for use in uses_of(tree, target) if use is not target]
    calls = [tree.parent(each) for each in arguments if isinstance(each, cst.Arg) and each.star == "**"]
    reach = [reached(tree, each) for each in calls if isinstance(each, cst.Call)]
    return len(calls) == len(arguments) and all(each is not None and rule.applies_to(each.name) for each in reach)


def renamed_key(tree: Tree, place: cst.CSTNode, rule: Rule) -> list[tuple[cst.CSTNode, Edit]]:
    """The edit that gives a key of a dictionary the new name: in a literal, or in a call of ``dict``."""
    if isinstance(place, cst.DictElement) and isinstance(place.key, cst.SimpleString):
        quote = place.key.quote
        return [(place.key, lambda key: key.with_changes(value=f"{quote}{rule.new}{quote}"))]
    if isinstance(place, cst.Arg):
        return [(tree.parent(place), lambda call: rename_argument(call, rule.old, rule.new))]
    return []


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
