"""Settings of TRL's trainers move into their configurations, or a person is told why they can't."""

import pytest

from ftlib.upgrade import upgrade_source
from tests.upgrade.upgrading import NEWEST, TRL, new_code

KEPT = "learning_rate=5e-5, logging_steps=500, gradient_checkpointing=False, bf16=False"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SFTTrainer(m, max_seq_length=9)", f"SFTTrainer(m, args=SFTConfig(max_length=9, {KEPT}))"),
        (
            "SFTTrainer(m, args=TrainingArguments('o'), packing=True)",
            f"SFTTrainer(m, args=SFTConfig('o', packing=True, {KEPT}))",
        ),
        (
            "SFTTrainer(m, SFTConfig('o', packing=True), packing=True, infinite=True)",
            "SFTTrainer(m, SFTConfig('o', packing=True))",
        ),
        (
            "n = 9\na = TrainingArguments('o', no_cuda=True, bf16=True)\nSFTTrainer(m, a, max_seq_length=n)",
            "n = 9\na = SFTConfig('o', use_cpu=True, bf16=True, max_length=n, learning_rate=5e-5, logging_steps=500, "
            "gradient_checkpointing=False)\nSFTTrainer(m, a)",
        ),
        ("SFTConfig('o', max_seq_length=9)", "SFTConfig('o', max_length=9)"),
        (
            "limit = None\nSFTTrainer(m, SFTConfig('o'), max_seq_length=limit, packing=False, tokenizer=t)",
            "limit = None\nSFTTrainer(m, SFTConfig('o', packing=False), processing_class=t)",
        ),
    ],
)
def test_settings_move_into_the_configuration(old, new):
    assert new_code(TRL + old) == TRL + new


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("SFTTrainer(m, args=load(), packing=True)", "it can't be seen where load() is made"),
        ("SFTTrainer(m, packing=True, **more)", "may be among the arguments that can't be seen"),
        ("a = SFTConfig('o')\nn = 9\nSFTTrainer(m, a, max_seq_length=n)", "n may not be known yet"),
        ("a = SFTConfig('o')\nSFTTrainer(m, a, max_seq_length=f())", "f() can't be computed earlier"),
        ("SFTTrainer(m, SFTConfig('o', packing=False), packing=True)", "packing is given there with another value"),
        (
            "a = SFTConfig('o')\nSFTTrainer(m, a, max_seq_length=1)\nSFTTrainer(m, a, max_seq_length=2)",
            "max_length is given there with another value",
        ),
    ],
)
def test_settings_that_can_not_move_are_said(code, said):
    upgraded = upgrade_source(TRL + code, versions=NEWEST)
    assert said in next(each for each in upgraded.findings if each.level == "decide").explanation
