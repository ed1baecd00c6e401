"""Edits, made all at once: what becomes of a program, with every comment that was in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import libcst as cst

from ftlib.upgrade.syntax import flattened, walk

Edit = Callable[[Any], Any]


def edited(module: cst.Module, edits: Mapping[cst.CSTNode, Sequence[Edit]]) -> cst.Module:
    """A program with every edit made.

    A comment that an edit dropped comes back on a line above the statement that had it.

    Args:
        module: The program.
        edits: Node -> what makes a new node of it, in this order.
    """
    new = _visited(module, edits, Counter())
    lost = _comments(module) - _comments(new)
    return _visited(module, edits, lost) if lost else new


class _Editor(cst.CSTTransformer):
    def __init__(self, edits: Mapping[cst.CSTNode, Sequence[Edit]], lost: Counter[str]) -> None:
        super().__init__()
        self._edits = edits
        self._lost = lost

    def on_leave(self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT) -> Any:
        node: Any = updated_node
        for change in self._edits.get(original_node, ()):
            node = change(node)
        if self._lost and isinstance(original_node, cst.BaseStatement) and node is not original_node:
            return self._restored(original_node, node)
        return node

    def _restored(self, old: cst.CSTNode, new: Any) -> Any:
        missing = [each for each in (_comments(old) - _comments(*flattened(new))).elements() if self._lost[each]]
        if not missing:
            return new
        self._lost.subtract(missing)
        first, *rest = flattened(new)
        lines = [cst.EmptyLine(comment=cst.Comment(each)) for each in missing]
        first = first.with_changes(leading_lines=[*first.leading_lines, *lines])
        return cst.FlattenSentinel([first, *rest]) if rest else first


def _visited(module: cst.Module, edits: Mapping[cst.CSTNode, Sequence[Edit]], lost: Counter[str]) -> cst.Module:
    new = module.visit(_Editor(edits, lost))
    return new if isinstance(new, cst.Module) else module


def _comments(*nodes: cst.CSTNode) -> Counter[str]:
    return Counter(each.value for node in nodes for each in walk(node) if isinstance(each, cst.Comment))
