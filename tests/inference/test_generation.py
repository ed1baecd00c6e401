import copy

import pytest
import torch

from ftlib.data.messages import Message, assistant, user
from ftlib.data.reading import read_rows
from ftlib.errors import ConfigError, DataError, PromptTooLongError, TruncationWarning
from ftlib.inference.context import count_prompt_tokens, fit_history
from ftlib.inference.generation import answer, generate, inference, stream
from ftlib.models.loading import load_model
from ftlib.text.templates import QUESTION_ANSWER, TextTemplate

SHORT = TextTemplate("short", before_user="Q", before_assistant="A", end_marker="<|im_end|>")
PROMPTS = ["A", "A tokenizer turns text into ids.", "Why is a batch padded?", "The labels"]


def test_a_batch_gives_the_same_text_as_one_prompt_at_a_time(tiny_model, tiny_tokenizer):
    together = generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=12)
    alone = [generate(tiny_model, tiny_tokenizer, [prompt], max_new_tokens=12)[0] for prompt in PROMPTS]
    in_twos = generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=12, batch_size=2)
    assert together == alone == in_twos
    assert len(set(together)) > 1


def test_only_new_text_is_returned(tiny_model, tiny_tokenizer):
    prompt = PROMPTS[1]
    ids = torch.tensor([tiny_tokenizer(prompt)["input_ids"]])
    best = [int(tiny_model(ids).logits[0, -1].argmax())]
    assert generate(tiny_model, tiny_tokenizer, [prompt], max_new_tokens=1) == [
        tiny_tokenizer.decode(best, skip_special_tokens=True)
    ]


def test_generation_stops_at_the_end_token(tiny_model, tiny_tokenizer):
    with torch.no_grad():
        tiny_model.get_output_embeddings().weight.zero_()  # all scores equal: the first id, end of text, wins
    assert generate(tiny_model, tiny_tokenizer, ["A", "The labels"], max_new_tokens=20) == ["", ""]


def test_sampling_repeats_with_its_seed_and_leaves_the_global_one_alone(tiny_model, tiny_tokenizer):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=8, temperature=1.0, seed=3)
    assert torch.equal(torch.rand(1), expected)
    assert first == generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=8, temperature=1.0, seed=3)
    assert first != generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=8, temperature=1.0, seed=4)


def test_a_prompt_over_the_context_is_an_error_that_gives_the_numbers(tiny_model, tiny_tokenizer):
    with pytest.raises(PromptTooLongError, match=r"prompt 1 has \d+ tokens and asks for 8 more.*holds 64: shorten"):
        generate(tiny_model, tiny_tokenizer, ["A", "padded " * 80], max_new_tokens=8)


def test_an_answer_that_would_not_fit_names_what_would(tiny_model, tiny_tokenizer):
    with pytest.raises(PromptTooLongError, match=r"asks for 64 more.*lower max_new_tokens to 63"):
        generate(tiny_model, tiny_tokenizer, ["A"], max_new_tokens=64)


def test_an_empty_prompt_is_an_error(tiny_model, tiny_tokenizer):
    with pytest.raises(PromptTooLongError, match="prompt 0 is empty"):
        generate(tiny_model, tiny_tokenizer, [""])


def test_training_mode_and_generation_settings_are_restored(tiny_model, tiny_tokenizer):
    settings = tiny_model.generation_config.to_dict()
    tiny_model.train()
    answer(tiny_model, tiny_tokenizer, ["Why?"], max_new_tokens=3)
    assert tiny_model.training
    assert tiny_model.generation_config.to_dict() == settings


def test_an_answer_comes_from_the_training_template(tiny_model, tiny_tokenizer):
    by_hand = generate(tiny_model, tiny_tokenizer, ["### Question:\nWhy?\n\n### Answer:\n"], max_new_tokens=9)
    assert answer(tiny_model, tiny_tokenizer, ["Why?"], max_new_tokens=9) == [by_hand[0].strip()]


def test_no_prompts_no_texts(tiny_model, tiny_tokenizer):
    assert generate(tiny_model, tiny_tokenizer, []) == []


CONVERSATION = [user("What is a token?"), assistant("A piece of text."), user("Why?")]


def test_the_texts_of_nano_in_one_batch_are_those_of_one_at_a_time():
    model, tokenizer = load_model("nano", device="cpu")
    questions = [row["question"] for row in read_rows("faq", split="test")[:12]]
    alone = [answer(model, tokenizer, [question], max_new_tokens=16)[0] for question in questions]
    assert answer(model, tokenizer, questions, max_new_tokens=16) == alone


def test_progress_is_told_after_each_batch(tiny_model, tiny_tokenizer):
    told = []
    generate(tiny_model, tiny_tokenizer, PROMPTS, max_new_tokens=2, batch_size=3, on_done=lambda *n: told.append(n))
    assert told == [(3, 4), (4, 4)]


@pytest.mark.parametrize("name", ["temperature", "repetition_penalty", "top_p"])
def test_a_whole_number_is_a_number(tiny_model, tiny_tokenizer, name):
    settings = {"max_new_tokens": 4, "temperature": 1.5, "seed": 3}
    number = 1 if name == "top_p" else 2
    whole, broken = settings | {name: number}, settings | {name: float(number)}
    assert generate(tiny_model, tiny_tokenizer, PROMPTS, **whole) == generate(
        tiny_model, tiny_tokenizer, PROMPTS, **broken
    )


def test_model_and_tokenizer_in_the_wrong_order_are_told_apart(tiny_model, tiny_tokenizer):
    with pytest.raises(DataError, match="answer: model must be a model, such as load_model returns, not"):
        answer(tiny_tokenizer, tiny_model, ["Why?"])
    with pytest.raises(DataError, match="generate: tokenizer must be a PreTrainedTokenizerBase, not None"):
        generate(tiny_model, None, ["Why?"])


@pytest.mark.parametrize("name", [{"batch_size": 0}, {"max_new_tokens": 0}, {"top_p": 2.0}])
def test_a_number_that_cannot_be_used_is_refused(tiny_model, tiny_tokenizer, name):
    with pytest.raises(ConfigError, match=f"{next(iter(name))} is .*; expected"):
        generate(tiny_model, tiny_tokenizer, PROMPTS, **name)


def test_a_conversation_is_answered_with_its_history(tiny_model, tiny_tokenizer):
    text = "".join(segment.text for segment in QUESTION_ANSWER.render_prompt(CONVERSATION[:1]))
    assert answer(tiny_model, tiny_tokenizer, [CONVERSATION[:1]], max_new_tokens=9) == [
        generate(tiny_model, tiny_tokenizer, [text], max_new_tokens=9)[0].strip()
    ]
    assert count_prompt_tokens(tiny_tokenizer, CONVERSATION) > count_prompt_tokens(tiny_tokenizer, CONVERSATION[:1])


@pytest.mark.parametrize("question", ["Why?", "What is a token?", CONVERSATION[:1]])
def test_chunks_joined_are_the_answer(tiny_model, tiny_tokenizer, question):
    chunks = list(stream(tiny_model, tiny_tokenizer, question, max_new_tokens=24))
    assert "".join(chunks) == answer(tiny_model, tiny_tokenizer, [question], max_new_tokens=24)[0]
    assert len(chunks) > 3
    assert all(chunks)


def test_closing_a_stream_ends_it_and_restores_the_model(tiny_model, tiny_tokenizer):
    calls = []
    tiny_model.register_forward_hook(lambda *args: calls.append(1))
    tiny_model.train()
    chunks = stream(tiny_model, tiny_tokenizer, "Why?", max_new_tokens=24)
    next(chunks)
    assert not torch.is_inference_mode_enabled()
    chunks.close()
    assert tiny_model.training
    assert len(calls) < 6


def test_a_stream_stops_when_it_is_told_to(tiny_model, tiny_tokenizer):
    calls = []
    tiny_model.register_forward_hook(lambda *args: calls.append(1))
    list(stream(tiny_model, tiny_tokenizer, "Why?", max_new_tokens=24, should_stop=lambda: len(calls) == 3))
    assert len(calls) == 3


def test_a_stream_checks_its_prompt_at_once(tiny_model, tiny_tokenizer):
    with pytest.raises(PromptTooLongError):
        stream(tiny_model, tiny_tokenizer, "padded " * 80)


def written_by(model, tokenizer, text):
    """Make a model write a text, whatever it reads, and then its end."""
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    position = iter(range(10_000))

    def replace(module, args, output):
        scores = torch.zeros_like(output)
        scores[..., ids[min(next(position), len(ids) - 1)]] = 1
        return scores

    return model.get_output_embeddings().register_forward_hook(replace)


@pytest.mark.parametrize("text", ["  So: é and 日本 \n", "So.<|im_end|>\nMore", "a < b <|im", ""])
def test_an_answer_has_no_half_characters_no_marker_and_no_space_around_it(tiny_model, tiny_tokenizer, text):
    hook = written_by(tiny_model, tiny_tokenizer, text)
    chunks = list(stream(tiny_model, tiny_tokenizer, "Why?", template=SHORT, max_new_tokens=30))
    hook.remove()
    written_by(tiny_model, tiny_tokenizer, text)
    whole = answer(tiny_model, tiny_tokenizer, ["Why?"], template=SHORT, max_new_tokens=30)
    assert "".join(chunks) == whole[0] == text.split("<|im_end|>")[0].strip()
    assert not any("\ufffd" in chunk for chunk in chunks)


def test_a_special_marker_ends_an_answer(tiny_model, tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tiny_model.resize_token_embeddings(len(tokenizer))
    calls = []
    tiny_model.register_forward_hook(lambda *args: calls.append(1))
    written_by(tiny_model, tokenizer, "So.<|im_end|>More")
    assert answer(tiny_model, tokenizer, ["Why?"], template=SHORT, max_new_tokens=20) == ["So."]
    assert len(calls) == len(tokenizer("So.<|im_end|>")["input_ids"])


def test_history_loses_its_oldest_exchanges_and_keeps_the_system_message(tiny_tokenizer):
    system = Message(role="system", content="Short.")
    whole = [system, *CONVERSATION]
    last = count_prompt_tokens(tiny_tokenizer, [system, whole[-1]])
    fit = {"template": QUESTION_ANSWER, "max_new_tokens": 8}
    assert fit_history(tiny_tokenizer, whole, context=500, **fit) == (whole, 0)
    assert fit_history(tiny_tokenizer, whole, context=last + 8, **fit) == ([system, whole[-1]], 2)
    with pytest.raises(PromptTooLongError, match=f"a prompt of {last} tokens and asks for 8 more"):
        fit_history(tiny_tokenizer, whole, context=last + 7, **fit)


def test_the_tutorials_inference_takes_a_long_prompt(tiny_model, tiny_tokenizer):
    whole = inference("Why?", tiny_model, tiny_tokenizer, max_output_tokens=8)
    assert whole == answer(tiny_model, tiny_tokenizer, ["Why?"], max_new_tokens=8)[0]
    with pytest.warns(TruncationWarning, match="lost its first"):
        inference("padded " * 60, tiny_model, tiny_tokenizer, max_output_tokens=8)
