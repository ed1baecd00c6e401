"""Batched generation: many prompts at once, the same text as one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from ftlib.batches import pad_batch
from ftlib.errors import PromptTooLongError
from ftlib.messages import Message
from ftlib.models import context_length
from ftlib.templates import QUESTION_ANSWER, Segment, Template
from ftlib.tokenization import encode_segments


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 16,
    temperature: float = 0.0,
    seed: int | None = None,
) -> list[str]:
    """Continue each prompt, and return only what is new.

    Prompts are padded on the left, so that the last token of every row is the last of its prompt, and
    the attention mask hides the padding. Generation stops at the end-of-text token.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's tokenizer; it is not changed.
        prompts: Texts, any number.
        max_new_tokens: The most tokens to write for each.
        batch_size: Prompts computed at once.
        temperature: 0 takes the likeliest token each time (greedy); above, tokens are drawn.
        seed: Seed of the draw; ignored when greedy.

    Returns:
        One text for each prompt, in the same order.

    Raises:
        PromptTooLongError: A prompt and its answer don't fit into the model's context.

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    encoded = [encode_segments([Segment(prompt, is_target=False)], tokenizer) for prompt in prompts]
    return _generate(model, tokenizer, encoded, max_new_tokens, batch_size, temperature, seed)


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    *,
    template: Template = QUESTION_ANSWER,
    max_new_tokens: int = 64,
    batch_size: int = 16,
    temperature: float = 0.0,
    seed: int | None = None,
) -> list[str]:
    """Ask questions in the frame that training used; otherwise as :func:`generate`.

    What the template writes behind an answer is taken off.

    Taught in: chapters/07_training_pythia_70m.ipynb
    """
    encoded = []
    for question in questions:
        messages = [Message(role="user", content=question)]
        encoded.append(encode_segments(template.render_prompt(messages), tokenizer))
    texts = _generate(model, tokenizer, encoded, max_new_tokens, batch_size, temperature, seed)
    return [text.removesuffix(template.end_marker).strip() for text in texts]


def _generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    seed: int | None,
) -> list[str]:
    _check_lengths(encoded, context_length(model), max_new_tokens)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        temperature=temperature if temperature > 0 else None,
        top_k=0 if temperature > 0 else None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    texts = [""] * len(encoded)
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(enabled=seed is not None), torch.inference_mode():
            if seed is not None:
                torch.manual_seed(seed)
            for start in range(0, len(by_length), batch_size):
                rows = by_length[start : start + batch_size]
                for row, text in zip(
                    rows, _generate_batch(model, tokenizer, [encoded[i] for i in rows], settings), strict=True
                ):
                    texts[row] = text
    finally:
        model.train(was_training)
    return texts


def _generate_batch(
    model: Any, tokenizer: PreTrainedTokenizerBase, encoded: list[list[int]], settings: GenerationConfig
) -> list[str]:
    batch = pad_batch([{"input_ids": ids} for ids in encoded], tokenizer.pad_token_id, side="left")
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    output = model.generate(**batch, generation_config=settings)
    new = output[:, batch["input_ids"].shape[1] :]
    return tokenizer.batch_decode(new, skip_special_tokens=True)


def _check_lengths(encoded: list[list[int]], context: int, max_new_tokens: int) -> None:
    for number, ids in enumerate(encoded):
        if not ids:
            raise PromptTooLongError(f"prompt {number} is empty: give at least one token to continue")
        if len(ids) + max_new_tokens > context:
            room = context - len(ids)
            remedy = f"lower max_new_tokens to {room} or shorten the prompt" if room > 0 else "shorten the prompt"
            raise PromptTooLongError(
                f"prompt {number} has {len(ids)} tokens and asks for {max_new_tokens} more, "
                f"but the model's context holds {context}: {remedy}"
            )
