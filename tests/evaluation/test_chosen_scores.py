"""Every causal family: the loss of ftlib is the cross-entropy of the model's own logits."""

import contextlib

import pytest
import torch
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ftlib.errors import DataError, LossWarning
from ftlib.evaluation.likelihood import _of_batch
from ftlib.evaluation.metrics import answer_loss, summed_target_loss, token_accuracy
from ftlib.models.target_logits import logits_path, model_inputs
from ftlib.text.batches import pack_batch, pad_batch
from ftlib.training.job import STEP_TARGETS, TargetLoss
from tests.families import REFUSED, families, tiny_causal

# Their own loss holds each position against the label at the same position, not at the next one.
UNSHIFTED = {
    *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart"),
    *("prophetnet", "trocr", "whisper", "xlm", "xlnet"),
}
ALL_POSITIONS = {"prophetnet"}  # it computes two predictions of each position
NO_ROUTER_LOGITS = {"deepseek_v4", "flint"}  # their own forward pass fails when it is asked for them, tiny as they are
# In a packed row a conversation of these sees the one in front of it, or its positions don't begin anew.
MIXING = {
    *("bailing_hybrid", "bamba", "bart", "bert", "bert-generation", "big_bird", "bigbird_pegasus", "biogpt"),
    *("blenderbot", "blenderbot-small", "bloom", "camembert", "data2vec-text", "electra", "ernie", "falcon"),
    *("falcon_h1", "falcon_mamba", "gpt_oss", "granitemoehybrid", "inkling2_text", "inkling_text", "jamba"),
    *("lfm3", "mamba", "mamba2", "marian", "mbart", "megatron-bert", "minimax", "mpt", "mvp", "nemotron_h"),
    *("olmo_hybrid", "openai-gpt", "opt", "pegasus", "plbart", "prophetnet", "qwen3_5_moe_text"),
    *("qwen3_5_text", "qwen3_next", "qwen4_exp_text", "recurrent_gemma", "rembert", "roberta"),
    *("roberta-prelayernorm", "roc_bert", "roformer", "rwkv", "trocr", "xglm", "xlm", "xlm-roberta"),
    *("xlm-roberta-xl", "xlnet", "zaya"),
}
ROWS = [
    {"input_ids": [5, 6, 7, 8, 9, 10, 11, 3], "labels": [-100, -100, -100, 8, 9, 10, 11, 3]},
    {"input_ids": [15, 16, 17, 18, 19], "labels": [-100, -100, 17, 18, 19]},
    {"input_ids": [50, 60, 70], "labels": [-100, 60, 70]},
]
CLOSE = {"rel": 1e-4, "abs": 1e-3}

every_family = pytest.mark.parametrize("family", families())


@pytest.fixture
def batch():
    return pad_batch(ROWS, pad_token_id=0)


def own_logits(model, batch):
    return model(**model_inputs(model, batch)).logits[:, :-1].float()


def cross_entropy(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_every_family_is_tried_or_named():
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(families()) == known - set(REFUSED)
    assert len(families()) > 3 * len(REFUSED)


@every_family
def test_losses_accuracy_and_gradients_are_those_of_the_models_own_logits(family, batch):
    model, targets = tiny_causal(family), batch["labels"][:, 1:]
    logits = own_logits(model, batch)
    expected = cross_entropy(logits, targets)
    by_row = [cross_entropy(*row).item() for row in zip(logits, targets, strict=True)]
    right = int((logits.argmax(-1) == targets).sum())
    wanted = gradients(model, expected)
    loss, count = summed_target_loss(model, batch)
    assert (loss.item(), count) == (pytest.approx(expected.item(), **CLOSE), 10)
    assert answer_loss(model, [batch]) == pytest.approx(expected.item() / 10, **CLOSE)
    assert token_accuracy(model, [batch]) == right / 10
    assert _of_batch(model, batch)[:, 0].tolist() == pytest.approx(by_row, **CLOSE)
    assert logits_path(model) == ("all positions" if family in ALL_POSITIONS else "targets alone")
    found = gradients(model, loss)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()) + 1e-7), name


@every_family
def test_the_training_loss_is_the_models_own_loss(family, batch):
    """With the auxiliary loss of a mixture, where the model adds one; a loss of another kind is said."""
    model = tiny_causal(family)
    config = model.config.get_text_config()
    if hasattr(config, "output_router_logits") and family not in NO_ROUTER_LOGITS:
        config.output_router_logits = True
    own = model(**model_inputs(model, batch), labels=batch["labels"]).loss.item()
    plain = cross_entropy(own_logits(model, batch), batch["labels"][:, 1:]).item() / 10
    other = family in UNSHIFTED
    with pytest.warns(LossWarning, match="its own loss is") if other else contextlib.nullcontext():
        loss = TargetLoss(model)(**batch, **{STEP_TARGETS: torch.tensor(10)})["loss"]
    assert loss.item() == pytest.approx(plain if other else own, **CLOSE)


@every_family
def test_padding_on_the_left_and_packing_change_nothing_or_are_refused(family, batch):
    model = tiny_causal(family)
    expected = answer_loss(model, [batch])
    assert answer_loss(model, [pad_batch(ROWS, 0, side="left")]) == pytest.approx(expected, **CLOSE)
    packed = [pack_batch(ROWS, 0, max_length=16)]
    if family in MIXING:
        with pytest.raises(DataError, match=r"mixes packed rows.* pad the rows instead"):
            answer_loss(model, packed)
    else:
        assert answer_loss(model, packed) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt_neox", "qwen3", "mistral", "opt", "bloom"])
def test_packed_rows_in_half_precision_are_refused_where_float32_refuses_them(family, dtype):
    """A deep model's roundings move scores by more than one of them could: still, no conversation is mixed in."""
    model = tiny_causal(family, num_hidden_layers=24).to(dtype)
    long = [{"input_ids": [(7 * i + 3 * k) % 90 + 5 for i in range(64)]} for k in range(3)]
    packed = [pack_batch([{**row, "labels": row["input_ids"]} for row in long], 0, max_length=256)]
    if family in MIXING:
        with pytest.raises(DataError, match="mixes packed rows"):
            answer_loss(model, packed)
    else:
        padded = [pad_batch([{**row, "labels": row["input_ids"]} for row in long], 0)]
        assert answer_loss(model, packed) == pytest.approx(answer_loss(model, padded), rel=0.02)
