"""What the browser gets beside the chat page: its look, and three scripts for what only a browser can do."""

from __future__ import annotations

import json

import gradio as gr

from ftlib.chat.session import WRITING

# Gradio renders HTML in a chat even where it renders no Markdown; pre-wrap keeps the spaces of a text that is text.
STYLE = """
.message-content .md {white-space: pre-wrap; overflow-wrap: anywhere}
.gradio-container {max-width: 70rem !important}
"""
SAVE = """(text) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/jsonl"}));
  link.download = "conversation.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
}"""
STOPPING = "() => {window.ftlibStopping = true}"
# Without Stop nothing is written back: by then the next answer may be writing into the same fields.
MARK_STOPPED = f"""(...told) => {{
  const stopping = window.ftlibStopping;
  window.ftlibStopping = false;
  const shown = (text) => stopping && text.includes({json.dumps(WRITING)});
  return told.map((text) => shown(text) ? text.replace({json.dumps(WRITING)}, "Stopped.") : {{__type__: "update"}});
}}"""


def theme() -> gr.Theme:
    """Return the page's look: fonts that are on every system, since others would have to be fetched."""
    text = ("Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
    code = ("Consolas", "Menlo", "DejaVu Sans Mono", "monospace")
    return gr.themes.Default(font=map(gr.themes.Font, text), font_mono=map(gr.themes.Font, code))
