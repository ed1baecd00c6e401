import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ftlib.errors import DataError, ModelError, TrainingError
from ftlib.models.loading import load_model
from ftlib.pretraining.corpus import encode_documents
from ftlib.pretraining.run import held_out_loss, pretrain, window_batch
from ftlib.training.checkpoints import checkpoints
from ftlib.training.optimizers import schedule
from tests.conftest import TEXTS, TINY


@pytest.fixture(scope="module")
def tokens(tiny_tokenizer):
    return encode_documents(tiny_tokenizer, TEXTS * 40)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_tokenizer_writes_any_text_and_reads_it_back(tiny_tokenizer):
    for text in ["plain", "Grüße, 你好", "tabs\tand\nlines", "<|endoftext|>", "\U0001f642"]:
        ids = tiny_tokenizer(text, split_special_tokens=True)["input_ids"]
        assert tiny_tokenizer.decode(ids) == text
    assert (tiny_tokenizer.eos_token_id, tiny_tokenizer.pad_token_id) == (0, 1)


def test_documents_end_with_the_end_token(tiny_tokenizer):
    row = encode_documents(tiny_tokenizer, ["ab", "c"]).tolist()
    assert row == [*tiny_tokenizer("ab")["input_ids"], 0, *tiny_tokenizer("c")["input_ids"], 0]


def test_an_epoch_reads_every_window_once():
    data = np.arange(TINY.context * 8 + 1, dtype=np.uint16)
    starts = [int(row[0]) for step in range(2) for row in window_batch(data, step, TINY)]
    assert sorted(starts) == [i * TINY.context for i in range(8)]
    window = window_batch(data, 0, TINY)[0]
    assert window.tolist() == list(range(int(window[0]), int(window[0]) + TINY.context + 1))


def test_learning_rate_rises_holds_and_falls():
    recipe = replace(
        TINY, total_tokens=TINY.batch_windows * TINY.context * 100, warmup_fraction=0.1, decay_fraction=0.5
    )
    plan = (recipe.warmup_steps, recipe.total_steps)
    factors = [schedule(number, *plan, decay_steps=recipe.decay_steps) for number in range(1, 101)]
    assert factors[:2] == [0.1, 0.2]
    assert set(factors[9:51]) == {1.0}
    assert factors[-1] == pytest.approx(1 / 50)


def test_held_out_loss_of_random_weights_is_about_ln_v(tiny_model, tokens):
    assert held_out_loss(tiny_model, tokens, TINY.context) == pytest.approx(np.log(320), abs=0.2)
    with pytest.raises(DataError, match="less than one window"):
        held_out_loss(tiny_model, tokens[:10], TINY.context)


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, tiny_tokenizer, tokens):
    options = {"checkpoint_every": 2}
    straight = pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path / "a", **options)
    pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path / "b", stop_after_steps=3, **options)
    resumed = pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path / "b", **options)
    assert torch.equal(weights(straight), weights(resumed))
    assert [path.name for path in tmp_path.glob("b/checkpoints/*")] == ["step-00000006"]
    assert torch.equal(weights(straight), weights(load_model(tmp_path / "b", device="cpu")[0]))
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "b" / "loss.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert steps == [2, 3, 4, 6]


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path, tiny_tokenizer, tokens):
    longer = replace(TINY, total_tokens=2 * TINY.total_tokens)
    pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path)
    pretrain(tiny_tokenizer, tokens, tokens, longer, tmp_path)
    assert [checkpoint.step for checkpoint in checkpoints(tmp_path)] == [longer.total_steps]
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8"))["total_tokens"] == longer.total_tokens


def test_checkpoints_hold_no_pickle(tmp_path, tiny_tokenizer, tokens):
    pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path, stop_after_steps=1)
    (folder,) = tmp_path.glob("checkpoints/*")
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}


def test_a_loss_that_is_no_number_leaves_the_checkpoint_before_it(tmp_path, tiny_tokenizer, tokens):
    pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path, stop_after_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ftlib.pretraining.run._next_token_loss", lambda model, windows: model(windows).logits.sum() * np.nan
        )
        with pytest.raises(TrainingError, match="step 2: the loss is nan"):
            pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path)
    assert [checkpoint.step for checkpoint in checkpoints(tmp_path)] == [1]


def test_a_folder_of_another_recipe_is_refused(tmp_path, tiny_tokenizer, tokens):
    pretrain(tiny_tokenizer, tokens, tokens, TINY, tmp_path, stop_after_steps=1)
    with pytest.raises(ModelError, match="holds a run of another recipe"):
        pretrain(tiny_tokenizer, tokens, tokens, replace(TINY, seed=1), tmp_path)


def test_too_little_text_is_an_error(tmp_path, tiny_tokenizer, tokens):
    with pytest.raises(DataError, match="less than one window"):
        pretrain(tiny_tokenizer, tokens[:20], tokens, TINY, tmp_path)
