"""What is written for Ollama and vLLM: neither runs here, so what they would read is read back."""

import copy
import re

import pytest
import yaml
from jinja2 import Environment
from typer.testing import CliRunner

from ftlib import cli
from ftlib.data.messages import assistant, user
from ftlib.errors import ExportError
from ftlib.export.go_template import go_template
from ftlib.export.ollama import export_ollama
from ftlib.export.vllm import export_vllm
from ftlib.models.loading import save_model
from ftlib.text.chat_template import ChatTemplate, to_jinja
from ftlib.text.templates import CHATML as OUR_CHATML
from ftlib.text.templates import TEMPLATES, TextTemplate
from tests.export.test_export import same_model
from tests.export.test_gguf import CHATML
from tests.models.test_small_llama import TEMPLATE as WITH_A_SYSTEM_MESSAGE

SYSTEM = {"role": "system", "content": 'Say "no" {{ .Content }}.'}
TALKS = [
    [user("Why {{ end }}?")],
    [SYSTEM, user("Why?")],
    [user("Why?"), assistant("So.\n"), user(" And then?")],
    [SYSTEM, user("Why?"), assistant("So."), user("And then?"), assistant("Then."), user("Well?")],
]
AWKWARD = TextTemplate(
    "awkward",
    before_user='\t"""{{ if }}',
    before_assistant=" \\n}} ",
    end_marker="\n\n",
    between_turns=" é ",
    opening="  ",
)
# What a statement of Go's templates is called in Jinja; Go's trims space as Jinja's does.
WORDS = {
    "range $i, $message := .Messages": "for message in messages",
    "$last := eq (len (slice $.Messages $i)) 1": "set last = loop.last",
    "if not .System": "if not system",
    "if not $last": "if not last",
    **{f'if eq .Role "{role}"': f"if message.role == '{role}'" for role in ("system", "user", "assistant")},
}


def run_go(program, messages):
    """Run a program for Go's text/template with what Ollama gives it, by way of Jinja."""
    opened = []

    def translated(found):
        dash, statement = found.groups()
        if statement.startswith(('"', ".Content")):
            return f"{{{{{dash} {statement.replace('.Content', 'message.content')} }}}}"
        if statement == "end":
            return f"{{%{dash} end{opened.pop()} %}}"
        if statement.startswith("else "):
            return f"{{%{dash} el{WORDS[statement.removeprefix('else ')]} %}}"
        if statement.split()[0] in ("range", "if"):
            opened.append("for" if statement.startswith("range") else "if")
        return f"{{%{dash} {WORDS[statement]} %}}"

    jinja = re.sub(r'\{\{(-?) ((?:"(?:\\.|[^"\\])*"|[^"}])*?) \}\}', translated, program)
    assert opened == []
    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    return Environment(autoescape=False).from_string(jinja).render(messages=messages, system=system)  # noqa: S701


@pytest.fixture
def tokenizer(tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


@pytest.mark.parametrize("template", [*TEMPLATES.values(), AWKWARD], ids=[*TEMPLATES, "awkward"])
@pytest.mark.parametrize("talk", TALKS, ids=range(len(TALKS)))
def test_our_templates_give_the_text_of_training(tiny_tokenizer, template, talk):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = to_jinja(template, tokenizer)
    program = go_template(tokenizer, template)
    assert run_go(program, talk) == tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert '"""' not in program


@pytest.mark.parametrize("program", [CHATML, WITH_A_SYSTEM_MESSAGE], ids=["chatml", "with a system message"])
@pytest.mark.parametrize("talk", TALKS, ids=range(len(TALKS)))
def test_chatml_of_a_tokenizer_is_known(tokenizer, program, talk):
    tokenizer.chat_template = program
    found = run_go(go_template(tokenizer, ChatTemplate(tokenizer)), talk)
    assert found == tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)


def test_an_end_that_is_only_text_has_the_end_of_text_behind_it(tiny_tokenizer):
    assert f'"<|im_end|>{tiny_tokenizer.eos_token}"' in go_template(tiny_tokenizer, OUR_CHATML)


@pytest.mark.parametrize(
    "program",
    [
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}</s>{% endfor %}",
        CHATML.replace("{{ m.content }}", "{{ m.content | trim }}"),
        CHATML.replace("<|im_end|>\n", "<|im_end|>"),
    ],
)
def test_another_chat_template_is_refused_with_what_to_do(tokenizer, program):
    tokenizer.chat_template = program
    asked = [user("One?"), assistant("Two."), user("Three?")]
    if "trim" in program:  # it is ChatML for what has no space around it, and must stay so
        assert run_go(go_template(tokenizer, ChatTemplate(tokenizer)), asked)
        return
    with pytest.raises(ExportError, match="write TEMPLATE in a Modelfile by hand"):
        go_template(tokenizer, ChatTemplate(tokenizer))


def test_a_folder_for_ollama(tmp_path, tiny_model, tokenizer):
    tokenizer.chat_template = CHATML
    tiny_model.resize_token_embeddings(len(tokenizer))
    save_model(tiny_model, tokenizer, tmp_path / "model")
    folder = export_ollama(str(tmp_path / "model"), tmp_path / "out", quantization="q8_0")
    assert sorted(path.name for path in folder.iterdir()) == ["Modelfile", "model.gguf"]
    assert (folder / "model.gguf").read_bytes()[:4] == b"GGUF"
    text = (folder / "Modelfile").read_text(encoding="utf-8")
    first, program, rest = re.fullmatch(r'(.*?)\nTEMPLATE """(.*?)"""\n(.*)', text, flags=re.S).groups()
    assert first == "FROM ./model.gguf"
    assert program == go_template(tokenizer, ChatTemplate(tokenizer))
    assert rest.splitlines() == [
        f'PARAMETER stop "{tokenizer.eos_token}"',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        "PARAMETER num_ctx 64",
    ]


def test_a_template_that_cannot_be_translated_leaves_nothing(tmp_path, tiny_model, tiny_tokenizer):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    tiny_model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ExportError, match="by hand"):
        export_ollama(str(tmp_path / "model"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_for_vllm(tmp_path):
    folder = export_vllm("nano", tmp_path / "out", dtype="float32")
    same_model(folder, "nano")
    assert yaml.safe_load((folder / "vllm.yaml").read_text(encoding="utf-8")) == {
        "model": ".",
        "served-model-name": "nano",
        "dtype": "float32",
        "max-model-len": 256,
        "generation-config": "auto",
    }


@pytest.mark.parametrize("to", ["ollama", "vllm"])
def test_the_command_names_a_folder_after_the_format(tmp_path, monkeypatch, to):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["export", "nano", "--to", to])
    assert done.exit_code == 0, done.output
    assert f"nano-{to} is written" in done.stdout
