"""The chat page's server: on this machine alone, with nothing fetched from another one."""

from __future__ import annotations

import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftlib.argument_checks import each, text
from ftlib.chat.feedback import FeedbackFile
from ftlib.chat.session import EXAMPLE_QUESTIONS, Limits, Settings
from ftlib.errors import ConfigError, MissingExtraError
from ftlib.inference.notes import Notes
from ftlib.locales import printable
from ftlib.loopback import HOST, keep_off_proxies
from ftlib.models.chat_model import ChatModel, load_chat_models
from ftlib.models.loading import Dtype

if TYPE_CHECKING:
    from ftlib.chat.page import Page

FEEDBACK = "chat_feedback.jsonl"
"""Where ratings are kept: a file in the folder that the page was opened from."""
# Scripts and styles of the page itself stand in its HTML; whatever another host offers is refused by the browser.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; form-action 'self'"


def launch(
    models: str | ChatModel | Sequence[str | ChatModel] = "nano",
    *,
    compare: bool = False,
    port: int | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    feedback: str | Path = FEEDBACK,
    examples: Sequence[str] = EXAMPLE_QUESTIONS,
    device: str | None = None,
    dtype: Dtype = "float32",
    notes: Notes | None = None,
    open_browser: bool = False,
) -> None:
    """Open the chat page, for this machine alone, until Ctrl-C.

    In a notebook it is shown below the cell, doesn't wait, and ends with the kernel.

    Args:
        models: Whom to talk to, one or several: names as for :func:`ftlib.load_model`, or loaded :class:`ChatModel`
            objects.
        compare: Show two models side by side: those named, or the only one and the model that it was tuned from.
        port: Where; default: the first free one from 7860.
        settings: What the controls begin with.
        limits: Length of a question, time of an answer, questions that may wait.
        feedback: File of the answers that got a thumb; :func:`ftlib.load_conversations` reads it.
        examples: Questions that a click puts into the box.
        device: As for :func:`ftlib.load_model`.
        dtype: As there.
        notes: Where a note is looked up for each question (:func:`ftlib.inference.notes.read_notes`).
        open_browser: Open a window, too.

    Raises:
        MissingExtraError: Gradio isn't installed.
        ModelError: A model can't be loaded, or there are not two to compare.
        ConfigError: The port is taken.
        DataError: The file for ratings holds something else, or the examples are no list.
    """
    in_notebook = "ipykernel" in sys.modules
    begun: dict[str, Any] = {"settings": settings, "limits": limits, "examples": examples}
    page = _page(models, compare, feedback, **begun, device=device, dtype=dtype, notes=notes)
    url = _start(page, port, inline=in_notebook)
    if in_notebook:
        return
    sys.stdout.write(printable(f"Chat with {' and '.join(page.chat_models)}: {url} (Ctrl-C ends it)\n"))
    sys.stdout.flush()
    if open_browser:
        webbrowser.open(url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        sys.stdout.write("\nThe page is closed.\n")
    finally:
        page.blocks.close(verbose=False)


@contextmanager
def serving(
    models: str | ChatModel | Sequence[str | ChatModel] = "nano",
    *,
    compare: bool = False,
    port: int | None = None,
    feedback: str | Path = FEEDBACK,
    **options: Any,
) -> Iterator[str]:
    """Keep the chat page open inside a ``with``, and yield its address.

    Args:
        models: As for :func:`launch`, and so are the others.
        compare: Show two models side by side.
        port: Where.
        feedback: File of the answers that got a thumb.
        options: ``settings``, ``limits``, ``examples``, ``device``, ``dtype``, ``notes``.
    """
    page = _page(models, compare, feedback, **options)
    try:
        yield _start(page, port, inline=False)
    finally:
        page.blocks.close(verbose=False)


def _page(
    models: str | ChatModel | Sequence[str | ChatModel],
    compare: bool,
    feedback: str | Path,
    *,
    settings: Settings | None = None,
    limits: Limits | None = None,
    examples: Sequence[str] = EXAMPLE_QUESTIONS,
    device: str | None = None,
    dtype: Dtype = "float32",
    notes: Notes | None = None,
) -> Page:
    try:
        from ftlib.chat.page import Page
    except ModuleNotFoundError as error:
        command = "pip install 'ftlib[train,chat]'"
        raise MissingExtraError(f"the chat page needs the package {error.name!r}: install it with {command}") from error
    each(text)("examples", examples)
    kept = FeedbackFile(feedback)
    chat_models = load_chat_models(models, compare=compare, device=device, dtype=dtype)
    return Page(
        chat_models,
        compare=compare,
        settings=settings or Settings(),
        limits=limits or Limits(),
        feedback=kept,
        examples=examples,
        notes=notes,
    )


def _start(page: Page, port: int | None, *, inline: bool) -> str:
    from ftlib.chat.frontend import STYLE, theme

    keep_off_proxies()  # Gradio asks its own page whether it is up
    try:
        _, url, _ = page.blocks.launch(
            inline=inline,
            prevent_thread_lock=True,
            server_name=HOST,
            server_port=port,
            share=False,
            enable_monitoring=False,
            run_history=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=1,  # nothing is uploaded here
            state_session_capacity=256,
            footer_links=[],
            quiet=True,
            _frontend=False,  # else a page that is not up within seconds is taken for one that nobody may reach
            css=STYLE,
            theme=theme(),
            app_kwargs={"middleware": _middleware()},
        )
    except OSError as error:
        raise ConfigError(f"the page can't be opened: {error}. Choose another port, or none for a free one") from error
    return str(url)


def _middleware() -> list[Any]:
    """Refuse pages of other hosts that pretend to be this one, and whatever this page would fetch elsewhere."""
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return [Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]), Middleware(_Policy)]


class _Policy:
    """Add the content security policy to every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message = {**message, "headers": [*message.get("headers", []), policy]}
            await send(message)

        await self._app(scope, receive, send_with_policy)
