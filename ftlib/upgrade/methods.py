"""Rules about methods of tokenizers and models, which a parser can't tell from methods of other objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import find_argument, name_arguments, rename_argument, with_name
from ftlib.upgrade.caches import check_legacy_caches
from ftlib.upgrade.calls import Due, is_guarded, settle
from ftlib.upgrade.editor import Edit
from ftlib.upgrade.kinds import ELSEWHERE, is_model, kind_of
from ftlib.upgrade.rule import Rule, is_ours, short_name
from ftlib.upgrade.syntax import code_of, leftmost
from ftlib.upgrade.tree import Tree

_HARMLESS = m.OneOf(*map(m.Name, ("len", "list", "print", "range", "str", "zip", "enumerate", "dict")))


def check_methods(tree: Tree, dues: Sequence[Due]) -> None:
    """Hold methods and attributes of objects against the rules, in a program that imports one of the libraries."""
    if not tree.uses_libraries:
        return
    own = {each.name.value for each in tree.all(cst.FunctionDef)}
    methods = {due.rule.old: due for due in dues if due.rule.kind == "method" and due.rule.old not in own}
    members = {due.rule.old: due for due in dues if due.rule.kind == "member" and due.rule.old not in own}
    for node in tree.all(cst.Attribute):
        name, above = node.attr.value, tree.parent(node)
        called = above if isinstance(above, cst.Call) and above.func is node else None
        if name in members and _may_have(tree, node, members[name].rule) and not is_guarded(tree, node):
            _check_member(tree, members[name], node)
        elif called is not None and name in methods and name in _CHECKS and _may_have(tree, node, methods[name].rule):
            _CHECKS[name](tree, methods[name], called)
    if "past_key_values" in methods:
        check_legacy_caches(tree, methods["past_key_values"])


def _may_have(tree: Tree, node: cst.Attribute, rule: Rule) -> bool:
    # Nothing speaks against it: the object may be of one of the rule's kinds, and the program defines nothing itself.
    if tree.imported(leftmost(node)) and not tree.imported(node):
        return False
    kind = tree_kind(tree, node)
    if rule.where and rule.where[0].endswith("Config"):  # what others have as well, under the same name
        return rule.applies_to(kind)
    return kind != ELSEWHERE and (not kind or not rule.where or rule.applies_to(kind))


def tree_kind(tree: Tree, node: cst.Attribute) -> str:
    """Kind of the object in front of the dot: an imported class stands for its objects."""
    name = tree.imported(node.value)
    return (short_name(name) if is_ours(name) else ELSEWHERE) if name else kind_of(tree, node.value)


def _check_member(tree: Tree, due: Due, node: cst.Attribute) -> None:
    settle(tree, due, node, [(node, with_name(due.rule.new))] if due.rule.new else [])


def _receiver(call: cst.Call) -> cst.BaseExpression:
    return cst.ensure_type(call.func, cst.Attribute).value


def _check_encode(tree: Tree, due: Due, call: cst.Call) -> None:
    def change(old: cst.Call) -> cst.Call:
        return rename_argument(old.with_changes(func=_receiver(old)), "batch_text_or_text_pairs", "text")

    settle(tree, due, call, [(call, change)])


def _check_target_context(tree: Tree, due: Due, call: cst.Call) -> None:
    block = tree.around(call, cst.With)
    alone = block is not None and len(block.items) == 1 and block.items[0].item is call and not block.items[0].asname
    if block is None or not alone or not isinstance(block.body, cst.IndentedBlock):
        settle(tree, due, call, remark="it does not stand alone in a with statement")
        return
    tokenizer = code_of(_receiver(call))
    inner = [each for each in m.findall(block.body, m.Call()) if isinstance(each, cst.Call)]
    own = [each for each in inner if code_of(each.func) == tokenizer]
    others = [each for each in inner if each not in own and not m.matches(each.func, _HARMLESS)]
    by_place = [sum(each.keyword is None for each in one.args) for one in own]
    plain = all(not each.star for one in own for each in one.args) and all(count <= 1 for count in by_place)
    if not own or others or not plain or any(line.comment for line in block.body.footer):
        settle(tree, due, call, remark="the block does more than call the tokenizer")
        return
    edits: list[tuple[cst.CSTNode, Edit]] = [(each, _to_target) for each in own]
    settle(tree, due, call, [*edits, (block, _without_block)])


def _to_target(call: cst.Call) -> cst.Call:
    return rename_argument(name_arguments(call, ["text_target"], 0), "text", "text_target")


def _without_block(block: cst.With) -> cst.FlattenSentinel[cst.BaseStatement]:
    body = cst.ensure_type(block.body, cst.IndentedBlock)
    first, *rest = (cst.ensure_type(each, cst.SimpleStatementLine) for each in body.body)
    comment = body.header.comment
    above = [*block.leading_lines, *([cst.EmptyLine(comment=comment)] if comment is not None else [])]
    return cst.FlattenSentinel([first.with_changes(leading_lines=[*above, *first.leading_lines]), *rest])


def _check_chat_template(tree: Tree, due: Due, call: cst.Call) -> None:
    tokenize = find_argument(call, "tokenize")
    told = find_argument(call, "return_dict") is not None or any(each.star for each in call.args)
    as_text = tokenize is not None and code_of(tokenize.value) == "False"
    if not told and not as_text and "processor" not in code_of(call.func) and not _is_read_by_key(tree, call):
        settle(tree, due, call)


def _is_read_by_key(tree: Tree, node: cst.CSTNode) -> bool:
    # Code that reads the result as a dictionary was written for today's behaviour.
    above = tree.parent(node)
    while m.matches(above, m.Attribute(attr=m.Name("to"))) and isinstance(tree.parent(above), cst.Call):
        node, above = tree.parent(above), tree.parent(tree.parent(above))
    name = above.targets[0].target if isinstance(above, cst.Assign) else None
    places = [node]
    if isinstance(name, cst.Name):
        places += [each for each in tree.all(cst.Name) if each.value == name.value]
    key = m.SubscriptElement(m.Index(m.SimpleString() | m.ConcatenatedString()))
    by_key = m.Subscript(slice=[key]) | m.Attribute(attr=m.Name("input_ids")) | m.Arg(star="**")
    return any(m.matches(tree.parent(each), by_key) for each in places)


def _check_flops(tree: Tree, due: Due, call: cst.Call) -> None:
    receiver = _receiver(call)
    kind = kind_of(tree, receiver)
    if kind.endswith("Trainer"):
        return
    known = [each.keyword is None or each.keyword.value == "exclude_embeddings" for each in call.args]
    if not is_model(kind) or known != [True] * len(known) or call.args[0].keyword is not None:
        settle(tree, due, call, remark=f"it can't be seen that {code_of(receiver)} is a model; a trainer still has it")
        return
    model = cst.Arg(receiver, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))

    def change(old: cst.Call) -> cst.Call:
        return old.with_changes(func=cst.Name("floating_point_ops"), args=[model, *old.args])

    settle(tree, due, call, [(call, change)], user=call)


_CHECKS: dict[str, Callable[[Tree, Due, cst.Call], None]] = {
    "as_target_tokenizer": _check_target_context,
    "batch_encode_plus": _check_encode,
    "encode_plus": _check_encode,
    "prepare_seq2seq_batch": settle,
    "apply_chat_template": _check_chat_template,
    "floating_point_ops": _check_flops,
}
