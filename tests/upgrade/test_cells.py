"""Notebooks: magics, cells of other languages, findings by cell, and a file that keeps all but the changed cells."""

import ast
import json

import libcst as cst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlib.errors import DataError
from ftlib.upgrade import upgrade_source
from ftlib.upgrade.cells import is_python, join, mask, read_cells, shell_lines, split, unmask, write_cells
from tests.course import ROOT
from tests.upgrade.upgrading import NEWEST


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


@settings(max_examples=60)
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


ABOVE = ["#@title Install", "#@markdown ---", "", "%%capture", "%%time", "!pip install -q x", "%pip install x", "# a"]
WITHIN = ["x = 3 #@param {type:'integer'}", "%matplotlib inline", "y = !ls", "!pip install \\\n  y", "model?", "%%time"]
WITHIN += [
    "z = (x\n  % x)",
    "text = '''\n!no magic\n%none\n'''",
    "if x:\n    !ls\n    %cd z",
    "f(1,\n  2)",
    "#@title b",
]


@settings(max_examples=60)
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


def test_shell_lines_keep_their_numbers():
    assert shell_lines("x = 1\nif x:\n    !a \\\n  b\n%run c") == [(3, "!a \\"), (4, "b"), (5, "%run c")]
    assert shell_lines("%%html\n!a") == []


def test_a_notebook_keeps_everything_but_the_changed_cells():
    path = ROOT / "tests/upgrade/old_code/dialogue.ipynb"
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
    text = (ROOT / "tests/upgrade/old_code/dialogue.ipynb").read_text(encoding="utf-8")
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


def test_a_new_import_goes_below_the_title():
    sources = [
        "#@title Import\nfrom transformers import TrainingArguments",
        "#@title Train\n# settings\na = TrainingArguments('o')",
    ]
    sources += ["from trl import SFTTrainer\nSFTTrainer(m, a, packing=True)"]
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": source} for source in sources]})
    new = json.loads(upgrade_source(notebook, filename="a.ipynb", versions=NEWEST).code)["cells"][1]["source"]
    assert new.startswith("#@title Train\nfrom trl import SFTConfig\n# settings\na = SFTConfig('o', packing=True")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it has no list of cells"),
        ('{"worksheets": []}', "brings it to format 4"),
        ('{"cells": [], "metadata": {"language_info": {"name": "R"}}}', "its language is r"),
    ],
)
def test_what_is_no_python_notebook_is_refused(text, said):
    with pytest.raises(DataError, match=said):
        read_cells(text)


@settings(max_examples=50)
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from([None, 1, 4]), st.booleans())
def test_any_source_can_be_written_into_a_notebook(source, indent, as_list):
    cell = {"cell_type": "code", "source": ["old\n", "x"] if as_list else "old", "outputs": []}
    text = json.dumps({"cells": [cell, {"cell_type": "raw", "source": []}]}, indent=indent)
    new = json.loads(write_cells(text, read_cells(text), {1: source}))
    assert "".join(new["cells"][0]["source"]) == source
    assert new["cells"][0]["outputs"] == []


@pytest.mark.parametrize("text", ['{"cells": 3}', '{"cells": "x"}', '{"cells": [1]}', "[]", "3", "{}"])
def test_a_notebook_without_a_list_of_cells_is_refused_in_words(text):
    with pytest.raises(DataError, match="it has no list of cells: open it in Jupyter and save it"):
        read_cells(text)
