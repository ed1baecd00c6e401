"""Tokens to the text of an answer, all at once or while they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator

from transformers import PreTrainedTokenizerBase

from ftlib.text.placeholders import may_become_empty_thought, without_empty_thought


def answer_in(text: str, marker: str) -> str:
    r"""Take off the template's end marker and all behind it, an empty reasoning, and the space around what is left.

    >>> answer_in(" So.<|im_end|>", "<|im_end|>"), answer_in("\n</think>\n\nSo.", "")
    ('So.', 'So.')
    """
    return without_empty_thought(text.split(marker, 1)[0] if marker else text).strip()


def text_chunks(
    tokenizer: PreTrainedTokenizerBase,
    tokens: Generator[int, None, None],
    marker: str,
    should_stop: Callable[[], bool],
) -> Iterator[str]:
    """Turn tokens, as they come, into chunks of the answer's text; joined they are what :func:`answer_in` gives.

    Args:
        tokenizer: What they belong to.
        tokens: New tokens; closed when no more are wanted.
        marker: The template's end marker, or nothing.
        should_stop: Asked after each token whether to end now.
    """
    ids: list[int] = []
    given = ""
    with contextlib.closing(tokens):
        for token in tokens:
            ids.append(token)
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            certain = _certain(text, marker)
            if len(certain) > len(given):
                yield certain[len(given) :]
                given = certain
            if should_stop() or (marker and marker in text):
                break
    rest = answer_in(str(tokenizer.decode(ids, skip_special_tokens=True)), marker)[len(given) :]
    if rest:
        yield rest


def _certain(text: str, marker: str) -> str:
    """Return as much of an answer as no later token can change.

    >>> _certain(" So far.<|im", "<|im_end|>"), _certain("So \ufffd", "")
    ('So far.', 'So')
    """
    beginning = next((marker[:n] for n in range(len(marker), 0, -1) if text.endswith(marker[:n])), "")
    if may_become_empty_thought(text):
        return ""
    # The decoder writes \ufffd for the bytes of a character that is not complete yet.
    return answer_in(text.removesuffix(beginning).rstrip("\ufffd"), marker)
