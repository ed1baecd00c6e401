"""What the tests of ``ftlib upgrade`` share: imports to begin a program with, and short ways to ask what it becomes."""

from ftlib.upgrade import upgrade_source
from ftlib.upgrade.calls import KEYWORDS
from ftlib.upgrade.rules import RULES

NEWEST = {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "datasets": "5.2.0"}
IMPORTS = "from transformers import AutoModel, AutoTokenizer, Trainer, TrainingArguments\n"
TRL = "from transformers import TrainingArguments\nfrom trl import SFTConfig, SFTTrainer\n"
ARGUMENTS = sorted({rule.old for rule in RULES if rule.kind in KEYWORDS})


def new_code(code):
    return upgrade_source(code, versions=NEWEST).code


def findings(code, **more):
    return [(each.line, each.rule, each.level) for each in upgrade_source(code, **more).findings]
