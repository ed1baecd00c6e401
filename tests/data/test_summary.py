import pytest

from ftlib.data.quality import REMEDIES, language_of, text_faults
from ftlib.data.reading import load_conversations
from ftlib.models.loading import load_tokenizer
from ftlib.text.summary import summarize
from ftlib.text.tokenization import tokenize


def row(question, answer="Because."):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The cafÃ© is closed", "broken encoding"),
        ("donâ€™t", "broken encoding"),
        ("caf\ufffd", "replacement character"),
        ("a\x07b", "control character"),
        ("A line.<br/>Another", "HTML"),
        ("Fish &amp; chips", "HTML"),
    ],
)
def test_a_fault_of_the_text_is_named(text, kind):
    assert list(text_faults(row(text))) == [kind]
    assert kind in REMEDIES


@pytest.mark.parametrize(
    "text",
    ["The café is closed", "a < b and c > d", "Use `<br>` there", "x\ty\nz", "日本語の文", "¿Qué?", "AT&T; R&D"],
)
def test_a_sound_text_has_no_fault(text):
    assert list(text_faults(row(text))) == []


def test_short_texts_have_no_certain_language():
    assert language_of(row("Why?")) == ""


def test_rows_in_another_language_are_found():
    english = row(
        "Why is every row of a batch filled up to the same length before the model sees it?", "A tensor is a box."
    )
    german = row(
        "Warum wird jede Zeile eines Stapels aufgefüllt, bevor das Modell sie sieht?", "Ein Tensor ist eine Kiste."
    )
    found = summarize([english, german, row(english[0]["content"], "For another reason than that one.")])
    assert found.language == "en"
    assert [(fault.kind, fault.rows, fault.first_row) for fault in found.faults] == [("language de", 1, 1)]
    assert "en" in found.faults[0].remedy


def test_the_course_data_are_clean():
    for name in ("faq", "dialogues", "house_plants", "instructions"):
        assert summarize(load_conversations(name)["messages"]).faults == []


def test_a_duplicate_is_the_whole_conversation_and_not_only_the_prompt():
    found = summarize([row("Why?", "So."), row("Why?", "Thus."), row("Why?", "So.")])
    assert found.same_prompt == 2
    assert [(fault.kind, fault.rows, fault.first_row) for fault in found.faults] == [("duplicate", 1, 2)]


def test_a_row_with_one_side_only_is_a_fault():
    found = summarize([row("Why?"), row("Why not?")[:1], row("When?")[1:]])
    assert [(fault.kind, fault.rows, fault.first_row) for fault in found.faults] == [("one-sided", 2, 1)]


def test_tokens_are_those_that_training_sees(conversations):
    tokenizer = load_tokenizer("nano")
    lengths = [len(ids) for ids in tokenize(tokenizer, conversations)["input_ids"]]
    found = summarize(conversations["messages"], tokenizer=tokenizer, batch_size=2).tokens
    assert found.total == sum(lengths)
    assert (found.lengths.least, found.lengths.greatest) == (min(lengths), max(lengths))
    assert found.padding_to_longest_row == pytest.approx(1 - sum(lengths) / (3 * max(lengths)))
    in_order = 2 * max(lengths[:2]) + lengths[2]
    assert found.padding_in_file_order == pytest.approx(1 - sum(lengths) / in_order)


def test_rows_over_the_context_are_counted(conversations):
    found = summarize(conversations["messages"], tokenizer=load_tokenizer("nano"), context=20)
    lengths = [len(ids) for ids in tokenize(load_tokenizer("nano"), conversations)["input_ids"]]
    too_long = sum(length > 20 for length in lengths)
    assert too_long
    assert [(fault.kind, fault.rows) for fault in found.faults] == [("over the context", too_long)]


def test_a_row_without_a_place_in_the_template_is_counted_too():
    call = [{"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}]
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": None, "tool_calls": call}]
    assert summarize([messages], tokenizer=load_tokenizer("nano")).tokens.total > 10


def test_no_rows_give_an_empty_summary():
    assert summarize([], tokenizer=load_tokenizer("nano")).tokens is None
