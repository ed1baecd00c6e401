"""What smollm2 is, in small: a Llama with tied embeddings, grouped heads and a chat template of its own, at random."""

import copy
import json

import pytest
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from ftlib.data.writing import save_conversations
from ftlib.estimate.estimation import estimate
from ftlib.inference.generation import answer, stream
from ftlib.models.chat_model import load_chat_model
from ftlib.models.loading import save_model
from ftlib.models.trainable import add_lora
from ftlib.text.chat_template import ChatTemplate, template_of
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import SUMMARY, train
from tests.families import tiny_causal

ENGINES = ["loop", "hf", "lightning", "trl"]
START, END = "<|im_start|>", "<|im_end|>"
# As smollm2's: a system message of its own where there is none.
TEMPLATE = (
    (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '[system\nBe kind]\n' }}{% endif %}"
        "{{ '[' + m['role'] + '\n' + m['content'] + ']\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant\n' }}{% endif %}"
    )
    .replace("'[", f"'{START}")
    .replace("]\n'", f"{END}\n'")
)


def small_llama(tokenizer, **more):
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, "tie_word_embeddings": True}
    return tiny_causal("llama", head_scale=1.0, **sizes, **more)


@pytest.fixture
def tokenizer(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"bos_token": START, "eos_token": END, "pad_token": END})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.fixture
def folder(tmp_path, tokenizer, conversations):
    """A folder with the model, and rows beside it."""
    save_model(small_llama(tokenizer), tokenizer, tmp_path / "model")
    save_conversations(conversations, tmp_path / "rows.jsonl", format="openai")
    return tmp_path


def config(folder, engine="loop", lora=None, **train):
    return FinetuneConfig.from_dict(
        {
            "engine": engine,
            "model": {"name": str(folder / "model"), "device": "cpu", "lora": lora},
            "data": {"source": str(folder / "rows.jsonl"), "validation_share": 0},
            "train": {"max_steps": 4, "batch_size": 2, "learning_rate": 1e-2, "precision": "float32", **train},
        }
    )


UPPER = {"rank": 2, "targets": "blocks", "upper_layers": 1}


@pytest.fixture
def losses(folder):
    """Losses of the plain loop."""
    return {
        name: [step.loss for step in train(config(folder, lora=lora), folder / f"loop-{name}").history]
        for name, lora in {"all": None, "upper": UPPER}.items()
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weights", ["all", "upper"])
def test_every_engine_takes_the_same_steps_and_leaves_a_model_that_speaks(engine, weights, folder, losses):
    lora = UPPER if weights == "upper" else None
    run = train(config(folder, engine, lora), folder / "run")
    assert [step.loss for step in run.history] == pytest.approx(losses[weights], abs=1e-3)
    assert run.history[-1].loss < run.history[0].loss
    summary = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
    assert summary["template"] == "chat"  # its own, without being asked for
    chat_model = load_chat_model(str(run.folder), device="cpu")
    assert isinstance(chat_model.template, ChatTemplate)
    assert not any("lora" in name for name, _ in chat_model.model.named_parameters())  # merged
    table = chat_model.model.get_input_embeddings().weight
    assert chat_model.model.get_output_embeddings().weight is table  # still tied
    [told] = answer(chat_model.model, chat_model.tokenizer, ["Why?"], max_new_tokens=8)
    [same] = answer(chat_model.model, chat_model.tokenizer, ["Why?"], max_new_tokens=8, template=chat_model.template)
    assert told == same == "".join(stream(chat_model.model, chat_model.tokenizer, "Why?", max_new_tokens=8))
    ends = chat_model.model.generation_config.eos_token_id
    assert chat_model.tokenizer.convert_tokens_to_ids(END) in (ends if isinstance(ends, list) else [ends])


def backward_flops(model, tokenizer, *, checkpointing=False):
    """Operations of one backward pass, counted."""
    from ftlib.compat.installed import enable_checkpointing

    if checkpointing:
        enable_checkpointing(model)
    model.config.use_cache = False
    ids = tokenizer("Why? What is a token?", return_tensors="pt")["input_ids"]
    loss = model.train()(input_ids=ids, labels=ids).loss
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_backward_pass_goes_below_the_upper_layers(tokenizer, checkpointing):
    """Five blocks with adapters in the last two cost, on the way back, what two blocks cost that are all there is."""

    def adapted(blocks, upper):
        return add_lora(small_llama(tokenizer, num_hidden_layers=blocks), rank=2, targets="blocks", upper_layers=upper)

    two = backward_flops(adapted(2, 2), tokenizer, checkpointing=checkpointing)
    assert backward_flops(adapted(5, 2), tokenizer, checkpointing=checkpointing) == two
    assert backward_flops(adapted(5, None), tokenizer, checkpointing=checkpointing) > 2 * two
    trained = {name.split(".")[4] for name, weight in adapted(5, 2).named_parameters() if weight.requires_grad}
    assert trained == {"3", "4"}


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_opens_the_lower_layers_again(engine, folder, monkeypatch):
    """What the block without adapters gives needs no gradient, in every step of every engine."""
    forward, seen = LlamaDecoderLayer.forward, set()

    def watched(self, *arguments, **named):
        found = forward(self, *arguments, **named)
        if self.training:
            seen.add((self.self_attn.layer_idx, (found[0] if isinstance(found, tuple) else found).requires_grad))
        return found

    monkeypatch.setattr(LlamaDecoderLayer, "forward", watched)
    train(config(folder, engine, UPPER), folder / "run")
    assert seen == {(0, False), (1, True)}


def test_the_estimate_knows_the_upper_layers(tokenizer):
    settings = small_llama(tokenizer, num_hidden_layers=5).config
    options = {"length": 32, "lora_rank": 2, "lora_targets": ["q_proj", "down_proj"]}
    every, upper = estimate(settings, **options), estimate(settings, lora_upper_layers=2, **options)
    block = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 48  # weights of queries and output, keys and values, feed-forward
    adapters = upper.trainable_parameters
    assert adapters == 2 * every.trainable_parameters / 5
    head = len(tokenizer) * 32
    assert every.flops_per_token == 4 * (5 * block + head + 5 * 2 * 32) + 4 * 32 + 6 * every.trainable_parameters
    assert upper.flops_per_token == every.flops_per_token - 2 * 3 * (block + 2 * 32) - 6 * 3 * adapters / 2
    assert upper.peak.total < every.peak.total
    assert upper.activation_bytes < every.activation_bytes


@pytest.mark.parametrize("count", [0, 3])
def test_more_layers_than_there_are_is_an_error(tokenizer, count):
    from ftlib.errors import ModelError

    with pytest.raises(ModelError, match=f"at least 1 and at most the model's 2 blocks, not {count}"):
        add_lora(small_llama(tokenizer), rank=2, upper_layers=count)
    with pytest.raises(ModelError, match=f"at least 1 and at most the model's 2 blocks, not {count}"):
        estimate(small_llama(tokenizer).config, lora_rank=2, lora_upper_layers=count)
    with pytest.raises(ModelError, match="give lora_rank, too"):
        estimate(small_llama(tokenizer).config, lora_upper_layers=1)


def test_grouped_heads_and_a_tied_table_are_what_is_tested(tokenizer):
    model = small_llama(tokenizer)
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert template_of(tokenizer).source == TEMPLATE
