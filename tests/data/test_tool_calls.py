"""Tool calls, however their arguments are written and whatever a chat template makes of them."""

import copy
import json

import pandas as pd
import pytest

from datasets import Dataset
from ftlib.data.messages import assistant, clean_message, user
from ftlib.data.reading import load_conversations
from ftlib.data.writing import save_conversations
from ftlib.errors import DataError
from ftlib.text.chat_template import ChatTemplate

ARGUMENTS = [{"a": 3}, {"city": "Köln", "days": [1, 2], "deep": {"yes": True, "no": None}}, {}]
TURNS = (
    "{%% for m in messages %%}{%% if m.tool_calls %%}assistant: {%% for call in m.tool_calls %%}%s{%% endfor %%}"
    "<|endoftext|>{%% else %%}{{ m.role }}: {{ m.content }}{%% if m.role == 'assistant' %%}<|endoftext|>{%% endif %%}"
    "{%% endif %%}{%% endfor %%}{%% if add_generation_prompt %%}assistant: {%% endif %%}"
)
WAYS = {
    "an object, written as JSON": "{{ call.function.name }} {{ call.function.arguments | tojson }}",
    "text, joined to text": "{{ call.function.name + ' ' + call.function.arguments }}",
    "text, printed": "{{ call.function.name }} {{ call.function.arguments }}",
    "either": (
        "{{ call.function.name }} {{ call.function.arguments if call.function.arguments is string "
        "else call.function.arguments | tojson }}"
    ),
}
ITEMS = (
    "{{ call.function.name }}({% for k, v in call.function.arguments.items() %}{{ k }}={{ v | tojson }};{% endfor %})"
)


def row(arguments, name="weather"):
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"messages": [user("Q"), called, {"role": "tool", "tool_call_id": "c1", "content": "7"}, assistant("A")]}


def file_of(rows, folder):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
    return str(path)


def learnt(tokenizer, template, messages):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = TURNS % template
    segments = ChatTemplate(tokenizer).render([clean_message(message) for message in messages])
    return "".join(segment.text for segment in segments if segment.is_target)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("as_text", [False, True], ids=["object", "text"])
@pytest.mark.parametrize("read", [False, True], ids=["given", "read"])
def test_a_call_is_written_the_same_however_it_came(tiny_tokenizer, tmp_path, way, arguments, as_text, read):
    one = row(json.dumps(arguments, ensure_ascii=False) if as_text else arguments)
    messages = load_conversations(file_of([one], tmp_path))[0]["messages"] if read else one["messages"]
    text = learnt(tiny_tokenizer, WAYS[way], messages)
    name, told = text.split("<|endoftext|>")[0].split(" ", 1)
    assert (name, json.loads(told)) == ("weather", arguments)


def test_a_template_that_goes_through_the_arguments(tiny_tokenizer):
    for arguments in (ARGUMENTS[1], json.dumps(ARGUMENTS[1])):
        text = learnt(tiny_tokenizer, ITEMS, row(arguments)["messages"])
        assert text.startswith('weather(city="Köln";days=[1, 2];deep={"yes": true, "no": null};)<|endoftext|>')


@pytest.mark.parametrize("empty", [None, "", "{}", {}])
def test_no_arguments_are_an_empty_object(tiny_tokenizer, tmp_path, empty):
    messages = load_conversations(file_of([row(empty)], tmp_path))[0]["messages"]
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert learnt(tiny_tokenizer, WAYS["text, printed"], messages).startswith("weather {}<|endoftext|>")


BROKEN = ['{"a": 3', "not json", "[1]", [1], 3, '"{\\"a\\": 3}"', "3", True, '{"a": 3} x']


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_arguments_that_are_no_object_are_refused_where_they_stand(tiny_tokenizer, tmp_path, broken):
    with pytest.raises(DataError, match=r"rows.jsonl, line 2 .*messages\[1\]: the arguments of a tool call"):
        load_conversations(file_of([row({}), row(broken)], tmp_path))
    with pytest.raises(DataError, match=r"messages\[1\]: the arguments of a tool call"):
        learnt(tiny_tokenizer, WAYS["either"], row(broken)["messages"])
    with pytest.raises(DataError, match="conversation 0: a turn: the arguments of a tool call"):
        save_conversations([row(broken)], tmp_path / "out.jsonl", format="sharegpt")
    call = {"from": "function_call", "value": json.dumps({"name": "f", "arguments": broken})}
    turns = [{"from": "human", "value": "Q"}, call, {"from": "observation", "value": "7"}]
    with pytest.raises(DataError, match=r"line 1 .*conversations\[1\]: the arguments of a tool call"):
        load_conversations(file_of([{"conversations": turns}], tmp_path))


def test_a_sharegpt_call_is_not_encoded_twice(tmp_path):
    for arguments in ({"a": 3}, '{"a": 3}'):
        call = {"from": "function_call", "value": json.dumps({"name": "f", "arguments": arguments})}
        turns = [{"from": "human", "value": "Q"}, call, {"from": "observation", "value": "7"}]
        (read,) = load_conversations(file_of([{"conversations": turns}], tmp_path))[0]["messages"][1]["tool_calls"]
        assert json.loads(read["function"]["arguments"]) == {"a": 3}


@pytest.mark.parametrize("kind", ["dataset", "parquet", "frame", "lines"])
def test_a_row_has_no_keys_of_another_row(tmp_path, kind):
    rows = [row({"a": 3, "deep": {"x": 1}}), row({"city": "Graz", "deep": {"y": 2}})]
    table = Dataset.from_list(rows)
    table.to_parquet(tmp_path / "rows.parquet")
    frame = pd.DataFrame({"messages": [one["messages"] for one in rows]})
    sources = {"dataset": table, "parquet": str(tmp_path / "rows.parquet"), "frame": frame}
    source = sources.get(kind) if kind != "lines" else file_of(rows, tmp_path)
    calls = [one["messages"][1]["tool_calls"][0]["function"] for one in load_conversations(source)]
    assert [json.loads(call["arguments"]) for call in calls] == [
        {"a": 3, "deep": {"x": 1}},
        {"city": "Graz", "deep": {"y": 2}},
    ]


def test_a_null_that_a_row_of_json_says_itself_stays(tmp_path):
    (one,) = load_conversations(file_of([row({"day": None})], tmp_path))
    assert one["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"day": null}'


def test_a_template_without_a_place_for_calls_is_refused(tiny_tokenizer):
    with pytest.raises(DataError, match=r"messages\[1\]: the tokenizer's chat template has no place for a tool call"):
        learnt(tiny_tokenizer, "", row({"a": 3})["messages"])


HALF = "\\ud83d"  # as JSON escapes it
NO_JSON = ['{"a": NaN}', '{"a": -Infinity}', f'{{"a": "{HALF}"}}', f'{{"{HALF}": 1}}', f'{{"a": {"9" * 5000}}}']


@pytest.mark.parametrize(
    "arguments",
    NO_JSON,
    ids=["nan", "infinity", "half", "half of a name", "digits"],
)
@pytest.mark.parametrize("as_text", [False, True], ids=["object", "text"])
def test_arguments_that_no_json_holds_are_refused_with_their_place(tmp_path, arguments, as_text):
    """Whatever is wrong is said where the file is read: no tokenizer, table or template gets it."""
    path = tmp_path / "rows.jsonl"
    line = json.dumps(row("HERE")).replace('"HERE"', json.dumps(arguments) if as_text else arguments)
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1 \(byte 0\): ") as caught:
        load_conversations(path)
    str(caught.value).encode()


def test_the_name_of_a_tool_is_text_that_can_be_stored(tmp_path):
    for name in ("f\ud83d", "", "a\0b"):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps(row({"a": 3}, name)) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match="the name of a tool call's function"):
            load_conversations(path)


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), "\ud83d"], ids=["set", "object", "nan", "half"])
def test_arguments_given_in_python_that_are_no_json_are_refused(tiny_tokenizer, value):
    with pytest.raises(DataError, match=r"messages\[1\]: the arguments of a tool call are no JSON"):
        learnt(tiny_tokenizer, WAYS["either"], row({"a": value})["messages"])
