"""What ``ftlib upgrade`` leaves behind: Python that runs, every comment, and whole diffs."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.upgrade import upgrade_path, upgrade_source
from tests.course import ROOT
from tests.upgrade.upgrading import ARGUMENTS, NEWEST

IMPORTS = """from datasets import load_metric  # measures
from transformers import (
    AdamW,  # optimizes
    AutoModel,
    AutoTokenizer,
    Trainer,  # trains
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer  # more
"""


def comments_of(code):
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return Counter(each.string for each in tokens if each.type == tokenize.COMMENT)


def unharmed(code, **more):
    """Upgrade a program; it still parses, has lost no comment, and has nothing left to mend."""
    once = upgrade_source(code, **more)
    ast.parse(once.code)
    lost = comments_of(code) - comments_of(once.code)
    assert not lost, (lost, once.code)
    assert comments_of(once.code) == comments_of(code), once.code
    twice = upgrade_source(once.code, **more)
    assert twice.code == once.code
    assert not [each for each in twice.findings if each.level == "change"]
    return once


KEYWORDS = [*ARGUMENTS, "packing", "max_seq_length", "dataset_text_field", "tokenizer", "output_dir", "learning_rate"]
VALUES = ["True", "False", "None", "0.1", "flag", "'adamw_hf'", "(  # within\n        1\n    )", "f(  # within\n    )"]
CALLS = ["TrainingArguments", "SFTConfig", "SFTTrainer", "Trainer", "AutoModel.from_pretrained", "AdamW"]


@st.composite
def calls(draw):
    name = draw(st.sampled_from(CALLS))
    keywords = draw(st.dictionaries(st.sampled_from(KEYWORDS), st.sampled_from(VALUES), max_size=6))
    lines = []
    for number, (keyword, value) in enumerate(keywords.items()):
        above = f"    # above {number}\n" if draw(st.booleans()) else ""
        behind = f"  # behind {number}" if draw(st.booleans()) else ""
        lines.append(f"{above}    {keyword}={value},{behind}\n")
    end = "    # the end\n" if draw(st.booleans()) else ""
    return f"# a call\nx = {name}(  # opened\n    m,  # the model\n{''.join(lines)}{end})  # closed\n"


@settings(max_examples=60)
@given(st.lists(calls(), min_size=1, max_size=2))
@example(["SFTTrainer(m, args=TrainingArguments('o'), packing=True,  # packs\n    max_seq_length=9)  # long\n"])
@example(["a = SFTConfig(\n    'o',  # where\n)\nt = SFTTrainer(\n    m,\n    a,\n    max_seq_length=9  # long\n)\n"])
@example(["with tok.as_target_tokenizer():  # targets\n    # first\n    y = tok(z)  # labels\n"])
@example(["m = load_metric(  # which\n    'x'  # this\n)\n"])
@example(["a = tok.batch_encode_plus(  # all\n    x,  # texts\n)\nb = (tok  # mine\n    .encode_plus(x))\n"])
def test_no_comment_is_lost_whatever_is_mended(programs):
    unharmed(IMPORTS + "".join(programs), versions=NEWEST)


def test_comments_move_with_their_arguments_or_stay_where_these_were():
    code = """from transformers import TrainingArguments
from trl import SFTTrainer
args = TrainingArguments(output_dir="x", no_cuda=True)
trainer = SFTTrainer(
    model,
    args=args,
    train_dataset=ds,  # the rows
    dataset_text_field="text",  # where the text is
    max_seq_length=512,  # shorter rows fit
    infinite=True,  # for ever
    tokenizer=tok,
)
"""
    new = unharmed(code, versions=NEWEST).code
    assert 'dataset_text_field="text",  # where the text is\n' in new
    assert "max_length=512,  # shorter rows fit\n" in new
    assert new.index("# shorter rows fit") < new.index("trainer =")
    assert "    train_dataset=ds,  # the rows\n    # for ever\n    processing_class=tok,\n" in new


STATEMENTS = [
    "x = 1",
    "def f(a, *, b=2):\n    return [c for c in a if c]  # all",
    "class A(TrainingArguments):\n    warmup_ratio: float = 0.03  # warm\n    no_cuda: bool = True",
    "class T(Trainer):\n    def compute_loss(self, model, inputs):  # old\n        return self.tokenizer",
    "k = {'no_cuda': True, **k}\nTrainingArguments(**k)",
    "k['evaluation_strategy'] = 'no'",
    "a = TrainingArguments('o', no_cuda=True); b = 2",
    "a.warmup_ratio = 0.1  # later",
    "async def g():\n    async with a as b:\n        await b.encode_plus(1)",
    "match x:\n    case {'no_cuda': y}:\n        TrainingArguments(no_cuda=y)",
    "lambda: AdamW(p, correct_bias=False)",
    "try:\n    load_metric('x')\nexcept* ValueError:\n    pass",
    "f'{tok.additional_special_tokens!r:>{x}}'",
    "if (n := len(x)) > 1: tok.batch_encode_plus(x)",
    "del a.no_cuda",
    "global z",
    "@AdamW\ndef h(): ...",
    "for k, v in past_key_values: print(k)",
    "a = b = TrainingArguments('o', group_by_length=True)",
    "(a, *b), c = x",
    "type X = int" if sys.version_info >= (3, 12) else "X: type = int",
    "'''\n!python train.py --no_cuda\n'''",
    "os.system('python train.py --no_cuda')",
    "# only a comment",
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(STATEMENTS), max_size=6), st.booleans(), st.booleans())
def test_any_program_passes_unharmed(statements, nested, windows):
    body = "\n".join(statements)
    if nested:
        body = "def outer():\n    pass\n" + "\n".join(f"    {line}" for line in body.split("\n"))
        body = body.replace("'''", '"')
    try:
        ast.parse(IMPORTS + body)
    except SyntaxError:
        return
    code = IMPORTS + body + "\n"
    new = unharmed(code, versions=NEWEST).code
    with_returns = upgrade_source(code.replace("\n", "\r\n"), versions=NEWEST).code if windows else new
    assert with_returns.replace("\r\n", "\n") == new


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60))
@example("x = 1\n\U00031350 = 2")  # a letter that Python 3.12 knows and 3.11 does not
def test_any_text_passes_unharmed(text):
    for code in (text, f"import transformers\n{text}", f"import transformers\nx = {text!r}\n# {text!a}"):
        upgraded = upgrade_source(code, versions=NEWEST)
        assert upgraded.code == code
        cells = json.dumps({"cells": [{"cell_type": "code", "source": code}]})
        assert upgrade_source(cells, filename="a.ipynb", versions=NEWEST).code == cells


def real_programs():
    import trl

    home = Path(trl.__file__).parent
    files = [*home.glob("scripts/*.py"), *home.glob("trainer/*_config.py"), *(ROOT / "ftlib/upgrade").glob("*.py")]
    files += [*(ROOT / "tests/upgrade/old_code").glob("*.py"), *home.parent.glob("peft/utils/*.py")]
    return sorted(each for each in files if each.stat().st_size < 15_000)


def test_real_programs_pass_unharmed():
    files = real_programs()
    assert len(files) > 30
    for path in files:
        unharmed(path.read_text(encoding="utf-8"), versions=NEWEST)


def test_a_piped_diff_is_whole(tmp_path):
    long = f"a = TrainingArguments(output_dir={'x' * 150!r}, evaluation_strategy='no')  # [bold] :bug: {'y' * 90}"
    path = tmp_path / "old.py"
    path.write_text(f"from transformers import TrainingArguments\n{long}\n", encoding="utf-8")
    diff = next(upgrade_path(path)).diff
    command = [sys.executable, "-m", "ftlib.cli", "upgrade", "old.py"]
    environment = {"COLUMNS": "20", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PATH": ""}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert f"-{long}\n+{long.replace('evaluation_', 'eval_')}\n" in run.stdout, run.stdout + run.stderr
    assert set(diff.replace(str(path), "old.py").split("\n")) <= set(run.stdout.split("\n"))
