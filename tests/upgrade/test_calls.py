"""Arguments of a call: renamed, replaced, removed, named where they went by position, or left to a person."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.upgrade import run_upgrade, upgrade_source
from tests.upgrade.upgrading import ARGUMENTS, IMPORTS, NEWEST, TRL, findings, new_code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("no_cuda=True", "use_cpu=True"),
        ("evaluation_strategy='steps'", "eval_strategy='steps'"),
        ("group_by_length=True", 'train_sampling_strategy="group_by_length"'),
        ("group_by_length=False", ""),
        ("group_by_length=flag", 'train_sampling_strategy="group_by_length" if flag else "random"'),
        ("report_to=None, optim='adamw_hf'", 'report_to="none", optim="adamw_torch"'),
        ("report_to='none', optim='adafactor'", "report_to='none', optim='adafactor'"),
        ("adafactor=True", 'optim="adafactor"'),
        ("overwrite_output_dir=True", ""),
        ("warmup_ratio=0.1", "warmup_steps=0.1"),
        ("warmup_ratio=share", "warmup_steps=share"),
        ("a=1, no_cuda=True, **more", "a=1, use_cpu=True, **more"),
        ("**{'no_cuda': True}", "**{'use_cpu': True}"),
        ('**dict(no_cuda=True, **{"seed": 1})', '**dict(use_cpu=True, **{"seed": 1})'),
    ],
)
def test_arguments_are_renamed_replaced_and_removed(old, new):
    assert new_code(f"{IMPORTS}TrainingArguments({old})").splitlines()[-1] == f"TrainingArguments({new})"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("group_by_length=ask()", "ask() is not one that can be translated"),
        ("no_cuda=True, use_cpu=False", "use_cpu is given as well"),
        ("warmup_ratio=1", "1 does not mean the same"),
        ("overwrite_output_dir=ask()", "its value does something"),
        ("logging_dir='logs'", "TENSORBOARD_LOGGING_DIR"),
        ("**{'group_by_length': True}", "there are more ways than two"),
        ("**{'no_cuda': True}, use_cpu=False", "no_cuda -> use_cpu"),
    ],
)
def test_what_only_a_person_can_decide_is_said_and_left(given, said):
    code = f"{IMPORTS}TrainingArguments({given})"
    upgraded = upgrade_source(code, versions=NEWEST)
    assert upgraded.code == code
    (found,) = upgraded.findings
    assert (found.level, found.fixed, found.line) == ("decide", False, 2)
    assert said in found.explanation


def test_an_assigned_dictionary_is_read_and_an_unknown_one_is_noted():
    code = IMPORTS + "known = {'no_cuda': True}\nTrainingArguments(**known)\nTrainingArguments(**load())"
    assert new_code(code) == code.replace("no_cuda", "use_cpu")
    assert findings(code, versions=NEWEST) == [
        (2, "TrainingArguments.no_cuda", "change"),
        (4, "hidden arguments", "note"),
    ]


def test_layout_and_comments_stay():
    old = """TrainingArguments(
    # Speed
    no_cuda=True,  # slow
    overwrite_output_dir=True,  # goes with it
    # Places
    output_dir="out",  # here
    save_safetensors=True
)"""
    new = """TrainingArguments(
    # Speed
    use_cpu=True,  # slow
    # goes with it
    # Places
    output_dir="out"  # here
)"""
    assert new_code(IMPORTS + old) == IMPORTS + new


def test_a_deprecation_is_a_note_and_does_not_fail(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(IMPORTS + "AutoModel.from_pretrained('x', torch_dtype='auto')\n", encoding="utf-8")
    reports, status = run_upgrade([file])
    assert [(each.level, each.fixed) for each in reports[0].findings] == [("note", True)]
    assert status == 0
    assert "dtype='auto'" in reports[0].diff
    # Before the new name existed, the old one has to stay.
    assert upgrade_source(file.read_text(encoding="utf-8"), versions={"transformers": "4.55.0"}).diff == ""


def test_only_what_the_given_release_refuses_is_changed():
    code = IMPORTS + "TrainingArguments(evaluation_strategy='no', no_cuda=True)"
    upgraded = upgrade_source(code, versions={"transformers": "4.57.1"})
    assert upgraded.code.endswith("TrainingArguments(eval_strategy='no', no_cuda=True)")
    assert [(each.rule, each.level) for each in upgraded.findings] == [
        ("TrainingArguments.evaluation_strategy", "change"),
        ("TrainingArguments.no_cuda", "note"),
    ]


def test_quantisation_flags_become_a_configuration():
    code = IMPORTS + "AutoModel.from_pretrained('x', load_in_4bit=True, load_in_8bit=False)"
    assert new_code(code).splitlines() == [
        IMPORTS.strip() + ", BitsAndBytesConfig",
        "AutoModel.from_pretrained('x', quantization_config=BitsAndBytesConfig(load_in_4bit=True))",
    ]
    both = IMPORTS + "AutoModel.from_pretrained('x', load_in_4bit=True, quantization_config=config)"
    assert new_code(both) == both


@pytest.mark.parametrize(
    ("extra", "new"),
    [
        ("compute_metrics", "compute_metrics=compute_metrics"),
        ("None, callbacks", "compute_metrics=None, callbacks=callbacks"),
        ("my_metrics, None, (opt, None)", "compute_metrics=my_metrics, callbacks=None, optimizers=(opt, None)"),
    ],
)
def test_positional_arguments_that_shifted_get_their_names(extra, new):
    code = new_code(f"{IMPORTS}Trainer(m, a, c, d, e, t, i, {extra})")
    assert code.splitlines()[-1] == f"Trainer(m, a, c, d, e, t, i, {new})"


@pytest.mark.parametrize("extra", ["compute_loss", "None, compute_metrics", "None, None", "loss, metrics, [callback]"])
def test_positional_arguments_in_the_new_order_stay(extra):
    assert findings(f"{IMPORTS}Trainer(m, a, c, d, e, t, i, {extra})", versions=NEWEST) == []


def test_positional_arguments_of_unknown_order_are_said():
    code = f"{IMPORTS}Trainer(m, a, c, d, e, t, i, extra)"
    assert findings(code, versions=NEWEST) == [(2, "Trainer.arguments by position", "decide")]


KEYWORDS = [
    *ARGUMENTS,
    "optim",
    "eval_strategy",
    "use_cpu",
    "quantization_config",
    "dtype",
    "packing",
    "max_seq_length",
    "beta",
]


@settings(max_examples=60)
@given(
    st.sampled_from(["TrainingArguments", "SFTConfig", "SFTTrainer", "Trainer", "AutoModel.from_pretrained", "AdamW"]),
    st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(["True", "False", "None", "0.1", "flag", "f()", "'x'"])),
)
@example("AutoModel.from_pretrained", {"load_in_4bit": "flag", "load_in_8bit": "flag"})
def test_any_call_stays_valid_and_is_upgraded_once(name, given_keywords):
    keywords = "".join(f", {keyword}={value}" for keyword, value in given_keywords.items())
    code = f"{IMPORTS}{TRL}from transformers import AdamW\n{name}(m{keywords})\n"
    once = upgrade_source(code, versions=NEWEST)
    compile(once.code, "once", "exec")  # an argument given twice would be refused here
    twice = upgrade_source(once.code, versions=NEWEST)
    assert twice.code == once.code
    assert not [each for each in twice.findings if each.level == "change"]
    assert all(each.fixed == (each.level == "change") for each in once.findings if each.level != "note")
