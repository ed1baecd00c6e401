import math

import pytest
import torch
from transformers import GenerationConfig

from ftlib.errors import ConfigError
from ftlib.inference import growing_rows
from ftlib.inference.decoding import Sampling, continue_ids
from ftlib.models.trainable import add_lora
from ftlib.text.batches import pad_batch
from tests.families import tiny_causal

PROMPTS = [[5], [9, 7, 30, 12, 40, 41], [20, 21, 22], [6, 6, 6, 8]]


def written(model, prompts, sampling=None, *, limit=12, ends=frozenset(), no_repeat_ngram_size=0, **how):
    choose = (sampling or Sampling()).chooser(model.device, no_repeat_ngram_size=no_repeat_ngram_size)
    return continue_ids(model, prompts, choose, max_new_tokens=limit, end_ids=ends, **how)


def by_transformers(model, prompts, seed=0, **settings):
    batch = pad_batch([{"input_ids": ids} for ids in prompts], 1, side="left")
    torch.manual_seed(seed)
    output = model.generate(**batch, generation_config=GenerationConfig(max_new_tokens=12, pad_token_id=1, **settings))
    return output[:, batch["input_ids"].shape[1] :].tolist()


def test_greedy_tokens_are_those_of_transformers(tiny_model):
    expected = by_transformers(tiny_model, PROMPTS, do_sample=False)
    assert written(tiny_model, PROMPTS) == expected
    assert len({tuple(row) for row in expected}) > 1


def test_drawn_tokens_are_those_of_transformers(tiny_model):
    settings = {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.3}
    expected = by_transformers(tiny_model, PROMPTS[1:2], seed=4, do_sample=True, **settings)
    assert written(tiny_model, PROMPTS[1:2], Sampling(**settings, seed=4)) == expected


def test_no_run_of_tokens_is_written_twice_as_with_transformers(tiny_model):
    plain = by_transformers(tiny_model, PROMPTS[3:], do_sample=False)
    expected = by_transformers(tiny_model, PROMPTS[3:], do_sample=False, no_repeat_ngram_size=2)
    assert written(tiny_model, PROMPTS[3:], no_repeat_ngram_size=2) == expected != plain


@pytest.mark.parametrize("family", ["gpt_neox", "rwkv"])
def test_without_the_cache_and_with_more_padding_the_tokens_are_the_same(family):
    model, prompts = tiny_causal(family), [BEGINNING + prompt for prompt in PROMPTS]
    expected = written(model, prompts)
    assert written(model, prompts, use_cache=False) == expected
    assert written(model, prompts, width=30) == expected
    assert written(model, prompts[:1], width=30) == expected[:1]


def test_a_repetition_penalty_does_not_count_padding(tiny_model):
    """With tied scores the penalised token loses; the padding of the shorter row must not be penalised."""
    sampling = Sampling(repetition_penalty=5.0)
    together = written(tiny_model, PROMPTS, sampling)
    assert together == [written(tiny_model, [prompt], sampling)[0] for prompt in PROMPTS]


def test_rows_that_have_ended_leave_and_the_others_go_on_as_before(tiny_model):
    alone = written(tiny_model, PROMPTS)
    end = alone[0][3]
    expected = [row[: row.index(end)] if end in row else row for row in alone]
    sizes = []
    hook = tiny_model.get_output_embeddings().register_forward_hook(lambda *args: sizes.append(len(args[2])))
    assert written(tiny_model, PROMPTS, ends=frozenset({end})) == expected
    hook.remove()
    assert min(map(len, expected)) < 12
    assert sizes[-1] < len(PROMPTS)


def test_no_scores_are_computed_but_those_of_the_last_token(tiny_model):
    written(tiny_model, PROMPTS, limit=1)  # whether it may be padded is looked at once
    shapes = []
    tiny_model.get_output_embeddings().register_forward_hook(lambda *args: shapes.append(args[2].shape[1]))
    written(tiny_model, PROMPTS, limit=3)
    assert shapes == [1, 1, 1]


def test_a_model_without_a_cache_gives_the_same(tiny_model, monkeypatch):
    expected = written(tiny_model, PROMPTS)
    forward = type(tiny_model).forward

    def forgetful(self, **inputs):
        return forward(self, **inputs | {"use_cache": False, "past_key_values": None})

    monkeypatch.setattr(type(tiny_model), "forward", forgetful)
    assert written(tiny_model, PROMPTS) == expected


def test_an_adapter_is_decoded_with(tiny_model):
    plain = written(tiny_model, PROMPTS)
    model = add_lora(tiny_model, rank=2).eval()
    assert written(model, PROMPTS) == plain
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(3.0)
    assert written(model, PROMPTS) != plain


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e6, 1e38])
def test_the_coldest_and_the_hottest_draws_are_draws(tiny_model, temperature):
    rows = written(tiny_model, PROMPTS, Sampling(temperature=temperature, seed=0))
    assert all(len(row) == 12 for row in rows)
    if temperature == 1e-6:
        assert rows == written(tiny_model, PROMPTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("temperature", -0.1),
            ("temperature", 1e-40),
            ("temperature", 5e-324),
            ("top_k", -1),
            ("top_p", 1.1),
            ("repetition_penalty", 0.0),
        ),
        *((name, value) for name in ("temperature", "top_p", "repetition_penalty") for value in (math.nan, math.inf)),
        *(("seed", 2**63), ("seed", -(2**63) - 1), ("seed", 10**30)),
    ],
)
def test_a_number_out_of_range_is_named(name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}; expected"):
        Sampling(**{name: value})


# Attention with every kind of positions, what keeps a state instead of keys and values, and what keeps nothing.
KINDS = [
    *("gpt2", "gpt_neox", "llama", "bloom", "opt", "mpt", "xglm", "gemma2", "mixtral", "ctrl", "biogpt", "gpt_oss"),
    *("mamba", "mamba2", "falcon_mamba", "rwkv", "openai-gpt", "falcon_h1", "lfm2", "zaya", "nemotron_h"),
    *("camembert", "xlm-roberta", "xlm-roberta-xl", "roberta", "bigbird_pegasus", "prophetnet", "bart", "marian"),
]


BEGINNING = [11, 50, 32, 7, 81, 64, 13, 22, 90, 15, 33, 71, 8, 54, 29, 40, 18]


@pytest.mark.parametrize("family", KINDS)
def test_prompts_that_begin_alike_are_written_as_each_of_them_alone(family):
    model, prompts = tiny_causal(family), [BEGINNING + prompt for prompt in PROMPTS]
    alone = [written(model, [prompt], limit=6)[0] for prompt in prompts]
    assert written(model, prompts, limit=6) == alone


def read_by(model, prompts, *, limit=2):
    """Shapes of what the model reads for these prompts, the second time: at the first it is looked at."""
    written(model, prompts, limit=limit)
    shapes = []
    hook = model.get_input_embeddings().register_forward_hook(lambda *args: shapes.append(tuple(args[1][0].shape)))
    written(model, prompts, limit=limit)
    hook.remove()
    return shapes


def test_what_all_prompts_begin_with_is_read_once():
    prompts = [BEGINNING + prompt for prompt in PROMPTS]
    assert read_by(tiny_causal("llama"), prompts) == [(1, 17), (4, 6), (4, 1)]
    assert read_by(tiny_causal("gpt_neox"), [BEGINNING, BEGINNING]) == [(1, 16), (2, 1), (2, 1)]


def test_a_beginning_of_a_few_tokens_is_read_with_each_row():
    prompts = [BEGINNING[:8] + prompt for prompt in PROMPTS]
    assert read_by(tiny_causal("llama"), prompts) == [(4, 14), (4, 1)]


def test_one_prompt_shares_with_nobody():
    assert read_by(tiny_causal("llama"), [BEGINNING]) == [(1, 17), (1, 1)]


def test_a_window_that_counts_padding_is_not_padded_in_the_middle():
    model, prompts = tiny_causal("mistral", sliding_window=8), [BEGINNING + prompt for prompt in PROMPTS]
    assert read_by(model, prompts)[0] == (4, 23)
    assert written(model, prompts) == [written(model, [prompt])[0] for prompt in prompts]


def test_where_reading_it_once_changes_the_scores_each_row_is_read_whole(monkeypatch):
    model, prompts = tiny_causal("llama"), [BEGINNING + prompt for prompt in PROMPTS]
    monkeypatch.setattr(growing_rows, "agree", lambda *_: False)  # nothing is ever the same
    monkeypatch.setattr(growing_rows, "_may_be_padded", lambda *_: True)
    assert read_by(model, prompts)[0] == (4, 23)


@pytest.mark.parametrize("family", KINDS)
def test_a_batch_is_written_as_each_of_its_rows_by_the_plain_model(family):
    """The plain model reads the whole row again for each token: no padding, no cache, no positions from us."""
    model, expected = tiny_causal(family), []
    for prompt in PROMPTS:
        ids = list(prompt)
        for _ in range(6):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append(ids[len(prompt) :])
    assert written(model, PROMPTS, limit=6) == expected
    assert [written(model, [prompt], limit=6)[0] for prompt in PROMPTS] == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", KINDS)
def test_half_precision_writes_rows_together_where_float32_does(family, dtype):
    """Padding moves scores by a rounding there, and that is no reason to compute each row alone."""
    expected = type(growing_rows.start(tiny_causal(family), PROMPTS))
    assert type(growing_rows.start(tiny_causal(family).to(dtype), PROMPTS)) is expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_many_layers_in_half_precision_read_a_beginning_once(dtype):
    prompts = [BEGINNING + prompt for prompt in PROMPTS]
    model = tiny_causal("llama", num_hidden_layers=32).to(dtype)
    assert read_by(model, prompts) == [(1, 17), (4, 6), (4, 1)]
