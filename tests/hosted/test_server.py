import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from ftlib.errors import ConfigError, MissingExtraError, ModelError, ProviderError
from ftlib.export.gguf_file import export_gguf
from ftlib.hosted import ask
from ftlib.hosted.server import _lay_out, local_server
from ftlib.inference.generation import answer
from ftlib.models.loading import save_model
from ftlib.text.chat_template import template_of
from ftlib.text.templates import ALPACA, CHATML, QUESTION_ANSWER
from tests.waiting import HUNG_SECONDS, wait_until

QUESTIONS = ["What is a token?", "Why is a batch padded?"]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are ended in POSIX's way")


def accepts(port, host="127.0.0.1"):
    try:
        with socket.create_connection((host, port), timeout=HUNG_SECONDS):
            return True
    except OSError:
        return False


def port_of(server):
    return int(re.fullmatch(r"http://127\.0\.0\.1:([0-9]+)/v1", server.base_url)[1])


def servers_of(process):
    """Return the local servers that a process has started."""
    modules = {"ftlib.hosted.serve_transformers", "ftlib.hosted.serve_gguf"}
    return [child for child in process.children() if is_alive(child) and modules & set(child.cmdline())]


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="module")
def gguf_file(_tiny_model, tiny_tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    save_model(_tiny_model, tiny_tokenizer, folder / "tiny")
    return export_gguf(str(folder / "tiny"), folder / "tiny.gguf", quantization="f16")


@pytest.fixture(scope="module", params=["transformers", "gguf"])
def served(request, _tiny_model, tiny_tokenizer, gguf_file):
    if request.param == "gguf":
        server = local_server(gguf_file)
    else:
        server = local_server(_tiny_model, tokenizer=tiny_tokenizer, name="tiny", template=QUESTION_ANSWER)
    with server as running:
        (process,) = servers_of(psutil.Process())
        yield running
    assert not is_alive(process)


def test_it_answers_as_the_model_itself_does(served, tiny_model, tiny_tokenizer):
    replies = ask("local", QUESTIONS, base_url=served.base_url, model=served.model, max_tokens=8)
    expected = answer(tiny_model, tiny_tokenizer, QUESTIONS, max_new_tokens=8)
    assert [reply.text.strip() for reply in replies] == expected
    assert all(reply.output_tokens <= 8 and reply.input_tokens > 8 for reply in replies)
    assert served.model == "tiny"


def test_it_draws_when_asked_to(served):
    drawn = {
        ask("local", ["Why?"], base_url=served.base_url, model="tiny", max_tokens=8, temperature=2.0)[0].text
        for _ in range(4)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize("served", ["transformers"], indirect=True)
def test_it_serves_one_model_only(served):
    with pytest.raises(ProviderError, match="pinned to 'tiny'") as caught:
        ask("local", ["Why?"], base_url=served.base_url, model="gpt2")
    assert caught.value.status == 400


def test_no_page_of_another_site_may_read_its_answers(served):
    """llama.cpp's server by itself would let any of them."""
    url = served.base_url.removesuffix("/v1") + "/health"
    request = urllib.request.Request(url, headers={"Origin": "http://elsewhere.example"})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=HUNG_SECONDS) as response:
        assert not response.headers["Access-Control-Allow-Origin"]


def test_it_listens_on_loopback_only(served):
    assert accepts(port_of(served))
    (process,) = servers_of(psutil.Process())
    listening = [one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", port_of(served))]


def test_it_streams_over_the_real_client(served):
    import openai

    with openai.OpenAI(api_key="none", base_url=served.base_url) as client:
        stream = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Why?"}], stream=True, max_tokens=8, temperature=0
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    whole = ask("local", ["Why?"], base_url=served.base_url, model="tiny", max_tokens=8)[0].text
    assert text
    assert text.rstrip("\ufffd") == whole.rstrip("\ufffd")  # of half a character at the end, one streams nothing


PARENT = """
import sys, threading
from ftlib.hosted.server import local_server
with local_server(sys.argv[1]) as server:
    print(server.base_url, flush=True)
    threading.Event().wait()
"""


def test_it_ends_with_its_parent_even_after_a_sigkill(tmp_path, tiny_model, tiny_tokenizer):
    save_model(tiny_model, tiny_tokenizer, tmp_path / "model")
    place = tmp_path / "temporary"
    place.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "model")],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"TMPDIR": str(place)},
    )
    try:
        port = int(re.search(r":([0-9]+)/", parent.stdout.readline())[1])
        assert accepts(port)
        (server,) = servers_of(psutil.Process(parent.pid))
        assert list(place.iterdir())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    wait_until(lambda: not is_alive(server), "the end of the server")
    assert not list(place.iterdir())  # its temporary folder went first


def test_a_server_that_does_not_start_says_why(tmp_path, tiny_model, tiny_tokenizer):
    folder = save_model(tiny_model, tiny_tokenizer, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="the local server ended at once") as caught, local_server(folder):
        pass
    assert "safetensors" in str(caught.value).lower() or "header" in str(caught.value).lower()


def test_a_gguf_file_that_can_not_be_served_says_why(tmp_path, gguf_file, tiny_tokenizer, monkeypatch):
    cut, page = tmp_path / "cut.gguf", tmp_path / "page.gguf"
    cut.write_bytes(gguf_file.read_bytes()[:2000])
    page.write_text("<!doctype html>", encoding="utf-8")
    cases = [
        (tmp_path / "none.gguf", {}, ModelError, "none.gguf: No such file.*ftlib export RUN --to gguf"),
        (page, {}, ModelError, "is no GGUF file: it begins with b'<!do'"),
        (cut, {}, ModelError, "(?s)ended at once .*failed to load model"),
        (gguf_file, {"tokenizer": tiny_tokenizer}, ConfigError, "tokenizer: a GGUF file brings its own"),
        (gguf_file, {"template": CHATML}, ConfigError, "template: a GGUF file brings its own"),
        (gguf_file, {"device": "cuda"}, ConfigError, "device 'cuda': a GGUF file is served on the cpu"),
    ]
    for file, options, error, told in cases:
        with pytest.raises(error, match=told), local_server(file, **options):
            pass
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtraError, match=r"xllamacpp: install it with pip"), local_server(gguf_file):
        pass


def test_a_folder_is_linked_and_gets_its_template(tmp_path, tiny_model, tiny_tokenizer):
    folder = save_model(tiny_model, tiny_tokenizer, tmp_path / "model")
    (folder / "vocab.json").write_text("not to be written to", encoding="utf-8")
    (folder / "json.py").write_text("raise SystemExit", encoding="utf-8")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    _lay_out(tmp_path / "served", folder, None, CHATML)
    served = tmp_path / "served"
    assert {file.name for file in served.iterdir() if file.is_symlink()} == {"config.json", "model.safetensors"}
    assert not (served / "json.py").exists()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    settings = json.loads((served / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["do_sample"] is True
    assert settings["eos_token_id"] == tiny_tokenizer.eos_token_id
    from ftlib.models.loading import load_tokenizer

    assert template_of(load_tokenizer(served)) is CHATML
    assert template_of(load_tokenizer(folder)) is QUESTION_ANSWER


def test_an_adapter_is_put_into_the_weights(tmp_path, tiny_model, tiny_tokenizer):
    import torch
    from peft import LoraConfig, get_peft_model

    from ftlib.models.loading import load_model, quiet_peft

    with quiet_peft():
        adapted = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["query_key_value"]))
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        names = set(dict(adapted.named_parameters()))
        _lay_out(tmp_path / "served", adapted, tiny_tokenizer, ALPACA)
    assert set(dict(adapted.named_parameters())) == names
    assert tiny_tokenizer.chat_template is None
    merged, tokenizer = load_model(tmp_path / "served", device="cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-5)
    assert template_of(tokenizer) is ALPACA


def test_arguments(tiny_model, monkeypatch):
    with pytest.raises(ModelError, match="without its tokenizer"), local_server(tiny_model):
        pass
    with pytest.raises(ModelError, match="unknown model"), local_server("nonsuch"):
        pass
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    told = r"uvicorn: install it with pip install 'ftlib\[serving\]'"
    with pytest.raises(MissingExtraError, match=told), local_server("nano"):
        pass


def test_keys_stay_with_the_caller(monkeypatch, tiny_model, tiny_tokenizer, tmp_path):
    """The server gets no key in its environment, and no network."""
    import ftlib.hosted.server_process

    started = {}

    def start(command, **options):
        started.update(options, command=command)
        raise InterruptedError

    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("HF_TOKEN", "hf-canary")
    monkeypatch.setattr(ftlib.hosted.server_process.subprocess, "Popen", start)
    with pytest.raises(InterruptedError), local_server(tiny_model, tokenizer=tiny_tokenizer):
        pass
    assert "canary" not in str(started)
    assert started["env"]["HF_HUB_OFFLINE"] == "1"
    assert started["env"]["PYTHONSAFEPATH"] == "1"
    assert started["command"][started["command"].index("--host") + 1] == "127.0.0.1"
    assert not Path(started["cwd"]).exists()


@pytest.mark.parametrize(
    "name",
    ["../x", "/abs", "me/../../x", "a b", "", ".", "..", "-x", "me/", "me/x/y", "x" * 300, "nano:1b", "C:\\x", "é"],
)
def test_a_name_that_is_no_plain_folder_name_is_refused(tiny_model, tiny_tokenizer, name):
    with pytest.raises(ConfigError, match="letters, digits and"):
        local_server(tiny_model, tokenizer=tiny_tokenizer, name=name).__enter__()


@pytest.mark.parametrize("name", ["faq", "me/faq-1.2", "x" * 96, None])
def test_a_name_stays_inside_the_temporary_folder(tiny_model, tiny_tokenizer, name, tmp_path, monkeypatch):
    import ftlib.hosted.server

    def start(command, **options):
        assert (options["cwd"] / (name or "model") / "config.json").is_file()
        assert options["cwd"].is_relative_to(tmp_path)
        raise InterruptedError

    monkeypatch.setattr(ftlib.hosted.server.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ftlib.hosted.server_process.subprocess, "Popen", start)
    with pytest.raises(InterruptedError):
        local_server(tiny_model, tokenizer=tiny_tokenizer, name=name).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_health(served):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(served.base_url.removesuffix("/v1") + "/health", timeout=HUNG_SECONDS) as response:
        assert json.load(response) == {"status": "ok"}
