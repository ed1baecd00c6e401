"""What ends a text and what ends a turn: found once, for generation, for checkpoints and for servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from ftlib.data.messages import assistant, user
from ftlib.text.special_tokens import marker_tokens
from ftlib.text.templates import Template

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import GenerationConfig, PreTrainedModel


def turn_end(tokenizer: PreTrainedTokenizerBase, template: Template) -> int | None:
    r"""Return the token that the model learns to write where its turn ends.

    That is the special token that the template closes an answer with, such as ``<|im_end|>``, or else the
    end-of-text token. What the template writes behind it (a line break, as a rule) ends nothing: it would cut every
    answer of several lines.

    Args:
        tokenizer: The model's tokenizer.
        template: What lays conversations out.

    Returns:
        Its id; None if the template has no end of its own and the tokenizer no end-of-text token.

    >>> from ftlib.models.loading import load_tokenizer
    >>> from ftlib.text.templates import QUESTION_ANSWER
    >>> tokenizer = load_tokenizer("nano")
    >>> tokenizer.convert_ids_to_tokens(turn_end(tokenizer, QUESTION_ANSWER))
    '<|endoftext|>'
    """
    last = [segment for segment in template.render([user("?"), assistant("!")]) if segment.ends_turn][-1]
    markers = [token for token in marker_tokens(tokenizer) if last.is_markup and last.text.endswith(token)]
    end: Any = tokenizer.convert_tokens_to_ids(max(markers, key=len)) if markers else tokenizer.eos_token_id
    return None if end is None else int(end)


def end_ids(
    model: PreTrainedModel | PeftModel | GenerationConfig | None,
    tokenizer: PreTrainedTokenizerBase,
    template: Template | None = None,
) -> list[int]:
    """Return the tokens that end a text: the model's own, the tokenizer's, and the one that ends a template's turn.

    Args:
        model: A causal language model or its ``generation_config``, which may name several ends; or None.
        tokenizer: Its tokenizer.
        template: The template that a question is laid out in; None for a text without one.

    Returns:
        Ids, each once, the model's own first.
    """
    told = getattr(getattr(model, "generation_config", model), "eos_token_id", None)
    ends = [*(told if isinstance(told, list | tuple) else [told]), tokenizer.eos_token_id]
    if template is not None:
        ends.append(turn_end(tokenizer, template))
    return [int(end) for end in dict.fromkeys(ends) if end is not None]


def set_ends(
    tokenizer: PreTrainedTokenizerBase, generation_config: GenerationConfig | None, template: Template
) -> None:
    """Write the ends into a model's ``generation_config``, so that every program that loads it stops where it should.

    Args:
        tokenizer: The model's tokenizer.
        generation_config: Changed in place; ends that it names already stay. None (of a model that has none) is left.
        template: The template that it was trained in.
    """
    ends = end_ids(generation_config, tokenizer, template)
    if ends and generation_config is not None:
        generation_config.eos_token_id = ends[0] if len(ends) == 1 else ends
