"""The real llama.cpp reads what ``ftlib export`` writes: the same ids of a question, the same text, the same end."""

import copy
import os

import pytest
import torch
from transformers import GenerationConfig

from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations
from ftlib.errors import MissingExtraError
from ftlib.export.gguf_adapter import export_adapter
from ftlib.export.gguf_file import export_gguf
from ftlib.export.merged import ends_of
from ftlib.export.targets import load_merged
from ftlib.models.loading import load_model, save_model
from ftlib.models.trainable import add_lora
from ftlib.text.tokenization import encode_segments
from tests.export.test_export import add_noise
from tests.export.test_gguf import CHATML
from tests.families import tiny_causal
from tests.llama_cpp import ask

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the local server ends its processes in POSIX's way")


def system(content):
    return {"role": "system", "content": content}


CONTEXT, LIMIT = 256, 24
TIE = 0.01
"""Rounding may swap two tokens whose logits are nearer to each other than this share of the logits' spread."""
QUESTIONS = [
    [user(f"{word} is a token?")] for word in ("Why", "What", "Where", "How long", "When", "1 of 23", "Café 💡")
]
CONVERSATIONS = [
    *QUESTIONS,
    [system("Be brief."), user("Why?")],
    [user("Why?"), assistant("So."), user("And\n\nthen <|im_end|?")],
]


def greedy(model, ids, *, limit=LIMIT, ends=()):
    """Return what PyTorch writes behind some ids, with an end if it comes to one."""
    inputs = torch.tensor([ids])
    settings = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=list(ends) or None, pad_token_id=0)
    with torch.no_grad():
        found = model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=settings)
    return found[0].tolist()[len(ids) :]


def is_a_tie(model, ids, ours, theirs):
    """Say whether two tokens had about the same logit behind these ids."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return bool((logits[ours] - logits[theirs]).abs() < TIE * logits.std())


def compare(name, answers, conversations, *, limit=LIMIT):
    """See that llama.cpp read and wrote what PyTorch does; return how many texts are equal to the last token.

    Where they differ, the two likeliest tokens must have been as good as equal: rounding decided.
    """
    model = load_merged(str(name))
    ends = ends_of(model).eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    equal = 0
    for messages, found in zip(conversations, answers, strict=True):
        ids = encode_segments(model.tokenizer, model.template.render_prompt(messages))
        assert found.prompt == ids, messages
        ours = greedy(model.model, ids, limit=limit, ends=ends)
        theirs = found.ids
        if ours == theirs:
            assert found.stopped == (ours[-1] in ends)
            equal += 1
            continue
        first = next(
            number for number, pair in enumerate(zip(ours, [*theirs, None], strict=False)) if pair[0] != pair[1]
        )
        assert first < len(theirs), "llama.cpp stopped where PyTorch did not"
        assert is_a_tie(model.model, ids + ours[:first], ours[first], theirs[first]), (messages, ours, theirs)
    return equal


def rounded(model):
    """Keep a model's weights as a file of 16 bits will: what differs is then arithmetic alone."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())
    return model


@pytest.fixture(scope="module")
def chat_tokenizer(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return tokenizer


def save_tiny(family, tokenizer, folder, **more):
    model = tiny_causal(family, vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, **more)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    return save_model(rounded(model), tokenizer, folder)


def test_nano_writes_the_same_twenty_texts(tmp_path):
    asked = [[user(row[0]["content"])] for row in load_conversations("faq", split="test")["messages"][:20]]
    answers = ask(export_gguf("nano", tmp_path / "nano.gguf"), asked, limit=40)
    assert compare("nano", answers, asked, limit=40) >= 18


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}}),
        ("mistral", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gpt_neox", {"use_parallel_residual": False}),
        ("gpt_neox", {"tie_word_embeddings": True}),
    ],
    ids=[
        "llama",
        "llama with biases",
        "llama, scaled",
        "mistral",
        "qwen2",
        "qwen3",
        "gpt-neox, serial",
        "gpt-neox, tied",
    ],
)
def test_tiny_models_of_every_family(chat_tokenizer, tmp_path, family, more):
    folder = save_tiny(family, chat_tokenizer, tmp_path / "model", **more)
    answers = ask(export_gguf(str(folder), tmp_path / "x.gguf"), CONVERSATIONS, limit=LIMIT)
    assert compare(folder, answers, CONVERSATIONS) >= len(CONVERSATIONS) // 2


def test_it_stops_where_the_turn_ends(chat_tokenizer, tmp_path):
    """A token that the model writes in its answers changes places with the end of a turn."""
    folder = save_tiny("llama", chat_tokenizer, tmp_path / "model", tie_word_embeddings=False)
    model, tokenizer = load_model(folder, device="cpu")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt = tokenizer.apply_chat_template(QUESTIONS[0], add_generation_prompt=True, return_dict=False)
    written = greedy(model, prompt)
    swapped = next(token for token in written[3:] if token not in written[:3])
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[[end, swapped]] = head[[swapped, end]]
    model.generation_config.eos_token_id = tokenizer.eos_token_id  # the end of a turn is known from the template alone
    save_model(model, tokenizer, tmp_path / "swapped")
    answers = ask(export_gguf(str(tmp_path / "swapped"), tmp_path / "x.gguf"), CONVERSATIONS, limit=LIMIT)
    compare(tmp_path / "swapped", answers, CONVERSATIONS)
    assert answers[0].stopped
    assert answers[0].ids == [*written[: written.index(swapped)], end]


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("rslora", [False, True], ids=["lora", "rslora"])
def test_an_adapter_beside_its_base(chat_tokenizer, tmp_path, family, rslora):
    base = save_tiny(family, chat_tokenizer, tmp_path / "base")
    model, tokenizer = load_model(base, device="cpu")
    tuned = add_lora(model, rank=4, alpha=2, targets="blocks")
    if rslora:
        tuned.peft_config["default"].use_rslora = True
    save_model(add_noise(tuned), tokenizer, tmp_path / "tuned")
    lora = export_adapter(str(tmp_path / "tuned"), tmp_path / "lora.gguf")
    answers = ask(export_gguf(str(base), tmp_path / "base.gguf"), CONVERSATIONS, limit=LIMIT, adapter=lora)
    assert compare(tmp_path / "tuned", answers, CONVERSATIONS) >= len(CONVERSATIONS) // 2
    alone = ask(tmp_path / "base.gguf", CONVERSATIONS[:2], limit=LIMIT)
    assert [one.ids for one in alone] != [one.ids for one in answers[:2]]


@pytest.mark.smollm2
def test_smollm2(tmp_path):
    try:
        load_model("smollm2", device="cpu")
    except MissingExtraError as error:
        pytest.fail(str(error)) if os.environ.get("FTLIB_NEEDS_SMOLLM2") else pytest.skip(str(error))
    asked = [[user("What is the capital of France?")], [system("Be brief."), user("Count: 12, 345 and?")]]
    answers = ask(export_gguf("smollm2", tmp_path / "x.gguf"), asked, limit=16)
    compare("smollm2", answers, asked, limit=16)
    assert answers[0].stopped
