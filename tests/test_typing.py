"""A type checker sees through the names that load on first use: what a user writes is checked, mistakes included."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
from transformers import PreTrainedModel

from ftlib import estimate, finetune, generate, load_conversations, load_model, make_trainer, tokenize
from ftlib.data import read_rows
from ftlib.estimate import GPUS
from ftlib.text import QUESTION_ANSWER

model, tokenizer = load_model("nano")
right: PreTrainedModel = model
texts: list[str] = generate(["Why?"], model, tokenizer)
wrong: int = estimate("nano").parameters_without_embedding
wrong_too: str = estimate("nano").parameters
load_model(42)
generate("Why?")
"""


def test_a_users_script_is_checked(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT, encoding="utf-8")
    options = ["--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), str(script)]
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    found = [line.partition("mine.py:")[2] for line in done.stdout.splitlines()]
    assert [line.rpartition("[")[2].rstrip("]") for line in found] == ["assignment", "arg-type", "call-arg"], found
