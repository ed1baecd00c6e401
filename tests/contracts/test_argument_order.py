"""The model, the tokenizer, and what they work on: the same order everywhere; calls of the first edition go on."""

import ast
import copy
import inspect
from pathlib import Path

import pytest

import ftlib
from ftlib.data.messages import user
from ftlib.errors import DataError
from ftlib.inference.context import count_prompt_tokens
from ftlib.models.trainable import freeze
from ftlib.pretraining.run import new_model, pretrain
from ftlib.text.tokenization import tokenize, tokenize_and_split
from ftlib.training.loop import finetune
from tests.conftest import TINY

# As in the notebooks of 2023, whose names they carry.
OF_2023 = {"tokenize_and_split_data", "compare_models", "inference"}
# A program that stands for the template is given: of a tokenizer, if there is one.
OPTIONAL = {"to_jinja"}


def signatures():
    for path in sorted(Path(ftlib.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and path.parent.name != "cli":
                arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                yield node.name, [name for name in arguments if name not in ("self", "cls")]


def test_the_model_and_the_tokenizer_come_first():
    found = [(name, arguments) for name, arguments in signatures() if "tokenizer" in arguments]
    assert len(found) > 40
    for name, arguments in found:
        if not name.startswith("_") and name not in OF_2023 | OPTIONAL:
            expected = [one for one in ("model", "tokenizer") if one in arguments]
            assert arguments[: len(expected)] == expected, name


def test_the_order_of_the_first_edition_is_taken_with_a_warning(tiny_tokenizer, conversations):
    with pytest.warns(DeprecationWarning, match=r"call tokenize\(tokenizer, conversations, \.\.\.\)"):
        rows = tokenize(conversations, tiny_tokenizer, max_length=64)
    assert rows["input_ids"] == tokenize(tiny_tokenizer, conversations, max_length=64)["input_ids"]
    with pytest.warns(DeprecationWarning, match="tokenizer comes before the data"):
        named = tokenize(conversations, tokenizer=tiny_tokenizer, max_length=64)
    assert named["input_ids"] == rows["input_ids"]
    with pytest.warns(DeprecationWarning, match="tokenize_and_split"):
        assert tokenize_and_split(conversations, tiny_tokenizer, test_size=0.5).train.num_rows
    with pytest.warns(DeprecationWarning, match="count_prompt_tokens"):
        assert count_prompt_tokens([user("Why?")], tiny_tokenizer)
    with pytest.warns(DeprecationWarning, match="new_model"):
        assert new_model(TINY, tiny_tokenizer).config.vocab_size == len(tiny_tokenizer)
    assert tokenize(conversations=conversations, tokenizer=tiny_tokenizer).num_rows == len(conversations)


def test_the_padding_token_is_the_tokenizers_own(tiny_model, tiny_tokenizer, conversations):
    rows = tokenize(tiny_tokenizer, conversations)
    with pytest.raises(DataError, match=r"takes no pad_token_id any more, .*: call finetune\(model, tokenizer, rows, "):
        finetune(tiny_model, rows, pad_token_id=1, max_steps=1)
    nameless = copy.deepcopy(tiny_tokenizer)
    nameless.pad_token = None
    with pytest.raises(DataError, match="names no padding token"):
        finetune(tiny_model, nameless, rows, max_steps=1)


def test_a_keyword_of_the_first_edition_is_taken_with_a_warning(tiny_model):
    expected = freeze(tiny_model, modules=["norms"])
    with pytest.warns(DeprecationWarning, match="freeze: parts is modules since the second edition"):
        assert freeze(tiny_model, parts=["norms"]) == expected
    with pytest.raises(TypeError, match="parts"):
        freeze(tiny_model, modules=["norms"], parts=["norms"])


@pytest.mark.parametrize("function", [tokenize, tokenize_and_split, finetune, pretrain])
def test_help_shows_the_order_that_holds(function):
    assert next(name for name in inspect.signature(function).parameters if name != "model") == "tokenizer"
