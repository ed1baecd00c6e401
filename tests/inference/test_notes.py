"""Notes: found, put in front of a question, read from files, and used by the chat."""

import io

import pytest
from rich.console import Console

from ftlib.chat.console import _Chat
from ftlib.chat.session import Limits, Settings, describe, reply
from ftlib.data.messages import user
from ftlib.errors import DataError
from ftlib.inference.notes import Notes, read_notes, with_note
from ftlib.models.chat_model import ChatModel
from ftlib.text.templates import QUESTION_ANSWER

TEXTS = ["LoRA trains two thin matrices.", "A batch is padded to its longest row."]


@pytest.fixture
def chat_model(tiny_model, tiny_tokenizer):
    return ChatModel("tiny", tiny_model, tiny_tokenizer, QUESTION_ANSWER)


def test_a_question_without_a_word_in_common_goes_without_a_note():
    notes = Notes(TEXTS)
    assert notes.before("What is padded?") == with_note(TEXTS[1], "What is padded?")
    assert notes.before("Zebras?") == "Zebras?"
    assert notes.before("") == ""


def test_a_note_that_scores_too_little_is_not_taken():
    note, score = Notes(TEXTS).best("How long is padding?")
    assert note == TEXTS[1]
    assert Notes(TEXTS, least_score=score).find("How long is padding?") == note
    assert Notes(TEXTS, least_score=score + 0.01).find("How long is padding?") == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "\ufeff" + "\n\n".join(TEXTS) + "\n"),
        ("notes.csv", "statement,source\n" + "\n".join(f"{text},here" for text in TEXTS)),
        ("notes.jsonl", "".join(f'{{"note": "{text}"}}\n' for text in TEXTS)),
    ],
)
def test_files_of_notes(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_notes(tmp_path / name).texts == TEXTS


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("empty.txt", "\n \n", "holds no notes"),
        (
            "other.jsonl",
            '{"note": "So."}\n{"question": "Why?"}\n',
            "line 2.*expected a text under 'statement'",
        ),
        ("number.jsonl", '{"note": 7}\n', "line 1.*expected a text"),
        ("broken.jsonl", "{\n", "line 1"),
        ("notes.xyz", "So.", "unknown kind of file"),
    ],
)
def test_what_is_no_file_of_notes_is_refused(tmp_path, name, text, told):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        read_notes(tmp_path / name)


def test_a_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_bytes("Größe\n".encode("latin-1"))
    with pytest.raises(DataError, match="byte 2 is not UTF-8"):
        read_notes(tmp_path / "notes.txt")


def test_a_name_that_is_neither_a_file_nor_a_data_set():
    with pytest.raises(DataError, match="no such file, and no shipped data set with notes"):
        read_notes("house_plants")


@pytest.mark.parametrize("texts", [[], ["So.", " "], "So.", [1]])
def test_what_are_no_notes_is_refused(texts):
    with pytest.raises(DataError, match="notes"):
        Notes(texts)


def test_the_model_reads_the_note_and_the_conversation_keeps_the_question(chat_model):
    settings = Settings(temperature=0, max_new_tokens=2)
    asked = [user("What is padded?")]
    plain, noted = (next(reply(chat_model, asked, settings, notes=notes)) for notes in (None, Notes(TEXTS)))
    assert noted.note == TEXTS[1]
    assert noted.prompt_tokens > plain.prompt_tokens
    assert describe(noted).endswith(f"Note: {TEXTS[1]}")
    assert "Note:" not in describe(plain)
    assert asked == [user("What is padded?")]


def test_the_terminal_tells_which_note_it_was(chat_model):
    chat = _Chat([chat_model], Settings(temperature=0, max_new_tokens=2), Limits(), Notes(TEXTS))
    chat.console = Console(file=io.StringIO(), highlight=False)
    chat.do("What is padded?")
    chat.do("Zebras?")
    said = chat.console.file.getvalue()
    assert said.count("Note: ") == 1
    assert [message["content"] for message in chat.conversations[0].history[::2]] == ["What is padded?", "Zebras?"]
