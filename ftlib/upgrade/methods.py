"""Rules about methods of tokenizers and models, which a parser can't tell from methods of other objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.calls import Due, settle
from ftlib.upgrade.syntax import code_of, find_argument, rename_argument
from ftlib.upgrade.tree import Edit, Tree

_MAKE_MODELS = (".from_pretrained", ".from_config")
_SAME_OBJECT = ("to", "cuda", "cpu", "eval", "train", "half", "float", "bfloat16")
_TRAINERS = ("transformers.Trainer", "transformers.Seq2SeqTrainer", "trl.SFTTrainer", "trl.DPOTrainer")
_HARMLESS = m.OneOf(*map(m.Name, ("len", "list", "print", "range", "str", "zip", "enumerate", "dict")))


def check_methods(tree: Tree, dues: Sequence[Due]) -> None:
    """Hold calls of methods against the rules about them, in a program that imports one of the libraries."""
    own = {each.name.value for each in tree.all(cst.FunctionDef)}
    by_name = {f".{due.rule.old}": due for due in dues if due.rule.kind == "method" and due.rule.old not in own}
    for call in tree.all(cst.Call):
        target = tree.target(call)
        due = by_name.get(target.name) if target is not None else None
        if due is not None:
            _CHECKS[due.rule.old](tree, due, call)


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
    first, *rest = call.args
    if first.keyword is not None:
        return rename_argument(call, "text", "text_target")
    tight = cst.AssignEqual(whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace(""))
    return call.with_changes(args=[first.with_changes(keyword=cst.Name("text_target"), equal=tight), *rest])


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
    kind = _kind_of(tree, receiver)
    if kind == "trainer":
        return
    known = [each.keyword is None or each.keyword.value == "exclude_embeddings" for each in call.args]
    if kind != "model" or known != [True] * len(known) or call.args[0].keyword is not None:
        settle(tree, due, call, remark=f"it can't be seen that {code_of(receiver)} is a model; a trainer still has it")
        return
    model = cst.Arg(receiver, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))

    def change(old: cst.Call) -> cst.Call:
        return old.with_changes(func=cst.Name("floating_point_ops"), args=[model, *old.args])

    settle(tree, due, call, [(call, change)], user=call)


def _kind_of(tree: Tree, node: cst.BaseExpression, depth: int = 8) -> str:
    class_ = tree.around(node, cst.ClassDef)
    if class_ is not None and tree.base_of(class_) in _TRAINERS and code_of(node) in ("self", "self.model"):
        return "trainer" if code_of(node) == "self" else "model"
    value = node if isinstance(node, cst.Call) else tree.value_of(node)
    target = tree.target(value) if isinstance(value, cst.Call) else None
    if not isinstance(value, cst.Call) or target is None or not depth:
        return ""
    if target.name.removeprefix(".") in _SAME_OBJECT:
        return _kind_of(tree, _receiver(value), depth - 1)
    return "model" if target.name.endswith(_MAKE_MODELS) else "trainer" if target.name in _TRAINERS else ""


_CHECKS: dict[str, Callable[[Tree, Due, cst.Call], None]] = {
    "as_target_tokenizer": _check_target_context,
    "batch_encode_plus": _check_encode,
    "encode_plus": _check_encode,
    "prepare_seq2seq_batch": settle,
    "apply_chat_template": _check_chat_template,
    "floating_point_ops": _check_flops,
}
