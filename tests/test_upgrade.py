"""``ftlib upgrade``: what it finds, mends, says and leaves alone; and the rules against the installed libraries."""

import importlib
import inspect
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import libcst as cst
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.errors import DataError
from ftlib.upgrade import arguments as upgrade_arguments
from ftlib.upgrade import run_upgrade, upgrade_path, upgrade_source
from ftlib.upgrade.cells import is_python, join, mask, read_cells, split, unmask, write_cells
from ftlib.upgrade.installed import due_rules, installed_versions
from ftlib.upgrade.page import refreshed
from ftlib.upgrade.rules import RULES
from ftlib.upgrade.syntax import code_of

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = sorted(path for path in (ROOT / "tests/old_code").iterdir() if path.suffix in (".py", ".ipynb"))
SAMPLES = [path for path in SAMPLES if path.name != "conftest.py"]
NEWEST = {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "datasets": "5.2.0"}
IMPORTS = "from transformers import AutoModel, AutoTokenizer, Trainer, TrainingArguments\n"
DUE = [due.rule for due in due_rules(installed_versions()) if not due.works]


def new_code(code):
    return upgrade_source(code, versions=NEWEST).code


def findings(code, **more):
    return [(each.line, each.rule, each.level) for each in upgrade_source(code, **more).findings]


# The samples: whole programs, with what becomes of them next to them.


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_become_what_is_expected(path):
    old = path.read_text(encoding="utf-8")
    upgraded = upgrade_source(old, filename=path.name, versions=NEWEST)
    expected = path.parent / "upgraded" / path.name
    assert upgraded.code == (expected.read_text(encoding="utf-8") if expected.exists() else old)
    assert bool(upgraded.diff) == expected.exists()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_second_run_changes_nothing(path):
    once = upgrade_source(path.read_text(encoding="utf-8"), filename=path.name, versions=NEWEST)
    twice = upgrade_source(once.code, filename=path.name, versions=NEWEST)
    assert twice.code == once.code
    assert not [each for each in twice.findings if each.level == "change"]
    # What a person has to decide is said again.
    open_ones = [(each.rule, each.level) for each in once.findings if each.level == "decide"]
    assert [(each.rule, each.level) for each in twice.findings if each.level == "decide"] == open_ones


@pytest.mark.parametrize("path", sorted((ROOT / "tests/old_code/upgraded").glob("*.py")), ids=lambda path: path.name)
def test_upgraded_samples_compile(path):
    compile(path.read_text(encoding="utf-8"), path.name, "exec")


def test_what_is_only_alike_is_not_touched():
    code = (ROOT / "tests/old_code/nothing_to_do.py").read_text(encoding="utf-8")
    upgraded = upgrade_source(code)
    assert upgraded.code == code
    assert upgraded.findings == ()


# Names.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from transformers import TrainingArguments as TA\nTA(no_cuda=True)", "TA(use_cpu=True)"),
        ("import transformers as tf\ntf.TrainingArguments(no_cuda=True)", "tf.TrainingArguments(use_cpu=True)"),
        ("import transformers\ntransformers.Trainer(m, tokenizer=t)", "transformers.Trainer(m, processing_class=t)"),
        ("from transformers.trainer import Trainer\nTrainer(m, tokenizer=t)", "Trainer(m, processing_class=t)"),
        ("def f():\n    from transformers import Trainer\n    Trainer(tokenizer=t)", "    Trainer(processing_class=t)"),
        (IMPORTS + "class T(Trainer): pass\nT(m, tokenizer=t)", "T(m, processing_class=t)"),
        (IMPORTS + "class T(Trainer): pass\nclass U(T): pass\nU(m, tokenizer=t)", "U(m, processing_class=t)"),
        (
            IMPORTS + "class T(Trainer):\n    def __init__(self, *args, **kwargs): pass\nT(m, tokenizer=t)",
            "T(m, processing_class=t)",
        ),
    ],
)
def test_names_are_followed_through_imports_and_subclasses(old, new):
    assert new_code(old).splitlines()[-1] == new


@pytest.mark.parametrize(
    "code",
    [
        "from mine import Trainer\nTrainer(tokenizer=t)",
        "from .trainer import Trainer\nTrainer(tokenizer=t)",
        "from transformers import Trainer\nTrainer = make()\nTrainer(tokenizer=t)",
        "try:\n    from trl import SFTTrainer\nexcept ImportError:\n    SFTTrainer = None\nSFTTrainer(tokenizer=t)",
        IMPORTS + "class T(Trainer):\n    def __init__(self, tokenizer, **kwargs): pass\nT(tokenizer=t)",
        IMPORTS + "class T(Trainer):\n    def __init__(self, tokenizer): pass\nT(tokenizer=t)",
        "import transformers\ncodec.encode_plus(1)\ndef encode_plus(x): pass",
        "codec.encode_plus(1)  # no library is imported here",
    ],
)
def test_other_peoples_names_are_left_alone(code):
    assert upgrade_source(code, versions=NEWEST).findings == ()


def test_a_star_import_is_said_to_be_undecidable():
    assert findings("from transformers import *\nTrainer(tokenizer=t)") == [(1, "star import", "decide")]


# Arguments.


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


# Positional arguments of a trainer.


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


# Subclasses.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def compute_loss(self, model, inputs):", "def compute_loss(self, model, inputs, num_items_in_batch=None):"),
        (
            "def compute_loss(self, model, inputs, return_outputs=False):",
            "def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):",
        ),
        ("def training_step(self, m, i, **k):", "def training_step(self, m, i, num_items_in_batch=None, **k):"),
        ("def log(self, logs):", "def log(self, logs, start_time=None):"),
        ("def log(self, logs, start):", "def log(self, logs, start):"),
        ("def log(self, *args):", "def log(self, *args):"),
        ("def compute_loss(self, m, i, **more):", "def compute_loss(self, m, i, **more):"),
        ("def compute_loss(self, m, *, num_items_in_batch):", "def compute_loss(self, m, *, num_items_in_batch):"),
        ("def _get_train_sampler(self):", "def _get_train_sampler(self, train_dataset=None):"),
        ("def evaluate(self):", "def evaluate(self):"),
    ],
)
def test_overridden_methods_get_the_parameter_they_are_passed(old, new):
    code = f"{IMPORTS}class T(Trainer):\n    {old}\n        pass"
    assert new_code(code) == code.replace(old, new)


def test_the_new_parameter_is_handed_on():
    code = IMPORTS + "class T(Trainer):\n    def log(self, logs):\n        super().log(logs)\n        super().save()"
    assert "super().log(logs, start_time=start_time)\n        super().save()" in new_code(code)


def test_the_trainers_attribute_is_renamed_unless_the_class_has_its_own():
    body = "    def f(self):\n        return self.tokenizer"
    assert "self.processing_class" in new_code(f"{IMPORTS}class T(Trainer):\n{body}")
    own = "    def g(self):\n        self.tokenizer = 1"
    code = f"{IMPORTS}class T(Trainer):\n{body}\n{own}"
    assert new_code(code) == code


# Methods of objects whose type a parser can't know.


def test_target_tokenizer_blocks_become_an_argument():
    old = "with tok.as_target_tokenizer():\n    a = tok(x, max_length=3)\n    b = tok(text=y)\nc = 1"
    new = "a = tok(text_target=x, max_length=3)\nb = tok(text_target=y)\nc = 1"
    assert new_code(IMPORTS + old) == IMPORTS + new


@pytest.mark.parametrize(
    "code",
    [
        "with tok.as_target_tokenizer():\n    a = other(x)\n    b = tok(y)",
        "with tok.as_target_tokenizer(), open('f'):\n    a = tok(x)",
        "with tok.as_target_tokenizer():\n    a = tok(x, pair)",
        "with tok.as_target_tokenizer():\n    a = tok.encode(x)",
        "context = tok.as_target_tokenizer()",
    ],
)
def test_target_tokenizer_blocks_that_do_more_are_said(code):
    assert new_code(IMPORTS + code) == IMPORTS + code
    assert findings(IMPORTS + code, versions=NEWEST) == [(2, "as_target_tokenizer", "decide")]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ids = tok.apply_chat_template(m)\nmodel.generate(ids)", True),
        ("tok.apply_chat_template(m, return_tensors='pt').to('cuda')", True),
        ("tok.apply_chat_template(m, tokenize=False)", False),
        ("tok.apply_chat_template(m, return_dict=True)", False),
        ("model(**tok.apply_chat_template(m))", False),
        ("tok.apply_chat_template(m, return_tensors='pt').to('cuda')['input_ids']", False),
        ("batch = tok.apply_chat_template(m)\nmodel.generate(**batch)", False),
        ("batch = tok.apply_chat_template(m).to(0)\nmodel.generate(batch['input_ids'])", False),
    ],
)
def test_chat_templates_are_said_only_where_ids_were_expected(code, said):
    expected = [(2, "apply_chat_template", "decide")] if said else []
    assert findings(IMPORTS + code, versions=NEWEST) == expected
    assert new_code(IMPORTS + code) == IMPORTS + code


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("m = AutoModel.from_pretrained('x').to('cpu')\nm.floating_point_ops(i)", "change"),
        ("class T(Trainer):\n    def f(self):\n        self.model.floating_point_ops(1)", "change"),
        ("class T(Trainer):\n    def f(self):\n        self.floating_point_ops(1)", None),
        ("t = Trainer(m)\nt.floating_point_ops(i)", None),
        ("unknown.floating_point_ops(i)", "decide"),
        ("m = m.to('cpu')\nm.floating_point_ops(i)", "decide"),
    ],
)
def test_floating_point_ops_of_models_not_of_trainers(code, level):
    assert [each[2] for each in findings(IMPORTS + code, versions=NEWEST)] == ([level] if level else [])


def test_floating_point_ops_becomes_the_librarys_function():
    code = IMPORTS + "m = AutoModel.from_pretrained('x')\nprint(m.floating_point_ops({'input_ids': i}) * 2)"
    *_, last = new_code(code).splitlines()
    assert last == "print(floating_point_ops(m, {'input_ids': i}) * 2)"
    assert "from ftlib.compat import floating_point_ops\n" in new_code(code)


# Moved names.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "from datasets import load_dataset, load_metric\nm = load_metric('x')",
            "from datasets import load_dataset\nimport evaluate\nm = evaluate.load('x')",
        ),
        ("import datasets\nm = datasets.load_metric('x')", "import datasets\nimport evaluate\nm = evaluate.load('x')"),
        (
            "from peft import prepare_model_for_int8_training as p\np(m)",
            "from peft import prepare_model_for_kbit_training\nprepare_model_for_kbit_training(m)",
        ),
        (
            "from transformers import AdamW\nAdamW(p, 1e-3, (0.9, 0.95), 1e-6)",
            "from torch.optim import AdamW\nAdamW(p, 1e-3, (0.9, 0.95), 1e-6, weight_decay=0.0)",
        ),
        (
            "import transformers as tf\no: tf.AdamW = tf.AdamW(p, weight_decay=0.1)",
            "import transformers as tf\nfrom torch.optim import AdamW\no: AdamW = AdamW(p, weight_decay=0.1, eps=1e-6)",
        ),
        ("from trl import ORPOTrainer as O\nO(m)", "from trl.experimental.orpo import ORPOTrainer\nORPOTrainer(m)"),
        ("from trl.experimental.orpo import ORPOTrainer", "from trl.experimental.orpo import ORPOTrainer"),
        ("def f():\n    from transformers import AdamW", "def f():\n    from torch.optim import AdamW"),
    ],
)
def test_moved_names_are_imported_from_their_new_place(old, new):
    assert new_code(old) == new


def test_a_name_that_is_taken_is_not_imported():
    code = "from transformers import AdamW\nfrom mine import load\nAdamW = 1"
    upgraded = upgrade_source(code, versions=NEWEST)
    assert upgraded.code == code
    assert [each.level for each in upgraded.findings] == ["decide"]
    assert "AdamW already means something else here" in upgraded.findings[0].explanation


# Trainers of TRL.

TRL = "from transformers import TrainingArguments\nfrom trl import SFTConfig, SFTTrainer\n"
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


# Against the installed libraries.


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


# The rules, each held to the installed libraries.


def parameters(name):
    value = importlib.import_module(name.partition(".")[0])
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return inspect.signature(value).parameters


def names_in(package):
    return dir(importlib.import_module(package))


def test_rules_have_names_of_their_own_and_a_reason():
    names = [f"{rule.package} {rule.name}" for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(rule.why and "\n" not in rule.why and not rule.why.endswith(".") for rule in RULES)


def arguments_of(kinds):
    rules = [rule for rule in DUE if rule.kind in kinds and "AdamW" not in rule.where[0]]
    return [(rule, where) for rule in rules for where in rule.where if "*" not in where and where[0] != "."]


@pytest.mark.parametrize(
    ("rule", "where"), arguments_of(("rename", "value", "remove", "say")), ids=lambda each: getattr(each, "name", each)
)
def test_old_arguments_are_refused_and_new_ones_accepted(rule, where):
    known = parameters(where)
    assert rule.old not in known
    for new in [rule.new, *rule.values.values()]:
        assert not new or new.partition("=")[0] in known


@pytest.mark.parametrize(
    "rule", [rule for rule in DUE if "transformers.*.from_pretrained" in rule.where], ids=lambda rule: rule.name
)
def test_from_pretrained_refuses_the_old_argument(rule, tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM

    tiny_model.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=rule.old):
        AutoModelForCausalLM.from_pretrained(tmp_path, **{rule.old: True})


def test_what_replaces_arguments_of_from_pretrained_is_accepted(tiny_model, tmp_path):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    tiny_model.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="bfloat16", token=None, attn_implementation="eager")
    assert str(model.dtype) == "torch.bfloat16"
    assert BitsAndBytesConfig(load_in_8bit=True).load_in_8bit


def test_old_values_of_training_arguments_are_refused_and_new_ones_accepted(tiny_model, tmp_path):
    from transformers import Trainer, TrainingArguments

    rules = [rule for rule in DUE if rule.kind == "setting" and "TrainingArguments" in rule.where[0]]
    assert len(rules) == 2
    for rule in rules:
        for old, new in rule.values.items():
            for text, refused in ((f"{rule.old}={old}", True), (new, False)):
                keywords = eval(f"dict({text})")  # noqa: S307 - a row of ours
                if refused:
                    with pytest.raises(ValueError, match=r"not supported|not a valid"):
                        Trainer(tiny_model, TrainingArguments(str(tmp_path), **{"report_to": "none", **keywords}))
                else:
                    Trainer(tiny_model, TrainingArguments(str(tmp_path), **{"report_to": "none", **keywords}))


def test_what_stands_in_for_a_switch_is_the_default():
    rules = [rule for rule in DUE if rule.otherwise and "TrainingArguments" in rule.where[0]]
    defaults = parameters("transformers.TrainingArguments")
    standing = {rule.new.partition("=")[0]: eval(rule.otherwise) for rule in rules}  # noqa: S307
    assert standing.pop("optim") == "adamw_torch"  # today's default is the same optimizer, fused
    assert standing.pop("include_for_metrics") == []  # a list, which a field makes anew
    assert standing == {name: defaults[name].default for name in standing}


def test_load_dataset_refuses_the_old_arguments(tmp_path):
    from datasets import load_dataset

    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8")
    for old in ("use_auth_token", "ignore_verifications", "task"):
        with pytest.raises((TypeError, ValueError), match=old):
            load_dataset("json", data_files=str(tmp_path / "a.json"), cache_dir=str(tmp_path), **{old: True})


def test_push_to_hub_takes_a_token():
    known = parameters("transformers.PreTrainedModel.push_to_hub")
    assert "token" in known
    assert "use_auth_token" not in known


@pytest.mark.parametrize("rule", [rule for rule in DUE if rule.kind == "task"], ids=lambda rule: rule.old)
def test_tasks_of_pipelines_are_gone(rule):
    from transformers.pipelines import check_task

    for task in rule.values:
        with pytest.raises(KeyError):
            check_task(task)


@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
@pytest.mark.parametrize("rule", [rule for rule in DUE if rule.kind in ("moved", "gone")], ids=lambda rule: rule.old)
def test_old_names_are_gone_and_new_ones_there(rule):
    name = rule.old.partition(".")[2]
    assert not [each for each in names_in(rule.package) if fnmatchcase(each, name)]
    if rule.new and not rule.new.startswith("evaluate"):
        home, _, name = rule.new.rpartition(".")
        assert hasattr(importlib.import_module(home), name)


def test_methods_of_tokenizers_and_models_are_gone():
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    still = {"apply_chat_template"}
    for rule in DUE:
        if rule.kind == "method":
            assert hasattr(PreTrainedTokenizerBase, rule.old) == (rule.old in still)
            assert not hasattr(PreTrainedModel, rule.old)
        elif rule.kind == "attribute":
            assert not hasattr(Trainer, rule.old)
    chat = parameters("transformers.PreTrainedTokenizerBase.apply_chat_template")
    assert chat["return_dict"].default is True
    assert "text_target" in parameters("transformers.PreTrainedTokenizerBase.__call__")
    assert hasattr(Trainer, "floating_point_ops")


@pytest.mark.parametrize("rule", [rule for rule in DUE if rule.kind == "parameter"], ids=lambda rule: rule.name)
def test_overridden_methods_have_the_parameters_of_the_rule(rule):
    assert tuple(parameters(f"transformers.Trainer.{rule.old}")) == rule.order


def test_trainers_have_the_new_order():
    (rule,) = [rule for rule in DUE if rule.kind == "order"]
    for where in rule.where:
        known = list(parameters(where))
        assert known[7] == "compute_loss_func"
        assert known[:7] == list(rule.order[:7])
        assert set(rule.order) <= set(known)


@pytest.mark.parametrize("rule", [rule for rule in DUE if rule.kind == "config"], ids=lambda rule: rule.name)
def test_settings_are_fields_of_the_configuration(rule):
    trainer, config = parameters(rule.where[0]), parameters(rule.new)
    assert not set(rule.values) & set(trainer)
    assert {field for field in rule.values.values() if field} <= set(config)
    assert not {old for old, field in rule.values.items() if not field} & set(config)
    defaults = parameters("transformers.TrainingArguments")
    for each in rule.keeps:
        name, _, value = each.partition("=")
        assert eval(value) == (defaults[name].default or False)  # noqa: S307 - a literal of ours
        assert defaults[name].default != config[name].default


def test_the_installed_release_calls_for_every_rule_but_the_deprecations():
    assert [due.rule.name for due in due_rules(NEWEST) if due.works == bool(due.rule.gone_by)] == []


# Notebooks.


@pytest.mark.parametrize(
    "source",
    [
        "!ls\nx = 1",
        "%pip install a \\\n    b\nimport a",
        "if x:\n    !ls\n    %cd ..\nelse:\n    y = !ls -l\n",
        "%%time\nx = 1",
        "model?\n?model\nmodel.generate??",
        "files = %sql select 1",
        'text = """\n%not a magic\n"""\n!ls',
    ],
)
def test_magics_come_back_as_they_were(source):
    masked, hidden = mask(source)
    cst.parse_module(masked)
    assert hidden
    assert masked.count("\n") == source.count("\n")
    assert unmask(masked, hidden) == source


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["!ls", "%cd x", "x = !ls", "x = 1", "", "# a", "x?", "if x:", "    !y", "\ty"]), max_size=6
    )
)
def test_any_mix_of_lines_comes_back(lines):
    source = "\n".join(lines)
    assert unmask(*mask(source)) == source
    assert split(join([(3, source)])) == {3: source}


def test_python_is_left_as_it_is_even_where_it_looks_like_a_magic():
    source = "x = (a\n  % b)\ny = a != b"
    assert mask(source) == (source, [])
    assert is_python("%%capture\nx = 1")
    assert not is_python("\n%%bash\nls")


def test_a_notebook_keeps_everything_but_the_changed_cells():
    path = ROOT / "tests/old_code/dialogue.ipynb"
    text = path.read_text(encoding="utf-8")
    old = json.loads(text)
    for layout in ({"indent": 1}, {"indent": 2, "ensure_ascii": True}, {}, {"separators": (",", ":")}):
        laid_out = json.dumps(old, **{"ensure_ascii": False, **layout})
        new = upgrade_source(laid_out, filename="a.ipynb", versions=NEWEST).code
        assert json.dumps(json.loads(new), **{"ensure_ascii": False, **layout}) == new
        pairs = list(zip(old["cells"], json.loads(new)["cells"], strict=True))
        assert [at for at, (a, b) in enumerate(pairs, start=1) if a != b] == [6, 7, 8]
        assert all({**a, "source": 0} == {**b, "source": 0} for a, b in pairs)


def test_sources_that_are_one_string_stay_one():
    notebook = '{"cells": [{"cell_type": "code", "source": "from transformers import Trainer\\nTrainer(tokenizer=1)"}]}'
    new = upgrade_source(notebook, filename="a.ipynb", versions=NEWEST).code
    assert new == notebook.replace("tokenizer", "processing_class")


def test_findings_in_a_notebook_name_cell_and_line():
    text = (ROOT / "tests/old_code/dialogue.ipynb").read_text(encoding="utf-8")
    upgraded = upgrade_source(text, filename="a.ipynb", versions=NEWEST)
    assert [(each.cell, each.line, each.rule, each.fixed) for each in upgraded.findings] == [
        (6, 5, "as_target_tokenizer", True),
        (7, 3, "TrainingArguments.evaluation_strategy", True),
        (7, 8, "TrainingArguments.logging_dir", False),
        (8, 1, "Trainer.tokenizer", True),
        (9, 1, "not parsed", False),
    ]
    assert "a.ipynb cell 6" in upgraded.diff


def test_an_import_goes_into_the_cell_that_needs_it():
    sources = [
        "from transformers import TrainingArguments",
        "%cd x\na = TrainingArguments('o')",
        "from trl import SFTTrainer",
        "SFTTrainer(m, a, packing=True)",
    ]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    new = json.loads(upgrade_source(json.dumps({"cells": cells}), filename="a.ipynb", versions=NEWEST).code)["cells"]
    assert new[1]["source"].startswith("%cd x\nfrom trl import SFTConfig\na = SFTConfig('o', packing=True")
    assert new[3]["source"] == "SFTTrainer(m, a)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "JSON with a list of cells"),
        ('{"worksheets": []}', "brings it to format 4"),
        ('{"cells": [], "metadata": {"language_info": {"name": "R"}}}', "its language is r"),
    ],
)
def test_what_is_no_python_notebook_is_refused(text, said):
    with pytest.raises(DataError, match=said):
        read_cells(text)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from([None, 1, 4]), st.booleans())
def test_any_source_can_be_written_into_a_notebook(source, indent, as_list):
    cell = {"cell_type": "code", "source": ["old\n", "x"] if as_list else "old", "outputs": []}
    text = json.dumps({"cells": [cell, {"cell_type": "raw", "source": []}]}, indent=indent)
    new = json.loads(write_cells(text, read_cells(text), {1: source}))
    assert "".join(new["cells"][0]["source"]) == source
    assert new["cells"][0]["outputs"] == []


# Whatever the arguments are.

KEYWORDS = sorted({rule.old for rule in RULES if rule.kind in ("rename", "remove", "value", "setting", "say")})
KEYWORDS += ["optim", "eval_strategy", "use_cpu", "quantization_config", "dtype", "packing", "max_seq_length", "beta"]


@settings(max_examples=60, deadline=None)
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


# Files.


def test_files_are_written_with_fix_only_and_keep_newlines_and_mode(tmp_path):
    file = tmp_path / "a.py"
    file.write_bytes(IMPORTS.replace("\n", "\r\n").encode() + b"TrainingArguments(no_cuda=True)\r\nx = 1\r\n")
    file.chmod(0o755)
    before = file.read_bytes()
    (report,) = upgrade_path(file)
    assert (file.read_bytes(), report.written, report.needs_attention) == (before, False, True)
    (report,) = upgrade_path(file, fix=True)
    assert file.read_bytes() == before.replace(b"no_cuda", b"use_cpu")
    assert (report.written, report.needs_attention) == (True, False)
    assert file.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in tmp_path.iterdir()] == ["a.py"]
    assert run_upgrade([file])[1] == 0


def test_the_encoding_cookie_is_obeyed(tmp_path):
    file = tmp_path / "a.py"
    code = f"# -*- coding: latin-1 -*-\n{IMPORTS}TrainingArguments('Übung', no_cuda=True)\n"
    file.write_bytes(code.encode("latin-1"))
    assert next(upgrade_path(file, fix=True)).written
    assert file.read_bytes() == code.replace("no_cuda", "use_cpu").encode("latin-1")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.py").write_text(IMPORTS + "TrainingArguments(no_cuda=True)", encoding="utf-8")
    (tmp_path / "link.py").symlink_to("real.py")
    next(upgrade_path(tmp_path / "link.py", fix=True))
    assert (tmp_path / "link.py").is_symlink()
    assert "use_cpu" in (tmp_path / "real.py").read_text(encoding="utf-8")


def test_a_folder_is_walked_without_environments_and_unreadable_files_are_named(tmp_path):
    for name in ("a.py", "sub/b.py", ".venv/c.py", ".ipynb_checkpoints/d.py", "env/lib/e.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(IMPORTS + "Trainer(tokenizer=t)\n", encoding="utf-8")
    (tmp_path / "env/pyvenv.cfg").write_text("", encoding="utf-8")
    (tmp_path / "bad.py").write_bytes(b"# \xff\xfe transformers\n")
    (tmp_path / "bad.ipynb").write_text("{", encoding="utf-8")
    reports, status = run_upgrade([tmp_path], fix=True)
    assert [report.path.name for report in reports] == ["a.py", "bad.ipynb", "bad.py", "b.py"]
    assert [bool(report.error) for report in reports] == [False, True, True, False]
    assert status == 1
    assert "processing_class" in (tmp_path / "sub/b.py").read_text(encoding="utf-8")
    assert "tokenizer=" in (tmp_path / ".venv/c.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "said"), [("nothing.py", "No such file"), ("a.txt", "ends in .py or .ipynb"), ("", "no file")]
)
def test_a_path_that_can_not_be_read_is_an_error_with_a_reason(tmp_path, name, said):
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    reports, status = run_upgrade([tmp_path / name])
    assert said in reports[0].error
    assert status == 1


def test_what_does_not_parse_is_reported_and_left_alone():
    code = IMPORTS + "print 'Python 2'\n"
    upgraded = upgrade_source(code)
    assert upgraded.code == code
    assert findings(code) == [(2, "not parsed", "decide")]


# Argument lists.


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, unique=True),
    st.sampled_from([", ", ",\n    ", ",  # note\n    ", ",\n    # above\n    "]),
    st.sampled_from(["", "\n    "]),
    st.booleans(),
    st.data(),
)
def test_argument_lists_survive_every_edit(names, between, opening, trailing, data):
    text = f"f({opening}{between.join(f'{name}=1' for name in names)}{',' if trailing else ''}{opening and chr(10)})"
    call = cst.ensure_type(cst.parse_expression(text), cst.Call)
    gone = data.draw(st.sampled_from(names))
    for edited, expected in (
        (upgrade_arguments.remove_argument(call, gone), [name for name in names if name != gone]),
        (upgrade_arguments.rename_argument(call, gone, "z"), ["z" if name == gone else name for name in names]),
        (upgrade_arguments.add_arguments(call, "y=2, z=3"), [*names, "y", "z"]),
    ):
        again = cst.ensure_type(cst.parse_expression(code_of(edited)), cst.Call)
        assert [each.keyword.value for each in again.args] == expected
        assert code_of(again).count("# above") == text.count("# above")


# What was refused runs.


def test_the_librarys_floating_point_ops_counts_what_the_trainer_counts(tiny_model, tmp_path):
    import torch
    from transformers import Trainer, TrainingArguments

    from ftlib.compat.trainer import floating_point_ops

    inputs = {"input_ids": torch.zeros((2, 5), dtype=torch.int64)}
    trainer = Trainer(tiny_model, TrainingArguments(str(tmp_path), report_to="none"))
    assert floating_point_ops(tiny_model, inputs) == trainer.floating_point_ops(inputs) > 0


def test_an_old_training_run_fails_and_its_upgrade_runs(tiny_model, tiny_tokenizer, tmp_path):
    code = """
from transformers import Trainer, TrainingArguments

class Logging(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        self.seen = True
        return super().compute_loss(model, inputs, return_outputs)

    def log(self, logs):
        super().log(logs)

arguments = TrainingArguments(
    output_dir=folder, overwrite_output_dir=True, evaluation_strategy="no", no_cuda=True, max_steps=2,
    warmup_ratio=0.5, group_by_length=True, save_safetensors=True, report_to="none", disable_tqdm=True,
)
trainer = Logging(tiny_model, arguments, None, rows, None, tokenizer, None, None, callbacks)
losses = trainer.train().training_loss
ids = tokenizer.encode_plus("A token")["input_ids"]
"""
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8]}] * 8
    names = {
        "folder": str(tmp_path),
        "rows": rows,
        "tokenizer": tiny_tokenizer,
        "tiny_model": tiny_model,
        "callbacks": [],
    }
    with pytest.raises(TypeError):
        exec(code, dict(names))  # noqa: S102 - our own text
    upgraded = upgrade_source(code)
    assert all(each.fixed for each in upgraded.findings)
    exec(upgraded.code, names)  # noqa: S102
    assert names["trainer"].seen
    assert 0 < names["losses"] < 10
    assert names["ids"]


# TRL's own default sets the argument that transformers deprecates:
# https://github.com/huggingface/trl/blob/main/trl/trainer/base_config.py
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_an_old_sft_run_fails_and_its_upgrade_runs(tiny_model, tiny_tokenizer, tmp_path):
    code = """
from transformers import TrainingArguments
from trl import SFTTrainer

arguments = TrainingArguments(
    output_dir=folder, evaluation_strategy="no", no_cuda=True, max_steps=2, report_to="none", disable_tqdm=True
)
trainer = SFTTrainer(
    model, args=arguments, train_dataset=rows, tokenizer=tokenizer, dataset_text_field="story", max_seq_length=16
)
loss = trainer.train().training_loss
"""
    from datasets import Dataset

    rows = Dataset.from_dict({"story": ["A token is a piece of text. " * 4] * 8})
    names = {"folder": str(tmp_path), "rows": rows, "tokenizer": tiny_tokenizer, "model": tiny_model}
    with pytest.raises(TypeError):
        exec(code, dict(names))  # noqa: S102 - our own text
    upgraded = upgrade_source(code)
    assert all(each.fixed for each in upgraded.findings)
    exec(upgraded.code, names)  # noqa: S102
    assert names["trainer"].args.max_length == 16
    assert names["trainer"].args.learning_rate == 5e-5
    assert 0 < names["loss"] < 10


def test_the_page_of_the_book_is_current_and_its_code_runs(capsys):
    page = (ROOT / "book/upgrade.md").read_text(encoding="utf-8")
    assert refreshed(page) == page, "run: python -m ftlib.upgrade.page book/upgrade.md"
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(block, {})  # noqa: S102
    assert "TrainingArguments(eval_strategy='no')" in capsys.readouterr().out
