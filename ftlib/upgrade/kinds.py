"""What kind of object a name or an expression of a program stands for, as far as the program says it."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.arguments import find_argument
from ftlib.upgrade.rule import is_ours, short_name
from ftlib.upgrade.tree import Tree

ELSEWHERE = "elsewhere"
"""Kind of an object that the program makes itself, or takes from a library that the rules are not about."""

_MAKERS = ("from_pretrained", "from_config")
_SAME_OBJECT = ("to", "cuda", "cpu", "eval", "train", "half", "float", "bfloat16", "requires_grad_")
_FUNCTIONS = {
    "peft.get_peft_model": "peft.PeftModel",
    "transformers.pipeline": "transformers.Pipeline",
    "dataclasses.replace": "",
    "copy.copy": "",
    "copy.deepcopy": "",
}
_PARSERS = ("transformers.HfArgumentParser", "trl.TrlParser")
_PARSED = (
    m.Name("parse_args_into_dataclasses")
    | m.Name("parse_args_and_config")
    | m.Name("parse_dict")
    | m.Name("parse_json_file")
    | m.Name("parse_yaml_file")
)
_DEPTH = 8
_TRAINING_ARGUMENTS = "transformers.TrainingArguments"


def kind_of(tree: Tree, node: cst.CSTNode, depth: int = _DEPTH) -> str:
    """Short name of the library's class that an object is made of.

    Args:
        tree: The program.
        node: The expression.
        depth: How many names may be followed.

    Returns:
        Such as ``transformers.TrainingArguments`` (also for a subclass of the program), ``transformers.AutoTokenizer``
        for what its ``from_pretrained`` returns, :data:`ELSEWHERE`, or nothing where it can't be told.
    """
    if not depth:
        return ""
    if isinstance(node, cst.Call):
        return _made(tree, node, depth)
    if m.matches(node, m.Name("self")):
        class_ = tree.around(node, cst.ClassDef)
        return _kind_of_class(tree, class_) if class_ is not None else ""
    if isinstance(node, cst.Name):
        return _same(_bound(tree, place, depth) for place in tree.bindings(node))
    if isinstance(node, cst.Subscript):
        return _parsed(tree, node.value, _index(node))
    return _attribute(tree, node, depth) if isinstance(node, cst.Attribute) else ""


def is_model(kind: str) -> bool:
    """Is this the kind of a model of transformers?"""
    return kind.startswith("transformers.") and ("Model" in kind or "For" in kind)


def _same(kinds: Iterable[str]) -> str:
    found = set(kinds)
    return found.pop() if len(found) == 1 else ""


def _kind_of_class(tree: Tree, class_: cst.ClassDef) -> str:
    if base := tree.base_of(class_):
        return base
    unknown = [each.value for each in class_.bases if tree.class_of(each.value) is None]
    plain = all(m.matches(each, m.Name("object") | m.Name("ABC") | m.Name("Protocol")) for each in unknown)
    return ELSEWHERE if plain else ""


def _kind_of_annotation(tree: Tree, node: cst.BaseExpression) -> str:
    if m.matches(node, m.Subscript(value=m.Name("Optional"))):
        inner = cst.ensure_type(node, cst.Subscript).slice[0].slice
        return _kind_of_annotation(tree, inner.value) if isinstance(inner, cst.Index) else ""
    if isinstance(node, cst.BinaryOperation):
        return _kind_of_annotation(tree, node.left)
    if isinstance(node, cst.SimpleString) and isinstance(node.evaluated_value, str):
        return ""
    if name := tree.imported(node):
        return short_name(name) if is_ours(name) else ELSEWHERE
    class_ = tree.class_of(node)
    return _kind_of_class(tree, class_) if class_ is not None else ""


def _bound(tree: Tree, place: cst.CSTNode, depth: int) -> str:
    above = tree.parent(place)
    typed = place if isinstance(place, cst.Param) else above
    if isinstance(typed, cst.Param | cst.AnnAssign):
        return _kind_of_annotation(tree, typed.annotation.annotation) if typed.annotation is not None else ""
    if isinstance(given := tree.assignment(place), cst.Assign):
        return kind_of(tree, given.value, depth - 1)
    if isinstance(above, cst.Element):
        targets = tree.parent(above)
        assign = tree.parent(tree.parent(targets))
        if isinstance(targets, cst.Tuple | cst.List) and isinstance(assign, cst.Assign):
            return _parsed(tree, assign.value, list(targets.elements).index(above))
    return ""


def _index(node: cst.Subscript) -> int | None:
    found = node.slice[0].slice
    value = found.value if isinstance(found, cst.Index) else None
    return value.evaluated_value if isinstance(value, cst.Integer) else None


def _parsed(tree: Tree, value: cst.BaseExpression, at: int | None) -> str:
    # One of the objects that an argument parser fills.
    if at is None or not isinstance(value, cst.Call) or not m.matches(value.func, m.Attribute(attr=_PARSED)):
        return ""
    parser = cst.ensure_type(value.func, cst.Attribute).value
    made = parser if isinstance(parser, cst.Call) else tree.value_of(parser)
    if not isinstance(made, cst.Call) or short_name(tree.imported(made.func) or "") not in _PARSERS or not made.args:
        return ""
    classes = (find_argument(made, "dataclass_types") or made.args[0]).value
    if isinstance(classes, cst.Tuple | cst.List):
        listed = [each.value for each in classes.elements]
        return _kind_of_annotation(tree, listed[at]) if at < len(listed) else ""
    return _kind_of_annotation(tree, classes) if at == 0 else ""


def _made(tree: Tree, call: cst.Call, depth: int) -> str:
    if name := tree.imported(call.func):
        short = short_name(name)
        home, _, last = short.rpartition(".")
        if name in _FUNCTIONS or short in _FUNCTIONS:
            return _FUNCTIONS[short] or (kind_of(tree, call.args[0].value, depth - 1) if call.args else "")
        if not is_ours(name):
            return ELSEWHERE
        return home if last in _MAKERS else short if last[:1].isupper() else ""
    if class_ := tree.class_of(call.func):
        return _kind_of_class(tree, class_)
    if isinstance(call.func, cst.Attribute):
        if call.func.attr.value in _SAME_OBJECT:
            return kind_of(tree, call.func.value, depth - 1)
        if call.func.attr.value in _MAKERS and (class_ := tree.class_of(call.func.value)):
            return _kind_of_class(tree, class_)
    return ""


def _attribute(tree: Tree, node: cst.Attribute, depth: int) -> str:
    holder = kind_of(tree, node.value, depth - 1)
    if holder.endswith("Trainer"):
        return {
            "args": holder.removesuffix("Trainer") + "Config" if holder.startswith("trl") else _TRAINING_ARGUMENTS,
            "model": "transformers.PreTrainedModel",
            "tokenizer": "transformers.PreTrainedTokenizer",
            "processing_class": "transformers.PreTrainedTokenizer",
        }.get(node.attr.value, "")
    if is_model(holder) and node.attr.value == "config":
        return "transformers.PreTrainedConfig"
    class_ = tree.around(node, cst.ClassDef)
    if class_ is None or not m.matches(node.value, m.Name("self")):
        return ""
    target = m.Attribute(m.Name("self"), m.Name(node.attr.value))
    own = m.findall(class_, m.Assign(targets=[m.AssignTarget(target)]))
    return _same(kind_of(tree, each.value, depth - 1) for each in own if isinstance(each, cst.Assign))
