"""A tokenizer as a GGUF file has it: tokens with their kinds, merges, and the name of the rule that splits a text."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from ftlib.errors import ExportError
from ftlib.text.special_tokens import opening_ids

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of tokens, in llama.cpp's numbers: of the text, special, added and not special, without a meaning."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES = "ByteLevel"
# What splits a text before it is merged, and what llama.cpp calls that.
_SPLITS = {
    (f"{_BYTES} True",): "gpt-2",
    ("Digits True", f"{_BYTES} True"): "smollm",
    (f"Split {_WORDS % '{1,3}'}{_SPACES}", f"{_BYTES} False"): "llama-bpe",
    (f"Split {_WORDS % ''}{_SPACES}", f"{_BYTES} False"): "qwen2",
}


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp needs to tokenize as a tokenizer does.

    Attributes:
        pre: Its name of the rule that splits a text before merging.
        tokens: In the order of their ids; one for each row of the embeddings.
        kinds: Of each token.
        merges: Two tokens and a space between them, the first to be merged first.
        begins: Whether a text begins with the beginning-of-text token.
    """

    pre: str
    tokens: list[str] = field(repr=False)
    kinds: list[int] = field(repr=False)
    merges: list[str] = field(repr=False)
    begins: bool


def vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """Read a tokenizer: byte-level BPE, with a rule for splitting that llama.cpp has under a name.

    What normalises letters to one form (NFC) is left out, as llama.cpp leaves it out: text that is in another form
    already gives other ids there.

    Args:
        tokenizer: A fast tokenizer.
        rows: Of the embeddings, which may be more than there are tokens.

    Raises:
        ExportError: It is another kind of tokenizer.

    >>> from ftlib.models.tokenizer import load_tokenizer
    >>> vocabulary(load_tokenizer("nano"), 4096).pre
    'gpt-2'
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules: dict[str, Any] = {"model": {"type": "slow"}} if backend is None else json.loads(backend.to_str())
    pre = _split_rule(rules)
    added = {token["id"]: token for token in rules["added_tokens"]}
    by_id: dict[int, str] = {number: token for token, number in rules["model"]["vocab"].items()}
    by_id |= {number: token["content"] for number, token in added.items()}
    kinds = [_kind(number, by_id, added) for number in range(rows)]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in rules["model"]["merges"]]
    tokens = [by_id.get(number, f"[PAD{number}]") for number in range(rows)]
    return Vocabulary(pre, tokens, kinds, merges, _begins(tokenizer))


def _kind(number: int, by_id: dict[int, str], added: dict[int, Any]) -> int:
    if number in added:
        return CONTROL if added[number]["special"] else USER_DEFINED
    return NORMAL if number in by_id else UNUSED


def _split_rule(rules: dict[str, Any]) -> str:
    """Name the rule that splits a text, or say what kind of tokenizer this is instead."""
    model, normalizer = rules["model"], (rules.get("normalizer") or {}).get("type", "NFC")
    splits = tuple(map(_step, _steps(rules.get("pre_tokenizer"))))
    pre = _SPLITS.get(splits)
    if model["type"] != "BPE" or model.get("byte_fallback") or normalizer != "NFC" or pre is None:
        kind = f"a {model['type']} tokenizer that splits by {' and '.join(splits)[:60] or 'no rule'}"
        raise ExportError(_refusal(kind))
    if bool(model.get("ignore_merges")) != (pre == "llama-bpe"):
        raise ExportError(_refusal(f"{pre} with ignore_merges {model.get('ignore_merges')}"))
    return pre


def _steps(told: dict[str, Any] | None) -> list[dict[str, Any]]:
    if told is None:
        return []
    return list(told["pretokenizers"]) if told["type"] == "Sequence" else [told]


def _step(told: dict[str, Any]) -> str:
    if told["type"] == _BYTES:
        return f"{_BYTES} {told.get('use_regex', True) if not told['add_prefix_space'] else 'with a space in front'}"
    if told["type"] == "Split" and not told.get("invert") and told["behavior"] == "Isolated":
        return f"Split {told['pattern'].get('Regex')}"
    return f"{told['type']} {told.get('individual_digits', '')}"


def _begins(tokenizer: PreTrainedTokenizerBase) -> bool:
    opening = opening_ids(tokenizer)
    if opening not in ([], [tokenizer.bos_token_id]):
        raise ExportError(_refusal(f"one that puts {tokenizer.convert_ids_to_tokens(opening)} in front of a text"))
    return bool(opening)


def _refusal(what: str) -> str:
    known = ", ".join(dict.fromkeys(_SPLITS.values()))
    return (
        f"this tokenizer can't be written as GGUF here ({what}); byte-level BPE can that splits as {known} do: take "
        "--to merged, and convert that folder with llama.cpp's convert_hf_to_gguf.py"
    )
