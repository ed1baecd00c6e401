"""The table of rules as a page of the book.

``python -m book.generators.upgrade_rules book/upgrade.md`` brings the page up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from book.generators.sections import renewed
from ftlib.files import write_whole
from ftlib.upgrade.rule import Rule
from ftlib.upgrade.rules import RULES

_DONE_BY_A_PERSON = ("say", "task", "gone")
_REPORTED_ONLY = ("prepare_seq2seq_batch", "apply_chat_template", "past_key_values")


def render_rules() -> str:
    """The rules as Markdown: a table for each group of callables, in the order of the rules.

    >>> print(render_rules().splitlines()[0])
    ### `TrainingArguments`, `Seq2SeqTrainingArguments`, `trl.*Config`
    """
    groups: dict[tuple[str, ...], list[Rule]] = {}
    for rule in RULES:
        groups.setdefault(rule.where, []).append(rule)
    heading = "| old | now | gone by | `--fix` | why |\n|---|---|---|---|---|"
    sections = []
    for where, rules in groups.items():
        names = ", ".join(_code(_shown(name)) for name in where) or "Names and methods"
        sections.append("\n".join([f"### {names}\n", heading, *map(_row, rules)]))
    return "\n\n".join(sections)


def current(page: str | Path) -> str:
    """Return the text of a page with today's rules in the section ``rules``.

    Raises:
        DataError: See :func:`book.generators.sections.renewed`.
    """
    return renewed(page, {"rules": render_rules()})


def _shown(name: str) -> str:
    # Without the package, unless that is all that is said.
    return name if re.fullmatch(r"\w+\.\*\w+", name) else re.sub(r"^\w+\.", "", name)


def _row(rule: Rule) -> str:
    reported = rule.kind in _DONE_BY_A_PERSON or rule.old in _REPORTED_ONLY
    told = rule.kind in ("setting", "member") and not rule.new
    fix = "no" if reported or told else "yes"
    olds = [f"{rule.old}={value}" for value in rule.values] if rule.kind == "setting" else [rule.old]
    old = ", ".join(map(_code, rule.values if rule.kind in ("config", "task") else olds))
    release = rule.release if rule.gone_by else "still accepted"
    return "| " + " | ".join((old, _code(rule.new), release, fix, _cell(rule.why))) + " |"


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        write_whole(path, current(path))
