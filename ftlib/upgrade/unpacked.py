"""Dictionaries that are unpacked into a call with ``**``: the keywords that they bring, and where these are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.syntax import code_of, fields_of
from ftlib.upgrade.tree import Tree

_AS_DICT = ("vars", "asdict", "dataclasses.asdict")


@dataclass
class Unpacked:
    """What ``**`` brings into a call.

    Attributes:
        keys: Keyword -> the place where it is written: an element of a dictionary, an argument, a subscript, a field.
        complete: Nothing else can come out of it.
    """

    keys: dict[str, cst.CSTNode] = field(default_factory=dict)
    complete: bool = True

    def add(self, other: Unpacked) -> None:
        """Add what another dictionary brings."""
        self.keys |= other.keys
        self.complete &= other.complete


def unpacked(tree: Tree, call: cst.Call) -> Unpacked:
    """Follow each ``**`` of a call to where its dictionary is written."""
    found = Unpacked()
    for each in call.args:
        if each.star == "**":
            found.add(_keys_of(tree, each.value, 6))
    return found


def uses_of(tree: Tree, name: cst.Name) -> list[cst.Name]:
    """Every place where a name stands for the same thing, those that give it its meaning included."""
    places = tree.bindings(name)
    same = [each for each in tree.all(cst.Name) if each.value == name.value]
    return [each for each in same if places and tree.bindings(each) == places]


def _keys_of(tree: Tree, value: cst.BaseExpression, depth: int) -> Unpacked:
    if not depth:
        return Unpacked(complete=False)
    if isinstance(value, cst.Dict):
        return _of_literal(tree, value, depth)
    if isinstance(value, cst.Name):
        return _of_name(tree, value, depth)
    if isinstance(value, cst.BinaryOperation | cst.IfExp):
        both = (value.left, value.right) if isinstance(value, cst.BinaryOperation) else (value.body, value.orelse)
        found = Unpacked()
        for each in both:
            found.add(_keys_of(tree, each, depth - 1))
        return found
    if m.matches(value, m.Attribute(attr=m.Name("__dict__"))):
        return _of_object(tree, cst.ensure_type(value, cst.Attribute).value)
    return _of_call(tree, value, depth) if isinstance(value, cst.Call) else Unpacked(complete=False)


def _of_literal(tree: Tree, value: cst.Dict, depth: int) -> Unpacked:
    found = Unpacked()
    for each in value.elements:
        if isinstance(each, cst.StarredDictElement):
            found.add(_keys_of(tree, each.value, depth - 1))
        elif isinstance(each, cst.DictElement) and isinstance(each.key, cst.SimpleString):
            found.keys[str(each.key.evaluated_value)] = each
        else:
            found.complete = False
    return found


def _of_call(tree: Tree, call: cst.Call, depth: int) -> Unpacked:
    if code_of(call.func) in _AS_DICT and call.args:
        return _of_object(tree, call.args[0].value)
    if not m.matches(call.func, m.Name("dict")):
        return Unpacked(complete=False)
    found = Unpacked()
    for each in call.args:
        if each.keyword is not None:
            found.keys[each.keyword.value] = each
        else:
            found.add(_keys_of(tree, each.value, depth - 1))
    return found


def _of_name(tree: Tree, name: cst.Name, depth: int) -> Unpacked:
    found = Unpacked(complete=bool(tree.bindings(name)))
    for place in tree.bindings(name):
        assign = tree.assignment(place)
        value = assign.value if assign is not None else None
        found.add(_keys_of(tree, value, depth - 1) if value is not None else Unpacked(complete=False))
    for use in uses_of(tree, name):
        found.add(_changed(tree, use, depth))
    return found


def _changed(tree: Tree, name: cst.Name, depth: int) -> Unpacked:
    # What name["key"] = ..., name.update(...) and name.setdefault("key", ...) put into a dictionary.
    above = tree.parent(name)
    found = Unpacked()
    if isinstance(above, cst.Subscript) and isinstance(tree.parent(above), cst.AssignTarget):
        key = above.slice[0].slice
        if isinstance(key, cst.Index) and isinstance(key.value, cst.SimpleString):
            found.keys[str(key.value.evaluated_value)] = above
        else:
            found.complete = False
    call = tree.parent(above) if isinstance(above, cst.Attribute) and above.value is name else None
    if isinstance(call, cst.Call) and isinstance(above, cst.Attribute):
        if above.attr.value == "update":
            found.add(_of_call(tree, call.with_changes(func=cst.Name("dict")), depth - 1))
        elif above.attr.value == "setdefault" and call.args and isinstance(call.args[0].value, cst.SimpleString):
            found.keys[str(call.args[0].value.evaluated_value)] = call
    return found


def _of_object(tree: Tree, value: cst.BaseExpression) -> Unpacked:
    # The fields of a class of the program, or the options of its argument parser.
    made = tree.value_of(value) if isinstance(value, cst.Name) else value
    class_ = tree.class_of(made.func) if isinstance(made, cst.Call) else None
    if class_ is not None:
        return Unpacked({**fields_of(class_)})
    parsed = m.Call(func=m.Attribute(m.Name(), m.Name("parse_args") | m.Name("parse_known_args")))
    if made is not None and m.matches(made, parsed):
        parser = cst.ensure_type(cst.ensure_type(made, cst.Call).func, cst.Attribute).value
        return Unpacked(dict(_options(tree, cst.ensure_type(parser, cst.Name))))
    return Unpacked(complete=False)


def _options(tree: Tree, parser: cst.Name) -> Iterator[tuple[str, cst.CSTNode]]:
    for use in uses_of(tree, parser):
        above = tree.parent(use)
        call = tree.parent(above)
        if isinstance(call, cst.Call) and m.matches(above, m.Attribute(attr=m.Name("add_argument"))) and call.args:
            for each in call.args:
                if isinstance(each.value, cst.SimpleString) and str(each.value.evaluated_value).startswith("--"):
                    yield str(each.value.evaluated_value)[2:].replace("-", "_"), call
