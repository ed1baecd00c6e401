"""Do a prompt and its answer fit into a model's context, and what is left out when they don't?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ftlib.argument_checks import checked
from ftlib.data.messages import Message, user
from ftlib.errors import ConfigError, PromptTooLongError, TruncationWarning
from ftlib.old_calls import tokenizer_before_data
from ftlib.text.chat_template import template_of
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


@tokenizer_before_data(0)
@checked()
def count_prompt_tokens(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, template: Template | None = None
) -> int:
    """Tokens of a conversation that waits for its next answer, the template's own included."""
    template = template or template_of(tokenizer)
    return len(encode_segments(tokenizer, template.render_prompt(messages)))


@tokenizer_before_data(0)
@checked()
def fit_history(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    template: Template | None = None,
    context: int,
    max_new_tokens: int,
) -> tuple[list[Message], int]:
    """Shorten a conversation until its next answer fits: whole exchanges go, the oldest first.

    A system message stays, and so does the last question.

    Args:
        tokenizer: The model's tokenizer.
        messages: A conversation that ends with what the user says.
        template: The template that training used; default: what the tokenizer tells.
        context: Tokens that the model can see at once (:func:`ftlib.models.loading.context_length`).
        max_new_tokens: Tokens that the answer may have.

    Returns:
        What fits, and how many messages were dropped.

    Raises:
        PromptTooLongError: Even the last question alone leaves no tokens for an answer.
    """
    kept = list(messages)
    while (tokens := count_prompt_tokens(tokenizer, kept, template=template)) > context - max_new_tokens:
        asked = [number for number, message in enumerate(kept) if message["role"] == "user"]
        if len(asked) < 2:
            raise PromptTooLongError(
                f"the last question alone is a prompt of {tokens} tokens and asks for {max_new_tokens} more, but the "
                f"model's context holds {context}: shorten it or lower max_new_tokens"
            )
        first = 1 if kept[0]["role"] == "system" else 0
        del kept[first : asked[1]]
    return kept, len(messages) - len(kept)
