"""``ftlib generate``, ``chat`` and ``serve``: what they hand on, and what they print."""

import csv
import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from ftlib import cli
from ftlib.chat.feedback import FeedbackFile
from ftlib.cli.generate import _load, _read
from ftlib.cli.usage import WrongUsage
from ftlib.data.messages import assistant, user
from ftlib.data.reading import load_conversations
from ftlib.data.writing import save_conversations
from ftlib.errors import DataError, ModelError, PromptTooLongError
from ftlib.hosted.finetuning_file import check_finetuning_file, write_finetuning_file
from ftlib.inference.generation import answer, generate
from ftlib.models.loading import load_model, save_model
from ftlib.models.trainable import add_lora
from ftlib.pretraining.corpus import package_names
from ftlib.text.templates import get_template
from tests.waiting import HUNG_SECONDS

PROMPTS = ["A tokenizer turns", "The loss"]


def run(*arguments, **options):
    return CliRunner().invoke(cli.app, ["generate", "--max-new-tokens", "4", *arguments], **options)


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


def test_the_text_of_one_prompt_is_printed_alone(nano):
    result = run(PROMPTS[0], "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout == generate(*nano, PROMPTS[:1], max_new_tokens=4)[0] + "\n"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "Why?", "--chat", "--max-new-tokens", "2"],
        ["evaluate", "faq", "--limit", "2", "--max-new-tokens", "2"],
        ["chat", "nano", "--terminal"],
    ],
    ids=lambda command: command[0],
)
def test_a_model_is_asked_in_the_type_that_is_named(command, dtype, monkeypatch):
    loaded = []

    def load(*arguments, **options):
        loaded.append(load_model(*arguments, **options))
        return loaded[-1]

    for place in ("ftlib.models.loading.load_model", "ftlib.models.chat_model.load_model"):
        monkeypatch.setattr(place, load)
    result = CliRunner().invoke(cli.app, [*command, "--device", "cpu", "--dtype", dtype], input="Why?\n/quit\n")
    assert result.exit_code == 0, result.output
    ((model, _),) = loaded
    assert model.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("command", [["generate", "Why?"], ["evaluate", "faq"], ["chat", "nano"]], ids=lambda it: it[0])
def test_a_type_that_is_unknown_is_named(command):
    result = CliRunner().invoke(cli.app, [*command, "--dtype", "bf16"])
    assert isinstance(result.exception, ModelError)
    told = "unknown dtype 'bf16'; expected one of float32, bfloat16, float16; did you mean 'bfloat16'?"
    assert str(result.exception) == told


def test_several_prompts_stand_above_their_texts(nano, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n\n".join(PROMPTS) + "\n", encoding="utf-8")
    shown = run("--file", str(tmp_path / "prompts.txt")).stdout
    first, second = generate(*nano, PROMPTS, max_new_tokens=4)
    assert shown == f"{PROMPTS[0]}\n{first}\n\n{PROMPTS[1]}\n{second}\n"


@pytest.mark.parametrize("arguments", [[], ["--file", "-"]])
def test_prompts_come_from_standard_input_as_well(arguments):
    found = json.loads(run("--json", *arguments, input="Where?\n\nWhen?\n").stdout)
    assert [row["prompt"] for row in found["rows"]] == ["Where?", "When?"]


@pytest.mark.parametrize(
    ("arguments", "template"), [(["--chat"], "question-answer"), (["--template", "alpaca"], "alpaca")]
)
def test_a_question_is_asked_in_its_template(nano, arguments, template):
    expected = answer(*nano, PROMPTS, template=get_template(template), max_new_tokens=4)
    found = json.loads(run("--model", "nano", "--json", *arguments, *PROMPTS).stdout)
    assert found == {
        "model": "nano",
        "rows": [{"prompt": prompt, "text": text} for prompt, text in zip(PROMPTS, expected, strict=True)],
    }
    assert run(*arguments, "--stream", PROMPTS[0]).stdout == expected[0] + "\n"


def test_a_draw_can_be_repeated():
    drawn = [
        run(*PROMPTS, "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9", "--seed", str(seed)).stdout
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_run_is_asked_in_the_template_of_its_configuration(tmp_path, monkeypatch):
    """The run stands for any whose configuration names another template than its tokenizer would."""
    config = {"data": {"template": "alpaca", "custom_template": None}, "model": {"name": "nano"}}
    monkeypatch.setattr("ftlib.models.chat_model.run_config", lambda name: config if name == "runs/mine" else None)
    monkeypatch.setattr("ftlib.models.loading.load_model", lambda name, **how: load_nano())
    load_nano = partial(load_model, "nano", device="cpu")
    chatted = json.loads(run("--model", "runs/mine", "--chat", "--json", PROMPTS[0]).stdout)["rows"]
    assert chatted == json.loads(run("--template", "alpaca", "--json", PROMPTS[0]).stdout)["rows"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["Why?", "--stream"], "--stream goes with"),
        (["Why?", "--chat", "--stream", "--json"], "--stream goes with"),
        (["Why?", "--chat", "--template", "alpaca"], "finds the template by itself"),
        (["Why?", "--file", "-"], "not both"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_usage(arguments, why):
    result = run(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr


def test_prompts_that_cannot_be_used(tmp_path):
    assert run(input="\n \n").exit_code == 2
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert isinstance(run("--file", str(tmp_path / "latin.txt")).exception, DataError)
    assert isinstance(run("token " * 300).exception, PromptTooLongError)


def test_text_cannot_command_the_terminal(monkeypatch):
    monkeypatch.setattr("ftlib.inference.generation.generate", lambda *_, **__: ["\x1b[2Jgone [bold]"])
    assert run("Why?").stdout == "\\x1b[2Jgone [bold]\n"


def chat(monkeypatch, *arguments):
    """Return what ``ftlib chat`` calls, with what."""
    called = []
    for name in ("launch", "talk"):
        monkeypatch.setattr(
            f"ftlib.chat.{name}", lambda *given, name=name, **named: called.append((name, given, named))
        )
    result = CliRunner().invoke(cli.app, ["chat", *arguments])
    return result, called


def test_chat_opens_the_page(monkeypatch):
    options = ["--compare", "--port", "8000", "--temperature", "0", "--seed", "3"]
    _, [(name, given, named)] = chat(monkeypatch, "nano", "runs/faq", *options)
    assert (name, given) == ("launch", (["nano", "runs/faq"],))
    assert (named["compare"], named["port"], named["open_browser"]) == (True, 8000, False)
    assert (named["settings"].temperature, named["settings"].seed) == (0, 3)


def test_chat_in_the_terminal_takes_one_model_or_compares_two(monkeypatch):
    cases = {("--terminal",): (["nano"], False), ("--terminal", "runs/faq", "--compare"): (["runs/faq"], True)}
    cases[("--terminal", "nano", "runs/faq")] = (["nano", "runs/faq"], False)
    for arguments, (models, compare) in cases.items():
        _, [(name, given, named)] = chat(monkeypatch, *arguments)
        assert (name, given, named["compare"]) == ("talk", (models,), compare)


def test_serve_hands_on_the_template_and_stops_quietly(monkeypatch):
    called = {}

    class Server:
        base_url, model = "http://127.0.0.1:1/v1", "mine"

        def __init__(self, model, **options):
            called.update(options, model_name=model)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            called["stopped"] = True

    def wait(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("ftlib.hosted.server.local_server", Server)
    monkeypatch.setattr("threading.Event.wait", wait)
    result = CliRunner().invoke(cli.app, ["serve", "nano", "--port", "1", "--name", "mine"])
    assert result.exit_code == 0, result.output
    assert "mine answers at http://127.0.0.1:1/v1" in result.stdout
    assert called["stopped"]
    assert (called["model_name"], called["name"], called["port"]) == ("nano", "mine", 1)
    assert called["template"].name == "question-answer"
    found = json.loads(CliRunner().invoke(cli.app, ["serve", "--json"]).stdout)
    assert found == {"base_url": "http://127.0.0.1:1/v1", "model": "mine"}


@pytest.mark.slow
def test_a_served_model_answers_until_ctrl_c():
    command = [sys.executable, "-m", "ftlib.cli", "serve", "--device", "cpu", "--json"]
    # A shell starts background jobs deaf to Ctrl-C, and they pass that on: listen again.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=listen, env=os.environ
    )
    try:
        assert select.select([process.stdout], [], [], HUNG_SECONDS)[0], "the server says nothing"
        server = json.loads(process.stdout.readline())
        body = {
            "model": server["model"],
            "max_tokens": 4,
            "messages": [{"role": "user", "content": "What is padding?"}],
        }
        request = urllib.request.Request(  # noqa: S310 (our own server)
            f"{server['base_url']}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert json.load(opener.open(request, timeout=HUNG_SECONDS))["choices"][0]["message"]["role"] == "assistant"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=HUNG_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, error
    assert error == "The server is stopped.\n"


def test_wrong_usage_is_what_typer_calls_it():
    assert WrongUsage.__name__ == "UsageError"


NO_LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # str.splitlines() would end a line at each


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("letter", NO_LINE_ENDS)
def test_only_a_line_end_ends_a_prompt(tmp_path, letter, end):
    prompts = [f"first{letter}still the first", "second"]
    (tmp_path / "prompts.txt").write_bytes((end.join(prompts) + end).encode())
    with (tmp_path / "prompts.txt").open(encoding="utf-8") as file:
        assert _read([], file) == prompts


@pytest.mark.parametrize("letter", NO_LINE_ENDS)
def test_only_a_line_end_ends_a_row(tmp_path, letter):
    """Wherever rows are read line by line: data files, ratings, files for a hosted job, lists of packages."""
    text = f"a{letter}b"
    row = {"messages": [user(text), assistant(text)]}
    for name in ("rows.jsonl", "rows.json"):
        save_conversations([row] * 2, tmp_path / name)
        assert load_conversations(tmp_path / name)["messages"] == [row["messages"]] * 2
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], [text, text]])
    assert load_conversations(tmp_path / "rows.csv")["messages"] == [row["messages"]]
    ratings = FeedbackFile(tmp_path / "ratings.jsonl")
    for model in ("one", "two"):
        ratings.rate(row["messages"], model=model, is_good=True)
    assert len(load_conversations(tmp_path / "ratings.jsonl")) == 2
    write_finetuning_file([row["messages"]] * 10, tmp_path / "tune.jsonl")
    report = check_finetuning_file(tmp_path / "tune.jsonl")
    assert (report.rows, report.problems) == (10, ())
    (tmp_path / "packages.txt").write_text(f"# not{letter}this==1\nnumpy==2.0\n", encoding="utf-8")
    assert package_names(tmp_path / "packages.txt") == ["numpy"]


@pytest.mark.parametrize("chat", [False, True])
def test_an_adapter_is_merged_before_it_writes(tmp_path, tiny_model, tiny_tokenizer, chat):
    """Beside the matrices, its own would be multiplied for every token anew."""
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    save_model(add_lora(load_model(tmp_path / "base")[0], rank=2), tiny_tokenizer, tmp_path / "adapter")
    _, (model, _) = _load(str(tmp_path / "adapter"), "cpu", "float32", chat=chat, template=None)
    assert type(model) is type(tiny_model)
    assert not any("lora" in name for name, _ in model.named_parameters())
