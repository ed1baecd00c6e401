"""What the loss scores of an evaluation are computed from: loss, tokens and bytes of the same tokens."""

import copy
import warnings

import numpy as np
import pytest

from datasets import Dataset
from ftlib.data.messages import assistant, user
from ftlib.errors import TruncationWarning
from ftlib.evaluation.likelihood import answer_statistics
from ftlib.evaluation.scores import LOSS_SCORES
from ftlib.models.loading import load_tokenizer
from ftlib.text.chat_template import ChatTemplate
from ftlib.text.encoding import Encoder
from ftlib.text.row_maker import IGNORED
from ftlib.text.templates import TEMPLATES
from ftlib.text.tokenization import tokenize_measured

ANSWERS = {
    "one line": "Padding makes all rows of a batch equally long. " * 3,
    "letters of two to four bytes": "Größe → 日本語のトークン 🙂🙂 naïve Ж " * 3,
    "joined emoji": "👩‍🔬👨‍👩‍👧‍👦" * 6,
    "several lines": "one\n\n  two\n\tthree\n" * 4,
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    """Nano's, with the markers that two of the templates write."""
    tokenizer = load_tokenizer("nano")
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    return tokenizer


def template_named(name, tokenizer):
    if name != "tokenizer":
        return TEMPLATES[name]
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHATML
    return ChatTemplate(tokenizer)


def bytes_of_targets(row, tokenizer):
    """Of a byte-level vocabulary: each letter of a token's name is one byte."""
    ids = [label for label in row["labels"] if label != IGNORED and label not in tokenizer.added_tokens_decoder]
    return sum(map(len, tokenizer.convert_ids_to_tokens(ids)))


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("name", [*TEMPLATES, "tokenizer"])
def test_bytes_are_those_of_the_tokens_that_are_measured(tokenizer, name, turns, kind):
    """For every length of a row, also in the middle of a letter, and where whole exchanges had to go."""
    template = template_named(name, tokenizer)
    talk = [message for _ in range(turns) for message in (user("Why?"), assistant(ANSWERS[kind].strip()))]
    rows = Dataset.from_dict({"messages": [talk]})
    whole = tokenize_measured(tokenizer, rows, template=template, max_length=4096)
    assert whole[1] == [turns * len(ANSWERS[kind].strip().encode())]
    length = len(whole[0][0]["input_ids"])
    for limit in range(length, 30, -max(1, length // 10)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            row, found = tokenize_measured(tokenizer, rows, template=template, max_length=limit)
        expected = bytes_of_targets(row[0], tokenizer)
        assert found[0] == pytest.approx(expected, abs=3), limit  # a letter of four bytes may be cut


def test_answers_that_are_not_learnt_are_no_bytes(tokenizer):
    talk = [user("Why?"), {**assistant("So."), "weight": 0}, user("And?"), assistant("Because.")]
    assert tokenize_measured(tokenizer, Dataset.from_dict({"messages": [talk]}))[1] == [8]


def test_a_tokenizer_without_spans_decodes_what_is_left(tokenizer):
    class Plain:
        eos_token_id = 0
        decode = staticmethod(tokenizer.decode)

        def __call__(self, texts, **options):
            return tokenizer(texts, add_special_tokens=False)

    text = ANSWERS["one line"]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    for count in (0, 1, 5, len(ids), len(ids) + 1):
        expected = len(tokenizer.decode(ids[:count]).encode())
        assert Encoder(Plain())._bytes_of(text, count) == expected
        assert Encoder(tokenizer)._bytes_of(text, count) == expected


def test_bits_per_byte_of_a_cut_answer_are_those_of_its_beginning(tiny_model, tiny_tokenizer):
    """The measured part is measured as if the rest had never been written."""
    answer = "A tokenizer turns text into ids. " * 12
    rows = Dataset.from_dict({"messages": [[user("Why?"), assistant(answer)]]})
    with pytest.warns(TruncationWarning):
        cut = answer_statistics(tiny_model, tiny_tokenizer, rows, max_length=64)[0]
    kept = tiny_tokenizer.decode(tiny_tokenizer(answer, add_special_tokens=False)["input_ids"][: int(cut[1])])
    short = Dataset.from_dict({"messages": [[user("Why?"), assistant(kept)]]})
    with pytest.warns(TruncationWarning):  # for its end
        alone = answer_statistics(tiny_model, tiny_tokenizer, short, max_length=64)[0]
    finish = LOSS_SCORES["bits_per_byte"].finish
    assert finish(cut, 1) == pytest.approx(finish(alone, 1))
    assert finish(cut, 1) == pytest.approx(cut[0] / np.log(2) / len(kept.encode()))
