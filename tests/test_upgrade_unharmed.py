"""What ``ftlib upgrade`` leaves behind: Python that runs, every comment, whole diffs, cells as Colab wants them."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.upgrade import upgrade_path, upgrade_source
from ftlib.upgrade.cells import is_python, mask, shell_lines, unmask
from ftlib.upgrade.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
NEWEST = {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "datasets": "5.2.0"}
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


# Comments.

KEYWORDS = sorted({rule.old for rule in RULES if rule.kind in ("rename", "remove", "value", "setting", "say")})
KEYWORDS += ["packing", "max_seq_length", "dataset_text_field", "tokenizer", "output_dir", "learning_rate"]
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


@settings(max_examples=60, deadline=None)
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


# Programs of all kinds.


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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
    files += [*(ROOT / "tests/old_code").glob("*.py"), *home.parent.glob("peft/utils/*.py")]
    return sorted(each for each in files if each.stat().st_size < 15_000)


def test_real_programs_pass_unharmed():
    files = real_programs()
    assert len(files) > 30
    for path in files:
        unharmed(path.read_text(encoding="utf-8"), versions=NEWEST)


# Diffs.


@pytest.mark.parametrize("width", ["20", "80"])
def test_a_piped_diff_is_whole(tmp_path, width):
    long = f"a = TrainingArguments(output_dir={'x' * 150!r}, evaluation_strategy='no')  # [bold] :bug: {'y' * 90}"
    path = tmp_path / "old.py"
    path.write_text(f"from transformers import TrainingArguments\n{long}\n", encoding="utf-8")
    diff = next(upgrade_path(path)).diff
    command = [sys.executable, "-m", "ftlib.cli", "upgrade", "old.py"]
    environment = {"COLUMNS": width, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PATH": ""}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert f"-{long}\n+{long.replace('evaluation_', 'eval_')}\n" in run.stdout, run.stdout + run.stderr
    assert set(diff.replace(str(path), "old.py").split("\n")) <= set(run.stdout.split("\n"))


# Cells.

ABOVE = ["#@title Install", "#@markdown ---", "", "%%capture", "%%time", "!pip install -q x", "%pip install x", "# a"]
WITHIN = ["x = 3 #@param {type:'integer'}", "%matplotlib inline", "y = !ls", "!pip install \\\n  y", "model?", "%%time"]
WITHIN += [
    "z = (x\n  % x)",
    "text = '''\n!no magic\n%none\n'''",
    "if x:\n    !ls\n    %cd z",
    "f(1,\n  2)",
    "#@title b",
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(ABOVE), max_size=4), st.lists(st.sampled_from(WITHIN), max_size=4))
def test_magics_and_titles_may_stand_anywhere_above_and_within_code(above, within):
    source = "\n".join(
        [*above, "from transformers import TrainingArguments", *within, "TrainingArguments(no_cuda=True)"]
    )
    assert is_python(source)
    masked, hidden = mask(source)
    ast.parse(masked)
    assert unmask(masked, hidden) == source
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": source}]})
    upgraded = upgrade_source(notebook, filename="a.ipynb", versions=NEWEST)
    assert json.loads(upgraded.code)["cells"][0]["source"] == source.replace("no_cuda", "use_cpu")
    assert [(each.rule, each.fixed) for each in upgraded.findings] == [("TrainingArguments.no_cuda", True)]
    assert upgraded.findings[0].line == source.count("\n") + 1


@pytest.mark.parametrize("magic", ["bash", "html", "writefile a.py", "javascript", "R", "script false", "sql"])
@pytest.mark.parametrize("above", ["", "#@title Run\n", "# a\n\n", "%%capture\n", "#@title Run\n%%time\n"])
def test_cells_of_another_language_are_left_alone_whatever_stands_above(magic, above):
    source = f"{above}%%{magic}\nthis is not Python, no_cuda=True"
    assert not is_python(source)
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": source}]})
    upgraded = upgrade_source(notebook, filename="a.ipynb", versions=NEWEST)
    assert (upgraded.code, upgraded.findings) == (notebook, ())


def test_a_new_import_goes_below_the_title():
    sources = [
        "#@title Import\nfrom transformers import TrainingArguments",
        "#@title Train\n# settings\na = TrainingArguments('o')",
    ]
    sources += ["from trl import SFTTrainer\nSFTTrainer(m, a, packing=True)"]
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": source} for source in sources]})
    new = json.loads(upgrade_source(notebook, filename="a.ipynb", versions=NEWEST).code)["cells"][1]["source"]
    assert new.startswith("#@title Train\nfrom trl import SFTConfig\n# settings\na = SFTConfig('o', packing=True")


def test_shell_lines_keep_their_numbers():
    assert shell_lines("x = 1\nif x:\n    !a \\\n  b\n%run c") == [(3, "!a \\"), (4, "b"), (5, "%run c")]
    assert shell_lines("%%html\n!a") == []


OLD = "from transformers import TrainingArguments\nTrainingArguments('o', no_cuda=True)\n"


def notebook(**cell):
    return json.dumps({"cells": [{"cell_type": "code", "source": OLD} | cell], "metadata": {}})


NESTS = {
    "brackets": lambda depth: "(" * depth + "1" + ")" * depth,
    "text": lambda depth: "f'{" + "(" * depth + "1" + ")" * depth + "}'",
    "calls": lambda depth: "f(" * depth + ")" * depth,
    "signs": lambda depth: "-" * depth + "1",
    "nots": lambda depth: "not " * depth + "1",
    "lambdas": lambda depth: "lambda: " * depth + "1",
    "choices": lambda depth: "1 if 1 else " * depth + "1",
    "powers": lambda depth: "1**" * depth + "1",
    "sums": lambda depth: "1+" * depth + "1",
    "attributes": lambda depth: "a" + ".b" * depth,
    "indices": lambda depth: "a" + "[0]" * depth,
}


def test_code_that_no_parser_can_hold_ends_no_process(tmp_path):
    """The parser is native code: what is nested too deeply for it ends the process, with the reports of other files."""
    for kind, nest in NESTS.items():
        for depth in (50, 150, 1_000, 20_000):
            code = f"{OLD}x = {nest(depth)}\n"
            (tmp_path / f"{kind}_{depth}.py").write_text(code, encoding="utf-8")
            (tmp_path / f"{kind}_{depth}.ipynb").write_text(notebook(source=code), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ftlib.cli", "upgrade", str(tmp_path), "--json"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stderr[-500:]
    reports = json.loads(done.stdout)
    assert len(reports) == 2 * 4 * len(NESTS)
    assert all(report["findings"] or "nested too deeply" in report["error"] for report in reports)
    assert all(report["findings"] for report in reports if "_50." in report["path"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (notebook(source=3), "source of cell 1 is no text"),
        (notebook(source=[1, None]), "source of cell 1 is no text"),
        (notebook(source={"a": 1}), "source of cell 1 is no text"),
        (notebook(source="\ud83d"), "cell 1 holds half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"cells": [], "x": %s}' % ("9" * 5000), "no notebook"),
    ],
)
def test_a_broken_notebook_costs_no_other_reports(tmp_path, text, told):
    (tmp_path / "a.ipynb").write_text(text, encoding="utf-8")
    (tmp_path / "b.py").write_text(OLD, encoding="utf-8")
    first, second = upgrade_path(tmp_path)
    assert told in first.error
    assert second.findings


@pytest.mark.parametrize("metadata", [None, [], {"language_info": None}, {"language_info": {"name": None}}])
def test_odd_metadata_ends_nothing(tmp_path, metadata):
    text = json.dumps({"metadata": metadata, "cells": [{"source": "x"}, {"cell_type": "code", "source": OLD}]})
    (tmp_path / "a.ipynb").write_text(text, encoding="utf-8")
    (report,) = upgrade_path(tmp_path)
    assert report.findings or "its language is" in report.error


def test_a_byte_order_mark_before_a_notebook_stays(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(notebook(), encoding="utf-8-sig")
    (report,) = upgrade_path(path, fix=True)
    assert report.written
    assert path.read_bytes() == notebook().replace("no_cuda", "use_cpu").encode("utf-8-sig")


@pytest.mark.parametrize("name", ["run.yaml", "run.yml", "args.json", "pyproject.toml"])
def test_a_file_of_settings_is_told_what_to_do(tmp_path, name):
    (tmp_path / name).write_text("evaluation_strategy: steps\n", encoding="utf-8")
    (report,) = upgrade_path(tmp_path / name)
    assert "write them as a call, such as SFTConfig(...), in a script" in report.error
