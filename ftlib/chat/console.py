"""The chat in a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ftlib.chat.feedback import as_json_lines
from ftlib.chat.session import Limits, Settings, checked_question, describe, last_question, reply, with_answer
from ftlib.data.messages import Message, user
from ftlib.errors import ConfigError, DataError, FtlibError
from ftlib.inference.notes import Notes
from ftlib.locales import let_any_text_be_printed, printable, typed
from ftlib.models.chat_model import ChatModel, load_chat_models
from ftlib.models.loading import Dtype
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
    models: str | ChatModel | Sequence[str | ChatModel] = "nano",
    *,
    compare: bool = False,
    settings: Settings | None = None,
    limits: Limits | None = None,
    device: str | None = None,
    dtype: Dtype = "float32",
    notes: Notes | None = None,
) -> None:
    """Talk to a model in the terminal, or to two that answer in turn, until ``/quit`` or Ctrl-D.

    Args:
        models: A name as for :func:`ftlib.load_model`, or a loaded :class:`ChatModel`; or two of them.
        compare: With one model: the model that it was tuned from answers each question, too. Each remembers what it
            said itself.
        settings: How tokens are chosen, to begin with.
        limits: Length of a question, and time of an answer.
        device: As for :func:`ftlib.load_model`.
        dtype: As there.
        notes: Where a note is looked up for each question (:func:`ftlib.inference.notes.read_notes`).

    Raises:
        ModelError: A model can't be loaded, or there are not two to compare.
    """
    with contextlib.suppress(ImportError):  # not on Windows
        import readline  # noqa: F401 (input() then edits lines and remembers them)
    let_any_text_be_printed()
    named = [models] if isinstance(models, str | ChatModel) else models
    chat_models = load_chat_models(named, compare=compare or len(named) > 1, device=device, dtype=dtype)
    chat = _Chat(chat_models, settings or Settings(), limits or Limits(), notes)
    names = " and ".join(model.name for model in chat_models)
    chat.say(f"Chat with {names}. /help shows what else can be done.\n")
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


@dataclass
class _Conversation:
    """What was said to one model, and by it."""

    chat_model: ChatModel
    history: list[Message] = field(default_factory=list)


class _Chat:
    """A conversation with each model, and what can be done with all of them."""

    def __init__(
        self, chat_models: Sequence[ChatModel], settings: Settings, limits: Limits, notes: Notes | None
    ) -> None:
        self.conversations = [_Conversation(chat_model) for chat_model in chat_models]
        self.notes = notes
        self.settings = settings
        self.limits = limits
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self.say(HELP),
            "/retry": lambda _: self._retry(),
            "/edit": lambda _: self._edit(),
            "/clear": lambda _: self._clear(),
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
            self._ask(checked_question(line, self.limits))
        return True

    def _ask(self, question: str) -> None:
        for conversation in self.conversations:
            self._answer(conversation, [*conversation.history, user(question)])

    def _answer(self, conversation: _Conversation, messages: list[Message]) -> None:
        progress = None
        seconds = self.limits.answer_seconds
        writing = reply(conversation.chat_model, messages, self.settings, answer_seconds=seconds, notes=self.notes)
        self.console.print(f"{printable(conversation.chat_model.name)}: ", end="", style="bold", soft_wrap=True)
        try:
            with contextlib.closing(writing):
                for step in writing:
                    self._show(step.text[len(progress.text) if progress else 0 :])
                    progress = step
        except KeyboardInterrupt:
            progress = progress and replace(progress, end="stopped")
        if progress:
            conversation.history = with_answer(messages, progress)
            self.say(f"\n({describe(progress)})\n")

    def _show(self, text: str) -> None:
        self.console.print(printable(text), end="", soft_wrap=True)
        self.console.file.flush()

    def _retry(self) -> None:
        question = self._take_back()
        if not question:
            raise DataError("there is no question yet: ask one first")
        self._ask(question)

    def _clear(self) -> None:
        for conversation in self.conversations:
            conversation.history = []

    def _take_back(self) -> str:
        """Take the last question and its answers out of every conversation; return it, or an empty text."""
        question = ""
        for conversation in self.conversations:
            conversation.history, question = last_question(conversation.history)
        return question

    def _edit(self) -> None:
        question = self._take_back()
        self.say(f"Taken back: {question}\n" if question else "There is no question yet.\n")

    def _set(self, words: str) -> None:
        if words:
            name, _, value = words.partition(" ")
            self.settings = changed(self.settings, name, value.strip())
        self.say(", ".join(f"{name} {value}" for name, value in asdict(self.settings).items()) + "\n")

    def _save(self, name: str) -> None:
        text = as_json_lines([conversation.history for conversation in self.conversations])
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
