"""The page about the library: its overview names functions that there are, and its example runs."""

import importlib
import re

from ftlib.models.loading import load_model
from tests.course import ROOT

PAGE = (ROOT / "book/api.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
FUNCTIONS = re.findall(r"^\| \[`(\w+)`\]\(#([\w.]+)\)", PAGE, re.MULTILINE)


def test_the_overview_names_ten_functions_and_the_example_calls_each():
    assert len(FUNCTIONS) == 10
    for name, target in FUNCTIONS:
        module, _, last = target.rpartition(".")
        assert last == name
        assert callable(getattr(importlib.import_module(module), name))
        assert f"{name}(" in EXAMPLE


def test_the_example_runs_and_leaves_a_model_that_has_learnt(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(EXAMPLE, names)  # noqa: S102 (our own page)
    history = names["history"]
    assert sum(step.loss for step in history[-5:]) < sum(step.loss for step in history[:5])
    assert "MiB at the fullest moment of a step" in capsys.readouterr().out
    tuned, _ = load_model("tuned")
    assert all((tuned.state_dict()[name] == weight).all() for name, weight in names["tuned"].state_dict().items())
