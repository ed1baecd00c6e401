"""A fact about a release stands once: in the table of ``compat``, from which rules of ``upgrade`` are derived."""

import ast
from pathlib import Path

import pytest

from ftlib.compat import api_changes
from ftlib.compat.api_changes import FROM_PRETRAINED, TRAINER, TRAINING_ARGUMENTS
from ftlib.upgrade.rules import RULES
from tests.course import ROOT

UPGRADE = ROOT / "ftlib/upgrade"
ROWS = {
    "transformers.TrainingArguments": TRAINING_ARGUMENTS,
    "transformers.Trainer": TRAINER,
    "transformers.*.from_pretrained": FROM_PRETRAINED,
}
OLD = {row.old: row for rows in ROWS.values() for row in rows if row.old}
# What makes rules, and at which place it is given the release and the old names.
MAKERS = {"Rule": (1, 3), "removed": (0, 2), "said": (0, 2), "switch": (0, 2), "_setting": (0, 2)}


def typed_rules():
    """Yield the file, the line, the release and each old name that a rule of ``upgrade`` is written with."""
    for path in sorted(UPGRADE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in MAKERS:
                release, old = (call.args[at] for at in MAKERS[call.func.id])
                released = ast.literal_eval(release) if isinstance(release, ast.Constant) else ast.unparse(release)
                for each in ast.walk(old):
                    for name in each.value.split() if isinstance(each, ast.Constant) else ():
                        yield f"{path.name}:{call.lineno}", released, name


def test_no_rule_of_upgrade_repeats_what_the_table_of_compat_says():
    typed = list(typed_rules())
    assert {"ignore_verifications", "no_deprecation_warning", "resume_download"} <= {name for *_, name in typed}
    others = ("trl", "peft", "datasets", "accelerate", "huggingface_hub")
    twice = [each for each in typed if each[2] in OLD and not each[1].startswith(others)]
    assert not twice, twice


@pytest.mark.parametrize(("where", "row"), [(w, row) for w, rows in ROWS.items() for row in rows if row.old])
def test_the_rule_about_an_argument_says_what_the_table_says(where, row):
    about = [rule for rule in RULES if rule.old == row.old and where in rule.where and rule.kind != "attribute"]
    (rule,) = [rule for rule in about if rule.package == "transformers"]
    assert (rule.gone_by, rule.since or row.since) == (row.gone or "", row.since)
    if rule.kind != "say":
        assert rule.new.partition("=")[0] == (row.new or "")
        assert rule.why == row.reason


def test_names_of_the_table_stand_in_no_table_of_upgrade_or_of_what_is_installed():
    """No table of upgrade says more about these arguments, and nobody else keeps their names by release."""
    files = [UPGRADE / "rules.py", UPGRADE / "training_rules.py", UPGRADE / "derived.py"]
    found = []
    for path in [*files, Path(api_changes.__file__).with_name("installed.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call)]
        rules = {each for call in calls if getattr(call.func, "id", "") in MAKERS for each in ast.walk(call)}
        for each in ast.walk(tree):
            if isinstance(each, ast.Constant) and each.value in OLD and each not in rules:
                found.append(f"{path.name}:{each.lineno}: {each.value}")
    assert not found, found
