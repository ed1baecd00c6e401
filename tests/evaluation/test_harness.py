import subprocess
import sys

import pytest

from ftlib.data.reading import read_rows
from ftlib.evaluation.harness import CHOICES, faq_choices


def test_the_task_asks_every_question_with_one_right_answer():
    rows, faq = faq_choices()["test"], read_rows("faq", split="test")
    assert list(rows["question"]) == [row["question"] for row in faq]
    for made, row in zip(rows, faq, strict=True):
        assert len(set(made["choices"])) == CHOICES
        assert made["choices"][made["label"]] == row["answer"]
    assert [rows["label"].count(place) for place in range(CHOICES)] == [35] * CHOICES


def test_a_missing_harness_is_named_with_the_command_that_installs_it():
    code = "import sys; sys.modules['lm_eval'] = None; from ftlib.evaluation import harness as b; b.harness_model(1, 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert "pip install 'ftlib[benchmark]'" in done.stderr


@pytest.mark.slow
def test_the_harness_measures_a_model_without_a_network(tmp_path):
    pytest.importorskip("lm_eval", reason="the extra benchmark is not installed")
    # A process of its own: what the harness imports warns, and warnings are errors here.
    code = (
        "from ftlib import load_model; from ftlib.evaluation.harness import run_benchmark;"
        "found = run_benchmark(*load_model('nano', device='cpu'), limit=20); print(sorted(found), found['acc'] * 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, cwd=tmp_path)
    names, right = done.stdout.strip().splitlines()[-1].rsplit(" ", 1)
    assert names == "['acc', 'acc_norm', 'acc_norm_stderr', 'acc_stderr']"
    assert float(right) == pytest.approx(round(float(right)))
