"""Pieces of syntax, and what they are."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any

import libcst as cst

CELL_MARK = "__ftlib_cell_"  # a name that marks the beginning of a notebook's cell


def parse(code: str) -> cst.Module:
    """Parse a program; one that is nested so deeply that the parser would end the process is refused.

    Raises:
        SyntaxError: It is no program.
        RecursionError: It is nested more deeply than Python itself reads.

    >>> code_of(parse("x  =  1"))
    'x  =  1'
    """
    line = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # backslashes in somebody's text
            ast.parse(code)
    except (RecursionError, MemoryError) as error:
        raise RecursionError from error
    except (SyntaxError, ValueError) as error:  # older and newer Pythons are the other parser's business
        if "too many nested" in str(error):
            raise RecursionError from error
        line = getattr(error, "lineno", None)
    try:
        return cst.parse_module(code)
    except cst.ParserSyntaxError as error:
        raise SyntaxError(error.message.strip().splitlines()[0], ("", error.raw_line, 0, "")) from error
    except cst.CSTValidationError as error:  # a letter that this Python is too old to know, in a name
        raise SyntaxError(str(error), ("", line, 0, "")) from error


def code_of(node: cst.CSTNode) -> str:
    """Source of one node, without the blank around it."""
    return cst.Module([]).code_for_node(node).strip()


def find_method(class_: cst.ClassDef, name: str) -> cst.FunctionDef | None:
    """A method that a class defines itself."""
    return next(
        (each for each in class_.body.body if isinstance(each, cst.FunctionDef) and each.name.value == name), None
    )


def fields_of(class_: cst.ClassDef) -> dict[str, cst.AnnAssign]:
    """The names with a type that a class lists: the fields of a dataclass."""
    lines = [each for each in class_.body.body if isinstance(each, cst.SimpleStatementLine)]
    found = [each for line in lines for each in line.body if isinstance(each, cst.AnnAssign)]
    return {each.target.value: each for each in found if isinstance(each.target, cst.Name)}


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


def together(first: Any, second: Any) -> cst.FlattenSentinel[Any]:
    """Two statements, or what edits left of them, one after the other."""
    return cst.FlattenSentinel([*flattened(first), *flattened(second)])


def under_title(new: cst.SimpleStatementLine, old: Any) -> cst.FlattenSentinel[Any]:
    """A new statement in front of another; Colab's ``#@title`` stays on top of its cell."""
    first, *rest = flattened(old)
    lines = list(first.leading_lines)
    titles = [at for at, line in enumerate(lines) if line.comment is not None and line.comment.value.startswith("#@")]
    end = titles[-1] + 1 if titles else 0
    above, first = new.with_changes(leading_lines=lines[:end]), first.with_changes(leading_lines=lines[end:])
    return cst.FlattenSentinel([above, first, *rest])
