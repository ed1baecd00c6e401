"""The chat in a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ftlib.chat.feedback import as_json_lines
from ftlib.chat.session import Limits, Settings, checked_question, describe, last_question, reply, with_answer
from ftlib.data.messages import Message, user
from ftlib.errors import ConfigError, DataError, FtlibError
from ftlib.inference.notes import Notes
from ftlib.locales import let_any_text_be_printed, printable, typed
from ftlib.models.chat_model import ChatModel, load_chat_model
from ftlib.nearest import one_of

HELP = """\
/retry           answer the last question again
/edit            take the last question back, and ask another one
/clear           begin a new conversation
/set NAME VALUE  change a setting, such as: /set temperature 0.5 (/set alone shows them)
/save FILE       write the conversation as JSON Lines
/quit            leave (Ctrl-D, too); Ctrl-C stops an answer
"""


def talk(
    model: str | ChatModel = "nano",
    *,
    settings: Settings | None = None,
    limits: Limits | None = None,
    device: str | None = None,
    notes: Notes | None = None,
) -> None:
    """Talk to a model in the terminal, until ``/quit`` or Ctrl-D.

    Args:
        model: A name as for :func:`ftlib.load_model`, or a loaded :class:`ChatModel`.
        settings: How tokens are chosen, to begin with.
        limits: Length of a question, and time of an answer.
        device: As for :func:`ftlib.load_model`.
        notes: Where a note is looked up for each question (:func:`ftlib.inference.notes.read_notes`).

    Raises:
        ModelError: The model can't be loaded.
    """
    with contextlib.suppress(ImportError):  # not on Windows
        import readline  # noqa: F401 (input() then edits lines and remembers them)
    let_any_text_be_printed()
    chat_model = model if isinstance(model, ChatModel) else load_chat_model(model, device=device)
    chat = _Chat(chat_model, settings or Settings(), limits or Limits(), notes)
    chat.say(f"Chat with {chat_model.name}. /help shows what else can be done.\n")
    while (line := _line()) is not None:
        try:
            if not chat.do(typed(line)):
                return
        except FtlibError as error:
            chat.say(f"{error}\n")


def _line() -> str | None:
    try:
        return input("you: ")
    except (EOFError, KeyboardInterrupt):
        print()  # noqa: T201 (the prompt's line is not ended)
        return None


class _Chat:
    """A conversation, and what can be done with it."""

    def __init__(self, chat_model: ChatModel, settings: Settings, limits: Limits, notes: Notes | None) -> None:
        self.chat_model = chat_model
        self.notes = notes
        self.settings = settings
        self.limits = limits
        self.history: list[Message] = []
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self.say(HELP),
            "/retry": lambda _: self._retry(),
            "/edit": lambda _: self._edit(),
            "/clear": lambda _: self.history.clear(),
            "/set": self._set,
            "/save": self._save,
        }

    def say(self, text: str) -> None:
        self.console.print(printable(text), end="", style="dim", soft_wrap=True)

    def do(self, line: str) -> bool:
        """Answer a question or follow a command; False when it was to leave."""
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return False
        if command in self.commands:
            self.commands[command](rest.strip())
        elif command.startswith("/"):
            raise DataError(f"unknown command {command!r}; {one_of(command, [*self.commands, '/quit'])}")
        elif line.strip():
            self._answer([*self.history, user(checked_question(line, self.limits))])
        return True

    def _answer(self, messages: list[Message]) -> None:
        progress = None
        seconds = self.limits.answer_seconds
        writing = reply(self.chat_model, messages, self.settings, answer_seconds=seconds, notes=self.notes)
        self.console.print(f"{printable(self.chat_model.name)}: ", end="", style="bold", soft_wrap=True)
        try:
            with contextlib.closing(writing):
                for step in writing:
                    self._show(step.text[len(progress.text) if progress else 0 :])
                    progress = step
        except KeyboardInterrupt:
            progress = progress and replace(progress, end="stopped")
        if progress:
            self.history = with_answer(messages, progress)
            self.say(f"\n({describe(progress)})\n")

    def _show(self, text: str) -> None:
        self.console.print(printable(text), end="", soft_wrap=True)
        self.console.file.flush()

    def _retry(self) -> None:
        before, question = last_question(self.history)
        if not question:
            raise DataError("there is no question yet: ask one first")
        self._answer([*before, user(question)])

    def _edit(self) -> None:
        self.history, question = last_question(self.history)
        self.say(f"Taken back: {question}\n" if question else "There is no question yet.\n")

    def _set(self, words: str) -> None:
        if words:
            name, _, value = words.partition(" ")
            self.settings = changed(self.settings, name, value.strip())
        self.say(", ".join(f"{name} {value}" for name, value in asdict(self.settings).items()) + "\n")

    def _save(self, name: str) -> None:
        text = as_json_lines([self.history])
        if not name or not text:
            raise DataError("/save FILE writes a conversation with at least one answer: name a file, and ask first")
        try:
            with Path(name).expanduser().open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            raise DataError(f"{name}: can't be written ({error.strerror}): name another file") from error
        self.say(f"Written to {name}.\n")


def changed(settings: Settings, name: str, value: str) -> Settings:
    """Return settings of which one has another value, given as text.

    Raises:
        ConfigError: There is no such setting, or the value can't be used.

    >>> changed(Settings(), "temperature", "0.2").temperature
    0.2
    >>> changed(Settings(seed=1), "seed", "none").seed is None
    True
    """
    known: dict[str, Any] = asdict(settings)
    if name not in known:
        raise ConfigError(f"unknown setting {name!r}; {one_of(name, known)}")
    if name == "seed" and value.lower() in ("", "none"):
        return replace(settings, seed=None)
    whole = name == "seed" or isinstance(known[name], int)
    try:
        number: Any = int(value) if whole else float(value)
    except ValueError:
        raise ConfigError(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}") from None
    return replace(settings, **{name: number})
