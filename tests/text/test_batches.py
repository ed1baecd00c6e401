import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftlib.errors import DataError
from ftlib.evaluation.metrics import answer_loss
from ftlib.text.batches import length_batches, pack_batch, packing_plan, pad_batch, padded_batches
from ftlib.text.tokenization import tokenize


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
    dataset = tokenize(tiny_tokenizer, conversations)
    batches = list(padded_batches(dataset, 2, pad_token_id=1))
    assert [len(batch["input_ids"]) for batch in batches] == [2, 1]
    assert batches[1]["input_ids"][0].tolist() == dataset[2]["input_ids"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 3))
def test_length_batches_use_every_row_once(lengths, batch_size, seed):
    batches = length_batches(lengths, batch_size, seed=seed)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert batches == length_batches(lengths, batch_size, seed=seed)


def test_batches_are_integer_tensors():
    assert all(tensor.dtype == torch.int64 for tensor in pad_batch([{"input_ids": [1], "labels": [1]}], 0).values())


def test_packing_literally():
    rows = [
        {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]},
        {"input_ids": [8, 9], "labels": [8, 9]},
        {"input_ids": [3, 4], "labels": [-100, 4]},
    ]
    batch = pack_batch(rows, pad_token_id=1, max_length=5)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [3, 4, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7, -100, 9], [-100, 4, -100, -100, -100]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(50, 90))
def test_a_packing_plan_uses_every_row_once_and_no_packed_row_overflows(lengths, max_length):
    plan = packing_plan(lengths, max_length)
    assert sorted(row for group in plan for row in group) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in group) <= max_length for group in plan)
    # No packed row could take in a whole other one.
    fills = sorted(sum(lengths[row] for row in group) for group in plan)
    assert len(fills) < 2 or fills[0] + fills[1] > max_length


def test_a_row_that_cannot_be_packed_is_named():
    with pytest.raises(DataError, match="row 1 has 9 tokens, a packed row holds 8"):
        packing_plan([3, 9], 8)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_give_the_logits_of_the_rows_alone(tiny_model, tiny_tokenizer, conversations, attention):
    tiny_model.set_attn_implementation(attention)
    rows = list(tokenize(tiny_tokenizer, conversations))
    batch = pack_batch(rows, tiny_tokenizer.pad_token_id, max_length=sum(len(row["input_ids"]) for row in rows))
    assert len(batch["input_ids"]) == 1
    with torch.inference_mode():
        packed = tiny_model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        start = 0
        for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
            alone = tiny_model(torch.tensor([row["input_ids"]])).logits[0]
            torch.testing.assert_close(packed[start : start + len(alone)], alone, atol=1e-5, rtol=1e-4)
            start += len(alone)
        mixed = tiny_model(input_ids=batch["input_ids"], use_cache=False).logits[
            0
        ]  # without the sign that keeps them apart
        assert not torch.allclose(mixed[-len(alone) :], alone, atol=1e-3)


def test_packed_and_padded_batches_have_one_loss(tiny_model, tiny_tokenizer, conversations):
    rows = tokenize(tiny_tokenizer, conversations)
    padded = answer_loss(tiny_model, [pad_batch(rows, tiny_tokenizer.pad_token_id)])
    packed = answer_loss(tiny_model, [pack_batch(rows, tiny_tokenizer.pad_token_id, max_length=200)])
    assert packed == pytest.approx(padded, abs=1e-5)


def test_the_batches_serve_as_a_data_collator(tiny_tokenizer, conversations):
    rows = tokenize(tiny_tokenizer, conversations)
    for collate in (pad_batch, functools.partial(pack_batch, max_length=200)):
        loader = torch.utils.data.DataLoader(
            rows, batch_size=2, collate_fn=functools.partial(collate, pad_token_id=tiny_tokenizer.pad_token_id)
        )
        assert sum(int((batch["labels"] != -100).sum()) for batch in loader) == sum(
            sum(label != -100 for label in row["labels"]) for row in rows
        )
