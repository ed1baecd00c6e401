import json

import pytest

from ftlib.data import dataset_path, load_conversations, read_rows, to_conversations
from ftlib.errors import DataError, FtlibError


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
        ("[1, 2]", ["line 2", "list"]),
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
    with pytest.raises(DataError, match="no split 'dev': it has test, train"):
        read_rows("faq", split="dev")


def test_a_single_file_has_no_split(tmp_path):
    with pytest.raises(DataError, match="leave split out"):
        read_rows(write(tmp_path, GOOD), split="train")


def test_a_shipped_name_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dataset_path("faq").name == "train.jsonl"


def test_every_error_is_an_ftlib_error():
    assert issubclass(DataError, FtlibError)


def test_numbers_that_json_does_not_know_are_still_text_errors(tmp_path):
    row = json.dumps({"question": None, "answer": "So."})
    with pytest.raises(DataError, match="line 1: 'question' must be text, found NoneType"):
        read_rows(write(tmp_path, row))
