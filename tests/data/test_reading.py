import contextlib
import gzip
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import Dataset
from ftlib.data.formats import FORMATS
from ftlib.data.messages import assistant, clean_message, user
from ftlib.data.reading import load_conversations, read_rows, to_conversations
from ftlib.data.sources import dataset_path
from ftlib.data.writing import save_conversations
from ftlib.errors import ColumnWarning, DataError, FtlibError, SkippedRowWarning


def write(tmp_path, *lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return path


GOOD = '{"question": "Why?", "answer": "So.", "topic": "t"}'


def test_rows_become_two_messages():
    dataset = to_conversations([{"question": "Why?", "answer": "So."}])
    assert dataset.column_names == ["messages"]
    assert dataset[0]["messages"] == [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


def test_reads_a_file_with_further_columns_blank_lines_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode(), "", GOOD.replace("Why", "How"), "")
    rows = read_rows(path)
    assert [row["question"] for row in rows] == ["Why?", "How?"]
    assert rows[0]["topic"] == "t"
    assert len(load_conversations(str(path))) == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("not json", ["line 2", "not JSON", "'not json'"]),
        ('{"question": "Why?", ', ["line 2", "not JSON"]),
        ("[[1, 2]]", ["line 2", "list"]),
        ('{"question": "Why?", "reply": "So."}', ["line 2", "'answer'", "'reply'"]),
        ('{"question": "Why?", "answer": 7}', ["line 2", "'answer'", "int"]),
        ('{"question": "Why?", "answer": {"0": "So."}}', ["line 2", "'answer'", "dict"]),
        ('{"question": "  ", "answer": "So."}', ["line 2", "'question'", "empty"]),
        (b'{"question": "\xff"}', ["line 2", "UTF-8"]),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_field(tmp_path, line, expected):
    path = write(tmp_path, GOOD, line)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    for part in ("rows.jsonl", *expected):
        assert part in str(caught.value)


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"rows\.jsonl: the file holds no rows"):
        read_rows(write(tmp_path, "", "  "))


def test_a_missing_file_names_what_is_shipped():
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file.*faq"):
        load_conversations("nowhere.jsonl")


def test_an_unreadable_file_is_an_error(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(DataError, match=r"rows\.jsonl: can't be read \(Permission denied\)"):
        read_rows(path)


def test_an_unknown_split_names_the_splits():
    with pytest.raises(DataError, match="no split 'dev': it has notes, test, train"):
        read_rows("faq", split="dev")


def test_a_single_file_has_no_split(tmp_path):
    with pytest.raises(DataError, match="leave split='train' out"):
        read_rows(write(tmp_path, GOOD), split="train")


def test_a_shipped_name_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dataset_path("faq").name == "train.jsonl"


def test_every_error_is_an_ftlib_error():
    assert issubclass(DataError, FtlibError)


def test_numbers_that_json_does_not_know_are_still_text_errors(tmp_path):
    row = json.dumps({"question": None, "answer": "So."})
    with pytest.raises(DataError, match=r"line 1 \(byte 0\): 'question' must be text, found null"):
        read_rows(write(tmp_path, row))


QA = [user("Why?"), assistant("So.")]
FIELDS = (
    *("question", "answer", "Question", "instruction", "input", "output", "text", "prompt", "completion"),
    *("response", "context", "system_prompt", "messages", "conversations", "role", "content", "from", "value"),
    *("train", "test", "tool_calls", "function", "name", "arguments"),
)
TURNS = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.", "weight": 0}]}


def test_the_format_is_found_or_given(tmp_path):
    path = write(tmp_path, '{"instruction": "Why?", "output": "So.", "response": "Oh."}')
    with pytest.raises(DataError, match=r"several formats.*format=.*'alpaca', 'instruction-response'"):
        load_conversations(path)
    with pytest.warns(ColumnWarning, match="'output'"):
        assert load_conversations(path, format="instruction-response")[0]["messages"][1]["content"] == "Oh."
    with pytest.raises(DataError, match="unknown format 'yaml'"):
        load_conversations(path, format="yaml")
    with pytest.raises(DataError, match="no known format has these fields: 'q'"):
        load_conversations(write(tmp_path, '{"q": "Why?"}'))


def test_two_formats_in_one_file_are_an_error_that_names_both_places(tmp_path):
    path = write(tmp_path, GOOD, '{"prompt": "Why?", "completion": "So."}')
    with pytest.raises(
        DataError, match=r"line 2 .*looks like prompt-completion, but .*line 1 .*looks like question-answer"
    ):
        load_conversations(path)


def test_read_rows_says_which_function_reads_another_format(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Why?", "completion": "So."}\n', encoding="utf-8")
    told = r"line 1 .*looks like prompt-completion, where question-answer is expected.*load_conversations"
    with pytest.raises(DataError, match=told):
        read_rows(file)


def test_skipping_names_every_row_that_is_left_out(tmp_path):
    path = write(tmp_path, GOOD, "broken", '{"question": "Why?", "answer": 7}', GOOD)
    with pytest.warns(SkippedRowWarning) as caught:
        assert len(load_conversations(path, on_error="skip")) == 2
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert "line 2" in messages[0]
    assert "line 3" in messages[1]
    with pytest.raises(DataError, match="on_error must be 'raise' or 'skip'"):
        load_conversations(path, on_error="ignore")
    with pytest.raises(DataError, match=r"line 1 .*not JSON"):
        load_conversations(write(tmp_path, "broken"), on_error="skip")


def test_tables_are_read_like_files(tmp_path):
    frame = pd.DataFrame({"Question": ["Why?"], "Answer": ["So."], "number": [1]})
    assert load_conversations(frame)[0]["messages"] == QA
    assert load_conversations(Dataset.from_pandas(frame))[0]["messages"] == QA
    frame.to_parquet(tmp_path / "rows.parquet")
    assert load_conversations(tmp_path / "rows.parquet")[0]["messages"] == QA
    with pytest.raises(DataError, match="row 1: 'Answer' must be text, found null"):
        load_conversations(pd.DataFrame({"Question": ["Why?", "How?"], "Answer": ["So.", None]}))
    with pytest.raises(DataError, match="can't read int"):
        load_conversations(7)


def test_streaming_gives_the_same_conversations(tmp_path):
    path = write(tmp_path, *[GOOD.replace("Why", f"Why {i}") for i in range(300)])
    streamed = load_conversations(path, streaming=True)
    assert streamed.column_names == ["messages"]
    assert list(streamed) == list(load_conversations(path))
    assert len(list(streamed)) == 300  # a second pass begins anew


def test_the_dialogues_keep_every_turn():
    rows = load_conversations("dialogues")
    assert len(rows) == 124
    assert sum(len(row["messages"]) for row in rows) == 547 + 508
    assert {message["name"] for row in rows for message in row["messages"]} == {"Mia", "Tom"}


def test_the_house_plants_are_a_hundred():
    assert len(load_conversations("house_plants")) == 100


def test_an_id_of_the_hub_without_a_network_is_an_error():
    with pytest.raises(DataError, match="nobody/nothing: no such file, and the Hub gives no such data set"):
        load_conversations("nobody/nothing")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json"])
@pytest.mark.parametrize("form", ["openai", "sharegpt", "alpaca", "question-answer", "prompt-completion"])
def test_what_is_saved_is_read_again(tmp_path, name, form):
    conversations = to_conversations([{"question": f"Why {i}?", "answer": "So.\n\u00e9"} for i in range(3)])
    assert save_conversations(conversations, tmp_path / name, format=form) == 3
    assert list(load_conversations(tmp_path / name)) == list(conversations)


def test_what_openai_adds_is_kept_on_the_way_through(tmp_path):
    path = write(tmp_path, json.dumps(TURNS))
    save_conversations(load_conversations(path), tmp_path / "again.jsonl.gz")
    assert json.loads(gzip.decompress((tmp_path / "again.jsonl.gz").read_bytes())) == TURNS


def test_saving_is_all_or_nothing(tmp_path):
    rows = [{"messages": QA}, {"messages": [*QA, *QA]}]
    with pytest.raises(DataError, match="conversation 1: alpaca holds one question and one answer"):
        save_conversations(rows, tmp_path / "rows.jsonl", format="alpaca")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="can't write the format 'guanaco'"):
        save_conversations(rows, tmp_path / "rows.jsonl", format="guanaco")
    with pytest.raises(DataError, match="ends with"):
        save_conversations(rows, tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"no/rows\.jsonl: there is no folder"):
        save_conversations(rows, tmp_path / "no" / "rows.jsonl")


def test_streaming_does_without_the_cache_of_datasets(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", path / "cache")  # below a file: nobody can make that
    monkeypatch.setenv("FTLIB_CACHE", str(tmp_path / "ours"))
    assert list(load_conversations(path, streaming=True)) == list(load_conversations(path))
    monkeypatch.setenv("FTLIB_CACHE", str(path / "ours"))
    with pytest.raises(DataError, match=r"streamed rows need a folder.* set FTLIB_CACHE to a folder"):
        load_conversations(path, streaming=True)


@pytest.mark.parametrize("name", [one.name for one in FORMATS.values() if one.extras])
def test_streaming_keeps_what_a_format_adds(tmp_path, name):
    lines = {
        "openai": json.dumps(TURNS),
        "alpaca": '{"instruction": "Sort", "input": "3 1", "output": "1 3"}',
        "alpaca-text": json.dumps({"text": "### Instruction:\nSort\n\n### Input:\n3 1\n\n### Response:\n1 3"}),
        "dolly": '{"instruction": "Sort", "context": "3 1", "response": "1 3"}',
        "prompt-completion": json.dumps({"prompt": TURNS["messages"] + QA[:1], "completion": QA[1:]}),
        "dialogue": '{"Ann": "Why?", "Bob": "So.", "Ann": "Oh."}',
        "sharegpt": '{"conversations": [{"from": "human", "value": "1"}, '
        '{"from": "function_call", "value": "{\\"name\\": \\"f\\", \\"arguments\\": {}}"}]}',
    }
    path = write(tmp_path, lines[name])
    (streamed,), (whole,) = load_conversations(path, streaming=True), load_conversations(path)
    assert [*map(clean_message, streamed["messages"])] == [*map(clean_message, whole["messages"])]
    added = {field for message in streamed["messages"] for field in clean_message(message)} - {"role", "content"}
    assert added
    assert added <= set(FORMATS[name].extras)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
@given(rows=st.lists(values, max_size=5), cut=st.integers(0, 30))
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore::ftlib.errors.SkippedRowWarning", "ignore::ftlib.errors.ColumnWarning")
def test_fuzz_a_file_reads_or_raises_a_data_error(tmp_path, name, on_error, rows, cut):
    """Rows of almost-formats, sometimes cut off in the middle, in every kind of text file."""
    content = "\n".join(json.dumps(row) for row in rows).encode("utf-8", "surrogatepass")
    content = content[: len(content) - cut] if cut < 5 else content
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    try:
        found = load_conversations(path, on_error=on_error)
    except DataError as error:
        message = str(error)
    else:
        message = str(path)
        assert 0 < len(found) <= max(len(rows) * 5, 1)
        for row in found:
            assert all(one["role"] in ("system", "user", "assistant", "tool") for one in row["messages"])
    assert str(path) in message


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 5_000, 100_000])
@pytest.mark.parametrize("row", ['{"question": "Q", "answer": "A", "note": %s}', '{"messages": %s}', "%s"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_however_deep_a_row_is_nested_it_is_read_or_named(tmp_path, depth, row, name):
    (tmp_path / name).write_text(row % ("[" * depth + '"x"' + "]" * depth) + "\n", encoding="utf-8")
    with contextlib.suppress(DataError):  # anything else is an error here
        load_conversations(tmp_path / name)
        assert depth < 5_000


def test_one_message_that_stands_alone_is_no_table_of_columns(tmp_path):
    """Its fields, role and content, would become two rows of one word each."""
    row = {"prompt": {"role": "user", "content": "Why?"}, "completion": {"role": "assistant", "content": "So."}}
    (tmp_path / "a.json").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(DataError, match="'prompt' must be text, found dict"):
        load_conversations(tmp_path / "a.json")


@pytest.mark.parametrize("field", ["role", "from", "speaker", "sender"])
def test_a_turn_of_nobody_says_what_is_missing(tmp_path, field):
    turn = {"conversation": [{field: None, "text": "Why?"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(turn) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"conversation\[0\]: nothing says who speaks: expected 'role'"):
        load_conversations(tmp_path / "a.jsonl")


def test_a_folder_is_told_from_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="is a folder: name a file in it"):
        read_rows(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2, 3]", '["a"]', "[[1]]"])
def test_rows_that_are_no_objects_are_told(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        DataError, match=r"rows.json, line 1 \(byte 1\): a row is an object such as .*, and here stands"
    ):
        load_conversations(path)
