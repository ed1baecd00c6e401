import pytest
import torch

from datasets import Dataset
from ftlib.data.reading import to_conversations
from ftlib.errors import DataError
from ftlib.models.trainable import add_lora
from ftlib.text.tokenization import tokenize
from ftlib.training import scores as module
from ftlib.training.loop import finetune
from ftlib.training.scores import bleu_and_rouge, scores


@pytest.fixture
def rows(tiny_tokenizer):
    pairs = [("Why?", "because all rows of a tensor have the same length."), ("What?", "A piece of text.")]
    return tokenize(tiny_tokenizer, to_conversations([{"question": q, "answer": a} for q, a in pairs]))


def test_a_model_that_knows_the_answers_by_heart_has_full_scores(tiny_model, tiny_tokenizer, rows):
    before = scores(tiny_model, tiny_tokenizer, rows)
    assert before["token_accuracy"] < 0.2
    assert before["bleu"] < 5
    finetune(tiny_model, tiny_tokenizer, rows, max_steps=60, learning_rate=1e-2, batch_size=2)
    assert scores(tiny_model, tiny_tokenizer, rows) == {
        "token_accuracy": 1.0,
        "bleu": pytest.approx(100),
        "rouge_l": 1.0,
    }


def test_accuracy_compares_with_the_next_token(tiny_model, tiny_tokenizer):
    """By hand: the likeliest next token at each position, against the token that comes next."""
    ids, labels = [5, 9, 7, 30, 12], [-100, -100, 7, 30, 12]
    with torch.no_grad():
        likeliest = tiny_model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    labels[3] = ids[3] = likeliest[2]  # what is predicted behind position 2 is what stands at 3
    with torch.no_grad():
        likeliest = tiny_model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    expected = sum(likeliest[i - 1] == labels[i] for i in (2, 3, 4)) / 3
    found = scores(tiny_model, tiny_tokenizer, Dataset.from_dict({"input_ids": [ids], "labels": [labels]}))
    assert found["token_accuracy"] == pytest.approx(expected)
    assert expected >= 1 / 3


def test_only_the_first_rows_are_generated(tiny_model, tiny_tokenizer, rows, monkeypatch):
    asked = []
    original = module.continue_ids
    monkeypatch.setattr(
        module, "continue_ids", lambda *args, **options: asked.extend(args[1]) or original(*args, **options)
    )
    scores(tiny_model, tiny_tokenizer, rows, generated_rows=1)
    assert [tiny_tokenizer.decode(ids) for ids in asked] == ["### Question:\nWhy?\n\n### Answer:\n"]


def test_the_model_is_left_as_it_was_and_an_adapter_is_measured(tiny_model, tiny_tokenizer, rows):
    finetune(tiny_model, tiny_tokenizer, rows, max_steps=60, learning_rate=1e-2, batch_size=2)
    model = add_lora(tiny_model, rank=2).train()
    assert scores(model, tiny_tokenizer, rows)["token_accuracy"] == 1.0
    assert model.training
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(3.0)
    assert scores(model, tiny_tokenizer, rows)["token_accuracy"] < 1.0


def test_texts_of_different_number_are_refused():
    with pytest.raises(DataError, match="2 predictions but 1 references"):
        bleu_and_rouge(["a", "b"], ["a"])
