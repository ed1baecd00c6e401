"""``ftlib upgrade`` finds arguments of training wherever a program writes them, and nothing that only looks alike."""

import json

import pytest

from ftlib.upgrade import upgrade_source
from ftlib.upgrade.calls import KEYWORDS
from ftlib.upgrade.installed import due_rules, installed_versions
from ftlib.upgrade.rules import RULES

IMPORTS = "import argparse, dataclasses, os, subprocess\nfrom transformers import HfArgumentParser, Trainer\n"
IMPORTS += "from transformers import TrainingArguments\n"
GONE = [
    due.rule
    for due in due_rules(installed_versions())
    if due.rule.kind in KEYWORDS and not due.works and due.rule.applies_to("transformers.TrainingArguments")
]
ARGUMENTS = [rule for rule in GONE if rule.kind != "setting"]
VALUES = {"warmup_ratio": "0.1"}
# How a program can write an argument of training, with NAME and VALUE in the place of both.
FORMS = {
    "a call": "TrainingArguments('o', NAME=VALUE)",
    "a field": "@dataclasses.dataclass\nclass A(TrainingArguments):\n    NAME: object = VALUE",
    "a field with its options": "class A(TrainingArguments):\n    NAME: object = dataclasses.field(default=VALUE)",
    "a field of a subclass": "class A(TrainingArguments): pass\nclass B(A):\n    NAME: object = VALUE",
    "an attribute": "a = TrainingArguments('o')\na.NAME = VALUE",
    "an attribute of a parameter": "def f(a: TrainingArguments):\n    a.NAME = VALUE",
    "an attribute of a trainer's": "t = Trainer(m)\nt.args.NAME = VALUE",
    "an attribute in a trainer": "class T(Trainer):\n    def f(self):\n        self.args.NAME = VALUE",
    "an attribute of what was parsed": "p = HfArgumentParser((D, TrainingArguments))\n"
    "d, a = p.parse_args_into_dataclasses()\na.NAME = VALUE",
    "an attribute that is read": "a = TrainingArguments('o')\nprint(a.NAME)",
    "setattr": "a = TrainingArguments('o')\nsetattr(a, 'NAME', VALUE)",
    "replace": "a = TrainingArguments('o')\nb = dataclasses.replace(a, NAME=VALUE)",
    "a literal": "TrainingArguments(**{'NAME': VALUE})",
    "a dictionary": "k = dict(NAME=VALUE)\nTrainingArguments(**k)",
    "two dictionaries": "k = {'a': 1}\nTrainingArguments(**{**k, 'NAME': VALUE})",
    "a dictionary in two branches": "k = {'NAME': VALUE} if x else {}\nTrainingArguments(**k)",
    "a key": "k = {}\nk['NAME'] = VALUE\nTrainingArguments(**k)",
    "an update": "k = {}\nk.update(NAME=VALUE)\nTrainingArguments(**k)",
    "a default": "k = {}\nk.setdefault('NAME', VALUE)\nTrainingArguments(**k)",
    "a class that mirrors them": "class M:\n    NAME: object = VALUE\nm = M()\nTrainingArguments(**vars(m))",
    "options": "p = argparse.ArgumentParser()\np.add_argument('--NAME')\n"
    "a = p.parse_args()\nTrainingArguments(**vars(a))",
    "a list of options": "HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(args=['--NAME', 'VALUE'])",
    "a command": "os.system('python train.py --NAME VALUE')",
    "a process": "subprocess.run(['python', 'train.py', '--NAME'])",
}


def written(form, rule):
    return IMPORTS + form.replace("NAME", rule.old).replace("VALUE", VALUES.get(rule.old, "True"))


def found(code, name=""):
    return told(upgrade_source(code, filename=name))


def told(upgraded):
    return [each for each in upgraded.findings if each.rule != "hidden arguments"]


@pytest.mark.parametrize("form", FORMS)
def test_every_old_argument_is_found_wherever_it_is_written(form):
    for rule in ARGUMENTS:
        code = written(FORMS[form], rule)
        once = upgrade_source(code)
        said = [each for each in told(once) if each.rule == rule.name]
        assert said, code
        # A field or attribute of a switch that did nothing does nothing still: a note. All else has to be seen to.
        idle = rule.kind == "remove" and ("field" in form or "attribute" in form)
        assert idle or said[0].level != "note", code
        compile(once.code, form, "exec")
        assert once.code == code or upgrade_source(once.code).code == once.code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "warmup_ratio: float = field(default=0.03, metadata=m)",
            "warmup_steps: float = field(default=0.03, metadata=m)",
        ),
        ("warmup_ratio: float = 0.03  # warm", "warmup_steps: float = 0.03  # warm"),
        ("group_by_length: bool = True", 'train_sampling_strategy: str = "group_by_length"'),
        ("adafactor: bool = field(default=True)", 'optim: str = field(default="adafactor")'),
        ("optim: str = 'adamw_hf'", 'optim: str = "adamw_torch"'),
        ("group_by_length: bool = False", "group_by_length: bool = False"),
    ],
)
def test_fields_are_mended(old, new):
    code = IMPORTS + "class A(TrainingArguments):\n    x: int = 1\n    {}\n"
    assert upgrade_source(code.format(old)).code == code.format(new)


def test_the_warm_up_of_a_field_is_not_lost(tmp_path):
    code = IMPORTS + "@dataclasses.dataclass\nclass A(TrainingArguments):\n    warmup_ratio: float = 0.03\n"
    code += "steps = A(output_dir=folder, report_to='none').get_warmup_steps(100)"
    before, after = {"folder": str(tmp_path)}, {"folder": str(tmp_path)}
    exec(code, before)  # noqa: S102 - our own text
    exec(upgrade_source(code).code, after)  # noqa: S102
    assert (before["steps"], after["steps"]) == (0, 3)


def test_a_field_that_the_program_reads_itself_is_said_and_stays():
    code = IMPORTS + "class A(TrainingArguments):\n    warmup_ratio: float = 0.03\ndef f(a):\n    return a.warmup_ratio"
    upgraded = upgrade_source(code)
    assert upgraded.code == code
    assert [(each.level, each.line) for each in upgraded.findings] == [("decide", 5)]
    known = code.replace("f(a)", "f(a: A)")
    assert upgrade_source(known).code == known.replace("warmup_ratio", "warmup_steps")


@pytest.mark.parametrize(
    ("code", "rule", "level"),
    [
        ("m.save_pretrained('o', safe_serialization=False)", "save_pretrained.safe_serialization", "decide"),
        ("AutoModel.from_pretrained('x', resume_download=True)", "from_pretrained.resume_download", "change"),
        ("tok = AutoTokenizer.from_pretrained('x')\ntok.additional_special_tokens", "Tokenizer.", "change"),
        ("def f(tok):\n    return tok.additional_special_tokens_ids[0]", "Tokenizer.", "change"),
        ("tok.build_inputs_with_special_tokens(a, b)", "Tokenizer.", "decide"),
        ("o = model(i)\no.past_key_values[0][0].shape[2]", "past_key_values", "decide"),
        ("def f(past_key_values):\n    return past_key_values[0][0].shape", "past_key_values", "decide"),
        ("for k, v in model(i).past_key_values: print(k)", "past_key_values", "decide"),
        ("model(i, past_key_values=((k, v), (k, v)))", "past_key_values", "decide"),
        ("past = tuple(old)\nmodel(i, past_key_values=past)", "past_key_values", "decide"),
        ("model(i).past_key_values.to_legacy_cache()", "Cache.to_legacy_cache", "decide"),
        ("DynamicCache.from_legacy_cache(p)", "Cache.from_legacy_cache", "decide"),
        ("model.generate(i, num_beams=4, num_beam_groups=2)", "generate.num_beam_groups", "decide"),
        ("model.generate(i, dola_layers='low')", "generate.dola_layers", "decide"),
        ("model.generate(i, return_legacy_cache=True)", "generate.return_legacy_cache", "decide"),
        ("AutoConfig.from_pretrained('x').rope_theta", "Config.rope_theta", "decide"),
        ("m = AutoModel.from_pretrained('x')\nm.config.rope_theta", "Config.rope_theta", "decide"),
        ("from accelerate import Accelerator\nAccelerator(fp16=True)", "Accelerator.fp16", "change"),
        ("from huggingface_hub import Repository", "huggingface_hub.Repository", "decide"),
        ("from transformers import TFBertModel", "transformers.TF[A-Z]*", "decide"),
    ],
)
def test_members_and_arguments_of_objects_are_found(code, rule, level):
    code = f"from transformers import AutoConfig, AutoModel, AutoTokenizer, DynamicCache\n{code}"
    said = [each for each in found(code) if each.rule.startswith(rule)]
    assert [each.level for each in said][:1] == [level]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("!python train.py --NAME VALUE", 1),
        ("!cd x && python -m train --NAME=VALUE", 1),
        ("#@title Train\n!torchrun --nproc_per_node 2 train.py \\\n    --output_dir o \\\n    --NAME VALUE", 4),
        ("x = 1\nif x:\n    !accelerate launch train.py --NAME", 3),
        ("%run train.py --NAME VALUE", 1),
        ("%%bash\n\npython train.py --NAME VALUE", 3),
        ("#@title Train\n%%shell\npython train.py \\\n --NAME VALUE", 4),
        ("lines = !python train.py --NAME VALUE", 1),
    ],
)
def test_options_in_a_notebooks_shell_lines_are_found(source, line):
    for rule in ARGUMENTS:
        cells = [{"cell_type": "code", "source": source.replace("NAME", rule.old).replace("VALUE", "True")}]
        said = found(json.dumps({"cells": cells}), "a.ipynb")
        assert [(each.cell, each.line, each.rule, each.level) for each in said] == [(1, line, rule.name, "decide")]


# What only looks alike.

ALIKE = [
    "from transformers import LlamaConfig\nLlamaConfig(torch_dtype='float16', rope_theta=1e4, rope_scaling=None)",
    "from transformers import PreTrainedConfig\nclass C(PreTrainedConfig): pass\nC(NAME=VALUE)",
    "from mine import TrainingArguments\nTrainingArguments(NAME=VALUE)",
    "class TrainingArguments:\n    NAME: object = VALUE\nTrainingArguments(NAME=VALUE).NAME",
    "def TrainingArguments(**k): pass\nTrainingArguments(NAME=VALUE)",
    "from lightning import Trainer\nt = Trainer(NAME=VALUE)\nt.args.NAME = VALUE",
    "class Settings:\n    NAME: object = VALUE\ns = Settings()\ns.NAME = VALUE\nprint(s.NAME)",
    "p = argparse.ArgumentParser()\np.add_argument('--NAME')\na = p.parse_args()\nprint(a.NAME)",
    "p = argparse.ArgumentParser()\np.add_argument('--NAME')\nos.system('python train.py --NAME 1')",
    "k = {'NAME': VALUE}\nmine(**k)\nprint(k['NAME'])",
    "def f(NAME=VALUE):\n    return NAME\nf(NAME=VALUE)",
    "try:\n    TrainingArguments('o', eval_strategy='no')\nexcept TypeError:\n    TrainingArguments('o', NAME=VALUE)",
    "if transformers.__version__ < '5':\n    TrainingArguments('o', NAME=VALUE)",
    "a = TrainingArguments('o')\nif hasattr(a, 'NAME'):\n    a.NAME = VALUE\nprint(getattr(a, 'NAME', None))",
    "print('about NAME in train.py')",
    "from diffusers import Pipe\nPipe.from_pretrained('x').save_pretrained('o', safe_serialization=False)",
    "from peft import get_peft_model\nget_peft_model(m, c).save_pretrained('o', safe_serialization=False)",
    "m.save_pretrained('o', safe_serialization=True)",
    "class Tok:\n    additional_special_tokens = ()\nTok().additional_special_tokens",
    "tok.add_special_tokens({'additional_special_tokens': ['a']})",
    "past_key_values = []\npast_key_values.append(1)\npast_key_values[0]",
    "def f(past_key_values):\n    if isinstance(past_key_values, tuple):\n        past_key_values[0]",
    "from mine import Cache\nc = Cache()\nc.past_key_values[0]",
    "from mine import Config\nConfig().rope_theta\nconfig.rope_theta",
    "from mine import llm\nllm.apply_chat_template(m)",
    "from mine import LLM\nl = LLM()\nl.apply_chat_template(m)\nl.encode_plus(1)\nl.generate(i, penalty_alpha=1)",
    "import trl\ntrl.SFTTrainer.mine = 1\ntrl.ModelConfig(dtype='auto')",
    "from transformers.utils import is_torch_tpu_available",
]


@pytest.mark.parametrize("code", ALIKE)
def test_what_only_looks_alike_is_no_finding(code):
    for rule in ARGUMENTS if "NAME" in code else ARGUMENTS[:1]:
        text = written(code, rule)
        upgraded = upgrade_source(text)
        assert told(upgraded) == [], text
        assert upgraded.code == text


def test_configurations_of_models_take_any_keyword_and_are_no_finding():
    from transformers import CONFIG_MAPPING

    seen = 0
    for kind in list(CONFIG_MAPPING)[::12]:
        name = CONFIG_MAPPING[kind].__name__
        code = f"from {CONFIG_MAPPING[kind].__module__} import {name}\n"
        code += f"{name}(torch_dtype='float16', num_labels=3, is_decoder=True, rope_theta=1.0, made_up=1)"
        assert found(code) == [], code
        seen += 1
    assert seen > 20


def test_options_that_the_notebook_declares_itself_are_its_own():
    cells = [
        {"cell_type": "code", "source": "%%writefile train.py\np.add_argument('--warmup_ratio')"},
        {
            "cell_type": "code",
            "source": "!python train.py --warmup_ratio 0.1\n!mine --no_cuda\n!echo no_cuda",
        },
    ]
    assert found(json.dumps({"cells": cells}), "a.ipynb") == []


def test_every_rule_about_training_is_tried_here():
    about = [rule for rule in RULES if rule.kind in KEYWORDS and rule.applies_to("transformers.TrainingArguments")]
    assert {rule.name for rule in about if rule.gone_by} == {rule.name for rule in GONE}
