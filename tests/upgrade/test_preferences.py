"""What ``ftlib upgrade`` knows of TRL's trainers of preferences and rewards, held to the installed ones."""

import importlib
import inspect

import pytest

from ftlib.upgrade import upgrade_source
from ftlib.upgrade.calls import KEYWORDS
from ftlib.upgrade.installed import due_rules, installed_versions
from ftlib.upgrade.preference_rules import PREFERENCE_RULES
from tests.upgrade.upgrading import NEWEST, findings, new_code

DUE = [due.rule for due in due_rules(installed_versions()) if due.rule in PREFERENCE_RULES and not due.works]
IMPORTS = "from trl import DPOConfig, DPOTrainer, GRPOConfig, KTOConfig, KTOTrainer, RLOOConfig, RLOOTrainer\n"


def parameters(name):
    package, _, name = name.partition(".")
    return inspect.signature(getattr(importlib.import_module(package), name)).parameters


@pytest.mark.parametrize("rule", [rule for rule in DUE if rule.kind in KEYWORDS], ids=lambda rule: rule.name)
def test_the_old_argument_is_gone_and_the_new_one_there(rule):
    for where in rule.where:
        known = parameters(where)
        assert (rule.old in known) == (rule.kind == "setting" and where.endswith("Config"))
        if rule.kind == "rename":
            assert rule.new in known


@pytest.mark.parametrize("value", ["kto_pair", "aot_pair", "aot_unpaired", "sigmoid"])
def test_the_trainer_knows_the_losses_that_the_rules_name(value):
    from trl import DPOTrainer

    assert (f'"{value}"' in inspect.getsource(DPOTrainer)) == (value in ("aot_unpaired", "sigmoid"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DPOConfig('o', loss_type='aot_pair')", "DPOConfig('o', loss_type=\"aot_unpaired\")"),
        ("DPOConfig('o', label_pad_token_id=-100, reference_free=False)", "DPOConfig('o')"),
        ("DPOConfig('o', generate_during_eval=False, is_encoder_decoder=None)", "DPOConfig('o')"),
        ("DPOConfig('o', force_use_ref_model=True, use_logits_to_keep=True)", "DPOConfig('o')"),
        ("DPOConfig('o', use_liger_loss=use_it)", "DPOConfig('o', use_liger_kernel=use_it)"),
        (
            "KTOConfig('o', truncation_mode='keep_start', use_liger_loss=False)",
            "KTOConfig('o', use_liger_kernel=False)",
        ),
        ("GRPOConfig('o', wandb_log_unique_prompts=True)", "GRPOConfig('o', log_unique_prompts=True)"),
        ("GRPOConfig('o', vllm_max_model_len=99)", "GRPOConfig('o', vllm_max_model_length=99)"),
        (
            "RLOOConfig('o', vllm_guided_decoding_regex=pattern)",
            "RLOOConfig('o', vllm_structured_outputs_regex=pattern)",
        ),
        (
            "RLOOConfig('o', rloo_k=4, cliprange=0.2, kl_coef=0.05, num_ppo_epochs=2, num_mini_batches=1)",
            "RLOOConfig('o', num_generations=4, epsilon=0.2, beta=0.05, num_iterations=2, steps_per_generation=1)",
        ),
        (
            "RLOOConfig('o', response_length=53, normalize_reward=True, dataset_num_proc=2)",
            "RLOOConfig('o', max_completion_length=53, normalize_advantages=True)",
        ),
        ("RLOOTrainer(config=c, policy=m, train_dataset=d)", "RLOOTrainer(args=c, model=m, train_dataset=d)"),
    ],
)
def test_arguments_of_configurations_are_renamed_and_removed(old, new):
    assert new_code(IMPORTS + old) == IMPORTS + new
    assert findings(IMPORTS + new, versions=NEWEST) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("DPOTrainer(m, loss_type='kto_pair', args=load())", "take KTOTrainer"),
        ("DPOTrainer(m, reference_free=True)", "needs no reference"),
        ("DPOTrainer(m, model_adapter_name='a')", "a copy of it is the reference"),
        ("DPOTrainer(m, model_init=make)", "its name with model_init_kwargs"),
        ("DPOConfig('o', rpo_alpha=0.5)", "loss_weights=[1.0, rpo_alpha]"),
        ("DPOConfig('o', max_prompt_length=9)", "filter those that are too long"),
        ("DPOConfig('o', max_completion_length=9)", "prompt and completion together"),
        ("DPOConfig('o', generate_during_eval=True)", "LogCompletionsCallback"),
        ("DPOConfig('o', is_encoder_decoder=True)", "encoder-decoder"),
        ("DPOConfig('o', padding_value=0)", "set tokenizer.pad_token"),
        ("KTOConfig('o', max_prompt_length=9)", "filter those that are too long"),
        ("KTOConfig('o', loss_type='bco')", "bco_pair"),
        ("KTOConfig('o', truncation_mode='keep_end')", "cut them yourself"),
        ("KTOTrainer(m, ref_adapter_name='a')", "a copy of it is the reference"),
        ("KTOTrainer(m, preprocess_logits_for_metrics=f)", "prediction_step"),
        ("GRPOConfig('o', max_prompt_length=9)", "filter those that are too long"),
        ("GRPOConfig('o', vllm_device='auto')", "colocate"),
        ("GRPOConfig('o', vllm_dtype='auto')", "vllm serve"),
        ("RLOOConfig('o', total_episodes=9)", "max_steps"),
        ("RLOOTrainer(reward_model=m)", "reward_funcs"),
    ],
)
def test_what_only_a_person_can_decide_is_said_and_left(given, said):
    upgraded = upgrade_source(IMPORTS + given, versions=NEWEST)
    assert upgraded.code.splitlines()[-1] == given
    assert said in next(each for each in upgraded.findings if each.level == "decide").explanation


@pytest.mark.parametrize(
    "name",
    [
        *("trl.core.LengthSampler", "trl.trainer.utils.DPODataCollatorWithPadding", "trl.FDivergenceType"),
        *("trl.BCOTrainer", "trl.NashMDConfig", "trl.PRMTrainer", "trl.HfPairwiseJudge", "trl.TextEnvironment"),
        *("trl.experimental.ppo.PPOTrainer", "trl.experimental.bco.BCOConfig", "trl.experimental.xpo.XPOTrainer"),
    ],
)
def test_names_that_left_the_library_are_said(name):
    home, _, name = name.rpartition(".")
    (found,) = upgrade_source(f"from {home} import {name}").findings
    assert found.level == "decide"
    assert found.rule != "no rule"


def test_names_that_moved_are_imported_from_where_they_are():
    old = "from trl import set_seed, truncate_dataset\nset_seed(1)\nrows = truncate_dataset(rows, 9)"
    assert new_code(old).splitlines()[:2] == [
        "from trl.experimental.utils import truncate_dataset",
        "from transformers import set_seed",
    ]


def test_todays_code_is_left_alone():
    code = IMPORTS + (
        "from trl import GRPOTrainer\n"
        "pairs = DPOConfig('o', beta=0.1, max_length=512, loss_type=['sigmoid', 'sft'], loss_weights=[1.0, 0.5])\n"
        "DPOTrainer(m, args=pairs, train_dataset=d, processing_class=t, peft_config=p)\n"
        "KTOTrainer(m, args=KTOConfig('o', loss_type='kto', beta=0.1), train_dataset=d, processing_class=t)\n"
        "own = GRPOConfig('o', num_generations=4, max_completion_length=64, use_vllm=True, vllm_mode='colocate')\n"
        "GRPOTrainer(m, reward_funcs=[f], args=own, train_dataset=d, processing_class=t)\n"
        "RLOOTrainer(model=m, reward_funcs=f, args=RLOOConfig('o', num_generations=4, beta=0.05), train_dataset=d)\n"
    )
    assert upgrade_source(code).findings == ()


# TRL's own default sets the argument that transformers deprecates:
# https://github.com/huggingface/trl/blob/main/trl/trainer/base_config.py
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
# peft asks for the name that transformers deprecates:
# https://github.com/huggingface/peft/blob/main/src/peft/peft_model.py
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_old_dpo_run_fails_and_its_upgrade_runs(tiny_model, tiny_tokenizer, tmp_path):
    code = """
from peft import LoraConfig
from transformers import TrainingArguments
from trl import DPOTrainer, set_seed

set_seed(3)
arguments = TrainingArguments(
    output_dir=folder, evaluation_strategy="no", no_cuda=True, max_steps=2, report_to="none", disable_tqdm=True
)
trainer = DPOTrainer(
    model, None, args=arguments, beta=0.2, loss_type="ipo", train_dataset=rows, tokenizer=tokenizer, max_length=64,
    max_prompt_length=32, force_use_ref_model=False, peft_config=LoraConfig(r=2, task_type="CAUSAL_LM"),
)
loss = trainer.train().training_loss
"""
    from datasets import Dataset

    rows = {"prompt": ["A token is"] * 8, "chosen": [" a piece of text."] * 8, "rejected": [" a cat."] * 8}
    names = {
        "folder": str(tmp_path),
        "rows": Dataset.from_dict(rows),
        "tokenizer": tiny_tokenizer,
        "model": tiny_model,
    }
    with pytest.raises((TypeError, ImportError)):
        exec(code, dict(names))  # noqa: S102 - our own text
    upgraded = upgrade_source(code)
    assert all(each.fixed for each in upgraded.findings)
    exec(upgraded.code, names)  # noqa: S102
    arguments = names["trainer"].args
    assert (arguments.beta, arguments.loss_type, arguments.max_length) == (0.2, ["ipo"], 64)
    assert arguments.learning_rate == 5e-5
    assert names["loss"] > 0
