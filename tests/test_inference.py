import pytest
import torch

from ftlib.errors import PromptTooLongError
from ftlib.inference import answer, generate

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
    framed = generate(tiny_model, tiny_tokenizer, ["### Question:\nWhy?\n\n### Answer:\n"], max_new_tokens=9)
    assert answer(tiny_model, tiny_tokenizer, ["Why?"], max_new_tokens=9) == [framed[0].strip()]


def test_no_prompts_no_texts(tiny_model, tiny_tokenizer):
    assert generate(tiny_model, tiny_tokenizer, []) == []
