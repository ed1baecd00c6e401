import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlib.errors import DataError
from ftlib.templates import QUESTION_ANSWER, Segment


def turns(*texts):
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def test_question_answer_literally():
    assert QUESTION_ANSWER.render(turns("Why?", "So.")) == [
        Segment("### Question:\nWhy?\n\n### Answer:\n", is_target=False),
        Segment("So.", is_target=True),
    ]


def test_several_turns():
    text = "".join(segment.text for segment in QUESTION_ANSWER.render(turns("A", "B", "C", "D")))
    assert text == "### Question:\nA\n\n### Answer:\nB\n\n### Question:\nC\n\n### Answer:\nD"


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_prompt_is_the_exact_beginning_of_what_training_sees(texts):
    questions = turns(*[text for text in texts for _ in range(2)])[:-1]
    prompt = QUESTION_ANSWER.render_prompt(questions)
    trained = QUESTION_ANSWER.render([*questions, {"role": "assistant", "content": "the answer"}])
    assert prompt == trained[:-1]
    assert trained[-1] == Segment("the answer", is_target=True)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        turns("only a question"),
        turns("a", "b", "c"),
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}],
    ],
)
def test_render_refuses_other_orders(messages):
    with pytest.raises(DataError, match="question-answer"):
        QUESTION_ANSWER.render(messages)


def test_a_prompt_must_end_with_the_user():
    with pytest.raises(DataError, match="ending with user"):
        QUESTION_ANSWER.render_prompt(turns("a", "b"))
