import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlib.data.formats import FORMATS, candidates, read_whole_row
from ftlib.data.json_text import RepeatedKeys
from ftlib.data.messages import Message, RowError, assistant, user, user_with_context
from tests.course import ROOT

Q, A = user("Why?"), assistant("So.")
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ROWS = {
    "question-answer": ({"question": "Why?", "answer": "So.", "topic": "t"}, [Q, A]),
    "alpaca": ({"instruction": "Why?", "input": "", "output": "So.", "text": "..."}, [Q, A]),
    "alpaca-text": ({"text": "Below ...\n\n### Instruction:\nWhy?\n\n### Response:\nSo."}, [Q, A]),
    "prompt-completion": ({"prompt": "Why?", "completion": "So."}, [Q, A]),
    "input-output": ({"input": "Why?", "output": "So."}, [Q, A]),
    "instruction-response": ({"instruction": "Why?", "response": "So."}, [Q, A]),
    "dolly": ({"instruction": "Why?", "context": "", "response": "So.", "category": "open_qa"}, [Q, A]),
    "openorca": (
        {"system_prompt": "Be kind.", "question": "Why?", "response": "So."},
        [Message(role="system", content="Be kind."), Q, A],
    ),
    "openai": ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}, [Q, A]),
    "sharegpt": ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, [Q, A]),
    "guanaco": ({"text": "### Human: Why?### Assistant: So.### Human: Why?### Assistant: So."}, [Q, A, Q, A]),
    "dialogue": (
        RepeatedKeys([("Ann", "Why?"), ("Bob", "So."), ("Ann", "Oh.")]),
        [
            Message(role="user", content="Why?", name="Ann"),
            Message(role="assistant", content="So.", name="Bob"),
            Message(role="user", content="Oh.", name="Ann"),
        ],
    ),
}


def read_row(row, name):
    return read_whole_row(row, name)[0]


def test_every_format_has_a_row_here():
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_is_recognised_and_read(name):
    row, messages = ROWS[name]
    assert candidates(row) == [name]
    assert read_row(row, name) == messages


def test_names_of_fields_may_be_capitalised():
    assert read_row({"Question": "Why?", "Answer": "So."}, "question-answer") == [Q, A]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("alpaca", {"instruction": "Sort", "input": "3 1", "output": "1 3"}),
        ("alpaca-text", {"text": "### Instruction:\nSort\n\n### Input:\n3 1\n\n### Response:\n1 3"}),
        ("dolly", {"instruction": "Sort", "context": "3 1", "response": "1 3"}),
    ],
)
def test_further_input_stands_under_the_instruction(name, row):
    messages = read_row(row, name)
    assert messages == [user_with_context("Sort", "3 1"), assistant("1 3")]
    assert messages[0]["content"] == "Sort\n\n3 1"
    assert FORMATS["alpaca"].write(messages) == {"instruction": "Sort", "input": "3 1", "output": "1 3"}


def test_openai_keeps_tools_weights_and_names():
    turns = [
        {"role": "developer", "content": "Add."},
        {"role": "user", "content": [{"type": "text", "text": "1 and "}, {"type": "text", "text": "2"}], "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL], "weight": 0},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "3"},
    ]
    assert read_row({"messages": turns}, "openai") == [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": "1 and 2", "name": "Ann"},
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL], "weight": 0},
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "3"},
    ]


def test_arguments_of_a_tool_call_become_json_text():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    (read,) = read_row({"messages": turns}, "openai")[1]["tool_calls"]
    assert read["function"] == {"name": "add", "arguments": '{"a": 1}'}


def test_sharegpt_calls_functions_and_observes():
    call = {"name": "add", "arguments": {"a": 1}}
    turns = [
        {"from": "system", "value": "Add."},
        {"from": "human", "value": "1"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "It is 1."},
    ]
    messages = read_row({"conversations": turns}, "sharegpt")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert messages[2]["tool_calls"][0]["function"]["name"] == "add"
    assert FORMATS["sharegpt"].write(messages) == {"conversations": turns}


def test_a_speaker_who_goes_on_keeps_the_turn():
    row = RepeatedKeys([("Ann", "Hi."), ("Ann", "Tea?"), ("Bob", "Yes.")])
    assert [message["content"] for message in read_row(row, "dialogue")] == ["Hi.\nTea?", "Yes."]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("question-answer", {"question": "Why?"}, "no field 'answer'; found 'question'"),
        ("question-answer", {"question": "Why?", "answer": 7}, "'answer' must be text, found int"),
        ("question-answer", {"question": None, "answer": "So."}, "'question' must be text, found null"),
        ("question-answer", {"question": " ", "answer": "So."}, "'question' is empty"),
        ("question-answer", {"question": "\ud800", "answer": "So."}, "half of a surrogate pair"),
        ("question-answer", {"question": "a\0b", "answer": "So."}, "NUL character at character 1"),
        ("question-answer", ["Why?", "So."], "expected an object with fields, found list"),
        ("question-answer", {"prompt": "Why?", "completion": "So."}, "looks like prompt-completion"),
        ("question-answer", RepeatedKeys([("question", "a"), ("question", "b"), ("answer", "c")]), "more than once"),
        ("dialogue", RepeatedKeys([("A", "x"), ("B", "y"), ("C", "z"), ("A", "w")]), "two speakers, found 3"),
        ("guanaco", {"text": "Once ### Human: Why?"}, "begins with 'Once'"),
        ("openai", {"messages": []}, "the conversation is empty"),
        ("openai", {"messages": [{"role": "system", "content": "x"}]}, "nothing but a system message"),
        ("openai", {"messages": [{"role": "wizard", "content": "x"}]}, r"messages\[0\]: role 'wizard'"),
        ("openai", {"messages": [{"role": "user", "content": "x"}] * 2}, r"messages\[1\]: role 'user' after user"),
        ("openai", {"messages": [{"role": "user", "content": None}]}, r"messages\[0\]: 'content' must be text"),
        ("openai", {"messages": [{"role": "user", "content": "x", "audio": {}}]}, "'audio' has no place"),
        ("openai", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "is no text"),
        ("sharegpt", {"conversations": [{"from": "elf", "value": "x"}]}, r"conversations\[0\]: from 'elf'"),
        ("sharegpt", {"conversations": [{"from": "human", "value": 3}]}, r"conversations\[0\]: 'value' must be text"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "add"}]}, "as JSON"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(name, row, expected):
    with pytest.raises(RowError, match=expected):
        read_row(row, name)


@pytest.mark.parametrize(
    ("name", "messages", "expected"),
    [
        ("alpaca", [Q, A, Q, A], "one question and one answer, not user, assistant, user, assistant"),
        ("prompt-completion", [Message(role="system", content="s"), Q, A], "not system, user, assistant"),
        ("question-answer", [Q, Message(role="assistant", content="So.", weight=0)], "can't carry weight"),
        ("sharegpt", [Message(role="user", content="x", name="Ann"), A], "can't carry name"),
        ("sharegpt", [Q, Message(role="assistant", content="Hm", tool_calls=[TOOL_CALL])], "text beside a tool call"),
        ("sharegpt", [Q, Message(role="assistant", content=None, tool_calls=[TOOL_CALL] * 2)], "several tool calls"),
    ],
)
def test_what_a_format_cannot_carry_is_an_error(name, messages, expected):
    with pytest.raises(RowError, match=expected):
        FORMATS[name].write(messages)


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@given(question=TEXT, reply=TEXT, name=st.sampled_from([one.name for one in FORMATS.values() if one.write]))
def test_one_question_and_its_answer_survive_every_written_format(question, reply, name):
    messages = [user(question), assistant(reply)]
    row = json.loads(json.dumps(FORMATS[name].write(messages)))
    assert candidates(row) == [name]
    assert read_row(row, name) == messages


@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), st.none() | TEXT, st.sampled_from(["openai", "sharegpt"])
)
def test_long_conversations_survive(turns, system, name):
    messages = [] if system is None else [Message(role="system", content=system)]
    for question, reply in turns:
        messages += [user(question), assistant(reply)]
    assert read_row(json.loads(json.dumps(FORMATS[name].write(messages))), name) == messages


def test_the_page_of_formats_names_every_one():
    page = (ROOT / "book" / "formats.md").read_text(encoding="utf-8")
    for one in FORMATS.values():
        written = "yes" if one.write else "no"
        assert re.search(rf"\| `{one.name}` \| `{re.escape(one.example)}` \| .* \| {written} \|", page), one.name
