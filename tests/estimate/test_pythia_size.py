"""The path of chapter 8 at Pythia-70M's real size, with random weights, offline."""

import math
import os
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from ftlib.data.reading import load_conversations
from ftlib.estimate.estimation import architecture, estimate
from ftlib.models.loading import save_model
from ftlib.text.tokenization import tokenize
from ftlib.training.loop import finetune
from tests.conftest import TINY


@pytest.mark.slow
def test_three_training_steps_at_pythia_70m_size(tiny_tokenizer):
    """The steps of chapter 8 with the full architecture; its speed and memory don't depend on what it knows."""
    config = architecture("EleutherAI/pythia-70m")
    model = AutoModelForCausalLM.from_config(config)
    assert model.num_parameters() == estimate(config).parameters == 70_426_624
    rows = tokenize(tiny_tokenizer, load_conversations("faq", split="train").select(range(12)), max_length=512)
    assert TINY.context < max(len(ids) for ids in rows["input_ids"]) < config.max_position_embeddings
    steps = finetune(
        model, tiny_tokenizer, rows, max_steps=3, learning_rate=1e-5, warmup_steps=1, batch_size=1, accumulation_steps=4
    )
    assert len(steps) == 3
    assert steps[0].loss == pytest.approx(math.log(50_304), abs=1)
    assert steps[2].loss < steps[0].loss
    assert sum(step.tokens for step in steps) == sum(len(ids) for ids in rows["input_ids"])


@pytest.mark.slow
def test_a_model_in_the_hub_cache_loads_by_its_id_offline(tmp_path, tiny_tokenizer):
    """The cache is laid out as the Hub client lays it out; the load happens in a process that starts offline."""
    entry = tmp_path / "hub" / "models--EleutherAI--pythia-70m"
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = AutoModelForCausalLM.from_config(architecture("EleutherAI/pythia-70m"))
    save_model(model, tiny_tokenizer, entry / "snapshots" / commit)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text(commit, encoding="utf-8")
    code = (
        "from ftlib.models.loading import load_model\n"
        "model, tokenizer = load_model('EleutherAI/pythia-70m', device='cpu')\n"
        "print(model.num_parameters(), tokenizer.decode(tokenizer('padded')['input_ids']))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["70426624", "padded"]
