import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlib.data.reading import load_conversations
from ftlib.errors import DataError
from ftlib.hosted.finetuning_file import about_tokens, check_finetuning_file, write_finetuning_file


def pair(question="Why?", answer="So.", **extra):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **extra}]


def written(tmp_path, *lines):
    place = tmp_path / "train.jsonl"
    place.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), encoding="utf-8"
    )
    return place


def with_problem(tmp_path, row):
    """The problems of a file in which line 3 is ``row`` and all others are right."""
    right = [{"messages": pair()}] * 10
    return check_finetuning_file(written(tmp_path, *right[:2], row, *right[2:])).problems


def test_counts_by_hand(tmp_path):
    rows = [pair("a" * 40, "b" * 8), pair("a" * 40, "b" * 8, weight=0)] * 5
    report = check_finetuning_file(
        write_finetuning_file(rows, tmp_path / "x.jsonl"), epochs=2, usd_per_million_tokens=5.0
    )
    # 10 + 2 tokens of text, 3 around each of two messages and 3 around the row
    assert (report.rows, report.tokens, report.longest_row_tokens) == (10, 210, 21)
    assert report.learnt_tokens == 5 * 2
    assert report.cost_usd == pytest.approx(210 * 2 * 5 / 1e6)
    assert [problem.partition(":")[0] for problem in report.problems] == [f"line {n}" for n in (2, 4, 6, 8, 10)]
    assert report.file_bytes == (tmp_path / "x.jsonl").stat().st_size


def test_ones_own_tokenizer_counts(tmp_path, tiny_tokenizer):
    place = write_finetuning_file([pair("What is a token?")] * 10, tmp_path / "x.jsonl")
    report = check_finetuning_file(place, count_tokens=lambda text: len(tiny_tokenizer(text)["input_ids"]))
    own = sum(len(tiny_tokenizer(text)["input_ids"]) for text in ("What is a token?", "So."))
    assert report.tokens == 10 * (own + 9)
    assert report.cost_usd is None
    assert about_tokens("ü" * 4) == 2


def test_the_courses_own_data_is_right(tmp_path):
    rows = list(load_conversations("faq")["messages"])
    report = check_finetuning_file(write_finetuning_file(rows, tmp_path / "train.jsonl"))
    assert report.problems == ()
    assert report.rows == len(rows)
    line = json.loads((tmp_path / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(line) == {"messages"}
    assert all(set(message) == {"role", "content"} for message in line["messages"])


def test_what_belongs_to_the_course_alone_is_left_out(tmp_path):
    row = [{"role": "user", "content": "Sort.\n\n3 1", "context": "3 1", "name": None}, *pair(weight=1)[1:]]
    (line,) = write_finetuning_file([row], tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["messages"] == [
        {"role": "user", "content": "Sort.\n\n3 1"},
        {"role": "assistant", "content": "So.", "weight": 1},
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{half", "no JSON"),
        ([], "expected an object with 'messages'"),
        ({"prompt": "Why?", "completion": "So."}, "expected an object with 'messages'"),
        ({"messages": ["Why?"]}, "expected an object with 'messages'"),
        ({"messages": []}, "the conversation is empty"),
        ({"messages": pair(), "extra": 1}, "unknown field 'extra'"),
        ({"messages": [{"role": "human", "content": "Why?"}, *pair()[1:]]}, "messages[0]: role 'human'"),
        ({"messages": [{"content": "Why?"}, *pair()[1:]]}, "messages[0]: role is missing"),
        ({"messages": pair("  ")}, "messages[0]: 'content' must be text that isn't empty"),
        ({"messages": pair(answer=None)}, "messages[1]: 'content' must be text"),
        ({"messages": pair(weight=2)}, "messages[1]: weight 2: input should be less than or equal to 1"),
        ({"messages": pair(weight=True)}, "messages[1]: weight True"),
        ({"messages": pair(weight=0)}, "every answer has weight 0"),
        (
            {"messages": [{"role": "user", "content": "Why?", "weight": 1}, *pair()[1:]]},
            "'weight' is for messages",
        ),
        ({"messages": pair(name="Ann Lee")}, "name 'Ann Lee'"),
        ({"messages": pair(text="So.")}, "unknown field 'text'"),
        ({"messages": pair()[:1]}, "the last message must be the assistant's"),
        ({"messages": pair()[::-1]}, "the last message must be the assistant's"),
        ({"messages": [*pair(), *pair()[1:]]}, "role 'assistant' after assistant"),
        ({"messages": pair("x" * 300_000)}, "75010 tokens, and 65536 is the most"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path, row, problem):
    (found,) = with_problem(tmp_path, row)
    assert found.startswith("line 3: ")
    assert problem in found


def test_what_is_allowed_is_no_problem(tmp_path):
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    tools = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "1 + 0?", "name": "ann_1"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
        {"role": "assistant", "content": "1.", "weight": 1},
    ]
    assert with_problem(tmp_path, {"messages": tools, "tools": [TOOL]}) == ()
    assert with_problem(tmp_path, {"messages": [*pair(weight=0), *pair()]}) == ()
    assert with_problem(tmp_path, "") == ()


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
ASKED, RESULT, ANSWER = pair()[0], {"role": "tool", "content": "3", "tool_call_id": "c"}, pair()[1]


def calling(*calls, then=(RESULT, ANSWER), tools=(TOOL,)):
    """A row in which tools are called, and what follows."""
    row = {"messages": [ASKED, {"role": "assistant", "tool_calls": list(calls)}, *then]}
    return row | ({"tools": list(tools)} if tools is not None else {})


def called(**changes):
    return {**CALL, "function": {**CALL["function"], **changes}}


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (calling(CALL, tools=None), "messages[1]: tool_calls[0]: calls 'add', and the row's 'tools' offer nothing"),
        (calling(called(name="sub")), "calls 'sub', and the row's 'tools' offer add"),
        (calling(called(name=None)), "function.name None: input should be a valid string"),
        (calling(called(arguments={})), "function.arguments {}: input should be a valid string"),
        (calling(called(arguments=None)), "function.arguments None: input should be a valid string"),
        (calling(called(arguments="{")), "function.arguments '{': expecting property name"),
        (calling(called(arguments="[1]")), "function.arguments '[1]': expected the text of a JSON object"),
        (calling(called(arguments="[" * 100_000)), "nested too deeply"),
        (calling(called(other=1)), "unknown field 'function.other'"),
        (calling(CALL | {"index": 0}), "unknown field 'index'"),
        (calling(CALL | {"type": "custom"}), "messages[1]: tool_calls[0]: type 'custom', expected one of function"),
        (calling("add"), "messages[1]: tool_calls[0] 'add': input should be a valid dictionary"),
        (calling(CALL, then=[{**RESULT, "tool_call_id": "d"}]), "the last message must be the assistant's"),
        (calling(CALL, CALL, then=[]), "two tool calls have the id 'c'"),
        (calling(CALL, then=[RESULT, ANSWER, ASKED, {"role": "assistant", "tool_calls": [CALL]}]), "have the id 'c'"),
        (calling(CALL, then=[RESULT, RESULT, ANSWER]), "messages[3]: tool_call_id 'c', expected that of a call"),
        (calling(CALL, then=[ANSWER]), "role 'assistant' after tool call: expected tool"),
        (calling(CALL, {**CALL, "id": "d"}), "messages[3]: nothing has come back for the tool call 'd'"),
        (
            calling(CALL, then=[RESULT, {**ANSWER, "tool_call_id": "c"}]),
            "'tool_call_id' is for messages",
        ),
        (
            {"messages": [ASKED | {"tool_calls": [CALL]}, ANSWER], "tools": [TOOL]},
            "'tool_calls' is for messages",
        ),
        ({"messages": [ASKED, ANSWER | {"tool_calls": []}]}, "tool_calls []: list should have at least 1 item"),
        (
            {"messages": [ASKED, {"role": "assistant", "tool_calls": "x"}]},
            "tool_calls 'x': input should be a valid list",
        ),
        ({"messages": pair(), "tools": "x"}, "tools 'x': input should be a valid list"),
        ({"messages": pair(), "tools": []}, "tools []: list should have at least 1 item"),
        ({"messages": pair(), "tools": [{}]}, "tools[0]: function is missing"),
        ({"messages": pair(), "tools": [TOOL, TOOL]}, "two tools are called 'add'"),
        ({"messages": pair(), "tools": [{"type": "function", "function": {"name": "a b"}}]}, "function.name 'a b'"),
        (
            {"messages": pair(), "tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]},
            "function.parameters 'x': input should be a valid dictionary",
        ),
        (
            {"messages": pair(), "tools": [{"type": "function", "function": {"name": "a", "parameters": {}}}]},
            "function.parameters.type is missing",
        ),
        (
            {"messages": pair(), "parallel_tool_calls": "no"},
            "parallel_tool_calls 'no': input should be a valid boolean",
        ),
        ({"messages": pair(), "functions": []}, "unknown field 'functions': since 2023 it is called 'tools'"),
        (
            {"messages": [ASKED, {**ANSWER, "function_call": {"name": "add"}}]},
            "unknown field 'function_call': since 2023 it is called 'tool_calls'",
        ),
        ({"messages": pair([{"type": "image_url", "image_url": {"url": "x"}}])}, "a part that is no text"),
        ({"messages": pair([{"type": "text"}])}, "a part that is no text"),
        ({"messages": pair(7)}, "'content' must be text"),
        ({"messages": pair({"text": "x"})}, "'content' must be text"),
        ({"messages": pair(refusal=3)}, "messages[1]: refusal 3: input should be a valid string"),
        ('{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "the key 'content' stands more than once"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}', "half of a surrogate pair"),
        ('{"messages": NaN}', "no JSON (NaN is no number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "nested too deeply"),
    ],
)
def test_tools_and_texts_that_the_service_refuses(tmp_path, row, problem):
    found = with_problem(tmp_path, row)
    assert all(one.startswith("line 3: ") for one in found)
    assert problem in " ".join(found)


@pytest.mark.parametrize(
    ("called_for", "answered"), [("c", "zz"), ("c", None), ("c", 7)], ids=["another", "none", "a number"]
)
def test_what_comes_back_belongs_to_a_call(tmp_path, called_for, answered):
    result = {k: v for k, v in {**RESULT, "tool_call_id": answered}.items() if v is not None}
    found = with_problem(tmp_path, calling({**CALL, "id": called_for}, then=[result, ANSWER]))
    assert f"line 3: messages[2]: tool_call_id {answered!r}, expected that of a call" in found[0]


def test_calls_and_parts_that_the_service_takes(tmp_path):
    other = {**CALL, "id": "d"}
    for row in (
        calling(CALL, then=[]),
        calling(CALL, other, then=[{**RESULT, "tool_call_id": "d"}, RESULT, ANSWER]),
        calling(CALL, then=[RESULT, {"role": "assistant", "tool_calls": [other]}]),
        {"messages": pair([{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}])},
        {"messages": [ASKED, {"role": "assistant", "content": None, "refusal": "No."}]},
        {"messages": pair(), "tools": [TOOL], "parallel_tool_calls": False},
    ):
        assert with_problem(tmp_path, row) == ()


NAMES = ("role", "content", "tool_calls", "tools", "function", "name", "arguments", "id", "type", "weight", "text")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["user", "tool"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "tool_calls",
                    "tools",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "type",
                    "weight",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(row=JSON, place=st.sampled_from(["row", "messages", "message", "tools", "calls", "content", "result"]))
@settings(max_examples=300)
def test_no_row_crashes_the_check(tmp_path, row, place):
    whole = {
        "row": row,
        "messages": {"messages": row},
        "message": {"messages": [ASKED, row]},
        "tools": {"messages": pair(), "tools": row},
        "calls": {"messages": [ASKED, {"role": "assistant", "tool_calls": row}], "tools": [TOOL]},
        "content": {"messages": pair(row)},
        "result": calling(CALL, then=[row, ANSWER]),
    }[place]
    problems = with_problem(tmp_path, json.dumps(whole))
    assert all(problem.startswith("line 3: ") for problem in problems)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(DataError, match="conversation 1 holds half of a surrogate pair"):
        write_finetuning_file([pair(), pair("\ud83d")], tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="there is no folder"):
        write_finetuning_file([pair()], tmp_path / "none" / "x.jsonl")
    assert not list(tmp_path.iterdir())


def test_too_few_rows_and_too_many_bytes(tmp_path, monkeypatch):
    place = written(tmp_path, *[{"messages": pair()}] * 9)
    assert check_finetuning_file(place).problems == ("the file has 9 rows, and 10 is the least",)
    monkeypatch.setattr("ftlib.hosted.finetuning_file.MOST_BYTES", 100)
    assert "and 100 is the most" in check_finetuning_file(place).problems[1]
    with pytest.raises(DataError, match="there is no such file"):
        check_finetuning_file(tmp_path / "none.jsonl")
