"""What the browser gets beside the chat page: its look, and three scripts for what only a browser can do."""

from __future__ import annotations

import json

import gradio as gr

from ftlib.chat.session import WRITING
from ftlib.paths import assets_folder

# Gradio renders HTML in a chat even where it renders no Markdown; pre-wrap keeps the spaces of a text that is text.
STYLE, SAVE, MARK_STOPPED = (
    (assets_folder() / "chat" / name).read_text(encoding="utf-8").strip()
    for name in ("style.css", "save.js", "mark_stopped.js")
)
# Without Stop nothing is written back: by then the next answer may be writing into the same fields.
MARK_STOPPED = MARK_STOPPED.replace("WRITING", json.dumps(WRITING))
STOPPING = "() => {window.ftlibStopping = true}"


def theme() -> gr.Theme:
    """Return the page's look: fonts that are on every system, since others would have to be fetched."""
    text = ("Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
    code = ("Consolas", "Menlo", "DejaVu Sans Mono", "monospace")
    return gr.themes.Default(font=map(gr.themes.Font, text), font_mono=map(gr.themes.Font, code))
