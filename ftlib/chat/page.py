"""The chat page: what is on it, and what each button does.

The conversation itself stays on the server, as messages. The browser gets a view of it in which every sign that HTML
would read is written as text.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, cast

import gradio as gr

from ftlib.chat.answers import AnswersUnderWay
from ftlib.chat.feedback import FeedbackFile, as_json_lines
from ftlib.chat.frontend import MARK_STOPPED, SAVE, STOPPING
from ftlib.chat.session import (
    RANGES,
    Limits,
    Progress,
    Settings,
    checked_question,
    describe,
    last_question,
    reply,
    with_answer,
)
from ftlib.data.messages import Message, user
from ftlib.errors import FtlibError
from ftlib.inference.notes import Notes
from ftlib.models.chat_model import ChatModel
from ftlib.models.loading import context_length

_REFRESH_SECONDS = 0.05
_LONGEST_ANSWER = 2**16
_READY = "Ask something. Nothing that you write leaves this machine."
_HINTS = {
    "temperature": "0: always the likeliest token",
    "top_k": "Draw from so many of the likeliest tokens; 0: all",
    "top_p": "Draw from the likeliest tokens with this share together",
    "repetition_penalty": "Above 1: tokens that are there already become less likely",
    "max_new_tokens": "The longest answer",
}

History = list[list[Message]]
"""A conversation for each column."""
Updates = Iterator[list[Any]]
"""What is shown next, in the order of the outputs, again and again."""


class Page:
    """The page of one or several models.

    Args:
        chat_models: One is talked to at a time, unless ``compare``.
        compare: Show both side by side.
        settings: What the controls begin with.
        limits: What a visitor may take.
        feedback: Where thumbs are kept.
        examples: Questions that a click puts into the box.
        notes: Where a note is looked up for each question.
    """

    def __init__(
        self,
        chat_models: Sequence[ChatModel],
        *,
        compare: bool,
        settings: Settings,
        limits: Limits,
        feedback: FeedbackFile,
        examples: Sequence[str],
        notes: Notes | None = None,
    ) -> None:
        """Lay the page out and connect its buttons."""
        self.chat_models = {chat_model.name: chat_model for chat_model in chat_models}
        self.compare = compare
        self.limits = limits
        self.feedback = feedback
        self.notes = notes
        self.columns = 2 if compare else 1
        self.answers = AnswersUnderWay()
        with gr.Blocks(analytics_enabled=False, title="ftlib chat", fill_width=False) as self.blocks:
            self._lay_out(settings, examples)
            self._connect()
        self.blocks.queue(max_size=limits.waiting, default_concurrency_limit=1, api_open=False)

    def _lay_out(self, settings: Settings, examples: Sequence[str]) -> None:
        names = list(self.chat_models)
        self.history = gr.State([[] for _ in range(self.columns)])
        self.views, self.told = [], []
        with gr.Row():
            for name in names[: self.columns]:
                with gr.Column(min_width=300):
                    self.views.append(self._view(name if len(names) == self.columns else "Conversation"))
                    self.told.append(gr.Markdown(_READY, elem_classes="told"))
        self.box = gr.Textbox(
            show_label=False, placeholder="Your question", lines=1, max_lines=6, autofocus=True, submit_btn="Ask"
        )
        with gr.Row():
            self.stop, self.retry, self.edit, self.clear, self.download = (
                gr.Button(label, size="sm", min_width=90) for label in ("Stop", "Retry", "Edit", "Clear", "Download")
            )
        gr.Examples([[example] for example in examples], self.box, label="For example")
        # What False closes is laid out when it is opened, and a frame later Gradio (since 6.7, its pull request 12906)
        # writes the first values over what was typed by then. 0 closes, too, and all is laid out from the beginning.
        with gr.Accordion("Settings", open=cast(bool, 0)):
            self.chosen = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > self.columns)
            self.controls = _controls(settings, self._longest_answer())
        self.file = gr.Textbox(visible=False)

    def _view(self, label: str) -> gr.Chatbot:
        return gr.Chatbot(
            label=label,
            render_markdown=False,
            latex_delimiters=[],
            buttons=[],
            feedback_options=("Like", "Dislike"),
            height="40vh" if self.compare else "55vh",
            min_height=200,
            placeholder=" ",
        )

    def _longest_answer(self) -> int:
        """Leave at least half of every model's context to the conversation."""
        halves = (context_length(chat_model.model) // 2 for chat_model in self.chat_models.values())
        return min(_LONGEST_ANSWER, *halves)

    def _connect(self) -> None:
        answering: dict[str, Any] = {
            "inputs": [self.history, self.chosen, *self.controls],
            "outputs": [self.history, *self.views, *self.told],
            "concurrency_id": "answers",
            "concurrency_limit": 1,
            "show_progress": "minimal",
            "show_progress_on": self.told,
        }
        asked = self.box.submit(
            self._ask,
            **{**answering, "inputs": [self.box, *answering["inputs"]], "outputs": [self.box, *answering["outputs"]]},
            api_name="ask",
        )
        again = self.retry.click(self._retry, **answering, api_visibility="private")
        emptied = [self.history, *self.views, *self.told]
        at_once: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}

        # One after the other: until an answer has ended it goes on writing into the same fields.
        def end(press: Any) -> Any:
            press(None, None, None, cancels=[asked, again])  # first: steps of a press are begun in their order
            return press(self._end, None, None, **at_once)

        self.stop.click(None, None, None, js=STOPPING)
        end(self.stop.click)
        for answer in (asked, again):  # what still says that it is being written was stopped
            answer.then(None, self.told, self.told, js=MARK_STOPPED, **at_once)
        end(self.edit.click).then(self._edit, self.history, [self.box, *emptied], **at_once)
        for press in (self.clear.click, self.chosen.change, *(view.clear for view in self.views)):
            end(press).then(self._empty, None, emptied, **at_once)
        self.download.click(as_json_lines, self.history, self.file, **at_once).then(
            None, self.file, None, js=SAVE, **at_once
        )
        for number, view in enumerate(self.views):
            # Through the queue: without it, Gradio has no way to tell the page what became of a thumb.
            view.like(self._rater(number), [self.history, self.chosen], None, api_visibility="private")

    def _ask(self, visit: gr.Request, question: str, history: History, chosen: str, *values: Any) -> Updates:
        """Answer a question; the box is emptied when the answer begins, so that nothing refused is lost."""
        begun = self._begin(lambda: checked_question(question, self.limits), history, chosen, values)
        for number, update in enumerate(self._shown(visit, *begun) if begun else self._unchanged()):
            yield ["" if begun and number == 0 else gr.skip(), *update]

    def _retry(self, visit: gr.Request, history: History, chosen: str, *values: Any) -> Updates:
        """Answer the last question again."""
        cut = [last_question(messages) for messages in history]
        question = cut[0][1]
        begun = self._begin(lambda: question, [before for before, _ in cut], chosen, values) if question else None
        yield from self._shown(visit, *begun) if begun else self._unchanged()

    def _begin(
        self, question: Callable[[], str], history: History, chosen: str, values: Sequence[Any]
    ) -> tuple[History, list[Generator[Progress]]] | None:
        """Check everything that can be refused; say so on the page, and return None, when something is."""
        chat_models = list(self.chat_models.values()) if self.compare else [self.chat_models[chosen]]
        try:
            asked = user(question())
            settings = _settings(values)
            history = [[*messages, asked] for messages in history]
            return history, [
                reply(chat_model, messages, settings, answer_seconds=self.limits.answer_seconds, notes=self.notes)
                for chat_model, messages in zip(chat_models, history, strict=True)
            ]
        except FtlibError as error:
            gr.Warning(html.escape(str(error)))
            return None

    def _shown(self, visit: gr.Request, history: History, replies: Sequence[Generator[Progress]]) -> Updates:
        """Let the columns write in turn, a piece each, and refresh the page a few times a second."""
        with ExitStack() as stack:
            stop = stack.enter_context(self.answers.begun_by(str(visit.session_hash)))
            writing = [stack.enter_context(closing(one)) for one in replies]
            now = [next(one) for one in writing]
            shown_at = time.monotonic()
            yield self._update(history, now)
            while not all(progress.end for progress in now):
                if stop.is_set():
                    yield from self._unchanged()  # Gradio sends the last update once more when all is over
                    return
                now = [next(one, progress) for one, progress in zip(writing, now, strict=True)]
                if time.monotonic() - shown_at >= _REFRESH_SECONDS:
                    shown_at = time.monotonic()
                    yield self._update(history, now)
            yield self._update(history, now)

    def _end(self, visit: gr.Request) -> None:
        """Stop what is being written for a visitor: Gradio's cancellation is on its way, and may come late or never."""
        self.answers.end(str(visit.session_hash), limit_seconds=self.limits.answer_seconds)

    def _update(self, history: History, now: Sequence[Progress]) -> list[Any]:
        answered = [with_answer(messages, progress) for messages, progress in zip(history, now, strict=True)]
        views = [_as_view(messages) for messages in answered]
        return [answered, *views, *map(describe, now)]

    def _unchanged(self) -> Updates:
        yield [gr.skip()] * (1 + 2 * self.columns)

    def _empty(self) -> list[Any]:
        return [[[] for _ in range(self.columns)], *[[]] * self.columns, *[_READY] * self.columns]

    def _edit(self, history: History) -> list[Any]:
        """Take the last question back into the box."""
        cut = [last_question(messages) for messages in history]
        before = [messages for messages, _ in cut]
        told = "Change the question and ask again." if cut[0][1] else _READY
        return [cut[0][1] or gr.skip(), before, *map(_as_view, before), *[told] * self.columns]

    def _rater(self, column: int) -> Callable[..., None]:
        def rate(history: History, chosen: str, rated: gr.LikeData) -> None:
            index = rated.index if isinstance(rated.index, int) else rated.index[0]
            model = list(self.chat_models)[column] if self.compare else chosen
            # A thumb that is pressed a second time comes back as an empty text.
            is_good = rated.liked if isinstance(rated.liked, bool) else None
            try:
                self.feedback.rate(history[column][: index + 1], model=model, is_good=is_good)
            except FtlibError as error:
                gr.Warning(html.escape(str(error)))
                return
            gr.Info(f"Kept in {html.escape(str(self.feedback.path))}", duration=3)

        return rate


def _controls(settings: Settings, longest_answer: int) -> list[Any]:
    sliders = []
    with gr.Row():
        for name, hint in _HINTS.items():
            least, most = RANGES[name]
            value = getattr(settings, name)
            step = 1 if isinstance(value, int) else 0.05
            if name == "max_new_tokens":
                most, value = min(most, longest_answer), min(value, longest_answer)
            sliders.append(gr.Slider(least, most, value, step=step, label=_words(name), info=hint, min_width=220))
        seed = gr.Number(settings.seed, precision=0, label="Seed", info="Empty: drawn anew each time", min_width=220)
    return [*sliders, seed]


def _settings(values: Sequence[Any]) -> Settings:
    *chosen, seed = values
    named = dict(zip(_HINTS, chosen, strict=True))
    whole = {name: int(named[name]) for name in ("top_k", "max_new_tokens")}
    return Settings(**{**named, **whole}, seed=None if seed is None else int(seed))


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("Max", "Maximum")


def _as_view(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return what the browser gets: text in which nothing can be read as HTML.

    >>> _as_view([user("<b>")])
    [{'role': 'user', 'content': [{'type': 'text', 'text': '&lt;b&gt;'}]}]
    """
    # As a dictionary, not as a string: Gradio takes the indentation off strings.
    return [
        {"role": message["role"], "content": [{"type": "text", "text": html.escape(message["content"] or "\u2026")}]}
        for message in messages
    ]
