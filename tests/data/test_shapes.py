"""Data files as they are found: turns and tables spelt in other ways, read all the same, or refused with a way out."""

import gzip
import json

import pandas as pd
import pytest

from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations
from ftlib.errors import DataError

Q, A = user("Why?"), assistant("So.")
ROW = {"question": "Why?", "answer": "So."}
LINE = json.dumps(ROW)
TURNS = [Q, A]
FROM_VALUE = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [
        [{k: v for k, v in one.items() if v is not None} for one in row["messages"]] for row in load_conversations(path)
    ]


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation", "dialogue", "chat", "Messages"])
@pytest.mark.parametrize("turns", [TURNS, FROM_VALUE], ids=["role and content", "from and value"])
@pytest.mark.parametrize("as_text", [None, json.dumps, str], ids=["list", "JSON text", "Python text"])
def test_a_conversation_is_found_under_any_name(tmp_path, column, turns, as_text):
    row = {column: as_text(turns) if as_text else turns}
    assert read(tmp_path, "rows.jsonl", json.dumps(row)) == [TURNS]
    if as_text:
        pd.DataFrame([row, row]).to_csv(tmp_path / "table.csv", index=False)
        assert read(tmp_path, "again.csv", (tmp_path / "table.csv").read_bytes()) == [TURNS, TURNS]


ASKERS = ("user", "User", " user ", "human", "Human", "HUMAN", "prompter", "customer")
ANSWERERS = ("assistant", "Assistant", "gpt", " GPT ", "chatgpt", "bot", "AI", "model")


@pytest.mark.parametrize("who", ["role", "from", "speaker"])
@pytest.mark.parametrize("what", ["content", "value", "text"])
def test_speakers_have_many_names(tmp_path, who, what):
    for asks, answers in zip(ASKERS, ANSWERERS, strict=True):
        turns = [{who: asks, what: "Why?"}, {who: answers, what: "So."}]
        assert read(tmp_path, "rows.jsonl", json.dumps({"conversations": turns})) == [TURNS]


@pytest.mark.parametrize("call", ["function_call", "function-call", "tool_call", "Tool Call"])
@pytest.mark.parametrize("result", ["observation", "function_response", "tool", "Tool-Response"])
def test_calls_and_their_results_too(tmp_path, call, result):
    called = {"from": call, "value": '{"name": "f", "arguments": {}}'}
    rows = read(
        tmp_path, "a.jsonl", json.dumps({"conversations": [FROM_VALUE[0], called, {"from": result, "value": "3"}]})
    )
    assert [message["role"] for message in rows[0]] == ["user", "assistant", "tool"]
    assert rows[0][2]["tool_call_id"] == rows[0][1]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "Why?"},
        {"type": "text", "value": "Why?"},
        {"type": "input_text", "text": "Why?"},
        {"text": "Why?"},
        "Why?",
    ],
)
def test_parts_of_text_are_put_together(tmp_path, part):
    for column, who, what in (("messages", "role", "content"), ("conversations", "from", "value")):
        turns = [{who: "user", what: [part]}, {who: "assistant", what: "So."}]
        assert read(tmp_path, "a.jsonl", json.dumps({column: turns})) == [TURNS]
    for other in ({"type": "image_url", "image_url": {}}, {"type": "text"}, 7, None):
        with pytest.raises(DataError, match=r"line 1 .*messages\[0\]: a (part of 'content' is no|text part must)"):
            read(tmp_path, "a.jsonl", json.dumps({"messages": [{"role": "user", "content": [other]}, A]}))


def test_of_a_prompt_in_messages_only_the_completion_is_learnt(tmp_path):
    earlier = [user("Two?"), assistant("Two.")]
    row = {"prompt": [*earlier, Q], "completion": [A]}
    learnt = [*earlier[:1], earlier[1] | {"weight": 0}, Q, A]
    assert read(tmp_path, "rows.jsonl", json.dumps(row)) == [learnt]
    assert read(tmp_path, "rows.jsonl", json.dumps({"prompt": [Q], "completion": "So."})) == [TURNS]
    assert read(tmp_path, "rows.jsonl", json.dumps({"prompt": "Why?", "completion": [A]})) == [TURNS]
    assert read(tmp_path, "rows.csv", 'prompt,completion\n"[1, 2]","[1]"\n') == [[user("[1, 2]"), assistant("[1]")]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.csv.gz"])
def test_what_stands_between_the_values_is_found(tmp_path, delimiter, name):
    table = f'question{delimiter}answer\n"Why,{delimiter} then?"{delimiter}"So; or | so."\n'
    packed = gzip.compress(table.encode()) if name.endswith(".gz") else table
    assert read(tmp_path, name, packed) == [[user(f"Why,{delimiter} then?"), assistant("So; or | so.")]]


def test_excels_own_first_line_and_its_byte_order_mark(tmp_path):
    content = b"\xef\xbb\xbfsep=;\r\nquestion;answer\r\nWhy?;So.\r\n"
    assert read(tmp_path, "rows.csv", content) == [TURNS]
    with pytest.raises(DataError, match="line 4: 1 values for 2 columns"):
        read(tmp_path, "rows.csv", content + b"Why?\r\n")


PRETTY = json.dumps(ROW, indent=2)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".ndjson"])
@pytest.mark.parametrize(
    "content",
    [
        PRETTY,
        f"\n{PRETTY}\n",
        f"{PRETTY}\n{PRETTY}\n",
        f"{PRETTY},\n{PRETTY}\n",
        f"{LINE},\n{LINE}\n",
        f"{LINE}\n\n{LINE}",
        f"[{LINE},\n{LINE}]",
        f"[\n{LINE},\n{LINE}\n]\n",
        json.dumps([ROW, ROW], indent=2),
        json.dumps({"question": ["Why?"], "answer": ["So."]}, indent=1),
        json.dumps({"version": "1", "data": [ROW]}),
        '{\n"messages": [\n' + json.dumps(Q) + ",\n" + json.dumps(A) + "]}",
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", ["", ".gz", "unnamed"])
def test_values_may_stand_over_several_lines(tmp_path, suffix, content, mark, packed):
    data = mark + content.encode()
    data = gzip.compress(data) if packed else data
    rows = read(tmp_path, f"rows{suffix}{packed.removesuffix('unnamed')}", data)
    assert rows
    assert all(row == TURNS for row in rows)


def test_a_value_over_several_lines_is_named_with_its_line(tmp_path):
    bad = json.dumps({"question": "Why?", "answer": ""}, indent=2)
    with pytest.raises(DataError, match=r"line 5 \(byte \d+\): 'answer' is empty"):
        read(tmp_path, "rows.jsonl", f"{PRETTY}\n{bad}")
    with pytest.raises(DataError, match=r"line 5 \(byte \d+\): not JSON: it ends in the middle"):
        read(tmp_path, "rows.jsonl", f"{PRETTY}\n{bad[:-3]}")
    with pytest.raises(DataError, match=r"line 1 \(byte 0\): not JSON"):
        read(tmp_path, "rows.jsonl", '{"question": "Why?",\n{"question": "Why?", "answer": "So."}\n')


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no rows"),
        (b"\n \n", "holds no rows"),
        (b"\xef\xbb\xbf", "holds no rows"),
        (LINE.encode("utf-16"), "UTF-16 text: save the file as UTF-8"),
        (LINE.encode("utf-16-le"), "NUL byte"),
        (b"PAR1....", "a Parquet file: let its name end with .parquet"),
        (b"PK\x03\x04...", "a zip archive: unpack it first"),
        (b"\x28\xb5\x2f\xfd...", "compressed with zstd: unpack it first"),
        (b"BZh9...", "compressed with bzip2: unpack it first"),
        (b"\xfd7zXZ\0...", "compressed with xz: unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS in place of the data"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
    ],
)
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_what_is_no_data_is_called_by_its_name(tmp_path, content, told, name):
    with pytest.raises(DataError, match=r"rows\.") as caught:
        read(tmp_path, name, content)
    if not (name.endswith(".csv") and told == "a web page"):
        assert told in str(caught.value)


def test_one_giant_line_of_any_kind(tmp_path):
    long = "x" * 3_000_000
    for name, content in (
        ("rows.jsonl", json.dumps(ROW | {"answer": long})),
        ("rows.json", json.dumps([ROW | {"answer": long}])),
        ("rows.csv", f"question;answer\nWhy?;{long}\n"),
    ):
        assert read(tmp_path, name, content) == [[Q, assistant(long)]]
