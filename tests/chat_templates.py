"""Chat templates in the manner of well-known models, in our own words: how each lays out a turn, and what ends it.

Each is as short as its manner allows; none is a model's own program.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from tokenizers import processors

BEGIN = "{% if add_generation_prompt %}"


class Style(NamedTuple):
    """A manner of laying out chats.

    Attributes:
        program: The chat template.
        special: Special tokens that its tokenizer has.
        bos: The one that begins a text.
        eos: The one that ends a text, for the tokenizer.
        end: The token that ends the model's turn.
        plain: Added tokens that are not special.
    """

    program: str
    special: tuple[str, ...] = ()
    bos: str | None = None
    eos: str = "<|endoftext|>"
    end: str = "<|endoftext|>"
    plain: tuple[str, ...] = ()


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + BEGIN
    + "<|im_start|>assistant\n{% endif %}"
)
_IM = ("<|im_start|>", "<|im_end|>")
_LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    + BEGIN
    + "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}" + BEGIN + "<start_of_turn>model\n{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% else %}"
    "[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
_LLAMA_2 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' ~ m.content | trim ~ ' ' ~ eos_token }}{% else %}"
    "{{ bos_token ~ '[INST] ' ~ m.content | trim ~ ' [/INST]' }}{% endif %}{% endfor %}"
)
_PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    + BEGIN
    + "<|assistant|>\n{% endif %}"
)
_COMMAND = (
    "{{ bos_token }}{% for m in messages %}<|START_OF_TURN_TOKEN|>"
    "{{ '<|CHATBOT_TOKEN|>' if m.role == 'assistant' else '<|USER_TOKEN|>' }}{{ m.content | trim }}"
    "<|END_OF_TURN_TOKEN|>{% endfor %}" + BEGIN + "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
)
_COMMAND_7B = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|BOT|><|START_RESPONSE|>{{ m.content }}"
    "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>{% else %}<|USER|>{{ m.content }}<|END_OF_TURN_TOKEN|>{% endif %}"
    "{% endfor %}" + BEGIN + "<|BOT|>{% endif %}"
)
_DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|Assistant|>{{ m.content }}{{ eos_token }}"
    "{% else %}<|User|>{{ m.content }}{% endif %}{% endfor %}" + BEGIN + "<|Assistant|>{% endif %}"
)
_DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}<|Assistant|>"
    "{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% else %}<|User|>{{ m.content }}{% endif %}{% endfor %}"
    + BEGIN
    + "<|Assistant|><think>\n{% endif %}"
)
_QWEN_3 = (
    "{% for m in messages %}{% set thought = m.reasoning_content or '' %}{% set said = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set thought = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ said }}<|im_end|>\n"
    "{% endfor %}" + BEGIN + "<|im_start|>assistant\n{% endif %}"
)
_NO_THINKING = (  # in the manner of Qwen3 with its thinking switched off: the prompt closes it
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    + BEGIN
    + "<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
_ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    + BEGIN
    + "<|assistant|>\n{% endif %}"
)
_OLMO = (
    "{{ eos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}\n{% endfor %}" + BEGIN + "<|assistant|>\n{% endif %}"
)
_GRANITE = (
    "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n{% endfor %}"
    + BEGIN
    + "<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
_FALCON = (
    "{% for m in messages %}{{ 'Falcon' if m.role == 'assistant' else 'User' }}: {{ m.content | trim }}\n\n{% endfor %}"
    + BEGIN
    + "Falcon: {% endif %}"
)
_VICUNA = (
    "A chat. {% for m in messages %}{% if m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}{% else %}"
    "USER: {{ m.content }} {% endif %}{% endfor %}" + BEGIN + "ASSISTANT: {% endif %}"
)
_HUMAN = (
    "{% for m in messages %}### {{ 'Assistant' if m.role == 'assistant' else 'Human' }}: {{ m.content }}\n{% endfor %}"
    + BEGIN
    + "### Assistant: {% endif %}"
)
_PHI_TOKENS = ("<|user|>", "<|assistant|>", "<|end|>")

STYLES = {
    "chatml": Style(CHATML, _IM, eos="<|im_end|>", end="<|im_end|>"),
    "chatml, another eos": Style(CHATML, _IM, end="<|im_end|>"),
    "chatml, markers not special": Style(CHATML, end="<|im_end|>", plain=_IM),
    "chatml, a line break is a token": Style(CHATML, _IM, end="<|im_end|>", plain=("\n", "\n\n", "  ")),
    "chatml, markers unknown": Style(CHATML),
    "llama 3": Style(
        _LLAMA_3,
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin|>",
        "<|end_of_text|>",
        "<|eot_id|>",
    ),
    "gemma": Style(
        _GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>", "<end_of_turn>", ("\n", "\n\n", "<table>")
    ),
    "mistral": Style(_MISTRAL, ("[INST]", "[/INST]"), "<s>", "</s>", "</s>"),
    "llama 2": Style(_LLAMA_2, (), "<s>", "</s>", "</s>"),
    "phi": Style(_PHI, _PHI_TOKENS, end="<|end|>"),
    "command-r": Style(
        _COMMAND,
        ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
        "<BOS_TOKEN>",
        "<EOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
    ),
    "command-r 7b": Style(
        _COMMAND_7B,
        ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|END_OF_TURN_TOKEN|>", "<|USER|>", "<|BOT|>"),
        "<BOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
        "<|END_RESPONSE|>",
    ),
    "deepseek": Style(
        _DEEPSEEK, ("<|User|>", "<|Assistant|>"), "<|begin|>", "<|end_of_sentence|>", "<|end_of_sentence|>"
    ),
    "deepseek-r1": Style(_DEEPSEEK_R1, ("<|User|>", "<|Assistant|>"), "<|begin|>", "<|end|>", "<|end|>"),
    "qwen 3": Style(_QWEN_3, _IM, end="<|im_end|>", plain=("<think>", "</think>")),
    "qwen 3, no thinking": Style(_NO_THINKING, _IM, end="<|im_end|>"),
    "zephyr": Style(_ZEPHYR, (), "<s>", "</s>", "</s>"),
    "olmo": Style(_OLMO),
    "granite": Style(_GRANITE, ("<|start_of_role|>", "<|end_of_role|>"), None, "<|end_of_text|>", "<|end_of_text|>"),
    "falcon": Style(_FALCON),
    "vicuna": Style(_VICUNA, (), "<s>", "</s>", "</s>"),
    "human": Style(_HUMAN),
}
WITHOUT_AN_END = ("chatml, markers unknown", "falcon", "human")  # the end-of-text token is put behind each answer
THINKING = ("deepseek-r1", "qwen 3", "qwen 3, no thinking")


def tokenizer_of(style: Style, tokenizer):
    """Return a copy of a tokenizer that has a style's tokens and its template."""
    tokenizer = copy.deepcopy(tokenizer)
    roles = {"eos_token": style.eos} | ({"bos_token": style.bos} if style.bos else {})
    tokenizer.add_special_tokens(roles | {"additional_special_tokens": list(style.special)})
    tokenizer.add_tokens(list(style.plain))
    tokenizer.chat_template = style.program
    tokenizer.model_max_length = 1000
    return tokenizer


def beginning_with(tokenizer, *, bos: bool, eos: bool):
    """Return a copy of a tokenizer that puts a token in front of every text, or behind it, or both."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    pattern = " ".join(["<s>"] * bos + ["$A"] + ["</s>"] * eos)
    ids = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=pattern, special_tokens=ids)
    return tokenizer
