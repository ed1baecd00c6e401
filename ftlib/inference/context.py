"""Do a prompt and its answer fit into a model's context?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ftlib.data.messages import user
from ftlib.errors import ConfigError, PromptTooLongError, TruncationWarning
from ftlib.text.templates import Template
from ftlib.text.tokenization import encode_prompts, encode_segments


def check_lengths(encoded: Sequence[list[int]], context: int, max_new_tokens: int) -> None:
    """Hold prompts to a model's context before anything is computed.

    Args:
        encoded: Token ids of each prompt.
        context: Tokens that the model can see at once.
        max_new_tokens: Tokens that an answer may have.

    Raises:
        PromptTooLongError: A prompt is empty, or leaves too few tokens for the answer.
        ConfigError: ``max_new_tokens`` is below 1.
    """
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens is {max_new_tokens}; expected 1 or more")
    for number, ids in enumerate(encoded):
        if not ids:
            raise PromptTooLongError(f"prompt {number} is empty: give at least one token to continue")
        if len(ids) + max_new_tokens > context:
            left = context - len(ids)
            remedy = f"lower max_new_tokens to {left} or shorten the prompt" if left > 0 else "shorten the prompt"
            raise PromptTooLongError(
                f"prompt {number} has {len(ids)} tokens and asks for {max_new_tokens} more, "
                f"but the model's context holds {context}: {remedy}"
            )


def shorten(tokenizer: PreTrainedTokenizerBase, text: str, template: Template | None, limit: int) -> str:
    """Take words from the beginning of a question until its prompt has no more tokens than it may have.

    Raises:
        PromptTooLongError: Even without a question the prompt is too long.
    """
    shorter = text
    while (excess := _prompt_length(shorter, tokenizer, template) - limit) > 0:
        starts = [start for start, _ in tokenizer(shorter, return_offsets_mapping=True)["offset_mapping"]]
        if excess >= len(starts):
            raise PromptTooLongError(
                f"no tokens are left for a question: the prompt may have {limit} tokens, its template included. "
                "Raise max_input_tokens or lower max_output_tokens"
            )
        shorter = shorter[max(1, starts[excess]) :]
    if shorter != text:
        lost = len(text) - len(shorter)
        message = f"the question lost its first {lost} characters: a prompt may have {limit} tokens here"
        warnings.warn(message, TruncationWarning, stacklevel=3)
    return shorter


def _prompt_length(text: str, tokenizer: PreTrainedTokenizerBase, template: Template | None) -> int:
    if template is None:
        return len(encode_prompts(tokenizer, [text])[0])
    return len(encode_segments(tokenizer, template.render_prompt([user(text)])))
