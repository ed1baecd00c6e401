"""Names that ``ftlib upgrade`` follows: through imports and subclasses, to new places, and in what classes override."""

import pytest

from ftlib.upgrade import upgrade_source
from tests.upgrade.upgrading import IMPORTS, NEWEST, findings, new_code


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
