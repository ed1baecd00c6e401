"""What no rule is about is held against the installed libraries."""

import pytest

from ftlib.upgrade import upgrade_source
from ftlib.upgrade.installed import due_rules
from tests.upgrade.upgrading import IMPORTS, NEWEST, findings


def test_unknown_keywords_and_names_are_found_in_the_installed_libraries():
    code = (
        IMPORTS
        + "from transformers import Triner\nTrainingArguments('o', eval_stratgy='no')\nimport peft\npeft.nothing"
    )
    said = [each.explanation for each in upgrade_source(code).findings]
    assert said == [
        "transformers.Triner: the installed transformers has no Triner; did you mean Trainer?",
        "the installed TrainingArguments has no argument eval_stratgy: did you mean eval_strategy?",
        "peft.nothing: the installed peft has no nothing",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained('x', anything=1)",  # takes any keyword
        "try:\n    from transformers import Nothing\nexcept ImportError:\n    Nothing = None",
        "from peft import LoraConfig\nLoraConfig(r=4, lora_alpha=32)",
        "from datasets import Dataset\nDataset.from_dict({}, split='train')",
    ],
)
def test_what_the_installed_libraries_accept_is_not_reported(code):
    assert upgrade_source(IMPORTS + code).findings == ()


def test_keywords_in_a_dictionary_are_checked_too():
    assert findings(IMPORTS + "TrainingArguments(**{'eval_stratgy': 'no'})") == [(2, "no rule", "decide")]


def test_the_installed_release_calls_for_every_rule_but_the_deprecations():
    assert [due.rule.name for due in due_rules(NEWEST) if due.works == bool(due.rule.gone_by)] == []
