"""Questions that hold a template's markup already: a template would put a second one around them."""

import json
import warnings

import pytest
from typer.testing import CliRunner

from datasets import Dataset
from ftlib import cli
from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations
from ftlib.errors import TemplateWarning
from ftlib.models.loading import save_model
from ftlib.text.chat_template import ChatTemplate
from ftlib.text.summary import summarize
from ftlib.text.template_markup import MarkupFinder
from ftlib.text.templates import DIALOGUE, QUESTION_ANSWER, TEMPLATES, TextTemplate
from ftlib.text.tokenization import tokenize
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from tests.chat_templates import STYLES, tokenizer_of

NOTHING = TextTemplate("nothing", before_user="", before_assistant="\n")
KNOWN = [name for name in STYLES if name not in ("falcon", "vicuna", "command-r 7b", "llama 3")]


def text_of(segments):
    return "".join(segment.text for segment in segments)


def laid_out(template):
    return [user(text_of(template.render_prompt([user("Why?")]))), assistant("So.")]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if TEMPLATES[name] is not DIALOGUE])
def test_a_known_template_is_found_under_every_template(name):
    for template in TEMPLATES.values():
        assert MarkupFinder(template).find(laid_out(TEMPLATES[name]))


@pytest.mark.parametrize("name", STYLES)
def test_a_chat_templates_own_markup_is_found(tiny_tokenizer, name):
    template = ChatTemplate(tokenizer_of(STYLES[name], tiny_tokenizer))
    assert MarkupFinder(template).find(laid_out(template))
    if name in KNOWN:
        assert MarkupFinder(QUESTION_ANSWER).find(laid_out(template))


@pytest.mark.parametrize(
    "row",
    [
        [user("### Question:\nWhy?"), assistant("So.")],
        [user("Why?\n\n### Answer:\n"), assistant("So.")],
        [user("Why?"), assistant("### Answer:\nSo.")],
        [user("Why?"), assistant("So.</s>")],
        [user("Human: Why?\n\nAssistant:"), assistant("So.")],
        [user("<s>[INST] Why? [/INST]"), assistant("So.")],
        [{"role": "system", "content": "<|im_start|>system\nBe brief."}, user("Why?"), assistant("So.")],
        [user("Why?"), assistant("So."), user("### Question:\nHow?"), assistant("Thus.")],
    ],
)
def test_half_a_template_counts_too(row):
    assert MarkupFinder(QUESTION_ANSWER).find(row)


# As people write templates by hand, and as further families write theirs; a | parts a question from its answer.
HAND_MADE = [
    "Question: Why?\nAnswer:|So.",
    "Question: Why?\n\nAnswer: |So.",
    "Q: Why? A:|So.",
    "Q: Why?|A: So.",
    "Question: Why?|Answer: So.",
    "User: Why?|Assistant: So.",
    "instruction: Sort.\ninput: 2 1\nresponse:|1 2",
    "Context: It rains.\nQuestion: Why?\nAnswer:|So.",
    "### Question\nWhy?\n### Answer\n|So.",
    "###Question:\nWhy?\n###Answer:|So.",
    "### question: Why?|So.",
    "## Instruction:\nSort.|1 2",
    "### USER:\nWhy?\n\n### ASSISTANT:\n|So.",
    "### Prompt:\nWhy?|So.",
    "Why?|### assistant:\nSo.",
    "Below is a question, paired with some input.\n\n### Task\nSort.|1 2",
    "A chat between a curious user and an assistant. USER: Why? ASSISTANT:|So.",
    "System: Be brief.\nUser: Why?\nAssistant:|So.",
    "User: Why?\nBot:|So.",
    "<human>: Why?\n<bot>:|So.",
    "Why?\n\n###\n\n| So.",
    "<|prompter|>Why?|So.",
    "[gMASK]<sop><|user|>\nWhy?|So.",
    "<|im_user|>user<|im_middle|>Why?|So.",
    "[|user|]Why?|So.",
    "<reserved_106>Why?|So.",
    "<|start|>user<|message|>Why?|So.",
    "GPT4 Correct User: Why?<|end_of_turn|>GPT4 Correct Assistant:|So.",
    "### 指令\uff1a\nWhy?|So.",
    "Why?|So.<|end_of_text|>",
    "Why?|So.<|return|>",
    "Why?|So.<eos>",
]


@pytest.mark.parametrize("row", HAND_MADE)
def test_markup_is_found_however_it_is_spelt(row):
    asked, answered = row.split("|") if row.count("|") == 1 else _apart(row)
    assert MarkupFinder(QUESTION_ANSWER).find([user(asked), assistant(answered)])


def _apart(row):
    place = row.rfind("|So.") if "|So." in row else row.rfind("|")
    return row[:place], row[place + 1 :]


@pytest.mark.parametrize(
    "text",
    [
        "Question: is that a good word to begin with?",
        "Answer: 42",
        "Write a poem. The answer:\nit should rhyme",
        "Explain this heading:\n## Input\nand what follows it",
        "Why does C have <stdio.h> and HTML have <b>?",
        "| a | b |\n|---|---|",
        "Below is an instruction that I don't understand: fold here.",
        "Complete the sentence: the best model:",
        "What does ### Question: mean in a prompt?",
        "Does a row of Alpaca hold ### Response: once?",
        "User: is that a good name for a role?",
        "Write a dialogue.\nAssistant: Hello.\nUser: Hi.",
        "Is </s> a token of Llama?",
        "# Question: a heading of another kind",
        "",
    ],
)
def test_a_text_about_templates_holds_none(text):
    assert not MarkupFinder(QUESTION_ANSWER).find([user(text), assistant(text)])


def test_the_courses_own_data_holds_none():
    for name in ("faq", "house_plants", "instructions", "dialogues"):
        rows = load_conversations(name)["messages"]
        assert not any(map(MarkupFinder(QUESTION_ANSWER).find, rows))


def test_a_template_that_adds_nothing_is_no_second_template():
    assert not MarkupFinder(NOTHING).find(laid_out(QUESTION_ANSWER))


def test_it_is_a_fault_of_the_data_and_a_warning_before_training(tiny_tokenizer):
    rows = [laid_out(QUESTION_ANSWER), [user("Why?"), assistant("So.")], laid_out(QUESTION_ANSWER)]
    (fault,) = [fault for fault in summarize(rows).faults if fault.kind == "two templates"]
    assert (fault.rows, fault.first_row) == (2, 0)
    assert "before_user" in fault.remedy
    data = Dataset.from_list([{"messages": row} for row in rows])
    with pytest.warns(TemplateWarning, match=r"2 of 3 rows hold a template already \('### Question:'\)"):
        tokenize(tiny_tokenizer, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TemplateWarning)
        tokenize(tiny_tokenizer, data, template=NOTHING)


def test_the_way_out_trains_without_a_word(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    row = {"question": laid_out(QUESTION_ANSWER)[0]["content"], "answer": "So."}
    (tmp_path / "rows.jsonl").write_text((json.dumps(row) + "\n") * 4, encoding="utf-8")
    values = {
        "model": {"name": str(tmp_path / "base")},
        "data": {"source": str(tmp_path / "rows.jsonl"), "validation_share": 0},
        "train": {"max_steps": 1, "batch_size": 2},
    }
    with pytest.warns(TemplateWarning, match="4 of 4 rows"):
        train(FinetuneConfig.from_dict(values), tmp_path / "twice")
    values["data"]["custom_template"] = {"before_user": "", "before_assistant": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("error", TemplateWarning)
        train(FinetuneConfig.from_dict(values), tmp_path / "once")
    shown = CliRunner().invoke(cli.app, ["data", str(tmp_path / "rows.jsonl"), "--json"])
    assert shown.exit_code == 1
    assert "two templates" in [fault["kind"] for fault in json.loads(shown.stdout)["faults"]]
