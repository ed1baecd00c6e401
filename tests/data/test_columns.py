"""What a row says beside its question and answer is kept, refused, named in a warning, or no matter for learning."""

import csv
import json
import warnings

import pytest
from typer.testing import CliRunner

from datasets import Dataset
from ftlib import cli
from ftlib.data.messages import assistant, user
from ftlib.data.reading import iter_conversations, load_conversations, read_rows
from ftlib.errors import ColumnWarning, DataError, SkippedRowWarning

Q, A = user("Why?"), assistant("So.")
SHAPES = {
    "question-answer": {"question": "Why?", "answer": "So."},
    "alpaca": {"instruction": "Why?", "input": "", "output": "So."},
    "prompt-completion": {"prompt": "Why?", "completion": "So."},
    "conversational prompt-completion": {"prompt": [Q], "completion": [A]},
    "input-output": {"input": "Why?", "output": "So."},
    "instruction-response": {"instruction": "Why?", "response": "So."},
    "openai": {"messages": [Q, A]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
}
SYSTEM = {"role": "system", "content": "Be a pirate."}
EARLIER = [user("Two?"), assistant("Two.")]
KEPT = [
    ({"system": "Be a pirate."}, [SYSTEM, Q, A]),
    ({"System_Prompt": "Be a pirate."}, [SYSTEM, Q, A]),
    ({"history": [["Two?", "Two."]]}, [*EARLIER, Q, A]),
    ({"history": EARLIER, "system": "Be a pirate."}, [SYSTEM, *EARLIER, Q, A]),
    ({"history": json.dumps([["Two?", "Two."]])}, [*EARLIER, Q, A]),
]
REFUSED = [
    *({"label": value} for value in (False, "False", "false")),
    {"kto_tag": False},
    {"is_correct": False},
    {"correct": False},
    {"accepted": False},
    {"desirable": False},
    {"chosen": False},
    {"rejected": True},
    {"is_wrong": True},
    {"images": ["1.jpg"]},
    {"image": {"bytes": "..."}},
    {"audio": "a.wav"},
    {"videos": ["v.mp4"]},
]
NAMED = [
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"tools": '[{"name": "f"}]'},
    {"functions": [{"name": "f"}]},
    {"rejected": "No."},
    {"rejected": [assistant("No.")]},
    {"chosen": "Yes."},
    {"score": 0.1},
    {"score_chosen": 4.0},
    {"quality": "low"},
    {"rank": 2},
    {"rating": "bad"},
    {"reward": -1.5},
    {"weight": 0.2},
    {"sample_weight": 2},
    {"label": "offensive"},
    {"label": 0},
    {"reasoning_content": "Hm."},
    {"thinking": "Hm."},
    {"rationale": "Hm."},
    {"documents": ["A text that the question is about."]},
    {"history": "Two? Two."},
    {"a_column_nobody_knows": "which may matter"},
    {"image_url": "https://x/cat.png"},
    {"image_path": "cat.png"},
    {"picture_id": "7"},
    {"audio_file": "a.wav"},
    {"split": "test"},
    {"split": "Validation"},
]
NO_MATTER = [
    {"id": "7", "conversation_id": "c", "prompt_id": "p", "idx": 3, "uuid": "u"},
    {"source": "s", "url": "https://x", "license": "MIT", "dataset": "d", "created_at": "2026-01-01"},
    {"category": "qa", "topic": "t", "task": "t", "tags": ["a"], "language": "en", "title": "t", "difficulty": 3},
    {"num_turns": 2, "token_count": 9, "model": "m", "metadata": {"any": "thing"}},
    {"tools": [], "images": [], "system": "", "history": [], "rejected": None, "score": None, "label": None},
    {"label": True, "is_correct": True, "kto_tag": "True", "rejected": False},
    {"first_question": "Why?"},
    {"split": "train"},
]


def written(folder, row, more=()):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [row, *more]), encoding="utf-8")
    return path


def is_taken(extra, shape):
    """Whether a format reads this column itself."""
    return not set(extra).isdisjoint(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_belongs_to_a_conversation_is_kept(tmp_path, shape):
    for extra, messages in KEPT:
        (row,) = load_conversations(written(tmp_path, SHAPES[shape] | extra))
        assert [{k: one[k] for k in ("role", "content")} for one in row["messages"]] == messages


@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_that_should_not_be_learnt_is_refused(tmp_path, shape):
    for extra in REFUSED:
        path = written(tmp_path, SHAPES[shape], [SHAPES[shape] | extra])
        with pytest.raises(DataError, match=rf"rows.jsonl, line 2 .*'{next(iter(extra))}' (is|holds)"):
            load_conversations(path)
        with pytest.warns(SkippedRowWarning, match="line 2 "):
            assert len(load_conversations(path, on_error="skip")) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_a_column_that_may_change_what_is_learnt_is_named(tmp_path, shape):
    for number, extra in enumerate(NAMED):
        row = SHAPES[shape] | extra
        column = next(iter(extra))
        path = written(tmp_path, row, [row])
        with pytest.warns(ColumnWarning) as caught:
            load_conversations(path)
        (told,) = [str(warning.message) for warning in caught]  # once, and not for every row
        assert f"line 1 (byte 0): left out, here and in further rows: '{column}' (" in told
        if list(SHAPES)[number % len(SHAPES)] != shape:
            continue
        with pytest.warns(ColumnWarning, match=column):  # the other ways to read: each column in one of the shapes
            list(load_conversations(path, streaming=True))
        with pytest.warns(ColumnWarning, match=column):
            list(iter_conversations(path)[1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extra", NO_MATTER)
def test_what_changes_nothing_goes_without_a_word(tmp_path, shape, extra):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_conversations(written(tmp_path, SHAPES[shape] | extra))) == 1


def test_tables_say_the_same(tmp_path):
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["question", "answer", "label", "score", "history"])
        table.writeheader()
        table.writerow({"question": "Why?", "answer": "So.", "label": "True", "score": "", "history": "[]"})
        table.writerow({"question": "Why?", "answer": "So.", "label": "False", "score": "", "history": "[]"})
    with pytest.raises(DataError, match=r"line 3: 'label' is 'False'"):
        load_conversations(tmp_path / "rows.csv")
    with pytest.raises(DataError, match=r"row 1: 'label' is False"):
        load_conversations(Dataset.from_list([SHAPES["openai"] | {"label": True}, SHAPES["openai"] | {"label": False}]))
    with pytest.raises(DataError, match="'label' is False"):
        read_rows(written(tmp_path, SHAPES["question-answer"] | {"label": False}))


def test_two_system_messages_must_agree(tmp_path):
    row = {"messages": [SYSTEM, Q, A], "system": "Be brief."}
    with pytest.raises(DataError, match="'system' and the system message say different things"):
        load_conversations(written(tmp_path, row))
    assert load_conversations(written(tmp_path, row | {"system": "Be a pirate."}))[0]["messages"] == [SYSTEM, Q, A]


def test_weights_settle_what_is_learnt(tmp_path):
    turns = [Q, A | {"weight": 0}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = {"messages": turns, "rating": "down", "score": 0.1, "label": False}
        assert load_conversations(written(tmp_path, row))[0]["messages"][1]["weight"] == 0


@pytest.mark.parametrize("name", ["weight", "loss_weight", "train", "loss"])
@pytest.mark.parametrize(
    "form",
    [("messages", "role", "user", "assistant", "content"), ("conversations", "from", "human", "gpt", "value")],
    ids=["openai", "sharegpt"],
)
def test_whether_a_message_is_learnt_has_many_names(tmp_path, name, form):
    column, who, asker, answerer, what = form
    for value, weight in ((0, 0), (1, 1), (0.0, 0), (1.0, 1), (False, 0), (True, 1)):
        turns = [{who: asker, what: "Why?", name: 0}, {who: answerer, what: "So.", name: value}]
        asked, answered = load_conversations(written(tmp_path, {column: turns}))[0]["messages"]
        assert answered["weight"] == weight
        assert not asked.get("weight")
    for value in (0.5, 2, -1, "1", float("nan"), [1]):
        turns = [{who: asker, what: "Why?"}, {who: answerer, what: "So.", name: value}]
        with pytest.raises(DataError, match=rf"rows.jsonl, line 1 .*({name} |NaN)"):
            load_conversations(written(tmp_path, {column: turns}))
    with pytest.raises(DataError, match="only the assistant's messages are learnt"):
        load_conversations(
            written(tmp_path, {column: [{who: asker, what: "Why?", name: 1}, {who: answerer, what: "a"}]})
        )


@pytest.mark.parametrize("field", ["reasoning_content", "thinking", "audio", "refusal", "label", "score"])
@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_message_holds_nothing_that_is_lost(tmp_path, field, column):
    who, what = ("role", "content") if column == "messages" else ("from", "value")
    turns = [{who: "user", what: "Why?", "id": 1}, {who: "assistant", what: "So.", field: "Hm."}]
    with pytest.raises(DataError, match=rf"{column}\[1\]: the field '{field}' has no place in messages"):
        load_conversations(written(tmp_path, {column: turns}))


def test_preferences_are_told_from_conversations(tmp_path):
    for row in ({"prompt": "Why?", "chosen": "So.", "rejected": "No."}, {"chosen": [Q, A], "rejected": [Q, A]}):
        with pytest.raises(DataError, match=r"line 1 .*a better and a worse answer, as DPO takes them"):
            load_conversations(written(tmp_path, row))
    row = {"conversations": [{"from": "human", "value": "Why?"}], "chosen": A, "rejected": A}
    with pytest.raises(DataError, match="the answers stand in 'chosen' and 'rejected'"):
        load_conversations(written(tmp_path, row))


def test_the_command_names_them_too(tmp_path):
    path = written(tmp_path, SHAPES["openai"] | {"tools": [{"name": "f"}]})
    shown = CliRunner().invoke(cli.app, ["data", str(path), "--no-tokens", "--json"])
    assert "left out, here and in further rows: 'tools'" in shown.stderr
    assert json.loads(shown.stdout)["unusable"] == []
    assert shown.exit_code == 0
