"""Every hint of ``ftlib upgrade`` names what is there, and TRL warns of nothing that no rule is about."""

import ast
import importlib
import inspect
import pkgutil
import re
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ftlib.upgrade import upgrade_source
from ftlib.upgrade.installed import due_rules, installed_versions
from ftlib.upgrade.rule import PACKAGES
from ftlib.upgrade.rules import RULES

# Whoever imports it first hears that it may change (trl/experimental/__init__.py): these tests ask just that.
pytestmark = pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
DUES = due_rules(installed_versions())
CONFIGS = ("SFTConfig", "DPOConfig", "KTOConfig", "RewardConfig", "GRPOConfig", "RLOOConfig", "DistillationConfig")
# Words with capitals or underscores that name no object of a library.
PROSE = {"TRL", "FSDP", "SFT", "GPU", "TorchScript", "SageMaker", "PyTorch", "Accelerate", "XLNet", "XL", "CUDA", "LM"}
PROSE |= {"ThroughputCallback", "DPO", "HTTPS_PROXY", "CPU", "TPU", "TPUs", "TF", "Flax", "TensorBoard", "AdamW"}


def classes():
    import transformers
    import trl
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration
    from transformers.generation import GenerationMixin

    yield from (transformers.TrainingArguments, transformers.Trainer, transformers.PreTrainedTokenizerBase)
    yield from (transformers.DynamicCache, transformers.PreTrainedModel, transformers.LlamaConfig, GenerationMixin)
    yield from (trl.SFTTrainer, Accelerator, DataLoaderConfiguration, importlib.import_module("huggingface_hub").HfApi)
    yield from (getattr(trl, name) for name in CONFIGS)


def known_names():
    names = {*PROSE, *PACKAGES, "ftlib", "compat", "floating_point_ops", "evaluate", "optim"}
    names |= {each.name for each in pkgutil.iter_modules(importlib.import_module("trl.experimental").__path__)}
    for package in (*PACKAGES, "torch", "trl.experimental.utils"):
        names |= set(dir(importlib.import_module(package)))
    for class_ in classes():
        members = [getattr(class_, name, None) for name in dir(class_) if not name.startswith("__")]
        callables = [class_.__init__, *(each for each in members if callable(each) and not inspect.isclass(each))]
        names |= set(dir(class_)) | {name for each in callables for name in parameters(each)}
    return names


def parameters(value):
    try:
        return set(inspect.signature(value).parameters)
    except (TypeError, ValueError):
        return set()


def read_sources(package, pattern):
    home = Path(importlib.import_module(package).__file__).parent
    return {path: path.read_text(encoding="utf-8") for path in sorted(home.glob(pattern))}


@pytest.mark.filterwarnings("ignore")
def test_every_name_in_a_hint_is_there():
    known = known_names()
    # Values of settings, names of tasks and of environment variables, which no signature shows.
    files = [("transformers", "*.py"), ("transformers", "integrations/integration_utils.py"), ("trl", "trainer/*.py")]
    files += [("transformers", "pipelines/__init__.py"), ("trl", "experimental/*.py")]
    files += [("datasets", "load.py"), ("datasets", "utils/info_utils.py")]
    sources = [source for package, pattern in files for source in read_sources(package, pattern).values()]
    known |= {word for source in sources for word in re.findall(r"\w+", source)}
    missing = {}
    for rule in RULES:
        text = re.sub(r"https?:\S+", "", f"{rule.new} {rule.why} {' '.join(rule.values.values())} {rule.otherwise}")
        for word in re.findall(r"(?<![\w'])[A-Za-z][\w.]*\w", text):
            parts = [part for part in word.split(".") if part]
            named = [part for part in parts if "_" in part or re.search(r"[a-z][A-Z]", part) or len(parts) > 1]
            own = {rule.old, *rule.old.split("."), *(rule.values if rule.kind == "config" else ())}
            for part in named:
                there = part.endswith("_") and any(each.startswith(part) for each in known)
                if part not in known and part not in own and not there:
                    missing.setdefault(rule.name, []).append(word)
    assert not missing, missing


def expanded(rule):
    """The callables that a rule about arguments means, with their patterns filled in from the libraries."""
    for where in rule.where:
        package, _, name = where.partition(".")
        if not package or name.endswith((".from_pretrained", ".from_config")):
            continue
        module = importlib.import_module(package)
        if "*" not in name:
            yield where, getattr(module, name, None)
            continue
        for each in dir(module):
            if fnmatchcase(each, name) and inspect.isclass(getattr(module, each)):
                yield f"{package}.{each}", getattr(module, each)


ABOUT_NAMES = [due for due in DUES if due.rule.kind in ("rename", "remove", "value", "say")]


@pytest.mark.parametrize("due", ABOUT_NAMES, ids=lambda due: f"{due.rule.package} {due.rule.name}")
def test_what_is_called_gone_is_gone_and_what_is_called_new_is_there(due):
    rule = due.rule
    for where, value in expanded(rule):
        assert value is not None or where == "transformers.AdamW", where  # which is gone itself
        known = parameters(value)
        if due.works and "kwargs" not in known and rule.package != "huggingface_hub":
            assert rule.old in known, where
        elif not due.works:
            assert rule.old not in known, where
        trains = "output_dir" in known or not where.endswith("Config")
        for new in [rule.new, *rule.values.values()] if trains and value is not None else []:
            assert not new or new.partition("=")[0] in known, (where, new)


@pytest.mark.parametrize("rule", [due.rule for due in DUES if due.rule.kind == "member"], ids=lambda rule: rule.name)
def test_members_are_gone_and_their_successors_there(rule):
    import transformers

    homes = {"Tokenizer": transformers.PreTrainedTokenizerBase, "Model": transformers.PreTrainedModel}
    homes |= {"Cache": transformers.DynamicCache, "Config": transformers.LlamaConfig}
    home = homes[rule.name.partition(".")[0]]
    assert not hasattr(home, rule.old)
    if rule.new:
        from ftlib.models.loading import load_tokenizer

        tokenizer = load_tokenizer("nano")
        assert hasattr(tokenizer, rule.new)
        assert not hasattr(tokenizer, rule.old)


# TRL's own deprecations.


def deprecations():
    """Messages of FutureWarning in TRL's configurations and trainers, in the order of the files."""
    for path, source in (
        read_sources("trl", "trainer/*_config.py").items() | read_sources("trl", "trainer/*_trainer.py").items()
    ):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and "FutureWarning" in [getattr(each, "id", "") for each in node.args]:
                text = "".join(each.value for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant))
                yield path.name, text


# About columns, files and results, which a program's text does not show.
DYNAMIC = ("Detected legacy dataset columns", "return_outputs=True", "preprocess_logits_for_metrics", "response_schema")


def test_every_argument_that_trl_warns_of_has_a_rule():
    about = [due.rule for due in DUES if due.works and due.rule.package == "trl"]
    messages = [text for _, text in deprecations() if not any(words in text for words in DYNAMIC)]
    assert len(messages) > 8
    for text in messages:
        values = [value.strip('"') for rule in about for value in rule.values if value != "True"]
        names = [rule.old for rule in about if rule.kind != "setting" or "True" in rule.values]
        assert any(re.search(rf"\b{re.escape(name)}\b", text) for name in [*names, *values]), text


SAMPLES = {
    "SFTConfig.packing_strategy": "bfd-requeue",
    "SFTConfig.loss_type": "chunked_nll",
    "SFTConfig.truncation_mode": "keep_end",
    "SFTConfig.pad_token": "x",
    "GRPOConfig.use_transformers_paged": True,
    "GRPOConfig.vllm_importance_sampling_cap": 2.0,
}


@pytest.mark.parametrize("rule", [due.rule for due in DUES if due.rule.name in SAMPLES], ids=lambda rule: rule.name)
def test_trl_warns_of_the_old_spelling_and_not_of_the_new_one(rule, tmp_path):
    import trl

    name = rule.where[0].partition(".")[2]
    value = SAMPLES[rule.name]
    code = f"from trl import {name}\n{name}(folder, use_cpu=True, bf16=False, report_to='none', {rule.old}={value!r})"
    assert hasattr(trl, name)
    assert warned_of(code, tmp_path)
    upgraded = upgrade_source(code)
    assert [(each.rule, each.level) for each in upgraded.findings] == [(rule.name, "note")]
    assert bool(upgraded.diff) == bool(rule.new)
    if upgraded.diff:
        assert not warned_of(upgraded.code, tmp_path)


def warned_of(code, folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(code, {"folder": str(folder)})  # noqa: S102 - our own text
    return [str(each.message) for each in caught if "TRL" in str(each.message) or "v2.0.0" in str(each.message)]


# Guesses.


@pytest.mark.parametrize(
    ("code", "guess"),
    [
        ("from transformers import TrainingArguments\nTrainingArguments('o', eval_stratgy='no')", "eval_strategy"),
        ("from transformers import Triner", "Trainer"),
        ("from datasets import load_datasets", "load_dataset"),
        ("from trl import GRPOConfig\nGRPOConfig('o', max_promt_length=9)", ""),
        ("from trl import GRPOConfig\nGRPOConfig('o', max_sequence_length=9)", ""),
        ("from trl import DPOConfig\nDPOConfig('o', max_target_length=9)", ""),
        ("from trl import SFTConfig\nSFTConfig('o', dataset_batch=9)", ""),
        ("from transformers import Qwen9VLModel", ""),
        ("from transformers import SpeechEncoderModel", ""),
        ("from trl import PRMTrainer", ""),
        ("from trl import XPOTrainer", ""),
        ("from trl import BCOConfig", ""),
    ],
)
def test_a_guess_is_made_for_a_slip_of_the_keyboard_only(code, guess):
    (found,) = upgrade_source(code).findings
    assert (f"did you mean {guess}?" in found.explanation) == bool(guess)
    assert ("did you mean" in found.explanation) == bool(guess)


def test_everything_that_trl_moved_to_its_experiments_has_a_rule():
    import trl
    import trl.experimental

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = [each.name for each in pkgutil.iter_modules(trl.experimental.__path__)]
        once = {"ORPOTrainer", "CPOTrainer", "GKDTrainer", "OnlineDPOTrainer", "MergeModelCallback"}  # in TRL 0.20
        homes = [importlib.import_module(f"trl.experimental.{name}") for name in modules]
    there = {name for home in homes for name in once if hasattr(home, name)}
    assert there == once, "what else has TRL dropped?"
    ruled = {rule.old for rule in RULES if rule.kind == "moved"}
    assert {f"trl.{name}" for name in there if not hasattr(trl, name)} <= ruled
