"""Is the text of a row as it should be? Signs of a wrong encoding, remains of a web page, another language."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

from ftfy.badness import is_bad
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from ftlib.argument_checks import checked
from ftlib.data.message_checks import message_list
from ftlib.data.messages import Message, all_text

REMEDIES = {
    "duplicate": "the same conversation again: delete all but one; it would count twice, or stand in train and test",
    "one-sided": "only a question or only an answer: complete the row or delete it",
    "two templates": "the texts hold a template already, and training puts another one around them: take it out of the "
    'rows, or train with one that adds nothing (data.custom_template with before_user: "" and before_assistant: "")',
    "over the context": "longer than the model can see: shorten the text, or raise the context; training would cut it",
    "broken encoding": "text that was decoded wrongly (Ã© for é): read the source as UTF-8, or repair it with ftfy",
    "replacement character": "U+FFFD stands where text was lost: fetch the source again with the right encoding",
    "control character": "characters that no reader sees: delete them",
    "HTML": "tags or entities of a web page: extract the text before you train on it",
    "language": "looks like {code} among rows in {main}: move it to a data set of its own, if that is not meant",
}
"""What to do about each kind of fault.

:meta hide-value:
"""

_LEAST_WORDS, _LEAST_CERTAINTY = 12, 0.99
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_CODE = re.compile(r"`[^`]*`")
_HTML = re.compile(
    r"</(?:div|span|p|a|b|i|li|ul|ol|td|tr|table|html|body|head|script|style)>|<br ?/?>|&(?:amp|quot|nbsp|lt|gt|#\d+);"
)


@checked(messages=message_list)
def text_faults(messages: Sequence[Message]) -> Iterator[str]:
    """Name what is wrong with the texts of a row; each name is a key of :data:`REMEDIES`.

    HTML between backquotes is code that somebody writes about, and no fault.

    >>> list(text_faults([{"role": "user", "content": "What is a cafÃ©?<br>"}]))
    ['broken encoding', 'HTML']
    """
    text = all_text(messages)
    if is_bad(text):
        yield "broken encoding"
    if "\ufffd" in text:
        yield "replacement character"
    if _CONTROL.search(text):
        yield "control character"
    if _HTML.search(_CODE.sub("", text)):
        yield "HTML"


@checked(messages=message_list)
def language_of(messages: Sequence[Message]) -> str:
    """Return the ISO 639-1 code of the language that a row is in, or ``""`` if that is not certain.

    Found by the letters (py3langid, a naive Bayes classifier over byte n-grams); a row of less than 12 words
    or a certainty of less than 0.99 counts as not certain.

    >>> text = "Warum wird eine Zeile aufgefüllt, bevor sie in das Modell geht, und was geschieht dabei?"
    >>> language_of([{"role": "user", "content": text}])
    'de'
    """
    text = all_text(messages)
    if len(text) < _LEAST_WORDS * 4 or (text.isascii() and len(text.split()) < _LEAST_WORDS):
        return ""
    code, certainty = _identifier().classify(text)
    return str(code) if certainty >= _LEAST_CERTAINTY else ""


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
