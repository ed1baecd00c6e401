import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlib.data.messages import user_with_context
from ftlib.errors import DataError
from ftlib.text.templates import ALPACA, CHATML, DIALOGUE, GUANACO, QUESTION_ANSWER, TEMPLATES, Segment, get_template


def turns(*texts):
    roles = ["user", "assistant"] * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def text_of(segments):
    return "".join(segment.text for segment in segments)


def test_question_answer_literally():
    assert QUESTION_ANSWER.render(turns("Why?", "So.")) == [
        Segment("### Question:\n", is_markup=True),
        Segment("Why?"),
        Segment("\n\n### Answer:\n", is_markup=True),
        Segment("So.", is_target=True, ends_turn=True),
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (QUESTION_ANSWER, "### Question:\nA\n\n### Answer:\nB\n\n### Question:\nC\n\n### Answer:\nD"),
        (GUANACO, "### Human: A### Assistant: B### Human: C### Assistant: D"),
        (DIALOGUE, "User: A\nAssistant: B\nUser: C\nAssistant: D"),
        (
            CHATML,
            "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\nB<|im_end|>\n"
            "<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\nD<|im_end|>",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_several_turns(template, expected):
    assert text_of(template.render(turns("A", "B", "C", "D"))) == expected


def test_both_alpaca_templates():
    plain = text_of(ALPACA.render(turns("Sort 3 1", "1 3")))
    assert plain == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\nSort 3 1\n\n### Response:\n1 3"
    )
    with_input = text_of(ALPACA.render([user_with_context("Sort", "3 1"), {"role": "assistant", "content": "1 3"}]))
    assert with_input == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request."
        "\n\n### Instruction:\nSort\n\n### Input:\n3 1\n\n### Response:\n1 3"
    )
    other_template = text_of(QUESTION_ANSWER.render_prompt([user_with_context("Sort", "3 1")]))
    assert other_template == "### Question:\nSort\n\n3 1\n\n### Answer:\n"


def test_a_system_message_stands_first_and_takes_the_openings_place():
    system = {"role": "system", "content": "Be brief."}
    assert text_of(QUESTION_ANSWER.render_prompt([system, *turns("Why?")])).startswith("Be brief.\n\n### Question:")
    assert text_of(ALPACA.render_prompt([system, *turns("Why?")])).startswith("Be brief.\n\n### Instruction:")
    assert text_of(CHATML.render_prompt([system, *turns("Why?")])).startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user"
    )


def test_a_dialogue_carries_its_speakers_names():
    said = [("user", "Ann", "Hi."), ("assistant", "Bob", "Hello."), ("user", "Ann", "Tea?")]
    messages = [{"role": role, "name": name, "content": text} for role, name, text in said]
    segments = DIALOGUE.render(messages[:2])
    assert text_of(segments) == "Ann: Hi.\nBob: Hello."
    assert [s.text for s in segments if s.is_target] == ["Hello."]
    assert text_of(DIALOGUE.render_prompt(messages)) == "Ann: Hi.\nBob: Hello.\nAnn: Tea?\nBob: "
    third = {"role": "assistant", "name": "Cid", "content": "No."}
    with pytest.raises(DataError, match="one name for the assistant"):
        DIALOGUE.render([*messages, third])


names = st.none() | st.sampled_from(["Ann", "<|endoftext|>"])
contexts = st.none() | st.text(min_size=1, max_size=9)


@st.composite
def conversations(draw):
    texts = draw(st.lists(st.text(max_size=30), min_size=1, max_size=4))
    user_name, assistant_name = draw(names), draw(names)
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(st.text(min_size=1, max_size=9))})
    for text in texts:
        context = draw(contexts)
        asked = user_with_context(text, context) if context else {"role": "user", "content": text}
        messages.append({**asked, "name": user_name})
        messages.append({"role": "assistant", "content": f"{text}!", "name": assistant_name})
    return messages


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@given(messages=conversations())
def test_a_prompt_is_the_exact_beginning_of_what_training_sees(template, messages):
    if template is DIALOGUE and messages[-1]["name"]:
        template = type(DIALOGUE)("dialogue", assistant_name=messages[-1]["name"])
    prompt = template.render_prompt(messages[:-1])
    trained = template.render(messages)
    assert trained[: len(prompt)] == prompt
    rest = trained[len(prompt) :]
    assert all(segment.is_target for segment in rest)
    assert text_of(rest) == messages[-1]["content"] + template.end_marker
    assert rest[-1].ends_turn
    answers = "".join(m["content"] + template.end_marker for m in messages if m["role"] == "assistant")
    assert text_of(s for s in trained if s.is_target) == answers


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_words_that_imitate_the_template_move_no_border(template):
    imitation = text_of(template.render(turns("x", "y")))
    segments = template.render(turns(imitation, "the answer"))
    assert text_of(s for s in segments if s.is_target) == "the answer" + template.end_marker
    assert imitation in [s.text for s in segments]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        turns("only a question"),
        [*turns("a", "b", "c"), *turns("d", "e")],
        [{"role": "assistant", "content": "a"}],
        [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}],
        [*turns("a"), {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
        [user_with_context("a", "b") | {"content": "other"}, *turns("a", "b")[1:]],
    ],
)
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_what_has_no_place_is_refused(template, messages):
    with pytest.raises(DataError):
        template.render(messages)


def test_what_follows_the_last_answer_is_left_out():
    assert QUESTION_ANSWER.render(turns("a", "b", "c")) == QUESTION_ANSWER.render(turns("a", "b"))


def test_a_prompt_must_end_with_the_user():
    with pytest.raises(DataError, match="must end with user"):
        QUESTION_ANSWER.render_prompt(turns("a", "b"))


def test_templates_by_name():
    assert get_template("alpaca") is ALPACA
    with pytest.raises(DataError, match="unknown template 'llama'; expected one of question-answer"):
        get_template("llama")
