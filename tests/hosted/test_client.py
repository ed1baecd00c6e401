import asyncio
import contextlib
import dataclasses
import email.utils
import itertools
import logging
import os
import subprocess
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from ftlib.errors import DataError, ProviderError
from ftlib.hosted import ask, client, why_not
from ftlib.hosted.providers import PROVIDERS, Price, find_endpoint
from tests.loopback import CANARY, Loopback, Response
from tests.waiting import HUNG_SECONDS

HOSTED = ("openai", "deepseek", "lamini")
NOW = 1_800_000_000  # seconds since 1970
# https://developers.openai.com/api/reference: what a chat completion may be asked with, of which we send a part
CHAT_FIELDS = {"model", "messages", "max_completion_tokens", "temperature", "reasoning_effort", "seed"}
DEEPSEEK_FIELDS = {"model", "messages", "max_tokens", "temperature", "thinking"}
LAMINI_FIELDS = {"model_name", "prompt", "output_type", "max_tokens", "max_new_tokens"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """No key but the canary, and no settings of whoever runs the tests."""
    for provider in PROVIDERS.values():
        for name in (provider.key_variable, provider.url_variable, provider.model_variable):
            if name:
                monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """The pauses between tries, in seconds: they are written down instead of slept, and the clock stands at NOW."""
    recorded = []

    async def sleep(seconds):
        recorded.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr("openai._base_client.time", SimpleNamespace(time=lambda: NOW))
    return recorded


def completion(text="So.", *, finish="stop", tokens=(7, 3), **message):
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


def right_answer(provider, text="So."):
    return {"output": text} if provider == "lamini" else completion(text)


def prompt_of(provider, asked):
    return asked.json["prompt"] if provider == "lamini" else asked.json["messages"][-1]["content"]


def service(provider):
    """Checks each request as the service documents it, and gives the prompt back in capitals."""

    def answer(asked, _):
        assert asked.method == "POST"
        assert asked.headers["Authorization"] == f"Bearer {CANARY}"
        assert asked.headers["Content-Type"] == "application/json"
        body = asked.json
        if provider == "lamini":
            assert asked.path == "/v1/completions"
            assert set(body) == LAMINI_FIELDS
            assert body["max_new_tokens"] == 100
            assert body["output_type"] is None
        else:
            assert asked.path == "/chat/completions"
            assert set(body) <= (CHAT_FIELDS if provider == "openai" else DEEPSEEK_FIELDS)
            assert body["max_completion_tokens" if provider == "openai" else "max_tokens"] == 100
            assert all(set(message) == {"role", "content"} for message in body["messages"])
        return Response(right_answer(provider, prompt_of(provider, asked).upper()))

    return answer


def ask_it(provider, server, prompts=("Why?",), **arguments):
    settings = {"timeout_seconds": 60, "api_key": CANARY} | arguments
    return ask(provider, prompts, base_url=server.url, **settings)


def failure(provider, server, *prompts, **arguments):
    with pytest.raises(ProviderError) as caught:
        ask_it(provider, server, prompts or ("Why?",), **arguments)
    assert CANARY not in everything_about(caught.value)
    assert caught.value.provider == provider
    assert caught.value.remedy
    return caught.value


def everything_about(error):
    """All that a traceback could show of an error and what led to it, with the variables of the library's functions."""
    shown = []
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "tests" not in Path(frame.f_code.co_filename).parts:  # a test knows its key
                shown.append(f"{frame.f_code.co_name}: {frame.f_locals}")
        error = error.__cause__ or error.__context__
    return "\n".join(shown)


def test_the_real_clients_are_installed():
    import lamini
    import numpy
    import openai

    assert version("lamini") == lamini.__version__ == "3.4.6"
    assert int(numpy.__version__.split(".")[0]) >= 2  # lamini's own pin would forbid it, and break pyarrow
    assert openai.OpenAI


def test_importing_ftlib_hosted_loads_no_client():
    code = "import sys, ftlib.hosted; print([m for m in ('openai', 'lamini', 'torch', 'aiohttp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("provider", HOSTED)
def test_answers_come_in_the_order_of_the_prompts(provider, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(client, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    prompts = [f"prompt {number}" for number in range(9)]
    with Loopback(service(provider)) as server:
        replies = ask_it(provider, server, prompts)
    assert [reply.text for reply in replies] == [prompt.upper() for prompt in prompts]
    assert all(reply.model == PROVIDERS[provider].default_model and not reply.cached for reply in replies)
    assert all(reply.seconds > 0 for reply in replies)
    assert len(server.asked) == 9


def test_tokens_and_cost():
    with Loopback(service("openai")) as server:
        (known,) = ask_it("openai", server)
        (given,) = ask_it("openai", server, price=Price(input_usd=10, output_usd=100))
        (unknown,) = ask_it("openai", server, model="another")
    assert (known.input_tokens, known.output_tokens) == (7, 3)
    assert known.cost_usd == pytest.approx((7 * 0.10 + 3 * 0.50) / 1e6)
    assert given.cost_usd == pytest.approx(370e-6)
    assert unknown.cost_usd is None
    with Loopback(service("lamini")) as server:
        (reply,) = ask_it("lamini", server)
        known = (reply.text, reply.model, reply.input_tokens, reply.output_tokens, reply.cost_usd, reply.cached)
        assert known == ("WHY?", "meta-llama/Llama-2-7b-chat-hf", None, None, None, False)


def test_what_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_MODEL", "from-the-environment")
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    with Loopback(service("openai")) as server:
        ask_it("openai", server, [said], system="Be brief.", temperature=0.5, options={"seed": 1})
        ask_it("openai", server, model="named", temperature=None)
        ask_it("openai", server, model="gpt-6-luna")
    first, second, third = (asked.json for asked in server.asked)
    assert first["model"] == "from-the-environment"
    assert [message["role"] for message in first["messages"]] == ["system", "user", "assistant", "user"]
    assert (first["temperature"], first["seed"], "reasoning_effort" in first) == (0.5, 1, False)
    assert (second["model"], "temperature" in second) == ("named", False)
    assert (third["temperature"], third["reasoning_effort"]) == (0.0, "none")
    assert server.asked[0].headers["OpenAI-Organization"] == "org-secret"
    with Loopback(service("deepseek")) as server:
        ask_it("deepseek", server)
    assert server.asked[0].json["thinking"] == {"type": "disabled"}
    assert "org-secret" not in str(server.asked[0].headers)
    with Loopback(service("lamini")) as server:
        ask_it("lamini", server, system="Be brief.")
    assert server.asked[0].json["prompt"] == "Be brief.\n\nWhy?"


@pytest.mark.parametrize("provider", HOSTED)
def test_no_key_no_run(provider, monkeypatch):
    variable = PROVIDERS[provider].key_variable
    assert why_not(provider) == f"not run: set {variable}"
    assert why_not(provider, CANARY) is None
    with pytest.raises(ProviderError, match=f"{provider}: there is no key: set {variable}"):
        ask(provider, ["Why?"])
    monkeypatch.setenv(variable, "  ")
    assert why_not(provider) == f"not run: set {variable}"
    monkeypatch.setenv(variable, f" {CANARY}\n")
    assert why_not(provider) is None
    with Loopback(service(provider)) as server:
        assert ask_it(provider, server, api_key=None)[0].text == "WHY?"


def test_local_needs_no_key_but_an_address_and_a_model(monkeypatch):
    assert why_not("local") is None
    with pytest.raises(ProviderError, match=r"no address: start one with .*local_server"):
        ask("local", ["Why?"])
    with pytest.raises(ProviderError, match="no model is named"):
        ask("local", ["Why?"], base_url="http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)  # not theirs
    with Loopback(lambda *_: Response(completion())) as server:
        monkeypatch.setenv("FTLIB_LOCAL_URL", server.url)
        monkeypatch.setenv("FTLIB_LOCAL_MODEL", "nano")
        assert ask("local", ["Why?"])[0].text == "So."
    assert server.asked[0].json["model"] == "nano"
    assert CANARY not in str(server.asked)


@pytest.mark.parametrize("provider", HOSTED)
def test_a_wrong_key(provider):
    told = {"error": {"message": f"Incorrect API key provided: {CANARY}."}, "detail": f"bad key {CANARY}"}
    with Loopback(lambda *_: Response(told, 401)) as server:
        error = failure(provider, server, *"abcdef", concurrency=2)
    assert error.status == 401
    assert PROVIDERS[provider].key_variable in error.remedy
    assert "[key]" in str(error)
    assert "0 of 6 prompts were answered" in str(error)
    assert len(server.asked) <= 2  # the others would fail too, and are not tried; nor is any tried twice


@pytest.mark.parametrize("provider", HOSTED)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_passes_is_tried_again(provider, status):
    def answer(asked, number):
        return Response({"error": {"message": "busy"}}, status) if number < 2 else service(provider)(asked, number)

    with Loopback(answer) as server:
        assert ask_it(provider, server)[0].text == "WHY?"
        assert len(server.asked) == 3
    with Loopback(lambda *_: Response({"error": {"message": "busy"}, "detail": "busy"}, status)) as server:
        error = failure(provider, server, retries=1)
    assert error.status == status
    assert len(server.asked) == 2


@pytest.mark.parametrize("provider", HOSTED)
@pytest.mark.parametrize(("told", "pause"), [("40", 40), ("0.6", 0.6), (email.utils.formatdate(NOW + 90), 90)])
def test_retry_after_is_kept(provider, told, pause, pauses):
    def answer(asked, number):
        if number:
            return service(provider)(asked, number)
        return Response({"error": {"message": "slow down"}}, 429, {"Retry-After": told})

    with Loopback(answer) as server:
        (reply,) = ask_it(provider, server)
    assert reply.text == "WHY?"
    assert pauses == [pause]


@pytest.mark.parametrize("provider", HOSTED)
def test_without_it_the_pause_doubles(provider, pauses):
    with Loopback(lambda *_: Response({"detail": "busy"}, 503)) as server:
        assert failure(provider, server, retries=3).status == 503
    assert len(pauses) == 3
    for pause, at_most in zip(pauses, (0.5, 1, 2), strict=True):
        assert 0.75 * at_most <= pause <= at_most  # so that many clients don't come back at once


@pytest.mark.parametrize("provider", HOSTED)
def test_nobody_waits_for_an_hour(provider, pauses):
    with Loopback(lambda *_: Response({"detail": "slow"}, 429, {"Retry-After": "3600"})) as server:
        assert failure(provider, server).status == 429
    assert len(server.asked) == 1
    assert pauses == []


@pytest.mark.parametrize("provider", HOSTED)
def test_a_hanging_server(provider, pauses):
    with Loopback(lambda *_: Response(fault="hang")) as server:
        error = failure(provider, server, timeout_seconds=0.3, retries=1)
    assert error.status is None
    assert "no answer within 0.3 s" in str(error)
    assert len(pauses) == 1  # between two tries; a busy machine may give up before a request has left


def test_a_network_that_is_away_is_not_waited_for_with_every_prompt():
    with Loopback(lambda *_: Response(fault="hang")) as server:
        failure("openai", server, *"abcdefgh", concurrency=2, timeout_seconds=0.3, retries=0)
    assert len(server.asked) <= 2


@pytest.mark.parametrize("provider", HOSTED)
@pytest.mark.parametrize("fault", ["cut", "chunk"])
def test_a_connection_that_breaks_off(provider, fault):
    def answer(asked, number):
        return Response(right_answer(provider), fault=fault) if number == 0 else service(provider)(asked, number)

    with Loopback(answer) as server:
        assert ask_it(provider, server)[0].text == "WHY?"
    with Loopback(lambda *_: Response(right_answer(provider), fault=fault)) as server:
        error = failure(provider, server)
    assert "the connection failed or broke off" in str(error)
    assert len(server.asked) == 3


@pytest.mark.parametrize("provider", HOSTED)
def test_nobody_there(provider):
    with Loopback(lambda *_: Response()) as server:
        pass
    assert "the connection failed" in str(failure(provider, server, retries=0))


@pytest.mark.parametrize("provider", HOSTED)
@pytest.mark.parametrize(
    "response",
    [
        Response(b'{"choices": [{'),
        Response(b"<html>Hello</html>", headers={"Content-Type": "text/html"}),
        Response([]),
        Response(b"null"),
        Response({"choices": "none", "output": 5}),
    ],
    ids=["half", "html", "list", "null", "types"],
)
def test_what_cannot_be_read(provider, response):
    with Loopback(lambda *_: response) as server:
        error = failure(provider, server)
    assert len(server.asked) == 1
    assert error.status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**completion(), "choices": []}, "no choice"),
        ({**completion(), "choices": None}, "no choice"),
        (completion(None), "no text"),
        (completion("", finish="length"), "raise max_tokens"),
        (completion(None, finish="content_filter"), "content filter"),
        (completion("I", finish="content_filter"), "content filter"),
        (completion(None, refusal="I can't help with that."), "the model refused: I can't help"),
    ],
)
def test_an_answer_without_an_answer(body, message):
    with Loopback(lambda *_: Response(body)) as server:
        assert message in str(failure("openai", server))


def test_one_bad_prompt_does_not_keep_the_others(tmp_path):
    def answer(asked, number):
        bad = prompt_of("openai", asked) == "bad"
        return Response(completion(None, finish="content_filter")) if bad else service("openai")(asked, number)

    with Loopback(answer) as server:
        error = failure("openai", server, "a", "bad", "c", "d", cache=tmp_path)
        assert [reply and reply.text for reply in error.replies] == ["A", None, "C", "D"]
        assert "prompt 1: " in str(error)
        assert "3 of 4 prompts were answered, and kept" in str(error)
        failure("openai", server, "a", "bad", "c", "d", cache=tmp_path)
    assert [prompt_of("openai", asked) for asked in server.asked[4:]] == ["bad"]


@pytest.mark.parametrize("provider", HOSTED)
def test_a_model_that_is_gone(provider):
    status = 594 if provider == "lamini" else 404
    told = {"error": {"message": "The model does not exist", "code": "model_not_found"}, "detail": "no such model"}
    with Loopback(lambda *_: Response(told, status)) as server:
        error = failure(provider, server, model="gone-1")
    assert error.status == status
    assert "'gone-1' may have been retired" in error.remedy
    assert PROVIDERS[provider].model_variable in error.remedy
    assert len(server.asked) == 1


def test_no_credit_is_not_tried_again():
    told = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with Loopback(lambda *_: Response(told, 429)) as server:
        assert "add credit" in failure("openai", server).remedy
        assert len(server.asked) == 1
    with Loopback(lambda *_: Response({"error": {"message": "Insufficient Balance"}}, 402)) as server:
        assert "add credit" in failure("deepseek", server).remedy


def test_a_refused_field_is_named():
    told = {"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model."}}
    with Loopback(lambda *_: Response(told, 400)) as server:
        error = failure("openai", server)
    assert "'temperature' does not support 0" in str(error)
    assert "temperature=None" in error.remedy


@pytest.mark.parametrize("provider", HOSTED)
def test_the_cache(provider, tmp_path):
    with Loopback(service(provider)) as server:
        first = ask_it(provider, server, ["a", "b"], cache=tmp_path)
        second = ask_it(provider, server, ["b", "c", "a"], cache=tmp_path)
        assert [prompt_of(provider, asked) for asked in server.asked[2:]] == ["c"]
        ask_it(provider, server, ["a"], cache=tmp_path, temperature=0.5)
        ask_it(provider, server, ["a"], cache=tmp_path, system="Be brief.")
        ask_it(provider, server, ["a"], cache=tmp_path, model="other")
        assert len(server.asked) == 6
    assert [(reply.text, reply.cached) for reply in second] == [("B", True), ("C", False), ("A", True)]
    assert second[2] == dataclasses.replace(first[0], cached=True)
    assert CANARY not in "".join(file.read_text(encoding="utf-8") for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 6


def test_a_second_run_asks_only_for_what_is_missing(tmp_path):
    prompts = [f"p{number}" for number in range(6)]
    valid = False

    def answer(asked, number):
        refuses = number >= 3 and not valid
        return Response({"error": {"message": "no"}}, 401) if refuses else service("openai")(asked, number)

    with Loopback(answer) as server:
        error = failure("openai", server, *prompts, concurrency=1, cache=tmp_path)
        assert [reply and reply.text for reply in error.replies] == ["P0", "P1", "P2", None, None, None]
        assert len(server.asked) == 4
        valid = True
        replies = ask_it("openai", server, prompts, cache=tmp_path)
    assert [reply.cached for reply in replies] == [True] * 3 + [False] * 3
    assert sorted(prompt_of("openai", asked) for asked in server.asked[4:]) == ["p3", "p4", "p5"]


def test_a_local_server_is_not_cached(tmp_path):
    with Loopback(lambda *_: Response(completion())) as server:
        for _ in range(2):
            ask_it("local", server, model="nano", cache=tmp_path)
    assert len(server.asked) == 2
    assert list(tmp_path.iterdir()) == []


def test_no_more_at_once_than_allowed(monkeypatch):
    under_way, counts = [], []
    connected = client.connected

    @contextlib.asynccontextmanager
    async def watched(endpoint, **patience):
        async with connected(endpoint, **patience) as caller:

            async def call(question):
                under_way.append(question)
                counts.append(len(under_way))
                try:
                    return await caller(question)
                finally:
                    under_way.remove(question)

            yield call

    monkeypatch.setattr(client, "connected", watched)
    with Loopback(service("openai")) as server:
        ask_it("openai", server, list("abcdefgh"), concurrency=3)
    assert len(server.asked) == 8
    assert max(counts) == 3


def test_progress_is_reported():
    steps = []
    with Loopback(service("openai")) as server:
        ask_it("openai", server, list("abc"), on_done=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_it_works_inside_a_running_loop():
    async def cell():
        with Loopback(service("openai")) as server:
            return ask_it("openai", server)[0].text

    assert asyncio.run(cell()) == "WHY?"


def test_an_interrupt_ends_it_at_once():
    code = (
        "import os, signal\n"
        "from ftlib.hosted import ask\n"
        "from tests.loopback import Loopback, Response\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background inherits deaf ears
        "def interrupt_and_hang(asked, number):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return Response(fault='hang')\n"
        "with Loopback(interrupt_and_hang) as server:\n"
        "    try:\n"
        "        ask('openai', ['a'], api_key='k', base_url=server.url, timeout_seconds=3600)\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted, asked', len(server.asked))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, encoding="utf-8", timeout=10 * HUNG_SECONDS
    )
    assert done.stdout == "interrupted, asked 1\n", done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("provider", HOSTED)
def test_no_key_in_logs_output_and_reprs(provider, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(PROVIDERS[provider].key_variable, CANARY)

    def answer(asked, number):
        if number == 1:
            return Response({"detail": f"no {CANARY}", "error": {"message": CANARY}}, 500, {"X-Warning": "old client"})
        return service(provider)(asked, number)

    with Loopback(answer) as server:
        replies = ask(provider, ["a", "b"], base_url=server.url, concurrency=1)
        endpoint = find_endpoint(provider, base_url=server.url)
    shown = "".join(capfd.readouterr())
    assert CANARY not in caplog.text + shown + repr(replies) + repr(endpoint) + str(endpoint)
    assert endpoint.key.value == CANARY


@pytest.mark.parametrize("provider", HOSTED)
def test_a_redirect_takes_no_key_elsewhere(provider):
    with Loopback(lambda *_: Response(right_answer(provider))) as other:
        there = {"Location": f"{other.url}/taken"}
        with Loopback(lambda *_: Response(status=307, headers=there)) as server, contextlib.suppress(ProviderError):
            ask_it(provider, server)
        assert len(server.asked) == 1
        assert all("Authorization" not in asked.headers and CANARY not in str(asked) for asked in other.asked)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/v1", "would go unencrypted to example.org: use https"),
        ("https://user:word@example.org", "user's name or password"),
        ("ftp://example.org", "is no address"),
        ("https://", "is no address"),
        ("example.org/v1", "is no address"),
        ("https://[half", "is no address"),
        (f"{CANARY}://x", "is no address"),
    ],
)
@pytest.mark.parametrize("provider", HOSTED)
def test_addresses_that_a_key_is_not_sent_to(provider, url, message):
    with pytest.raises(ProviderError, match=message) as caught:
        ask(provider, ["Why?"], base_url=url, api_key=CANARY)
    if CANARY not in url:
        assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize("key", [f"{CANARY}\nX-Evil: 1", f"{CANARY} x", f"“{CANARY}”", f"{CANARY}\x00"])
def test_a_key_that_is_none(key):
    with pytest.raises(ProviderError, match="the key holds a space or another character") as caught:
        ask("openai", ["Why?"], api_key=key)
    assert CANARY not in str(caught.value)
    assert CANARY not in everything_about(caught.value)


def test_other_arguments():
    with pytest.raises(ProviderError, match=r"unknown provider 'opnai': expected one of .*; did you mean 'openai'"):
        ask("opnai", ["Why?"])
    for wrong in ({"concurrency": 0}, {"retries": -1}, {"timeout_seconds": 0}, {"max_tokens": 0}):
        with pytest.raises(DataError, match=r"must be (at least|above)"):
            ask("openai", ["Why?"], api_key=CANARY, **wrong)
    for prompt in ([], [{"role": "assistant", "content": "So."}]):
        with pytest.raises(DataError, match="ends with a user's message"):
            ask("openai", [prompt], api_key=CANARY)
    with pytest.raises(DataError, match="surrogate"):
        ask("openai", ["\ud800"], api_key=CANARY)
    assert ask("openai", [], api_key=CANARY) == []


def test_a_missing_client_is_named_with_its_command():
    asks = "from ftlib.hosted import ask; ask('lamini', ['a'], api_key='k', base_url='http://127.0.0.1:1')"
    trains = (
        "from ftlib.hosted.lamini_finetuning import get_lamini_job\n"
        "get_lamini_job('1', api_key='k', base_url='http://127.0.0.1:1')"
    )
    for package, use in (("openai", asks), ("lamini", trains), ("faiss", trains)):
        code = f"import sys; sys.modules[{package!r}] = None\n{use}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
        assert "MissingExtraError" in done.stderr
        assert f"pip install 'ftlib[{'hosted' if package == 'openai' else 'lamini'}]'" in done.stderr
    assert "--no-deps lamini==3.4.6" in done.stderr


def test_proxies_are_not_asked_for_this_computers_own_address(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for provider in HOSTED:
        with Loopback(service(provider)) as server:
            assert ask_it(provider, server)[0].text == "WHY?"
    assert os.environ["HTTP_PROXY"]
