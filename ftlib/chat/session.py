"""One exchange after another: what is asked, what is bounded, what is told about an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from ftlib.data.messages import Message, RowError, assistant, checked_text, user
from ftlib.errors import ConfigError, DataError, PromptTooLongError
from ftlib.inference.context import count_prompt_tokens, fit_history
from ftlib.inference.decoding import Sampling
from ftlib.inference.generation import stream
from ftlib.inference.notes import Notes, with_note
from ftlib.models.chat_model import ChatModel
from ftlib.models.loading import NO_CONTEXT_LIMIT, context_length

EXAMPLE_QUESTIONS = ("What is LoRA?", "Why is a batch padded?", "What does the learning rate do?")
"""Questions that the chat page offers to begin with."""


@dataclass(frozen=True)
class Settings(Sampling):
    """How the next token is chosen in a chat, within what the page's controls allow, and how long an answer may be.

    Attributes:
        max_new_tokens: The most tokens of an answer.

    Raises:
        ConfigError: A value is out of its range.

    >>> Settings(temperature=0.0).top_p
    0.95
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be between {least:g} and {most:g}, not {value}")
        super().__post_init__()


WRITING = "Writing \u2026"
"""Stands behind what is told about an answer until it has ended."""

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_k": (0, 200),
    "top_p": (0, 1),
    "repetition_penalty": (1, 2),
    "max_new_tokens": (1, 1024),
}
"""The least and the greatest value of each setting."""


@dataclass(frozen=True)
class Limits:
    """What keeps one visitor from taking everything.

    Attributes:
        question_characters: The longest question.
        answer_seconds: The longest time that an answer may take.
        waiting: Questions that may wait for their turn; who comes later is told that the page is busy.
    """

    question_characters: int = 4_000
    answer_seconds: float = 120.0
    waiting: int = 16


@dataclass(frozen=True)
class Progress:
    """An answer as far as it has come.

    Attributes:
        text: What is written.
        tokens: Its tokens.
        seconds: Since it was begun.
        prompt_tokens: Tokens of the prompt: the template, the history, and the question.
        context: Tokens that prompt and answer may have together.
        dropped: Messages of the history that no longer fit.
        end: How it ended; empty while it is being written.
        note: What was looked up for the question, and stood in front of it.
    """

    text: str
    tokens: int
    seconds: float
    prompt_tokens: int
    context: int
    dropped: int
    end: str = ""
    note: str = ""


def checked_question(text: str, limits: Limits) -> str:
    """Return a question that can be asked, without the space around it.

    Raises:
        PromptTooLongError: It is longer than allowed.
        DataError: It is empty, or can't be stored as text.

    >>> checked_question(" Why? ", Limits())
    'Why?'
    """
    if len(text) > limits.question_characters:
        raise PromptTooLongError(
            f"the question has {len(text):,} characters and {limits.question_characters:,} are allowed: shorten it"
        )
    try:
        return checked_text(text, "the question").strip()
    except RowError as error:
        raise DataError(str(error)) from None


def reply(
    chat_model: ChatModel,
    messages: Sequence[Message],
    settings: Settings,
    *,
    answer_seconds: float = 120.0,
    notes: Notes | None = None,
) -> Generator[Progress, None, None]:
    """Answer a conversation that ends with a question, piece by piece.

    Args:
        chat_model: Who answers.
        messages: The history, the question last. What doesn't fit the context is left out from the front.
        settings: How tokens are chosen.
        answer_seconds: When this much time has passed the answer ends.
        notes: Where a note is looked up for the question; the model reads it in front of the question.

    Returns:
        The answer as far as it has come, again and again; the last one has an ``end``. Closing the iterator stops
        the model.

    Raises:
        PromptTooLongError: The question alone doesn't fit.
    """
    note = notes.find(messages[-1]["content"] or "") if notes else ""
    if note:
        messages = [*messages[:-1], user(with_note(note, messages[-1]["content"] or ""))]
    context = context_length(chat_model.model)
    kept, dropped = fit_history(
        chat_model.tokenizer,
        messages,
        template=chat_model.template,
        context=context,
        max_new_tokens=settings.max_new_tokens,
    )
    prompt_tokens = count_prompt_tokens(chat_model.tokenizer, kept, template=chat_model.template)
    start = Progress("", 0, 0.0, prompt_tokens, context, dropped, note=note)
    return _write(chat_model, kept, settings, start, answer_seconds)


def _write(
    chat_model: ChatModel, messages: list[Message], settings: Settings, progress: Progress, answer_seconds: float
) -> Generator[Progress, None, None]:
    started = time.monotonic()
    tokens = 0

    def is_late() -> bool:
        """Count a token: this is asked after each; some give no text of their own."""
        nonlocal tokens
        tokens += 1
        return time.monotonic() - started > answer_seconds

    yield progress
    with closing(_chunks(chat_model, messages, settings, is_late)) as chunks:
        for chunk in chunks:
            seconds = time.monotonic() - started
            progress = replace(progress, text=progress.text + chunk, tokens=tokens + 1, seconds=seconds)
            yield progress
    seconds = time.monotonic() - started
    yield replace(progress, tokens=tokens, seconds=seconds, end=_ending(tokens, seconds, settings, answer_seconds))


def _chunks(
    chat_model: ChatModel, messages: list[Message], settings: Settings, should_stop: Callable[[], bool]
) -> Generator[str, None, None]:
    chunks = stream(
        chat_model.model,
        chat_model.tokenizer,
        messages,
        template=chat_model.template,
        should_stop=should_stop,
        **vars(settings),
    )
    return cast("Generator[str, None, None]", chunks)


def _ending(tokens: int, seconds: float, settings: Settings, answer_seconds: float) -> str:
    if tokens >= settings.max_new_tokens:
        return f"cut after {settings.max_new_tokens} tokens"
    return f"stopped after {answer_seconds:g} seconds" if seconds > answer_seconds else "ended by the model"


def describe(progress: Progress) -> str:
    """Tell in a line how long an answer is, how fast it came, what filled the context, and which note it came from.

    >>> describe(Progress("So.", 2, 0.5, prompt_tokens=20, context=256, dropped=2, end="ended by the model"))
    '2 tokens, 4.0 tokens/s, ended by the model. Context: 22 of 256 tokens; the oldest 2 messages were left out.'
    """
    length = f"{progress.tokens} token{'' if progress.tokens == 1 else 's'}"
    rate = f", {progress.tokens / progress.seconds:.1f} tokens/s" if progress.seconds else ""
    end = f", {progress.end}" if progress.end else ""
    left_out = f"; the oldest {progress.dropped} messages were left out" if progress.dropped else ""
    used = progress.prompt_tokens + progress.tokens
    writing = "" if progress.end else f" {WRITING}"
    most = "" if progress.context == NO_CONTEXT_LIMIT else f" of {progress.context}"
    note = f" Note: {progress.note}" if progress.note else ""
    return f"{length}{rate}{end}. Context: {used}{most} tokens{left_out}.{writing}{note}"


def with_answer(messages: Sequence[Message], progress: Progress) -> list[Message]:
    """Return a conversation with its answer, as far as that has come."""
    return [*messages, assistant(progress.text)]


def last_question(messages: Sequence[Message]) -> tuple[list[Message], str]:
    """Take the last question, and what was answered to it, from a conversation.

    Returns:
        The conversation before the question, and the question; an empty text if there is none.

    >>> last_question([{"role": "user", "content": "Why?"}, assistant("So.")])
    ([], 'Why?')
    """
    asked = [number for number, message in enumerate(messages) if message["role"] == "user"]
    if not asked:
        return list(messages), ""
    return list(messages[: asked[-1]]), messages[asked[-1]]["content"] or ""
