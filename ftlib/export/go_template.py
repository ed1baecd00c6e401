"""A template as Ollama takes it: a program for Go's text/template, with the whole conversation in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from ftlib.data.messages import Message, assistant, user
from ftlib.errors import DataError, ExportError
from ftlib.text.special_tokens import marker_tokens
from ftlib.text.templates import CHATML, DialogueTemplate, Template, TextTemplate

_SYSTEM: Message = {"role": "system", "content": "Be kind."}
_TALKS: tuple[list[Message], ...] = (
    [user("One?")],
    [_SYSTEM, user("One?")],
    [user("One?"), assistant("Two."), user("Three?")],
    [_SYSTEM, user("One?"), assistant("Two."), user("Three?"), assistant("Four."), user("Five?")],
)


def go_template(tokenizer: PreTrainedTokenizerBase, template: Template) -> str:
    r"""Write a template for Ollama.

    What a tokenizer puts in front of every text is left out: Ollama's runner does that itself, as the GGUF file says.

    Args:
        tokenizer: The model's: its end-of-text token stands behind each answer that has no end of its own.
        template: A text template, or a chat template that lays conversations out as ChatML.

    Raises:
        ExportError: It is another one, which would have to be written by hand.

    >>> from ftlib.models.tokenizer import load_tokenizer
    >>> from ftlib.text.templates import QUESTION_ANSWER
    >>> go_template(load_tokenizer("nano"), QUESTION_ANSWER).splitlines()[0]
    '{{- range $i, $message := .Messages }}'
    """
    text = as_text_template(template)
    end = text.end_marker
    if not end.endswith(tuple(marker_tokens(tokenizer))):
        end += str(tokenizer.eos_token)
    asked = f"{_plain(text.before_user)}{{{{ .Content }}}}{_plain(text.before_assistant)}"
    opening = f"{{{{- if not .System }}}}{_plain(text.opening)}{{{{ end }}}}\n" if text.opening else ""
    return (
        opening + "{{- range $i, $message := .Messages }}\n"
        "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n"
        f'{{{{- if eq .Role "system" }}}}{_plain(text.before_system)}{{{{ .Content }}}}{_plain(text.after_system)}\n'
        f'{{{{- else if eq .Role "user" }}}}{asked}\n'
        f'{{{{- else if eq .Role "assistant" }}}}{{{{ .Content }}}}'
        f"{{{{ if not $last }}}}{_plain(end)}{_plain(text.between_turns)}{{{{ end }}}}\n"
        "{{- end }}\n"
        "{{- end }}"
    )


def as_text_template(template: Template) -> TextTemplate:
    """Return a template whose pieces are known: itself, or ChatML with the system message that a chat template adds.

    Raises:
        ExportError: It lays conversations out in another way.
    """
    if isinstance(template, DialogueTemplate):
        return TextTemplate(
            template.name,
            before_user=f"{template.user_name}{template.before_user}",
            before_assistant=f"\n{template.assistant_name}{template.before_assistant}",
            end_marker=template.end_marker,
            between_turns=template.between_turns,
            opening=template.opening,
            before_system=template.before_system,
            after_system=template.after_system,
        )
    if isinstance(template, TextTemplate):
        return template
    opening = _laid_out(template, _TALKS[0]).partition(CHATML.before_user)[0]
    chatml = replace(CHATML, opening=opening)
    if any(_laid_out(template, talk) != _laid_out(chatml, talk) for talk in _TALKS):
        raise ExportError(
            "Ollama's templates are written in another language, and this chat template is not one of ftlib's nor "
            "ChatML, whose translation is known: take --to gguf, and write TEMPLATE in a Modelfile by hand as "
            "https://docs.ollama.com/modelfile says; llama.cpp's own server reads the template in the file"
        )
    return chatml


def _laid_out(template: Template, messages: Sequence[Message]) -> str:
    """Return the text of a prompt; a template that refuses the conversation gives none, which equals no other."""
    try:
        return "".join(segment.text for segment in template.render_prompt(messages))
    except DataError as error:
        return f"refused: {error}"


def _plain(text: str) -> str:
    """Write a text so that Go's templates leave it as it is, with the space that a neighbour would trim."""
    return f'{{{{ "{_escaped(text)}" }}}}' if text else ""


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


# As Go writes them in a text. Three quotation marks would end Ollama's TEMPLATE, and are escaped one by one.
_ESCAPES = {"\\": "\\\\", '"': "\\x22", "\n": "\\n", "\t": "\\t", "\r": "\\r", "{": "\\x7b", "}": "\\x7d"}
