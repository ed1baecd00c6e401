"""Caches of keys and values that a program handles as the tuples that they once were."""

from __future__ import annotations

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.calls import Due, is_guarded, settle
from ftlib.upgrade.kinds import ELSEWHERE, kind_of
from ftlib.upgrade.syntax import code_of
from ftlib.upgrade.tree import Tree

_NAME = "past_key_values"
_TUPLE = m.Tuple() | m.List() | m.ListComp() | m.Call(func=m.Name("tuple") | m.Name("list"))


def check_legacy_caches(tree: Tree, due: Due) -> None:
    """Find ``past_key_values`` that is indexed, taken apart, or made of tuples."""
    for node in tree.all(cst.Subscript):
        if _is_cache(tree, node.value) and not is_guarded(tree, node, "isinstance"):
            settle(tree, due, node)
    loops: list[cst.For | cst.CompFor] = [*tree.all(cst.For), *tree.all(cst.CompFor)]
    for loop in loops:
        two = isinstance(loop.target, cst.Tuple) and len(loop.target.elements) == 2
        if two and _is_cache(tree, loop.iter) and not is_guarded(tree, loop, "isinstance"):
            settle(tree, due, loop.iter)
    for call in tree.all(cst.Call):
        for each in call.args:
            if each.keyword is not None and each.keyword.value == _NAME and _is_tuple(tree, each.value):
                settle(tree, due, each, remark="a model refuses a tuple: give it a DynamicCache")


def _is_cache(tree: Tree, node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Name):
        assigned = [tree.assignment(each) for each in tree.bindings(node)]
        made_here = any(each is not None and each.value and _makes_something(tree, each.value) for each in assigned)
        return node.value == _NAME and bool(assigned) and not made_here
    return (
        isinstance(node, cst.Attribute)
        and node.attr.value == _NAME
        and kind_of(tree, node.value) != ELSEWHERE
        and code_of(node.value) != "self"
    )


def _makes_something(tree: Tree, value: cst.BaseExpression) -> bool:
    # Anything but a cache that came out of a model: the program's own list or tuple, or nothing yet.
    return m.matches(value, _TUPLE | m.Dict()) or kind_of(tree, value) == ELSEWHERE


def _is_tuple(tree: Tree, value: cst.BaseExpression) -> bool:
    assigned = tree.value_of(value)
    return m.matches(value, _TUPLE) or (assigned is not None and m.matches(assigned, _TUPLE))
