"""What ends a turn, and what begins a text: on chat templates in the manner of many models."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from typer.testing import CliRunner

from datasets import Dataset
from ftlib import cli
from ftlib.chat.session import Settings, reply
from ftlib.data.messages import assistant, user
from ftlib.errors import DataError
from ftlib.evaluation.comparison import evaluate
from ftlib.hosted.server import _lay_out
from ftlib.inference.generation import answer, generate, stream
from ftlib.models.chat_model import ChatModel
from ftlib.models.loading import load_model, save_model
from ftlib.text.chat_template import ChatTemplate, template_of, to_jinja
from ftlib.text.ends import end_ids, set_ends, turn_end
from ftlib.text.row_maker import IGNORED
from ftlib.text.templates import CHATML, QUESTION_ANSWER, TEMPLATES
from ftlib.text.tokenization import encode_segments, tokenize
from ftlib.training.config import FinetuneConfig
from ftlib.training.run import train
from tests.chat_templates import STYLES, THINKING, WITHOUT_AN_END, beginning_with, tokenizer_of

LINES = ["one\ntwo\nthree", "- a\n- b\n\nAnd that is all.\n", "def f():\n    return 1\n\n\nf()"]
TURNS = [user("Name three."), assistant("one\ntwo\nthree"), user("And two?"), assistant("a\nb")]


@pytest.fixture(params=STYLES)
def styled(request, tiny_tokenizer):
    style = STYLES[request.param]
    tokenizer = tokenizer_of(style, tiny_tokenizer)
    return request.param, style, tokenizer, ChatTemplate(tokenizer)


def resized(model, tokenizer):
    model.resize_token_embeddings(len(tokenizer))
    model.config.max_position_embeddings = 1000
    return model


def made_to_write(model, tokenizer, text, end):
    """Make a model write a text whatever it reads, and then its end, and then more, as often as it is asked."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    written = [*ids, tokenizer.convert_tokens_to_ids(end), *ids * 3]
    place = 0

    def begin(module, args, options):
        nonlocal place
        place = 0 if options.get("past_key_values") is None else place + 1

    def replace(module, args, output):
        scores = torch.zeros_like(output)
        scores[..., written[min(place, len(written) - 1)]] = 1
        return scores

    model.register_forward_pre_hook(begin, with_kwargs=True)
    model.get_output_embeddings().register_forward_hook(replace)
    return model


def test_only_what_ends_a_turn_ends_it(styled):
    _, style, tokenizer, template = styled
    assert tokenizer.convert_ids_to_tokens(turn_end(tokenizer, template)) == style.end
    ends = set(tokenizer.convert_ids_to_tokens(end_ids(None, tokenizer, template)))
    assert ends == {style.eos, style.end}


def test_an_answer_of_several_lines_is_learnt_with_its_end(styled):
    _, style, tokenizer, template = styled
    for text in LINES:
        rows = Dataset.from_list([{"messages": [user("Name them."), assistant(text)]}])
        labels = [label for label in tokenize(tokenizer, rows, template=template)[0]["labels"] if label != IGNORED]
        assert tokenizer.convert_ids_to_tokens(labels[-1]) == style.end
        learnt = tokenizer.decode(labels, skip_special_tokens=True)
        assert learnt.replace("<|im_end|>", "").strip().endswith(text.strip())


@pytest.mark.parametrize("text", LINES)
def test_an_answer_of_several_lines_comes_back_whole(styled, tiny_model, text):
    _, style, tokenizer, template = styled
    model = made_to_write(resized(tiny_model, tokenizer), tokenizer, text, style.end)
    limited = {"template": template, "max_new_tokens": 200}
    assert answer(model, tokenizer, ["Name them."], **limited) == [text.strip()]
    assert answer(model, tokenizer, [TURNS[:3]], **limited) == [text.strip()]
    assert "".join(stream(model, tokenizer, "Name them.", **limited)) == text.strip()
    chat_model, settings = (
        ChatModel("it", model, tokenizer, template),
        Settings(0.0, repetition_penalty=1.0, max_new_tokens=200),
    )
    last = list(reply(chat_model, [user("Name them.")], settings))[-1]
    assert (last.text, last.end) == (text.strip(), "ended by the model")
    found = evaluate({"it": (model, tokenizer)}, [{"question": "Name them.", "answer": text}], **limited)
    assert list(found.table["answer"]) == [text.strip()]


def test_a_prompt_is_the_tokenizers_own_and_the_beginning_of_what_training_sees(styled):
    name, _, tokenizer, template = styled
    for count in (1, 3):
        asked = TURNS[:count]
        prompt = encode_segments(tokenizer, template.render_prompt(asked))
        trained = encode_segments(tokenizer, template.render(TURNS[: count + 1]))
        assert trained[: len(prompt)] == prompt
        if count == 1 or name not in (*THINKING, *WITHOUT_AN_END):
            theirs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
            assert prompt == theirs


@pytest.mark.parametrize("name", THINKING)
def test_every_answer_of_a_model_that_reasons_is_learnt_behind_its_own_prompt(tiny_tokenizer, name):
    tokenizer = tokenizer_of(STYLES[name], tiny_tokenizer)
    template = ChatTemplate(tokenizer)
    text = "".join(segment.text for segment in template.render(TURNS))
    opening = tokenizer.apply_chat_template(TURNS[:1], add_generation_prompt=True, tokenize=False)
    opening = opening[opening.index("Name three.") + len("Name three.") :]
    for said in ("one\ntwo\nthree", "a\nb"):
        before = text[: text.index(said)]
        assert before.endswith("<think>\n\n</think>\n\n")
        assert opening in before[before.rindex("?" if said == "a\nb" else "three.") :]


@pytest.mark.parametrize("name", ["deepseek-r1", "qwen 3"])
def test_reasoning_is_a_target_and_is_not_lost(tiny_tokenizer, name):
    tokenizer = tokenizer_of(STYLES[name], tiny_tokenizer)
    said = [assistant("<think>\nI count.\n</think>\n\nOne."), assistant("<think>Again.</think>Two.")]
    segments = ChatTemplate(tokenizer).render([user("Count."), said[0], user("On."), said[1]])
    learnt = "".join(segment.text for segment in segments if segment.is_target).replace("<think>", "")
    end = STYLES[name].end
    assert learnt.split() == f"I count. </think> One.{end} Again. </think> Two.{end}".split() or (
        "".join(learnt.split()) == "".join(f"I count.</think>One.{end}Again.</think>Two.{end}".split())
    )


def test_reasoning_behind_a_prompt_that_closed_it_is_refused(tiny_tokenizer):
    template = ChatTemplate(tokenizer_of(STYLES["qwen 3, no thinking"], tiny_tokenizer))
    with pytest.raises(DataError, match=r"messages\[1\]: the answer holds reasoning"):
        template.render([user("Count."), assistant("<think>Well.</think>One.")])


LISTS = (
    "{% for m in messages %}[{{ m.role }}]{% if m.content is not string %}{{ m.content[0].text }}{% endif %}</s>"
    "{% endfor %}"
)


def test_a_template_that_leaves_out_a_text_is_refused(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = LISTS
    with pytest.raises(DataError, match=r"messages\[0\]: the chat template leaves out the text of role 'user'"):
        ChatTemplate(tokenizer).render(TURNS[:2])


def ends_in(folder):
    return json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]


@pytest.fixture
def base(tmp_path, tiny_model, tiny_tokenizer):
    """Write a model whose template ends a turn with another token than its tokenizer ends a text."""
    tokenizer = tokenizer_of(STYLES["chatml, another eos"], tiny_tokenizer)
    tiny_model.resize_token_embeddings(len(tokenizer))
    tiny_model.generation_config.eos_token_id = [tokenizer.eos_token_id, 7]
    tiny_model.save_pretrained(tmp_path / "base")
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [{"question": "Name them.", "answer": LINES[0]}] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "base", [tokenizer.eos_token_id, 7, tokenizer.convert_tokens_to_ids("<|im_end|>")]


def trained(base, *, template="tokenizer", steps=2, engine="loop", lora=None):
    values = {
        "model": {"name": str(base), "lora": lora},
        "data": {"source": str(base.parent / "rows.jsonl"), "validation_share": 0, "template": template},
        "train": {"max_steps": steps, "batch_size": 4, "learning_rate": 1e-2},
        "engine": engine,
    }
    return train(FinetuneConfig.from_dict(values), base.parent / f"run-{engine}-{template}-{bool(lora)}")


@pytest.mark.parametrize("engine", ["loop", "hf", "lightning", "trl"])
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["full", "lora"])
def test_the_checkpoints_of_every_engine_carry_the_ends(base, engine, lora):
    folder, ends = base
    run = trained(folder, engine=engine, lora=lora)
    assert sorted(ends_in(run.last.folder)) == sorted(ends)
    model, _ = load_model(run.folder)
    if lora:
        model = model.merge_and_unload()
    model.save_pretrained(folder.parent / "merged")
    assert sorted(ends_in(folder.parent / "merged")) == sorted(ends)


@pytest.mark.parametrize("template", ["tokenizer", "chatml"])
def test_a_tuned_model_stops_in_every_program(base, template, monkeypatch):
    folder, _ = base
    run = trained(folder, template=template, steps=120)
    tokenizer = AutoTokenizer.from_pretrained(run.last.folder)
    model = AutoModelForCausalLM.from_pretrained(run.last.folder)
    asked = [user("Name them.")]
    inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = model.generate(**{"input_ids": inputs["input_ids"]}, max_new_tokens=30, do_sample=False)[0]
    assert tokenizer.decode(ids[inputs["input_ids"].shape[1] :]) == LINES[0] + "<|im_end|>"
    monkeypatch.chdir(folder.parent)
    options = ["--model", str(run.folder), "--max-new-tokens", "30"]
    shown = CliRunner().invoke(cli.app, ["generate", "--chat", *options, "Name them."])
    assert shown.stdout == LINES[0] + "\n"
    (folder.parent / "asked.jsonl").write_text(
        json.dumps({"question": "Name them.", "answer": LINES[0]}), encoding="utf-8"
    )
    told = json.loads(CliRunner().invoke(cli.app, ["evaluate", "asked.jsonl", "--json", *options]).stdout)
    assert [row["answer"] for row in told["table"]] == [LINES[0]]


def test_a_server_gets_the_ends(base):
    folder, ends = base
    run = trained(folder)
    _lay_out(folder.parent / "served", run.folder, None, None)
    assert sorted(ends_in(folder.parent / "served")) == sorted(ends)
    model, tokenizer = load_model(folder)
    _lay_out(folder.parent / "held", model, tokenizer, CHATML)
    assert sorted(ends_in(folder.parent / "held")) == sorted(ends)


def test_a_saved_model_carries_the_ends_of_its_tokenizers_template(base):
    folder, ends = base
    model, tokenizer = load_model(folder)
    saved = save_model(model, tokenizer, folder.parent / "saved")
    assert ends_in(saved) == ends
    assert model.generation_config.eos_token_id == ends[:2]  # the caller's own stays as it was


def test_ends_that_are_there_stay_and_none_comes_twice(tiny_tokenizer):
    settings = GenerationConfig(eos_token_id=[5, 0])
    for _ in range(2):
        set_ends(tiny_tokenizer, settings, QUESTION_ANSWER)
    assert settings.eos_token_id == [5, 0]
    settings = GenerationConfig()
    set_ends(tiny_tokenizer, settings, QUESTION_ANSWER)
    assert settings.eos_token_id == tiny_tokenizer.eos_token_id


KINDS = {
    "nothing": {"bos": False, "eos": False},
    "a beginning": {"bos": True, "eos": False},
    "an end": {"bos": False, "eos": True},
    "both": {"bos": True, "eos": True},
}


@pytest.fixture(params=KINDS)
def around(request, tiny_tokenizer):
    return beginning_with(tiny_tokenizer, **KINDS[request.param]), KINDS[request.param]["bos"]


def count_beginnings(ids, tokenizer):
    assert tokenizer.bos_token_id not in ids[1:]
    return ids[:1] == [tokenizer.bos_token_id]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("system", [False, True])
def test_a_text_begins_once_as_the_tokenizer_begins_it(around, name, system):
    tokenizer, begins = around
    template = TEMPLATES[name]
    turns = [{"role": "system", "content": "Be brief."}] * system + [user("Why <s>?"), assistant("So.")]
    row = tokenize(tokenizer, Dataset.from_list([{"messages": turns}]), template=template, max_length=500)[0]
    prompt = encode_segments(tokenizer, template.render_prompt(turns[:-1]))
    assert count_beginnings(row["input_ids"], tokenizer) == begins
    assert row["input_ids"][: len(prompt)] == prompt
    assert [label for label in row["labels"] if label != IGNORED].count(tokenizer.eos_token_id) == 1
    assert tokenizer.eos_token_id not in prompt
    served = copy.deepcopy(tokenizer)  # by any program that lays out with the chat template of a checkpoint
    served.chat_template = to_jinja(template, tokenizer)
    plain = [{**turn, "content": turn["content"].replace("<s>", "")} for turn in turns[:-1]]
    theirs = served.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
    assert served.decode(theirs) == served.decode(encode_segments(tokenizer, template.render_prompt(plain)))
    assert template_of(served) is template
    assert encode_segments(served, ChatTemplate(served).render_prompt(plain))[:1] == theirs[:1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cut_row_keeps_its_beginning(around, side):
    tokenizer, begins = around
    turns = [{"role": "system", "content": "Be brief. " * 9}, user("Why? " * 9), assistant("So.")]
    rows = Dataset.from_list([{"messages": turns}])
    with pytest.warns(UserWarning, match="truncated 1"):
        ids = tokenize(tokenizer, rows, max_length=40, truncation_side=side)[0]["input_ids"]
    assert (len(ids), count_beginnings(ids, tokenizer)) == (40, begins)


@pytest.mark.parametrize("written", [False, True], ids=["template without", "template with"])
def test_a_chat_template_decides_about_the_beginning_itself(around, written):
    tokenizer, _ = around
    tokenizer.chat_template = "{{ bos_token }}" * written + STYLES["human"].program
    prompt = encode_segments(tokenizer, ChatTemplate(tokenizer).render_prompt(TURNS[:1]))
    assert prompt == tokenizer.apply_chat_template(TURNS[:1], add_generation_prompt=True, return_dict=False)
    assert count_beginnings(prompt, tokenizer) == written


def read_by(model, monkeypatch):
    seen = []
    model.register_forward_pre_hook(lambda module, args, options: seen.append(options["input_ids"]), with_kwargs=True)
    return seen


def test_a_raw_prompt_is_read_as_the_tokenizer_reads_it(around, tiny_model, monkeypatch):
    tokenizer, begins = around
    seen = read_by(resized(tiny_model, tokenizer), monkeypatch)
    begin = [tokenizer.bos_token_id] * begins
    bare = tokenizer("Why?", add_special_tokens=False)["input_ids"]
    expected = {
        "Why?": [*begin, *bare],
        "<s>Why?": [tokenizer.bos_token_id, *bare],
        "Why?</s>": [*begin, *bare, tokenizer.eos_token_id],
    }
    for prompt, ids in expected.items():
        seen.clear()
        generate(tiny_model, tokenizer, [prompt], max_new_tokens=1)
        assert seen[0].tolist() == [ids]


def test_a_prompt_of_apply_chat_template_can_be_continued(styled, tiny_model, monkeypatch):
    _, _, tokenizer, template = styled
    seen = read_by(resized(tiny_model, tokenizer), monkeypatch)
    text = tokenizer.apply_chat_template(TURNS[:1], add_generation_prompt=True, tokenize=False)
    generate(tiny_model, tokenizer, [text], max_new_tokens=1)
    answer(tiny_model, tokenizer, ["Name three."], template=template, max_new_tokens=1)
    assert tokenizer.decode(seen[0][0]) == tokenizer.decode(seen[1][0])
    specials = set(tokenizer.all_special_ids)
    first, second = ([token for token in ids[0].tolist() if token in specials] for ids in seen[:2])
    assert first == second
