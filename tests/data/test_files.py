import contextlib
import gzip
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftlib.data.files import read_raw_rows
from ftlib.errors import DataError

ROW = {"question": "Why?", "answer": "So."}
LINE = json.dumps(ROW)


def refuse(error):
    raise error


def read(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    options.setdefault("on_error", refuse)
    return list(read_raw_rows(path, **options))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", f"{LINE}\n\n{LINE}\n"),
        ("a.jsonl", f"{LINE}\r\n{LINE}"),
        ("a.jsonl", b"\xef\xbb\xbf" + f"{LINE}\n{LINE}".encode()),
        ("a.jsonl.gz", gzip.compress(f"{LINE}\n{LINE}".encode(), mtime=0)),
        ("a.json", f"{LINE}\n{LINE}"),
        ("a.json", f"[{LINE},\n {LINE}]\n"),
        ("a.json", json.dumps({"question": ["Why?"] * 2, "answer": ["So."] * 2})),
        ("a.jsonl", json.dumps({"question": {"0": "Why?", "1": "Why?"}, "answer": {"0": "So.", "1": "So."}})),
        ("a.json", json.dumps({"train": [ROW, ROW]})),
        ("a.csv", "question,answer\nWhy?,So.\nWhy?,So.\n"),
        ("a.tsv", 'question\tanswer\nWhy?\tSo.\n"Why?"\tSo.\n'),
        ("a.csv", 'question, answer\n"Why?", "So."\nWhy?, So.\n'),
        ("a.csv", "\ufeff question ; answer \nWhy?;So.\nWhy?;So.\n"),
    ],
)
def test_every_kind_of_file_gives_its_rows(tmp_path, name, content):
    assert [record.value for record in read(tmp_path, name, content)] == [ROW, ROW]


def test_rows_say_where_they_stand(tmp_path):
    where = [row.place for row in read(tmp_path, "a.jsonl", f"{LINE}\n{LINE}\n")]
    assert where[1].endswith(f"a.jsonl, line 2 (byte {len(LINE) + 1})")
    where = [row.place for row in read(tmp_path, "a.json", f"[{LINE},\n{LINE}]")]
    assert where[1].endswith(f"a.json, line 2 (byte {len(LINE) + 3})")
    (record,) = read(tmp_path, "a.json", json.dumps({"train": [ROW], "test": []}), split="train")
    assert record.place.endswith("train[0]")


def test_repeated_keys_are_all_there(tmp_path):
    (record,) = read(tmp_path, "a.json", '{"Ann": "Hi", "Bob": "Ho", "Ann": "Tea?"}')
    assert record.value == [("Ann", "Hi"), ("Bob", "Ho"), ("Ann", "Tea?")]


def test_a_quoted_field_may_span_lines_and_be_long(tmp_path):
    long = "x" * 200_000
    (record,) = read(tmp_path, "a.csv", f'question,answer\n"Why\n\nnot?",{long}\n')
    assert record.value == {"question": "Why\n\nnot?", "answer": long}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", f"{LINE}\n{LINE[:20]}", r"line 2 \(byte 38\): not JSON: it ends in the middle"),
        ("a.json", f"[{LINE},\n{LINE[:20]}", "line 2 .*it ends in the middle"),
        ("a.json", f"[{LINE} {LINE}]", "expected ',' or ']'"),
        ("a.json", f"[{LINE}] tail", "expected ',' or ']'"),
        ("a.jsonl", f"{LINE}\nnonsense", "line 2 .*not JSON: 'nonsense'"),
        ("a.jsonl", "<!DOCTYPE html>\n<html>", "a web page"),
        ("a.jsonl", LINE.encode("utf-16"), "UTF-16 text: save the file as UTF-8"),
        ("a.json", LINE.encode("utf-16"), "UTF-16 text"),
        ("a.jsonl", f"{LINE}\n\0\0", "line 2 .*NUL byte"),
        ("a.jsonl", b'{"question": "\xff"}', "line 1 .*not UTF-8"),
        ("a.jsonl", "[" * 100_000, "nested too deeply"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.jsonl", '{"question": NaN}', "not JSON: NaN is no JSON: write null"),
        ("a.json", '[{"question": -Infinity}]', "-Infinity is no JSON: write null"),
        ("a.jsonl", '{"question": %s}' % ("9" * 5000), "line 1 .*holds a number that can't be read"),
        ("a.json", '[{"question": %s}]' % ("9" * 5000), "line 1 .*holds a number that can't be read"),
        ("a.jsonl", LINE.encode("utf-32"), "UTF-32 text: save the file as UTF-8"),
        ("a.csv", LINE.encode("utf-32"), "UTF-32 text"),
        ("a.csv", "question,answer\rWhy?,So.\r", "end in a carriage return alone"),
        ("a.jsonl", LINE + "\n" + json.dumps(ROW, indent=1), "line 2 .*goes on in the next line, write it in one"),
        ("a.json", json.dumps({"question": ["a", "b"], "answer": ["c"]}), "columns 'question' and 'answer' differ"),
        ("a.json", json.dumps({"train": [ROW], "test": [ROW]}), "the splits train, test: choose one"),
        ("a.csv", "question,answer\nWhy?\n", r"line 2: 1 values for 2 columns"),
        ("a.csv", "question,answer\nWhy?,So.,Oh.\n", r"line 2: 3 values for 2 columns"),
        ("a.csv", "question,question\nWhy?,So.\n", "two columns are called 'question'"),
        ("a.csv", 'question,answer\n"Why?"x,So.\n', "not a table of values"),
        ("a.parquet", b"PAR1 nothing", "not a Parquet file"),
        ("a.jsonl.gz", gzip.compress(LINE.encode() * 100, mtime=0)[:-9], "cut off"),
        ("a.jsonl.gz", LINE, "damaged"),
        ("a.txt", LINE, "unknown kind of file '.txt'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path, name, content, expected):
    with pytest.raises(DataError, match=expected) as caught:
        read(tmp_path, name, content)
    assert name in str(caught.value)


def test_errors_of_single_lines_can_be_passed_over(tmp_path):
    errors = []
    rows = read(tmp_path, "a.jsonl", f"{LINE}\nbroken\n\0\n{LINE}", on_error=errors.append)
    assert [row.value for row in rows] == [ROW, ROW]
    assert len(errors) == 2


def test_a_line_of_fifty_megabytes(tmp_path):
    (record,) = read(tmp_path, "a.jsonl", json.dumps({"question": "Why?", "answer": "x" * 50_000_000}))
    assert len(record.value["answer"]) == 50_000_000


@settings(max_examples=200)
@given(content=st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")))
@example(content=b'{"a":"\\ud800"}')
@example(content=b"[1, 2")
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.parquet"])
def test_no_bytes_crash_the_reader(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        list(read_raw_rows(path, on_error=lambda error: None))
