"""Generation: many prompts at once with the same text as one by one, or one answer as it is written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ftlib.argument_checks import a_model, checked, each, unchecked
from ftlib.data.message_checks import question
from ftlib.data.messages import Message, user
from ftlib.errors import ConfigError
from ftlib.inference.context import check_lengths, shorten
from ftlib.inference.decoding import Sampling, continue_ids, decode
from ftlib.inference.streaming import answer_in, text_chunks
from ftlib.models.gradients import evaluation_mode
from ftlib.models.loading import context_length
from ftlib.spare_memory import sparing_memory
from ftlib.text.chat_template import template_of
from ftlib.text.ends import end_ids
from ftlib.text.templates import QUESTION_ANSWER, Template
from ftlib.text.tokenization import encode_prompts, encode_rows, encode_segments

if TYPE_CHECKING:
    from peft import PeftModel


@checked(model=a_model)
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Continue each prompt, and return only what is new.

    Prompts of about one length share a batch. They are padded on the left, so that the last token of every row is the
    last of its prompt, and the attention mask hides the padding. A row ends at the end-of-text token.

    A prompt is a whole text, as ``tokenizer(prompt)`` takes it: special tokens in it count, so that what
    ``apply_chat_template(..., tokenize=False)`` gives can be continued, and a beginning-of-text token stands in front
    where the tokenizer puts one there (once, also if the prompt begins with it). Words from a stranger are for
    :func:`answer`, where they stay words.

    Args:
        model: A causal language model; its training mode is restored afterwards.
        tokenizer: The model's tokenizer; it is not changed.
        prompts: Texts, any number.
        max_new_tokens: The most tokens to write for each.
        batch_size: Prompts computed at once: lower it if memory runs out.
        temperature: 0 takes the likeliest token each time (greedy); above, tokens are drawn.
        top_k: Draw from so many likeliest tokens; 0: from all.
        top_p: Draw from the likeliest tokens that together have this probability.
        repetition_penalty: Above 1, tokens that occurred are less likely.
        seed: Seed of the draw; ignored when greedy.
        on_done: Called after each batch with the prompts that are done, and how many there are.

    Returns:
        One text for each prompt, in the same order.

    Raises:
        PromptTooLongError: A prompt and its answer don't fit into the model's context.
        ConfigError: A number is out of its range.
        DataError: An argument is of another kind, such as a tokenizer in the model's place.

    Taught in: chapters/02_what_a_language_model_is.ipynb
    """
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    encoded = encode_prompts(tokenizer, prompts)
    ends = frozenset(end_ids(model, tokenizer))
    return _texts(model, tokenizer, encoded, sampling, ends=ends, limit=max_new_tokens, size=batch_size, told=on_done)


@checked(model=a_model, questions=unchecked)
def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str | Sequence[Message]],
    *,
    template: Template | None = None,
    max_new_tokens: int = 64,
    batch_size: int = 64,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Ask questions in the template that training used; otherwise as :func:`generate`.

    That is ``template``, or else what the tokenizer tells (:func:`ftlib.text.chat_template.template_of`). A
    question is a text, or a conversation that ends with what the user says. A row ends where the template taught the
    model to end its turn, and what the template writes behind an answer is taken off.

    Raises:
        DataError: The questions aren't a list of texts and conversations, the template has no place for a message, or
            an argument is of another kind.

    Taught in: chapters/08_training_pythia_70m.ipynb
    """
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    template = template or template_of(tokenizer)
    encoded = _asked(questions, tokenizer, template)
    ends = frozenset(end_ids(model, tokenizer, template))
    texts = _texts(model, tokenizer, encoded, sampling, ends=ends, limit=max_new_tokens, size=batch_size, told=on_done)
    return [answer_in(text, template.end_marker) for text in texts]


@checked(model=a_model, questions=unchecked)
def check_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str | Sequence[Message]],
    *,
    template: Template | None = None,
    max_new_tokens: int = 64,
) -> None:
    """See that :func:`answer` could answer, before anything is computed.

    Raises:
        PromptTooLongError: A prompt and its answer don't fit into the model's context.
        ConfigError: ``max_new_tokens`` is below 1.
        DataError: As :func:`answer`.
    """
    asked = _asked(questions, tokenizer, template or template_of(tokenizer))
    check_lengths(asked, context_length(model), max_new_tokens)


@checked(model=a_model)
def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: str | Sequence[Message],
    *,
    template: Template | None = None,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[str]:
    r"""Ask one question, and yield its answer in chunks of text while the model writes it.

    The chunks joined are what :func:`answer` gives. A chunk is held back while it could still turn out to be half a
    character, the beginning of the template's end marker, or white space at the end. Closing the iterator ends the
    generation, and restores the model's training mode.

    Args:
        model: As for :func:`generate`, like the arguments that are not named here.
        tokenizer: The model's tokenizer.
        messages: A question, or a conversation that ends with what the user says.
        template: The template that training used; default: what the tokenizer tells.
        max_new_tokens: The most tokens to write.
        temperature: 0: greedy; above, tokens are drawn.
        top_k: Draw from so many likeliest tokens; 0: from all.
        top_p: Draw from the likeliest tokens that together have this probability.
        repetition_penalty: Above 1, tokens that occurred are less likely.
        seed: Seed of the draw.
        should_stop: Asked after each token whether to end now.

    Raises:
        PromptTooLongError: The prompt and its answer don't fit into the model's context;
            :func:`ftlib.inference.context.fit_history` helps.
        ConfigError: A number is out of its range.
        DataError: The template has no place for a message of the conversation, or an argument is of another kind.
    """
    sampling = Sampling(temperature, top_k, top_p, repetition_penalty, seed)
    template = template or template_of(tokenizer)
    ids = encode_segments(tokenizer, template.render_prompt(_conversation(messages)))
    check_lengths([ids], context_length(model), max_new_tokens)
    ends = frozenset(end_ids(model, tokenizer, template))
    tokens = _tokens(model, ids, sampling, max_new_tokens=max_new_tokens, end_ids=ends)
    return text_chunks(tokenizer, tokens, template.end_marker, should_stop or (lambda: False))


@checked(model=a_model)
def inference(
    text: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_input_tokens: int = 1000,
    max_output_tokens: int = 100,
    *,
    template: Template | None = QUESTION_ANSWER,
) -> str:
    """Ask one question: the function that a fine-tuning tutorial of 2023 had under this name.

    Then: the prompt counted as output, so that one of more than ``max_output_tokens`` raised an error; there was no
    attention mask; the question went in without the template that training used; and the prompt was taken off the
    answer by its number of characters, which a shortened prompt no longer has.

    Args:
        text: The question, without a template.
        model: A causal language model.
        tokenizer: The model's tokenizer.
        max_input_tokens: A prompt of more tokens loses the beginning of its question. So does one that leaves too few
            for the answer in the model's context. A :class:`~ftlib.errors.TruncationWarning` says so.
        max_output_tokens: The most tokens to write.
        template: The template that training used; None continues the text as it stands.

    Raises:
        PromptTooLongError: Even without a question the prompt is too long.
        DataError: An argument is of another kind.

    Taught in: chapters/17_tutorial_of_2023.ipynb
    """
    text = shorten(tokenizer, text, template, min(max_input_tokens, context_length(model) - max_output_tokens))
    if template is None:
        return generate(model, tokenizer, [text], max_new_tokens=max_output_tokens)[0]
    return answer(model, tokenizer, [text], template=template, max_new_tokens=max_output_tokens)[0]


def _conversation(asked: str | Sequence[Message]) -> Sequence[Message]:
    return [user(asked)] if isinstance(asked, str) else asked


def _asked(
    questions: Sequence[str | Sequence[Message]], tokenizer: PreTrainedTokenizerBase, template: Template
) -> list[list[int]]:
    rendered = [template.render_prompt(_conversation(one)) for one in each(question)("questions", questions)]
    return [[token for ids in segment_ids for token in ids] for segment_ids in encode_rows(tokenizer, rendered)]


@sparing_memory()
def _texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[list[int]],
    sampling: Sampling,
    *,
    ends: frozenset[int],
    limit: int,
    size: int,
    told: Callable[[int, int], None] | None,
) -> list[str]:
    if size < 1:
        raise ConfigError(f"batch_size is {size}; expected 1 or more")
    check_lengths(encoded, context_length(model), limit)
    by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    written: list[list[int]] = [[] for _ in encoded]
    choose = sampling.chooser(model.device)
    for start in range(0, len(by_length), size):
        rows = by_length[start : start + size]
        found = continue_ids(model, [encoded[i] for i in rows], choose, max_new_tokens=limit, end_ids=ends)
        for row, ids in zip(rows, found, strict=True):
            written[row] = ids
        if told:
            told(start + len(rows), len(encoded))
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in written]


def _tokens(
    model: PreTrainedModel | PeftModel,
    ids: list[int],
    sampling: Sampling,
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
) -> Generator[int, None, None]:
    with evaluation_mode(model):
        choose = sampling.chooser(model.device)
        for (token,) in decode(model, [ids], choose, max_new_tokens=max_new_tokens, end_ids=end_ids):
            if token is not None:  # with a single row there is nothing to wait for behind its end
                yield token
