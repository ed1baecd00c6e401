import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftlib.data import to_conversations
from ftlib.errors import DataError, TruncationWarning
from ftlib.templates import QUESTION_ANSWER, Segment
from ftlib.tokenization import (
    IGNORED,
    encode_segments,
    length_batches,
    pad_batch,
    padded_batches,
    tokenize,
    tokenize_and_split,
)


def rows(*pairs):
    return to_conversations([{"question": q, "answer": a} for q, a in pairs])


def test_labels_are_the_answer_and_the_end(tiny_tokenizer):
    row = tokenize(rows(("Why?", "So.")), tiny_tokenizer)[0]
    prompt = tiny_tokenizer("### Question:\nWhy?\n\n### Answer:\n")["input_ids"]
    answer = [*tiny_tokenizer("So.")["input_ids"], tiny_tokenizer.eos_token_id]
    assert row["input_ids"] == prompt + answer
    assert row["labels"] == [IGNORED] * len(prompt) + answer
    assert row["attention_mask"] == [1] * len(row["input_ids"])


def test_text_that_looks_like_a_special_token_stays_text(tiny_tokenizer):
    row = tokenize(rows(("Is <|endoftext|> the end?", "<|padding|>")), tiny_tokenizer)[0]
    assert row["input_ids"].count(tiny_tokenizer.eos_token_id) == 1
    assert tiny_tokenizer.pad_token_id not in row["input_ids"]
    assert "<|endoftext|> the end?" in tiny_tokenizer.decode(row["input_ids"])


def test_the_callers_tokenizer_stays_as_it_was(tiny_tokenizer):
    before = (tiny_tokenizer.padding_side, tiny_tokenizer.truncation_side, tiny_tokenizer("<|endoftext|>")["input_ids"])
    backend = tiny_tokenizer.backend_tokenizer.to_str()
    tokenize(rows(("Why?", "So.")), tiny_tokenizer, truncation_side="left")
    assert before == (
        tiny_tokenizer.padding_side,
        tiny_tokenizer.truncation_side,
        tiny_tokenizer("<|endoftext|>")["input_ids"],
    )
    assert backend == tiny_tokenizer.backend_tokenizer.to_str()
    assert tiny_tokenizer.backend_tokenizer.encode_special_tokens is False


def test_truncation_takes_the_prompt_first_and_is_reported(tiny_tokenizer):
    whole = tokenize(rows(("Why is a batch padded?", "So.")), tiny_tokenizer)[0]["input_ids"]
    with pytest.warns(TruncationWarning, match="truncated 1 of 1 rows, 5 tokens lost"):
        left = tokenize(rows(("Why is a batch padded?", "So.")), tiny_tokenizer, max_length=len(whole) - 5)[0]
    assert left["input_ids"] == whole[5:]
    assert tiny_tokenizer.decode([i for i in left["labels"] if i != IGNORED]) == "So.<|endoftext|>"


def test_truncation_of_the_prompts_right_side(tiny_tokenizer):
    whole = tokenize(rows(("Why is a batch padded?", "So.")), tiny_tokenizer)[0]
    answer = sum(label != IGNORED for label in whole["labels"])
    limit = len(whole["input_ids"]) - 5
    data = rows(("Why is a batch padded?", "So."))
    with pytest.warns(TruncationWarning):
        row = tokenize(data, tiny_tokenizer, max_length=limit, truncation_side="right")[0]
    ids = whole["input_ids"]
    assert row["input_ids"] == ids[: len(ids) - answer - 5] + ids[-answer:]


def test_an_answer_that_alone_is_too_long_loses_its_end(tiny_tokenizer):
    answer = tiny_tokenizer("A piece of text.")["input_ids"]
    with pytest.warns(TruncationWarning):
        row = tokenize(rows(("Why?", "A piece of text.")), tiny_tokenizer, max_length=3)[0]
    assert row["input_ids"] == row["labels"] == answer[:3]


def test_split_is_complete_and_repeats_with_its_seed(tiny_tokenizer):
    data = rows(*[(f"Question {i}?", f"Answer {i}.") for i in range(20)])
    first, again = tokenize_and_split(data, tiny_tokenizer), tokenize_and_split(data, tiny_tokenizer)
    assert (len(first.train), len(first.test), first.cut) == (18, 2, (0, 0))
    assert first.test["input_ids"] == again.test["input_ids"]
    other = tokenize_and_split(data, tiny_tokenizer, seed=1)
    assert first.test["input_ids"] != other.test["input_ids"]
    everything = sorted(map(tuple, [*first.train["input_ids"], *first.test["input_ids"]]))
    assert everything == sorted(map(tuple, tokenize(data, tiny_tokenizer)["input_ids"]))


def test_the_split_reports_what_was_cut(tiny_tokenizer):
    data = rows(*[(f"Question {i}?", f"Answer {i}.") for i in range(10)])
    with pytest.warns(TruncationWarning):
        split = tokenize_and_split(data, tiny_tokenizer, max_length=8)
    assert split.cut.rows == 10
    assert split.cut.tokens > 10


@pytest.mark.parametrize("test_size", [0, 1, 1.5, -0.1])
def test_a_split_with_an_empty_side_is_refused(tiny_tokenizer, test_size):
    with pytest.raises(DataError, match="leaves a side empty"):
        tokenize_and_split(rows(("a", "b"), ("c", "d")), tiny_tokenizer, test_size=test_size)


def test_bad_arguments_are_named(tiny_tokenizer, conversations):
    with pytest.raises(DataError, match="column 'messages'"):
        tokenize(conversations.rename_column("messages", "text"), tiny_tokenizer)
    with pytest.raises(DataError, match="max_length must be at least 2"):
        tokenize(conversations, tiny_tokenizer, max_length=1)
    with pytest.raises(DataError, match="'left' or 'right', not 'middle'"):
        tokenize(conversations, tiny_tokenizer, truncation_side="middle")


def test_pad_batch_literally():
    batch = pad_batch([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}], 1)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


def test_pad_batch_on_the_left_and_without_labels():
    batch = pad_batch([{"input_ids": [5, 6]}, {"input_ids": [8]}], 1, side="left")
    assert batch["input_ids"].tolist() == [[5, 6], [1, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1], [0, 1]]
    assert "labels" not in batch


def test_padding_with_the_end_token_keeps_the_real_end_a_target():
    end = 0
    batch = pad_batch(
        [{"input_ids": [5, end], "labels": [5, end]}, {"input_ids": [5, 6, end], "labels": [5, 6, end]}], end
    )
    assert batch["labels"].tolist() == [[5, end, -100], [5, 6, end]]


def test_padded_batches_keep_order_and_every_row(tiny_tokenizer, conversations):
    dataset = tokenize(conversations, tiny_tokenizer)
    batches = list(padded_batches(dataset, 2, pad_token_id=1))
    assert [len(batch["input_ids"]) for batch in batches] == [2, 1]
    assert batches[1]["input_ids"][0].tolist() == dataset[2]["input_ids"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 3))
def test_length_batches_use_every_row_once(lengths, batch_size, seed):
    batches = length_batches(lengths, batch_size, seed=seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert batches == length_batches(lengths, batch_size, seed=seed)


def test_segments_are_encoded_one_by_one(tiny_tokenizer):
    segments = QUESTION_ANSWER.render([{"role": "user", "content": "Why"}, {"role": "assistant", "content": "So"}])
    assert encode_segments(segments, tiny_tokenizer) == [
        *encode_segments(segments[:1], tiny_tokenizer),
        *encode_segments(segments[1:], tiny_tokenizer),
    ]
    assert encode_segments([], tiny_tokenizer) == []
    assert encode_segments([Segment("", is_target=False)], tiny_tokenizer) == []


def test_batches_are_integer_tensors():
    assert all(tensor.dtype == torch.int64 for tensor in pad_batch([{"input_ids": [1], "labels": [1]}], 0).values())
