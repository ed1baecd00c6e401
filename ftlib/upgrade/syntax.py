"""Pieces of syntax: what they are, and edits that keep commas, line breaks and comments where they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import libcst as cst

_Listed = TypeVar("_Listed", cst.Arg, cst.Param, cst.ImportAlias)
CELL_MARK = "__ftlib_cell_"  # a name that marks the beginning of a notebook's cell
_NOTHING = cst.SimpleWhitespace("")
_SPACE = cst.SimpleWhitespace(" ")


def code_of(node: cst.CSTNode) -> str:
    """Source of one node, without the blank around it."""
    return cst.Module([]).code_for_node(node).strip()


def find_argument(call: cst.Call, name: str) -> cst.Arg | None:
    """The argument that is passed under this keyword.

    >>> call = cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call)
    >>> code_of(find_argument(call, "a"))
    'a=2'
    """
    return next((each for each in call.args if each.keyword is not None and each.keyword.value == name), None)


def rename_argument(call: cst.Call, old: str, new: str) -> cst.Call:
    """Give a keyword another name; its value stays.

    >>> code_of(rename_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a", "b"))
    'f(1, b=2)'
    """
    return call.with_changes(
        args=[
            each.with_changes(keyword=cst.Name(new)) if each.keyword is not None and each.keyword.value == old else each
            for each in call.args
        ]
    )


def name_arguments(call: cst.Call, names: Sequence[str], first: int) -> cst.Call:
    """Pass positional arguments by keyword, from the one at ``first`` (0 is the first of all).

    >>> code_of(name_arguments(cst.ensure_type(cst.parse_expression("f(x, y, z)"), cst.Call), ["a", "b", "c"], 1))
    'f(x, b=y, c=z)'
    """
    tight = cst.AssignEqual(whitespace_before=_NOTHING, whitespace_after=_NOTHING)
    return call.with_changes(
        args=[
            each.with_changes(keyword=cst.Name(names[place]), equal=tight)
            if place >= first and each.keyword is None
            else each
            for place, each in enumerate(call.args)
        ]
    )


def replace_argument(call: cst.Call, name: str, text: str) -> cst.Call:
    """Put ``keyword=value`` in the place of a keyword argument; an empty text removes it.

    >>> code_of(replace_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a", "b=3"))
    'f(1, b=3)'
    """
    if not text:
        return remove_argument(call, name)
    (new,) = _parsed(text)
    return call.with_changes(
        args=[
            each.with_changes(keyword=new.keyword, value=new.value)
            if each.keyword is not None and each.keyword.value == name
            else each
            for each in call.args
        ]
    )


def remove_argument(call: cst.Call, name: str) -> cst.Call:
    """Take a keyword argument out, with the comment behind it; comments on lines of their own stay.

    >>> code_of(remove_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a"))
    'f(1)'
    """
    kept = list(call.args)
    place = next(at for at, each in enumerate(kept) if each.keyword is not None and each.keyword.value == name)
    gone = kept.pop(place)
    after = gone.comma.whitespace_after if isinstance(gone.comma, cst.Comma) else gone.whitespace_after_arg
    last = place == len(kept)
    if place == 0:
        return call.with_changes(args=kept, whitespace_before_args=_joined(call.whitespace_before_args, after, last))
    before = kept[place - 1]
    if not isinstance(before.comma, cst.Comma):
        return call.with_changes(args=kept)
    blank = _joined(before.comma.whitespace_after, after, last)
    if last and not isinstance(gone.comma, cst.Comma):
        kept[-1] = before.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=blank)
    else:
        kept[place - 1] = before.with_changes(comma=before.comma.with_changes(whitespace_after=blank))
    return call.with_changes(args=kept)


def add_arguments(call: cst.Call, text: str) -> cst.Call:
    """Append arguments, written as in a call, in the layout of those that are there.

    >>> code_of(add_arguments(cst.ensure_type(cst.parse_expression("f(1)"), cst.Call), "a=2, b=3"))
    'f(1, a=2, b=3)'
    """
    for new in _parsed(text):
        call = call.with_changes(args=append_item(call.args, new, call.whitespace_before_args))
    return call


def append_item(
    items: Sequence[_Listed], new: _Listed, opening: cst.BaseParenthesizableWhitespace = _NOTHING
) -> list[_Listed]:
    """Append to a list of arguments, parameters or imported names.

    Args:
        items: What is there.
        new: What comes after it.
        opening: The blank in front of the first one, which tells whether each has a line of its own.
    """
    if not items:
        return [new]
    *others, last = items
    comma = others[-1].comma if others else None
    gap = _plain(comma.whitespace_after if isinstance(comma, cst.Comma) else opening)
    if isinstance(last.comma, cst.Comma):
        closing = last.comma.whitespace_after
        new = new.with_changes(comma=last.comma.with_changes(whitespace_after=_plain(closing, last=True)))
    else:
        closing = getattr(last, "whitespace_after_arg", _NOTHING)
        if isinstance(last, cst.Arg):
            new = new.with_changes(whitespace_after_arg=_plain(closing, last=True))
            last = last.with_changes(whitespace_after_arg=_NOTHING)
    if isinstance(closing, cst.ParenthesizedWhitespace):  # the comments behind the last one stay there
        if isinstance(gap, cst.ParenthesizedWhitespace):
            gap = gap.with_changes(first_line=closing.first_line, empty_lines=closing.empty_lines)
        elif _has_comment(closing):
            gap = closing
    return [*others, last.with_changes(comma=cst.Comma(whitespace_after=gap)), new]


def find_method(class_: cst.ClassDef, name: str) -> cst.FunctionDef | None:
    """A method that a class defines itself."""
    return next(
        (each for each in class_.body.body if isinstance(each, cst.FunctionDef) and each.name.value == name), None
    )


def is_marker(statement: cst.CSTNode) -> bool:
    """Does this statement mark the beginning of a notebook's cell?"""
    return isinstance(statement, cst.SimpleStatementLine) and code_of(statement).startswith(CELL_MARK)


def flattened(node: Any) -> list[Any]:
    """What an edit left of one statement: the statements that it became."""
    return list(node) if isinstance(node, cst.FlattenSentinel) else [node]


def module_of(node: cst.ImportFrom) -> str:
    """The module of a from-import, with its leading dots."""
    return "." * len(node.relative) + (code_of(node.module) if node.module is not None else "")


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A node and all nodes in it, in the order of the source."""
    yield node
    for child in node.children:
        yield from walk(child)


def is_dotted(node: cst.CSTNode) -> bool:
    """Is it a name, or names with dots between them?"""
    return isinstance(node, cst.Name) or (isinstance(node, cst.Attribute) and is_dotted(node.value))


def leftmost(node: cst.BaseExpression) -> cst.BaseExpression:
    """What stands in front of the first dot."""
    return leftmost(node.value) if isinstance(node, cst.Attribute) else node


def is_super(node: cst.BaseExpression) -> bool:
    """Is it a call of ``super``?"""
    return isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "super"


def import_roots(node: cst.CSTNode) -> set[str]:
    """The packages that an import statement imports from."""
    if isinstance(node, cst.ImportFrom):
        return {module_of(node).partition(".")[0]}
    return {code_of(each.name).partition(".")[0] for each in node.names} if isinstance(node, cst.Import) else set()


def imported_by(line: str) -> tuple[str, str]:
    """What an import line brings: its full name, and the name that it goes by.

    >>> imported_by("from torch.optim import AdamW")
    ('torch.optim.AdamW', 'AdamW')
    """
    *home, name = line.removeprefix("from ").replace(" import ", ".").removeprefix("import ").split(".")
    return ".".join([*home, name]), name


def plain_import(statement: cst.CSTNode) -> cst.Import | cst.ImportFrom | None:
    """The import that a statement is, if it is nothing else."""
    body = statement.body if isinstance(statement, cst.SimpleStatementLine) else ()
    return body[0] if len(body) == 1 and isinstance(body[0], cst.Import | cst.ImportFrom) else None


def brings(node: cst.Import | cst.ImportFrom, home: str) -> bool:
    """Does an import bring this full name, under its own last part?"""
    if isinstance(node.names, cst.ImportStar):
        return False
    prefix = f"{module_of(node)}." if isinstance(node, cst.ImportFrom) else ""
    return any(each.asname is None and prefix + code_of(each.name) == home for each in node.names)


def with_imported_name(node: cst.ImportFrom, name: str) -> cst.ImportFrom:
    """A from-import with one more name."""
    listed = [] if isinstance(node.names, cst.ImportStar) else list(node.names)
    opening = node.lpar.whitespace_after if node.lpar is not None else cst.SimpleWhitespace("")
    return node.with_changes(names=append_item(listed, cst.ImportAlias(cst.Name(name)), opening))


def together(first: Any, second: Any) -> cst.FlattenSentinel[Any]:
    """Two statements, or what edits left of them, one after the other."""
    return cst.FlattenSentinel([*flattened(first), *flattened(second)])


def _parsed(text: str) -> Sequence[cst.Arg]:
    call = cst.ensure_type(cst.parse_expression(f"call({text})"), cst.Call)
    return [each.with_changes(comma=cst.MaybeSentinel.DEFAULT) for each in call.args]


def _plain(blank: cst.BaseParenthesizableWhitespace, *, last: bool = False) -> cst.BaseParenthesizableWhitespace:
    # A line break keeps its indentation but not its comments; anything else is one space between two items.
    if isinstance(blank, cst.ParenthesizedWhitespace):
        return blank.with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])
    return blank if last else _SPACE


def _has_comment(blank: cst.ParenthesizedWhitespace) -> bool:
    return blank.first_line.comment is not None or any(line.comment for line in blank.empty_lines)


def _joined(
    before: cst.BaseParenthesizableWhitespace, after: cst.BaseParenthesizableWhitespace, last: bool
) -> cst.BaseParenthesizableWhitespace:
    # The blanks on both sides of an item that is taken out become one.
    if not isinstance(before, cst.ParenthesizedWhitespace):
        return after if last or isinstance(after, cst.ParenthesizedWhitespace) else before
    own_lines = after.empty_lines if isinstance(after, cst.ParenthesizedWhitespace) else []
    comments = [*before.empty_lines, *own_lines]
    if last and not _has_comment(before.with_changes(empty_lines=comments)):
        return after
    if isinstance(after, cst.ParenthesizedWhitespace):
        return before.with_changes(empty_lines=comments, indent=after.indent, last_line=after.last_line)
    return before.with_changes(empty_lines=comments, last_line=_NOTHING if last else before.last_line)
