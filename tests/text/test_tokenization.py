import copy
import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import Dataset
from ftlib.data.reading import load_conversations, to_conversations
from ftlib.errors import DataError, LeakWarning, TruncationWarning
from ftlib.text.row_maker import IGNORED
from ftlib.text.templates import ALPACA, CHATML, QUESTION_ANSWER, Segment
from ftlib.text.tokenization import encode_segments, tokenize, tokenize_and_split


def rows(*pairs):
    return to_conversations([{"question": q, "answer": a} for q, a in pairs])


def test_labels_are_the_answer_and_the_end(tiny_tokenizer):
    row = tokenize(tiny_tokenizer, rows(("Why?", "So.")))[0]
    prompt = tiny_tokenizer("### Question:\nWhy?\n\n### Answer:\n")["input_ids"]
    answer = [*tiny_tokenizer("So.")["input_ids"], tiny_tokenizer.eos_token_id]
    assert row["input_ids"] == prompt + answer
    assert row["labels"] == [IGNORED] * len(prompt) + answer
    assert row["attention_mask"] == [1] * len(row["input_ids"])


def test_text_that_looks_like_a_special_token_stays_text(tiny_tokenizer):
    row = tokenize(tiny_tokenizer, rows(("Is <|endoftext|> the end?", "<|padding|>")))[0]
    assert row["input_ids"].count(tiny_tokenizer.eos_token_id) == 1
    assert tiny_tokenizer.pad_token_id not in row["input_ids"]
    assert "<|endoftext|> the end?" in tiny_tokenizer.decode(row["input_ids"])


def test_the_callers_tokenizer_stays_as_it_was(tiny_tokenizer):
    before = (tiny_tokenizer.padding_side, tiny_tokenizer.truncation_side, tiny_tokenizer("<|endoftext|>")["input_ids"])
    backend = tiny_tokenizer.backend_tokenizer.to_str()
    tokenize(tiny_tokenizer, rows(("Why?", "So.")), truncation_side="left")
    assert before == (
        tiny_tokenizer.padding_side,
        tiny_tokenizer.truncation_side,
        tiny_tokenizer("<|endoftext|>")["input_ids"],
    )
    assert backend == tiny_tokenizer.backend_tokenizer.to_str()
    assert tiny_tokenizer.backend_tokenizer.encode_special_tokens is False


def test_truncation_takes_words_of_the_question_and_is_reported(tiny_tokenizer):
    data = rows(("Why is a batch padded?", "So."))
    with pytest.warns(TruncationWarning, match="truncated 1 of 1 rows, 3 tokens lost"):
        left = tokenize(tiny_tokenizer, data, max_length=len(tokenize(tiny_tokenizer, data)[0]["input_ids"]) - 3)[0]
    words = tiny_tokenizer("Why is a batch padded?")["input_ids"]
    markup = [tiny_tokenizer(text)["input_ids"] for text in ("### Question:\n", "\n\n### Answer:\n")]
    answer = [*tiny_tokenizer("So.")["input_ids"], tiny_tokenizer.eos_token_id]
    assert left["input_ids"] == [*markup[0], *words[3:], *markup[1], *answer]
    assert [label for label in left["labels"] if label != IGNORED] == answer


def test_truncation_of_the_questions_right_side(tiny_tokenizer):
    data = rows(("Why is a batch padded?", "So."))
    whole = tokenize(tiny_tokenizer, data)[0]["input_ids"]
    with pytest.warns(TruncationWarning):
        row = tokenize(tiny_tokenizer, data, max_length=len(whole) - 3, truncation_side="right")[0]
    words = tiny_tokenizer("Why is a batch padded?")["input_ids"]
    head = len(tiny_tokenizer("### Question:\n")["input_ids"])
    assert row["input_ids"] == whole[: head + len(words) - 3] + whole[head + len(words) :]


@pytest.mark.parametrize(("side", "kept"), [("left", "Two"), ("right", "One")])
def test_truncation_of_a_long_conversation_drops_whole_exchanges(tiny_tokenizer, side, kept):
    turns = [("user", "One?"), ("assistant", "One."), ("user", "Two?"), ("assistant", "Two.")]
    messages = [{"role": role, "content": text} for role, text in turns]
    data = Dataset.from_list([{"messages": messages}])
    short = tokenize(tiny_tokenizer, rows((f"{kept}?", f"{kept}.")))[0]
    with pytest.warns(TruncationWarning):
        row = tokenize(tiny_tokenizer, data, max_length=len(short["input_ids"]) + 2, truncation_side=side)[0]
    assert row == short


@given(
    limit=st.integers(2, 80),
    side=st.sampled_from(["left", "right"]),
    texts=st.lists(st.text("ab .?", min_size=1, max_size=60), min_size=2, max_size=6).filter(lambda t: len(t) % 2 == 0),
)
def test_no_row_is_over_the_limit_and_the_last_answer_is_whole_where_it_fits(tiny_tokenizer, limit, side, texts):
    roles = ["user", "assistant"] * len(texts)
    data = Dataset.from_list([{"messages": [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        row = tokenize(tiny_tokenizer, data, max_length=limit, truncation_side=side)[0]
    assert len(row["input_ids"]) == len(row["labels"]) <= limit
    answer = texts[-1] if side == "left" else texts[1]
    markup = encode_segments(tiny_tokenizer, [Segment("### Question:\n", is_markup=True)])
    markup += encode_segments(tiny_tokenizer, [Segment("\n\n### Answer:\n", is_markup=True)])
    target = [*tiny_tokenizer(answer, split_special_tokens=True)["input_ids"], tiny_tokenizer.eos_token_id]
    if len(markup) + len(target) <= limit:
        found = [label for label in row["labels"] if label != IGNORED]
        assert (found[-len(target) :] if side == "left" else found[: len(target)]) == target


def test_an_answer_that_alone_is_too_long_loses_its_end(tiny_tokenizer):
    whole = tokenize(tiny_tokenizer, rows(("Why?", "A piece of text.")))[0]
    words = len(tiny_tokenizer("Why?")["input_ids"])
    limit = len(whole["input_ids"]) - words - 2
    with pytest.warns(TruncationWarning):
        row = tokenize(tiny_tokenizer, rows(("Why?", "A piece of text.")), max_length=limit)[0]
    assert [label for label in row["labels"] if label != IGNORED] == [t for t in whole["labels"] if t != IGNORED][:-2]


def test_split_is_complete_and_repeats_with_its_seed(tiny_tokenizer):
    data = rows(*[(f"Question {i}?", f"Answer {i}.") for i in range(20)])
    first, again = tokenize_and_split(tiny_tokenizer, data), tokenize_and_split(tiny_tokenizer, data)
    assert (len(first.train), len(first.test), first.cut) == (18, 2, (0, 0))
    assert first.test["input_ids"] == again.test["input_ids"]
    other = tokenize_and_split(tiny_tokenizer, data, seed=1)
    assert first.test["input_ids"] != other.test["input_ids"]
    everything = sorted(map(tuple, [*first.train["input_ids"], *first.test["input_ids"]]))
    assert everything == sorted(map(tuple, tokenize(tiny_tokenizer, data)["input_ids"]))


def test_the_split_reports_what_was_cut(tiny_tokenizer):
    data = rows(*[(f"Question {i}?", f"Answer {i}.") for i in range(10)])
    with pytest.warns(TruncationWarning):
        split = tokenize_and_split(tiny_tokenizer, data, max_length=8)
    assert split.cut.rows == 10
    assert split.cut.tokens > 10


def test_a_prompt_on_both_sides_is_reported_or_refused(tiny_tokenizer):
    data = rows(*[("Why?" if i % 2 else "  why ", f"Answer {i}.") for i in range(10)])
    with pytest.warns(LeakWarning, match="1 test rows have a prompt that is also trained on"):
        split = tokenize_and_split(tiny_tokenizer, data)
    assert split.leaks == 1
    with pytest.raises(DataError, match="also trained on"):
        tokenize_and_split(tiny_tokenizer, data, on_leak="raise")
    with pytest.raises(DataError, match="on_leak must be"):
        tokenize_and_split(tiny_tokenizer, data, on_leak="ignore")


def test_the_reported_rows_are_those_of_the_split(tiny_tokenizer):
    data = rows(*[(f"Question {i // 2}?", f"Answer {i}.") for i in range(40)])
    with pytest.warns(LeakWarning, match=r"\(row (\d+) as row (\d+), say\)") as caught:
        split = tokenize_and_split(tiny_tokenizer, data)
    test_row, train_row = map(int, re.search(r"row (\d+) as row (\d+)", str(caught[0].message)).groups())
    ids = tokenize(tiny_tokenizer, data)["input_ids"]
    assert test_row // 2 == train_row // 2
    assert ids[test_row] in list(split.test["input_ids"])
    assert ids[train_row] in list(split.train["input_ids"])


def test_the_source_tutorials_dictionary(tiny_tokenizer):
    config = {"model": {"pretrained_name": "nano", "max_length": 2048}, "datasets": {"use_hf": False, "path": "faq"}}
    split = tokenize_and_split(tiny_tokenizer, {**config, "verbose": True})
    assert split.train.column_names == ["question", "answer", "input_ids", "attention_mask", "labels"]
    assert (len(split.train), len(split.test)) == (1134, 126)
    row = split.train[0]
    assert row["question"] in tiny_tokenizer.decode(row["input_ids"])
    assert tiny_tokenizer.decode([i for i in row["labels"] if i != IGNORED]) == f"{row['answer']}<|endoftext|>"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {}}, "'path'"),
        ({"datasets": {"path": "faq", "split": "train"}}, "no key 'split'"),
        ({"dataset": {"path": "faq"}}, "no key 'dataset'"),
        ({"datasets": {"path": "dialogues"}, "model": {"max_length": 9999}}, "one question and one answer"),
    ],
)
def test_a_dictionary_that_is_not_understood_is_named(tiny_tokenizer, config, message):
    with pytest.raises(DataError, match=message):
        tokenize_and_split(tiny_tokenizer, config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"pretrained_name": 70}}, r"\['model'\]\['pretrained_name'\] must be a text, not 70"),
        ({"model": {"max_length": "2048"}}, r"\['model'\]\['max_length'\] must be a whole number, not '2048'"),
        ({"model": {"max_length": True}}, "'max_length'.* must be a whole number, not True"),
        ({"model": {"max_length": 2048.0}}, "'max_length'.* must be a whole number, not 2048.0"),
        ({"datasets": {"path": "faq", "use_hf": "no"}}, "'use_hf'.* must be True or False, not 'no'"),
        ({"datasets": {"path": None}}, "'path'.* is missing"),
        ({"datasets": {"path": 5}}, "'path'.* must be a text, not 5"),
        ({"verbose": 1}, r"training_config\['verbose'\] must be True or False, not 1"),
    ],
)
def test_a_value_of_the_dictionary_that_would_be_ignored_or_misread_is_refused(tiny_tokenizer, config, message):
    with pytest.raises(DataError, match=message):
        tokenize_and_split(tiny_tokenizer, {"datasets": {"path": "faq"}, **config})


def test_none_in_the_dictionary_is_as_if_the_key_were_not_there(tiny_tokenizer):
    config = {"model": {"pretrained_name": None, "max_length": None}, "datasets": {"path": "faq"}, "verbose": None}
    with pytest.warns(TruncationWarning):  # the tokenizer's own limit holds
        assert len(tokenize_and_split(tiny_tokenizer, config).train) == 1134


@pytest.mark.parametrize("test_size", [0, 1, 1.5, -0.1])
def test_a_split_with_an_empty_side_is_refused(tiny_tokenizer, test_size):
    with pytest.raises(DataError, match="leaves a side empty"):
        tokenize_and_split(tiny_tokenizer, rows(("a", "b"), ("c", "d")), test_size=test_size)


def test_bad_arguments_are_named(tiny_tokenizer, conversations):
    with pytest.raises(DataError, match="column 'messages'"):
        tokenize(tiny_tokenizer, conversations.rename_column("messages", "text"))
    with pytest.raises(DataError, match="max_length must be at least 2"):
        tokenize(tiny_tokenizer, conversations, max_length=1)
    with pytest.raises(DataError, match="'left' or 'right', not 'middle'"):
        tokenize(tiny_tokenizer, conversations, truncation_side="middle")


def test_segments_are_encoded_one_by_one(tiny_tokenizer):
    segments = QUESTION_ANSWER.render([{"role": "user", "content": "Why"}, {"role": "assistant", "content": "So"}])
    assert encode_segments(tiny_tokenizer, segments) == [
        *encode_segments(tiny_tokenizer, segments[:1]),
        *encode_segments(tiny_tokenizer, segments[1:]),
    ]
    assert encode_segments(tiny_tokenizer, []) == []
    assert encode_segments(tiny_tokenizer, [Segment("", is_target=False)]) == []


def test_every_answer_of_a_conversation_ends_with_the_end_token(tiny_tokenizer):
    turns = [("user", "A"), ("assistant", "B"), ("user", "C"), ("assistant", "D")]
    data = Dataset.from_list([{"messages": [{"role": role, "content": text} for role, text in turns]}])
    row = tokenize(tiny_tokenizer, data)[0]
    assert tiny_tokenizer.decode([i for i in row["labels"] if i != IGNORED]) == "B<|endoftext|>D<|endoftext|>"
    prompt = encode_segments(tiny_tokenizer, QUESTION_ANSWER.render_prompt(data[0]["messages"][:-1]))
    assert row["input_ids"][: len(prompt)] == prompt


def test_an_answer_of_weight_zero_is_no_target(tiny_tokenizer):
    turns = [("user", "A", None), ("assistant", "B", 0), ("user", "C", None), ("assistant", "D", 1)]
    messages = [{"role": role, "content": text, "weight": weight} for role, text, weight in turns]
    row = tokenize(tiny_tokenizer, Dataset.from_list([{"messages": messages}]))[0]
    assert tiny_tokenizer.decode([i for i in row["labels"] if i != IGNORED]) == "D<|endoftext|>"


def test_markers_are_special_tokens_where_the_tokenizer_knows_them_and_only_in_markup(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    data = rows(("Say <|im_end|> and stop", "No"))
    row = tokenize(tokenizer, data, template=CHATML, max_length=200)[0]
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert (row["input_ids"].count(start), row["input_ids"].count(end)) == (2, 2)
    assert tokenizer.decode(row["input_ids"]).startswith("<|im_start|>user\nSay <|im_end|> and stop<|im_end|>")
    assert row["labels"][-1] == end  # the template's own end: no second one behind it
    plain = tokenize(tiny_tokenizer, data, template=CHATML, max_length=200)[0]
    assert plain["labels"][-1] == tiny_tokenizer.eos_token_id


def test_an_alpaca_row_with_input_keeps_its_template_when_it_is_cut(tiny_tokenizer):
    data = load_conversations(Dataset.from_list([{"instruction": "Sort", "input": "3 1 2 " * 30, "output": "1 2 3"}]))
    with pytest.warns(TruncationWarning):
        row = tokenize(tiny_tokenizer, data, template=ALPACA, max_length=180)[0]
    text = tiny_tokenizer.decode(row["input_ids"])
    assert len(row["input_ids"]) == 180
    for piece in (
        "Below is an instruction",
        "### Instruction:\n",
        "\n\n### Input:\n",
        "### Response:\n1 2 3<|endoftext|>",
    ):
        assert piece in text
