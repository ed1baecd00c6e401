import math
import unicodedata

import pytest
import torch

from ftlib.errors import DataError
from ftlib.evaluation.metrics import (
    answer_loss,
    bits_per_byte,
    bleu,
    corpus_bleu,
    exact_match,
    perplexity,
    rouge_l,
    summed_target_loss,
    token_accuracy,
)
from ftlib.evaluation.scores import SCORES
from ftlib.text.batches import pad_batch, padded_batches
from ftlib.text.tokenization import tokenize


def test_target_loss_is_the_models_own(tiny_model, tiny_tokenizer, conversations):
    batch = pad_batch(tokenize(tiny_tokenizer, conversations), tiny_tokenizer.pad_token_id)
    with torch.no_grad():
        loss, targets = summed_target_loss(tiny_model, batch)
    own = tiny_model(**batch).loss.detach()
    assert targets == int((batch["labels"] != -100).sum())
    assert math.isclose(float(loss) / targets, float(own), rel_tol=1e-5)


def test_answer_loss_does_not_depend_on_the_batches(tiny_model, tiny_tokenizer, conversations):
    rows = tokenize(tiny_tokenizer, conversations)
    losses = [answer_loss(tiny_model, padded_batches(rows, size, pad_token_id=1)) for size in (1, 2, 3)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_answer_loss_restores_training_mode(tiny_model, tiny_tokenizer, conversations):
    tiny_model.train()
    answer_loss(tiny_model, padded_batches(tokenize(tiny_tokenizer, conversations), 2, pad_token_id=1))
    assert tiny_model.training


def test_answer_loss_without_targets_is_an_error(tiny_model):
    batch = pad_batch([{"input_ids": [5, 6], "labels": [-100, -100]}], 1)
    with pytest.raises(DataError, match="no target tokens"):
        answer_loss(tiny_model, [batch])


def test_the_position_before_a_token_predicts_it(tiny_model):
    """By hand: two tokens, one target, and the loss is minus the log of its probability."""
    batch = pad_batch([{"input_ids": [5, 6], "labels": [-100, 6]}], 1)
    probability = torch.softmax(tiny_model(torch.tensor([[5]])).logits[0, 0], dim=-1)[6]
    with torch.no_grad():
        loss, targets = summed_target_loss(tiny_model, batch)
    assert targets == 1
    assert math.isclose(float(loss), -math.log(float(probability.detach())), rel_tol=1e-4)


def test_perplexity_and_bits_per_byte_by_hand():
    assert perplexity(0.0) == 1.0
    assert bits_per_byte(math.log(4), tokens=3, text_bytes=6) == pytest.approx(1.0)


def test_rouge_l_by_hand():
    assert rouge_l(["the cat sat"], ["the cat slept"]) == [pytest.approx(2 / 3)]
    assert rouge_l(["cat the"], ["the cat"]) == [pytest.approx(1 / 2)]
    assert rouge_l(["", "Same text."], ["words", "same text"]) == [0.0, 1.0]


def test_rouge_l_wants_one_reference_each():
    with pytest.raises(DataError, match="1 predictions but 2 references"):
        rouge_l(["a"], ["a", "b"])


def test_token_accuracy_holds_a_prediction_against_the_next_token(tiny_model):
    """By hand: of two targets, the first is what the model predicts behind the prompt, the second is not."""
    likeliest = int(tiny_model(torch.tensor([[5]])).logits[0, -1].argmax())
    after = int(tiny_model(torch.tensor([[5, likeliest]])).logits[0, -1].argmax())
    other = (after + 1) % 320
    batch = pad_batch(
        [
            {"input_ids": [5, likeliest, other], "labels": [-100, likeliest, other]},
            {"input_ids": [5], "labels": [-100]},
        ],
        1,
    )
    assert token_accuracy(tiny_model, [batch]) == 0.5
    with pytest.raises(DataError, match="no target tokens"):
        token_accuracy(tiny_model, [pad_batch([{"input_ids": [5, 6], "labels": [-100, -100]}], 1)])


def test_exact_match_overlooks_case_space_and_punctuation():
    assert exact_match(["A  Token.", "a token", ""], ["a token", "the token", ""]) == [1.0, 0.0, 1.0]


SCRIPTS = [
    "今天天气很不错",
    "Привет, мир",
    "हिन्दी में लिखो",
    "สวัสดีครับ",
    "안녕하세요",
    "مرحبا بالعالم",
    "👍 🎉",
    "naïve café",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_a_text_of_any_script_equals_itself_and_nothing_is_over_its_scale(text):
    for measure in (rouge_l, exact_match):
        assert measure([text], [text]) == [1.0]
    for other in (text, unicodedata.normalize("NFD", text)):
        scores = [
            *bleu([text], [other]),
            corpus_bleu([text], [other]),
            SCORES["bleu"].interval([text], [other]).value,
        ]
        assert max(scores) <= 100
        assert scores == [pytest.approx(100)] * 3
    assert rouge_l([text], ["something else"]) == [0.0]
    assert exact_match([text], [unicodedata.normalize("NFD", text)]) == [1.0]


@pytest.mark.parametrize(("text", "right"), [("...", 1.0), ("", 0.0), ("?!", 1.0), ("+", 1.0), ("__", 1.0), (" ", 0.0)])
def test_a_score_is_a_float_even_of_texts_without_a_word(text, right):
    (score,) = rouge_l([text], [text])
    assert isinstance(score, float)
    assert score == right
    assert rouge_l([text], ["-"]) == rouge_l([text], ["word"]) == [0.0]


def test_bleu_of_a_script_without_spaces_counts_its_characters():
    """As sacrebleu's own way to split Chinese does; without it, answers that share nearly everything score 0."""
    from sacrebleu.metrics.bleu import BLEU

    pairs = [
        ("今天天气很不错", "今天天气很好"),
        ("他今年25岁\uff0c住在Paris。", "他今年25岁\uff0c住在London。"),
        ("a cat", "a dog"),
    ]
    for prediction, reference in pairs:
        expected = BLEU(tokenize="zh", effective_order=True).sentence_score(prediction, [reference]).score
        assert bleu([prediction], [reference]) == [pytest.approx(expected)]
    assert 50 < bleu(["สวัสดีชาวโลก"], ["สวัสดีชาว"])[0] < 100
    assert 50 < corpus_bleu(["今日はいい天気です"], ["今日はいい天気だ"]) < 100


def test_bleu_of_short_answers_is_that_of_the_runs_that_they_have():
    short, long = (["Paris", "yes"], ["Paris", "no"]), (["one two three four six"], ["one two three four five"])
    assert corpus_bleu(["Paris"], ["Paris"]) == 100
    assert corpus_bleu(*short) == pytest.approx(50)
    assert SCORES["bleu"].interval(*short).value == pytest.approx(50)
    assert corpus_bleu(*long) == pytest.approx(bleu(*long)[0])


def test_rouge_l_of_plain_text_is_that_of_the_package():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [("Set input_ids, 3.14 and (x)!", "input ids: set 3 and X"), ("a-b c", "c a b"), ("It's", "it s here")]
    for prediction, reference in pairs:
        assert rouge_l([prediction], [reference]) == [scorer.score(reference, prediction)["rougeL"].fmeasure]


@pytest.mark.parametrize("measure", [rouge_l, exact_match, bleu, corpus_bleu])
def test_what_is_no_text_is_named_by_its_row(measure):
    with pytest.raises(DataError, match=r"predictions, row 1 \(from 0\): a text was expected, not None"):
        measure(["a", None], ["a", "b"])
    with pytest.raises(DataError, match="references must be a list of texts"):
        measure(["a"], "a")


def test_bleu_of_nothing_is_refused():
    with pytest.raises(DataError, match="BLEU of no texts"):
        corpus_bleu([], [])


def test_bleu_by_hand():
    """Five words, one of them another: precisions 4/5, 3/4, 2/3 and 1/2, no penalty."""
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert corpus_bleu(["one two three four six"], ["one two three four five"]) == pytest.approx(expected)
    assert bleu(["one two three four six"], ["one two three four five"]) == [pytest.approx(expected)]


def test_bleu_of_a_run_is_of_all_answers_together():
    predictions = ["the cat sat on the mat", "no", "a token is a piece of a text"]
    references = ["the cat sat on a mat", "a dog ran", "a token is a piece of text"]
    found = SCORES["bleu"].interval(predictions, references)
    assert found.value == pytest.approx(corpus_bleu(predictions, references))
    assert found.value != pytest.approx(sum(bleu(predictions, references)) / 3)
    assert found.low <= found.value <= found.high


def test_every_measure_keeps_to_its_scale():
    predictions, references = ["a b c d a b c d", "", "I can't."], ["a b c d e", "x", "I can't."]
    for measure in SCORES.values():
        low, high = measure.scale
        assert all(low <= value <= high + 1e-9 for value in measure.each(predictions, references)), measure.name
        assert low <= measure.interval(predictions, references).value <= high + 1e-9, measure.name


@pytest.mark.parametrize("name", SCORES)
def test_every_measure_wants_one_reference_each(name):
    with pytest.raises(DataError, match="1 predictions but 2 references"):
        SCORES[name].interval(["a"], ["a", "b"])
