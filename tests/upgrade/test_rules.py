"""The rules of ``ftlib upgrade``, each held to the installed libraries, and their page in the book."""

import importlib
import inspect
import re
from fnmatch import fnmatchcase

import pytest

from book.generators.upgrade_rules import current
from ftlib.upgrade.installed import due_rules, installed_versions
from ftlib.upgrade.rules import RULES
from tests.course import ROOT

DUE = [due.rule for due in due_rules(installed_versions()) if not due.works]


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


def test_the_page_of_the_book_is_current_and_its_code_runs(capsys):
    page = (ROOT / "book/upgrade.md").read_text(encoding="utf-8")
    assert current(ROOT / "book/upgrade.md") == page, "run: python -m book.generators.upgrade_rules book/upgrade.md"
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(block, {})  # noqa: S102
    assert "TrainingArguments(eval_strategy='no')" in capsys.readouterr().out
