"""Arguments of training as options of a command line: in a notebook's shell lines, and in strings of a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import libcst as cst
import libcst.matchers as m

from ftlib.upgrade.calls import KEYWORDS, Due
from ftlib.upgrade.rule import Rule
from ftlib.upgrade.tree import Finding, Tree

_RUNS = re.compile(r"\S+\.py\b|\S+\.sh\b|\b(?:python3?|accelerate|torchrun|deepspeed|trl)\b|%run\b")
_ENDS_OPEN = re.compile(r"\\\s*$")
_REMARK = "if the script takes the arguments of training"


def check_shell(lines: Iterable[tuple[int, str]], dues: Sequence[Due], *, own: str = "") -> list[Finding]:
    """Hold the lines of a shell against the rules about arguments of training.

    Args:
        lines: Number and text of each; one that ends in a backslash goes on in the next.
        dues: The rules.
        own: Source of programs; options that they declare themselves mean what they say there.
    """
    found: list[Finding] = []
    command: list[tuple[int, str]] = []
    for number, line in lines:
        command.append((number, line))
        if not _ENDS_OPEN.search(line):
            found += _in_command(command, dues, own)
            command = []
    return found + _in_command(command, dues, own)


def check_options(tree: Tree, dues: Sequence[Due]) -> None:
    """Hold a program's strings that are options, or commands that run a script, against the same rules."""
    declares = m.Call(func=m.Attribute(attr=m.Name("add_argument")))
    for string in tree.all(cst.SimpleString):
        text = string.evaluated_value
        above = tree.parent(string)
        call = tree.parent(above) if isinstance(above, cst.Arg) else above
        option = isinstance(above, cst.Element | cst.Arg) and not m.matches(call, declares)
        if isinstance(text, str) and option and (text.startswith("--") or _RUNS.search(text)):
            for rule in _options(text, dues, tree.code):
                tree.say(string, rule.name, _explained(rule))


def _in_command(command: Sequence[tuple[int, str]], dues: Sequence[Due], own: str) -> list[Finding]:
    if not _RUNS.search("\n".join(line for _, line in command)):
        return []
    hits = [(number, rule) for number, line in command for rule in _options(line, dues, own)]
    return [Finding(number, rule.name, _explained(rule), "decide", False) for number, rule in hits]


def _options(text: str, dues: Sequence[Due], own: str) -> list[Rule]:
    rules = [due.rule for due in dues if not due.works and due.rule.kind in KEYWORDS]
    about = [rule for rule in rules if rule.applies_to("transformers.TrainingArguments")]
    return [rule for rule in about if _option(rule).search(text) and not _declared(rule).search(own)]


def _option(rule: Rule) -> re.Pattern[str]:
    name = rule.old.replace("_", "[_-]")
    if rule.kind != "setting":
        return re.compile(rf"(?<![\w-])--{name}(?![\w-])")
    values = "|".join(re.escape(value.strip('"')) for value in rule.values if value != "None")
    return re.compile(rf"(?<![\w-])--{name}[\s=]+(?:{values or '(?!)'})(?![\w-])")


def _declared(rule: Rule) -> re.Pattern[str]:
    return re.compile(rf"add_argument\(\s*[\"']--{rule.old.replace('_', '[_-]')}[\"']")


def _explained(rule: Rule) -> str:
    new = " ".join(part.strip('"') for part in rule.new.split("=")) if rule.kind != "setting" else rule.new
    arrow = f"--{rule.old} -> " + (f"--{new}" if rule.kind != "setting" else new) if rule.new else f"--{rule.old}"
    return f"{arrow}: {rule.why} ({_REMARK})"
