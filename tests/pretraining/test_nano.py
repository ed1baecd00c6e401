import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import torch
from safetensors.torch import load_file

from ftlib.models.loading import load_model
from ftlib.paths import nano_folder
from ftlib.pretraining.nano import make_nano
from ftlib.pretraining.recipe import Recipe
from tests.conftest import TINY


def test_the_whole_recipe_at_toy_size(tmp_path, capsys):
    """Harvest, tokenizer, training in two sittings, export; then the folder loads like any model."""
    recipe = replace(TINY, vocabulary_size=512, total_tokens=TINY.batch_windows * TINY.context * 20)
    packages, folder = ["jsonlines", "typer"], tmp_path / "model"
    assert make_nano(packages, recipe, tmp_path / "run", folder, stop_after_steps=4) is None
    report = make_nano(packages, recipe, tmp_path / "run", folder)
    assert report["held_out_loss_nats_per_token"] < np.log(512)
    assert report["training_tokens_seen"] == recipe.total_tokens
    capsys.readouterr()

    model, tokenizer = load_model(folder, device="cpu")
    assert model.num_parameters() == report["parameters"]
    assert tokenizer.pad_token_id == 1
    manifest = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    assert [source["name"] for source in manifest["sources"]] == packages
    assert all(len(source["sha256"]) == 64 for source in manifest["sources"])
    assert 0 <= report["near_copies"] < report["held_out_documents"]
    assert report["loss_without_near_copies"] > 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{report['bits_per_byte']} bits per byte" in card
    assert report["weights_sha256"] in card
    stored = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert stored["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_shipped_model_is_the_measured_one():
    report = json.loads((nano_folder() / "evaluation.json").read_text(encoding="utf-8"))
    weights = nano_folder() / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == report["weights_sha256"]
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    assert report["held_out_loss_nats_per_token"] <= 2.9
    assert report["training_tokens_seen"] >= 30_000_000
    assert sum(file.stat().st_size for file in nano_folder().iterdir()) <= 16 * 2**20


def test_the_recipe_in_the_code_is_that_of_the_shipped_model():
    assert json.loads((nano_folder() / "corpus.json").read_text(encoding="utf-8"))["recipe"] == asdict(Recipe())
    log = [json.loads(line) for line in (nano_folder() / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    assert log[-1]["step"] == Recipe().total_steps
