import json
import threading
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from ftlib.chat import session
from ftlib.chat.console import changed, talk
from ftlib.chat.feedback import FeedbackFile, as_json_lines
from ftlib.chat.session import Limits, Settings, checked_question, describe, last_question, reply, with_answer
from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations
from ftlib.errors import ConfigError, DataError, ModelError, PromptTooLongError
from ftlib.inference.generation import answer
from ftlib.locales import printable
from ftlib.models.chat_model import ChatModel, base_of, load_chat_model, training_template
from ftlib.models.loading import save_model
from ftlib.text.templates import DialogueTemplate, get_template
from ftlib.text.tokenization import tokenize
from ftlib.training.config import FinetuneConfig

GREEDY = Settings(temperature=0.0, repetition_penalty=1.0, max_new_tokens=12)


@pytest.fixture
def chat_model(tiny_model, tiny_tokenizer):
    return ChatModel("tiny", tiny_model, tiny_tokenizer, DialogueTemplate("short", user_name="A", assistant_name="B"))


def test_a_reply_grows_into_the_answer(chat_model):
    steps = list(reply(chat_model, [user("Why?")], GREEDY))
    expected = answer(chat_model.model, chat_model.tokenizer, ["Why?"], template=chat_model.template, max_new_tokens=12)
    assert steps[-1].text == expected[0] != ""
    texts = [step.text for step in steps]
    assert len(set(texts)) > 3
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert [bool(step.end) for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1].end == "cut after 12 tokens"
    assert (steps[-1].tokens, steps[-1].context, steps[-1].dropped) == (12, 64, 0)


def test_the_history_is_part_of_the_prompt(chat_model):
    history = [user("Why?"), assistant("So."), user("Why?")]
    alone = list(reply(chat_model, [user("Why?")], GREEDY))[-1]
    within = list(reply(chat_model, history, GREEDY))[-1]
    assert within.prompt_tokens > alone.prompt_tokens
    assert within.text != alone.text
    asked = [history]
    assert (
        within.text
        == answer(chat_model.model, chat_model.tokenizer, asked, template=chat_model.template, max_new_tokens=12)[0]
    )


def test_what_a_long_history_loses_is_told(chat_model):
    history = [user("Why?"), assistant("So.")] * 6 + [user("Why?")]
    last = list(reply(chat_model, history, GREEDY))[-1]
    assert last.dropped > 0
    assert last.dropped % 2 == 0
    assert f"the oldest {last.dropped} messages were left out" in describe(last)
    with pytest.raises(PromptTooLongError, match="last question alone"):
        reply(chat_model, [user("Why? " * 60)], GREEDY)


def test_an_answer_has_a_time_limit(chat_model, monkeypatch):
    clock = SimpleNamespace(now=0)
    chat_model.model.register_forward_hook(lambda *_: setattr(clock, "now", clock.now + 1))  # a token takes a second
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: clock.now))
    last = list(reply(chat_model, [user("Why?")], GREEDY, answer_seconds=2.5))[-1]
    assert (last.tokens, last.seconds, last.end) == (3, 3, "stopped after 2.5 seconds")


def test_closing_a_reply_stops_the_model(chat_model):
    calls = []
    chat_model.model.register_forward_hook(lambda *_: calls.append(1))
    writing = reply(chat_model, [user("Why?")], GREEDY)
    while not next(writing).text:
        pass
    writing.close()
    seen = len(calls)
    assert 0 < seen < 12
    assert list(writing) == []
    assert len(calls) == seen


def test_a_seed_repeats_an_answer(chat_model):
    first, again, other = (
        list(reply(chat_model, [user("Why?")], Settings(temperature=1.0, max_new_tokens=12, seed=seed)))[-1].text
        for seed in (3, 3, 4)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -0.1), ("temperature", 2.1), ("top_p", 0), ("top_k", -1), ("max_new_tokens", 0)],
)
def test_a_setting_out_of_its_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        Settings(**{name: value})


def test_a_question_is_bounded():
    assert checked_question("x" * 4000, Limits()) == "x" * 4000
    with pytest.raises(PromptTooLongError, match="100,000 characters and 4,000 are allowed"):
        checked_question("x" * 100_000, Limits())
    for text in ("  ", "\ud800", "a\0b"):
        with pytest.raises(DataError, match="the question"):
            checked_question(text, Limits())


def test_a_question_can_be_taken_back():
    history = [user("One?"), assistant("1"), user("Two?"), assistant("2")]
    assert last_question(history) == (history[:2], "Two?")
    assert last_question([]) == ([], "")


def test_a_download_is_read_back(tmp_path):
    path = tmp_path / "conversation.jsonl"
    told = [
        user("<b>Why?</b>"),
        assistant("  So\u2028\n"),
        user("And?"),
        assistant(" "),
        user("Then?"),
        assistant("No."),
    ]
    path.write_text(as_json_lines([told, [user("Why?"), assistant("")]]), encoding="utf-8")
    (row,) = load_conversations(path)
    assert [message["content"] for message in row["messages"]] == ["<b>Why?</b>", "  So\u2028\n", "Then?", "No."]


def test_thumbs_are_kept_so_that_only_good_answers_are_learnt(tmp_path, tiny_tokenizer):
    path = tmp_path / "thumbs.jsonl"
    kept = FeedbackFile(path)
    history = [user("Why?"), assistant("So."), user("What?"), assistant("That.")]
    kept.rate(history[:2], model="tiny", is_good=False)
    kept.rate(history, model="tiny", is_good=True)
    rows = load_conversations(path)
    assert [[message["weight"] for message in row["messages"]] for row in rows] == [[None, 0], [None, 0, None, 1]]
    learnt = [any(label != -100 for label in row["labels"]) for row in tokenize(tiny_tokenizer, rows)]
    assert learnt == [False, True]
    assert [json.loads(line)["rating"] for line in path.read_text(encoding="utf-8").splitlines()] == ["down", "up"]


def test_a_thumb_replaces_an_earlier_one_and_can_be_taken_back(tmp_path):
    path = tmp_path / "thumbs.jsonl"
    history = [user("Why?"), assistant("So.")]
    FeedbackFile(path).rate(history, model="tiny", is_good=False)
    kept = FeedbackFile(path)  # as after a restart
    kept.rate(history, model="other", is_good=False)
    kept.rate(history, model="tiny", is_good=True)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["model"], row["rating"]) for row in found] == [("other", "down"), ("tiny", "up")]
    kept.rate(history, model="tiny", is_good=None)
    assert [json.loads(line)["model"] for line in path.read_text(encoding="utf-8").splitlines()] == ["other"]
    with pytest.raises(DataError, match="an empty answer"):
        kept.rate([user("Why?"), assistant(" ")], model="tiny", is_good=True)


def test_thumbs_of_many_visitors_at_once_are_all_kept(tmp_path):
    kept = FeedbackFile(tmp_path / "thumbs.jsonl")

    def rate(number):
        kept.rate([user(f"{number}?"), assistant("So.")], model="tiny", is_good=True)

    threads = [threading.Thread(target=rate, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept.path.read_text(encoding="utf-8").splitlines()) == 12


def test_a_file_of_something_else_is_not_taken_for_thumbs(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds something else than ratings"):
        FeedbackFile(path)
    assert path.read_text(encoding="utf-8") == "my notes\n"


def test_the_template_is_that_of_the_training(tmp_path, tiny_model, tiny_tokenizer):
    assert training_template(tiny_tokenizer, "nano").name == "question-answer"
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-00000003"
    save_model(tiny_model, tiny_tokenizer, checkpoint)
    config = FinetuneConfig.from_dict({"data": {"template": "guanaco"}, "model": {"name": "nano"}})
    (run / "config.yaml").write_text(config.as_yaml(), encoding="utf-8")
    assert training_template(tiny_tokenizer, str(run)) == get_template("guanaco")
    assert load_chat_model(str(checkpoint), device="cpu").template == get_template("guanaco")
    assert base_of(str(run)) == "nano"
    template = {"before_user": "Q: ", "before_assistant": "\nA: "}
    (run / "config.yaml").write_text(
        FinetuneConfig.from_dict({"data": {"custom_template": template}}).as_yaml(), encoding="utf-8"
    )
    asked = training_template(tiny_tokenizer, str(run)).render_prompt([user("Why?")])
    assert "".join(segment.text for segment in asked) == "Q: Why?\nA: "
    written = (run / "config.yaml").read_text(encoding="utf-8")
    as_in_the_first_edition = written.replace("custom_template:", "frame:")
    (run / "config.yaml").write_text(as_in_the_first_edition, encoding="utf-8")
    assert training_template(tiny_tokenizer, str(run)).render_prompt([user("Why?")]) == asked


def test_an_adapter_is_put_on_its_base_and_names_it(tmp_path):
    from ftlib.models.loading import load_model
    from ftlib.models.trainable import add_lora

    model, tokenizer = load_model("nano", device="cpu")
    adapted = add_lora(model, rank=2)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1.0)
    save_model(adapted, tokenizer, tmp_path / "adapter")
    chat_model = load_chat_model(str(tmp_path / "adapter"), device="cpu")
    assert not any("lora" in name for name, _ in chat_model.model.named_parameters())  # merged: as fast as its base
    assert base_of(str(tmp_path / "adapter")) == "nano"
    last = list(reply(chat_model, [user("Why?")], GREEDY))[-1]
    assert last.text == answer(adapted, tokenizer, ["Why?"], max_new_tokens=12)[0]
    assert last.text != answer(load_model("nano", device="cpu")[0], tokenizer, ["Why?"], max_new_tokens=12)[0]
    with pytest.raises(ModelError, match="give two models"):
        base_of("nano")


def typed(monkeypatch, *lines):
    """Let somebody type lines, and then press Ctrl-D."""
    left = list(lines)

    def type_line(prompt):
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", type_line)


def test_the_terminal_remembers_and_saves(chat_model, monkeypatch, capsys, tmp_path):
    path = tmp_path / "saved.jsonl"
    typed(monkeypatch, "Why?", "What?", f"/save {path}", "/edit", "How?", "/retry", f"/save {path}.2", f"/save {path}")
    talk(chat_model, settings=GREEDY)
    (row,) = load_conversations(path)
    asked = answer(chat_model.model, chat_model.tokenizer, ["Why?"], template=chat_model.template, max_new_tokens=12)[0]
    assert [message["content"] for message in row["messages"]][:3] == ["Why?", asked, "What?"]
    said = capsys.readouterr().out
    assert printable(asked) in said
    assert "12 tokens" in said
    assert "Taken back: What?" in said
    assert "saved.jsonl: can't be written (File exists)" in said
    again = json.loads((tmp_path / "saved.jsonl.2").read_text(encoding="utf-8"))["messages"]
    assert [message["content"] for message in again if message["role"] == "user"] == ["Why?", "How?"]


def test_two_models_answer_in_the_terminal_and_each_remembers_its_own_words(chat_model, monkeypatch, capsys, tmp_path):
    path = tmp_path / "saved.jsonl"
    other = replace(chat_model, name="other", template=DialogueTemplate("other", user_name="You", assistant_name="Me"))
    typed(monkeypatch, "Why?", "Who?", "/edit", "What?", f"/save {path}", "/clear", "/retry")
    talk([chat_model, other], settings=GREEDY)
    said = capsys.readouterr().out
    assert f"Chat with {chat_model.name} and other." in said
    assert "there is no question yet" in said
    for row, one in zip(load_conversations(path)["messages"], (chat_model, other), strict=True):
        assert [message["content"] for message in row][::2] == ["Why?", "What?"]
        asked = answer(one.model, one.tokenizer, ["Why?"], template=one.template, max_new_tokens=12)
        assert row[1]["content"] == asked[0]


def test_the_terminal_compares_with_what_a_run_began_with(monkeypatch, capsys):
    monkeypatch.setattr("ftlib.models.chat_model.base_of", lambda name: "nano")
    loaded = []

    def load(name, *, device=None, dtype="float32"):
        loaded.append(name)
        raise ModelError(f"{name} is looked for")

    monkeypatch.setattr("ftlib.models.chat_model.load_chat_model", load)
    with pytest.raises(ModelError, match="nano is looked for"):
        talk("runs/faq", compare=True)
    assert loaded == ["nano"]
    with pytest.raises(ModelError, match="two models can be compared, not 3"):
        talk(["a", "b", "c"])


def test_the_terminal_takes_settings_and_refuses_what_it_does_not_know(chat_model, monkeypatch, capsys):
    lines = (
        "/set temperature 3",
        "/set colour 1",
        "/set top_k x",
        "/set seed 5",
        "/dance",
        "/retry",
        "/save",
        "/clear",
    )
    typed(monkeypatch, *lines, "/help", "x" * 5000, "", "/quit", "never reached")
    talk(chat_model, settings=GREEDY)
    said = capsys.readouterr().out
    for expected in (
        "temperature must be between 0 and 2",
        "unknown setting 'colour'",
        "top_k must be a whole number, not 'x'",
        "seed 5",
        "unknown command '/dance'",
        "there is no question yet",
        "/save FILE writes",
        "take the last question back",
        "5,000 characters",
    ):
        assert expected in said
    assert "never" not in said


def test_ctrl_c_stops_an_answer_and_keeps_what_is_there(chat_model, monkeypatch, capsys):
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt

    chat_model.model.register_forward_hook(interrupt)
    typed(monkeypatch, "Why?", "What?")
    talk(chat_model, settings=GREEDY)
    said = capsys.readouterr().out
    assert ", stopped." in said
    assert "cut after 12 tokens" in said


def test_a_terminal_is_shown_nothing_that_it_would_obey():
    shown = "\\x1b]0;title\\x07a\\r\\x9b2J\tb\n\\u202e\u00e9"
    assert printable("\x1b]0;title\x07a\r\x9b2J\tb\n\u202e\u00e9") == shown
    assert changed(Settings(), "max_new_tokens", "5").max_new_tokens == 5


def test_an_answer_is_added_to_its_conversation(chat_model):
    messages = [user("Why?")]
    last = list(reply(chat_model, messages, GREEDY))[-1]
    assert with_answer(messages, last) == [user("Why?"), assistant(last.text)]
    assert messages == [user("Why?")]
