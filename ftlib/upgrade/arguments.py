"""Edits of the arguments of a call that keep commas, line breaks and comments where they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import libcst as cst

from ftlib.upgrade.editor import Edit

_Listed = TypeVar("_Listed", cst.Arg, cst.Param, cst.ImportAlias)
_NOTHING = cst.SimpleWhitespace("")
_SPACE = cst.SimpleWhitespace(" ")
TIGHT = cst.AssignEqual(whitespace_before=_NOTHING, whitespace_after=_NOTHING)
"""The sign between a keyword and its value, without blanks."""


def by_keyword(call: cst.Call) -> dict[str, cst.Arg]:
    """The arguments that are passed under a keyword, each by its own."""
    return {each.keyword.value: each for each in call.args if each.keyword is not None}


def find_argument(call: cst.Call, name: str) -> cst.Arg | None:
    """The argument that is passed under this keyword.

    >>> from ftlib.upgrade.syntax import code_of
    >>> call = cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call)
    >>> code_of(find_argument(call, "a"))
    'a=2'
    """
    return by_keyword(call).get(name)


def rename_argument(call: cst.Call, old: str, new: str) -> cst.Call:
    """Give a keyword another name; its value stays.

    >>> from ftlib.upgrade.syntax import code_of
    >>> code_of(rename_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a", "b"))
    'f(1, b=2)'
    """
    return _with_changes(call, old, keyword=cst.Name(new))


def name_arguments(call: cst.Call, names: Sequence[str], first: int) -> cst.Call:
    """Pass positional arguments by keyword, from the one at ``first`` (0 is the first of all).

    >>> from ftlib.upgrade.syntax import code_of
    >>> code_of(name_arguments(cst.ensure_type(cst.parse_expression("f(x, y, z)"), cst.Call), ["a", "b", "c"], 1))
    'f(x, b=y, c=z)'
    """
    return call.with_changes(
        args=[
            each.with_changes(keyword=cst.Name(names[place]), equal=TIGHT)
            if place >= first and each.keyword is None
            else each
            for place, each in enumerate(call.args)
        ]
    )


def replace_argument(call: cst.Call, name: str, text: str) -> cst.Call:
    """Put ``keyword=value`` in the place of a keyword argument; an empty text removes it.

    >>> from ftlib.upgrade.syntax import code_of
    >>> code_of(replace_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a", "b=3"))
    'f(1, b=3)'
    """
    if not text:
        return remove_argument(call, name)
    (new,) = _parsed(text)
    return _with_changes(call, name, keyword=new.keyword, value=new.value)


def remove_argument(call: cst.Call, name: str, *, with_comment: bool = False) -> cst.Call:
    """Take a keyword argument out.

    Args:
        call: The call.
        name: The keyword.
        with_comment: Take the comment behind it out as well, since it moves with the argument (see
            :func:`comment_behind`); otherwise it stays, on a line of its own.

    >>> from ftlib.upgrade.syntax import code_of
    >>> code_of(remove_argument(cst.ensure_type(cst.parse_expression("f(1, a=2)"), cst.Call), "a"))
    'f(1)'
    """
    kept = list(call.args)
    place = _place(call, name)
    gone = kept.pop(place)
    after = _blank_after(gone)
    if with_comment and comment_behind(call, name) and isinstance(after, cst.ParenthesizedWhitespace):
        after = after.with_changes(first_line=cst.TrailingWhitespace())
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


def comment_behind(call: cst.Call, name: str) -> str:
    """The comment behind a keyword argument that has a line of its own; empty if there is none."""
    place = _place(call, name)
    before = call.whitespace_before_args if place == 0 else _blank_after(call.args[place - 1])
    after = _blank_after(call.args[place])
    if not isinstance(before, cst.ParenthesizedWhitespace) or not isinstance(after, cst.ParenthesizedWhitespace):
        return ""
    return after.first_line.comment.value if after.first_line.comment is not None else ""


def add_arguments(call: cst.Call, text: str, comments: Mapping[str, str] | None = None) -> cst.Call:
    """Append arguments, written as in a call, in the layout of those that are there.

    Args:
        call: The call.
        text: The arguments.
        comments: Keyword -> comment to put behind it; it gets a line of its own.

    >>> from ftlib.upgrade.syntax import code_of
    >>> code_of(add_arguments(cst.ensure_type(cst.parse_expression("f(1)"), cst.Call), "a=2, b=3"))
    'f(1, a=2, b=3)'
    """
    for new in _parsed(text):
        call = call.with_changes(args=append_item(call.args, new, call.whitespace_before_args))
    for name, comment in (comments or {}).items():
        call = _with_comment(call, _place(call, name), comment)
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


def with_imported_name(node: cst.ImportFrom, name: str) -> cst.ImportFrom:
    """A from-import with one more name."""
    listed = [] if isinstance(node.names, cst.ImportStar) else list(node.names)
    opening = node.lpar.whitespace_after if node.lpar is not None else _NOTHING
    return node.with_changes(names=append_item(listed, cst.ImportAlias(cst.Name(name)), opening))


def with_name(name: str) -> Edit:
    """The edit that gives an attribute another name."""
    return lambda attribute: attribute.with_changes(attr=cst.Name(name))


def _with_changes(call: cst.Call, name: str, **changes: cst.CSTNode | None) -> cst.Call:
    given = by_keyword(call).get(name)
    return call.with_changes(args=[each.with_changes(**changes) if each is given else each for each in call.args])


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
    # The blanks on both sides of an item that is taken out become one. A comment behind it gets a line of its own.
    if not isinstance(before, cst.ParenthesizedWhitespace):
        return after if last or isinstance(after, cst.ParenthesizedWhitespace) else before
    comments = [*before.empty_lines]
    if isinstance(after, cst.ParenthesizedWhitespace):
        behind = after.first_line.comment
        own = [cst.EmptyLine(before.indent, before.last_line, behind)] if behind is not None else []
        comments += [*own, *after.empty_lines]
    if last and not _has_comment(before.with_changes(empty_lines=comments)):
        return after
    if isinstance(after, cst.ParenthesizedWhitespace):
        return before.with_changes(empty_lines=comments, indent=after.indent, last_line=after.last_line)
    return before.with_changes(empty_lines=comments, last_line=_NOTHING if last else before.last_line)


def _place(call: cst.Call, name: str) -> int:
    return list(call.args).index(by_keyword(call)[name])


def _blank_after(item: cst.Arg) -> cst.BaseParenthesizableWhitespace:
    return item.comma.whitespace_after if isinstance(item.comma, cst.Comma) else item.whitespace_after_arg


def _with_comment(call: cst.Call, place: int, comment: str) -> cst.Call:
    args = list(call.args)
    if place == 0:
        call = call.with_changes(whitespace_before_args=_broken(call.whitespace_before_args))
    elif isinstance(comma := args[place - 1].comma, cst.Comma):
        on_own_line = comma.with_changes(whitespace_after=_broken(comma.whitespace_after))
        args[place - 1] = args[place - 1].with_changes(comma=on_own_line)
    this, last = args[place], place == len(args) - 1
    blank = _commented(_broken(_blank_after(this), closing=last), comment)
    if isinstance(this.comma, cst.Comma):
        args[place] = this.with_changes(comma=this.comma.with_changes(whitespace_after=blank))
    else:
        args[place] = this.with_changes(whitespace_after_arg=blank)
    return call.with_changes(args=args)


def _broken(blank: cst.BaseParenthesizableWhitespace, *, closing: bool = False) -> cst.ParenthesizedWhitespace:
    # A line break: the one that is there, or a new one.
    if isinstance(blank, cst.ParenthesizedWhitespace):
        return blank
    return cst.ParenthesizedWhitespace(indent=True, last_line=cst.SimpleWhitespace("" if closing else "    "))


def _commented(blank: cst.ParenthesizedWhitespace, comment: str) -> cst.ParenthesizedWhitespace:
    if blank.first_line.comment is None:
        line = cst.TrailingWhitespace(cst.SimpleWhitespace("  "), cst.Comment(comment))
        return blank.with_changes(first_line=line)
    own = cst.EmptyLine(blank.indent, blank.last_line, cst.Comment(comment))
    return blank.with_changes(empty_lines=[own, *blank.empty_lines])
