"""The chat page as a client sees it that is no browser."""

import contextlib
import html
import json
import os
import re
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import httpx
import nbformat
import pytest
from nbclient import NotebookClient

from ftlib.chat import Settings, load_chat_model, serving
from ftlib.errors import ModelError
from ftlib.inference.generation import answer
from ftlib.models.loading import save_model
from ftlib.training.config import FinetuneConfig
from tests.course import ROOT
from tests.held import HeldModel
from tests.waiting import HUNG_SECONDS, wait_until

pytest.importorskip("gradio")

GREEDY = Settings(temperature=0.0, repetition_penalty=1.0, max_new_tokens=24)
# A process of its own: Gradio leaves event loops unclosed and warns, and here warnings are errors.
PAGES = """
import json, sys
from ftlib.chat import Limits, Settings, load_chat_model, serving
from tests.held import hold

folder, place = sys.argv[1:]
settings = Settings(temperature=0.0, repetition_penalty=1.0, max_new_tokens=24)
quick, slow = (load_chat_model(folder, device="cpu") for _ in range(2))
hold(slow.model, place)
thumbs = place + "/thumbs.jsonl"
patient = Limits(answer_seconds=100_000, waiting=2)  # a held answer is not ended by the clock
with serving([quick], settings=settings, feedback=thumbs) as one:
    with serving([slow], settings=settings, feedback=thumbs, limits=patient) as two:
        hurried = Limits(answer_seconds=0.0)
        with serving([quick], settings=settings, feedback=thumbs, limits=hurried) as three:
            print(json.dumps([one, two, three]), flush=True)
            sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _tiny_model, tiny_tokenizer):
    """A run: its configuration names the template."""
    run = tmp_path_factory.mktemp("chat") / "run"
    save_model(_tiny_model, tiny_tokenizer, run / "checkpoints" / "step-1")
    (run / "checkpoints" / "step-1" / "training_state.json").write_text('{"step": 1, "rank": null}', encoding="utf-8")
    template = {"before_user": "A: ", "before_assistant": "\nB: "}
    (run / "config.yaml").write_text(
        FinetuneConfig.from_dict({"data": {"custom_template": template}}).as_yaml(), encoding="utf-8"
    )
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The slow one: it writes as far as a test allows."""
    return HeldModel(tmp_path_factory.mktemp("held"))


@pytest.fixture(scope="module")
def pages(folder, model):
    """The addresses of a page, of one whose model is held, and of one whose answers may take no time."""
    hostile = {"GRADIO_SHARE": "True", "GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_ANALYTICS_ENABLED": "True"}  # noqa: S104
    errors = model.folder / "errors"
    with errors.open("w", encoding="utf-8") as file:  # a pipe that nobody reads fills up, and stops the pages
        started = subprocess.Popen(
            [sys.executable, "-c", PAGES, str(folder), str(model.folder)],
            cwd=ROOT,
            # Gradio's own folder among the temporary ones belongs to whoever came first.
            env={**os.environ, **hostile, "GRADIO_TEMP_DIR": str(model.folder / "gradio")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            encoding="utf-8",
        )
    line = started.stdout.readline()
    assert line, errors.read_text(encoding="utf-8")
    yield json.loads(line)
    started.communicate("", timeout=HUNG_SECONDS)
    told = errors.read_text(encoding="utf-8")
    assert "/ftlib/chat/" not in told  # Gradio prints what it refuses itself, such as a slider out of its range
    assert "Warning" not in told
    assert started.returncode == 0


@pytest.fixture
def page(pages):
    return pages[0]


@pytest.fixture
def slow_page(pages, model):
    yield pages[1]
    model.free()
    model.wait_until_idle()


PATIENT = {"timeout": HUNG_SECONDS, "trust_env": False}
get = partial(httpx.get, **PATIENT)


class Visitor:
    """Somebody who asks over HTTP, as the page's own script does."""

    def __init__(self, url):
        self.url = f"{url}gradio_api/queue"
        self.session = uuid.uuid4().hex
        told = get(f"{url}config").json()
        call = next(call for call in told["dependencies"] if call["api_name"] == "ask")
        self.number, chosen = call["id"], call["inputs"][2]
        self.model = next(part["props"]["value"] for part in told["components"] if part["id"] == chosen)

    def join(self, question, **changed):
        chosen = {**vars(GREEDY), **changed}
        seed = chosen.pop("seed")  # its field is the last one on the page
        body = {"data": [question, None, self.model, *chosen.values(), seed], "fn_index": self.number}
        return httpx.post(f"{self.url}/join", json={**body, "session_hash": self.session}, **PATIENT)

    def events(self):
        place = {"session_hash": self.session}
        with httpx.stream("GET", f"{self.url}/data", params=place, **PATIENT) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def ask(self, question, **changed):
        """Return what the page said meanwhile, and what its first column shows in the end."""
        joined = self.join(question, **changed)
        if joined.status_code != httpx.codes.OK:
            return [joined.json()["detail"]], None
        return self.listen()

    def listen(self):
        """Return the same for a question that was taken."""
        events = list(self.events())
        said = [event["log"] for event in events if event["msg"] == "log"]
        done = next(event for event in events if event["msg"] == "process_completed")
        said += [done["output"]["error"]] if not done["success"] else []
        first = next((event for event in events if event["msg"] == "process_generating"), None)
        started = first and isinstance(first["output"]["data"][2], list)
        return said, done["output"]["data"] if started else None


def texts(data):
    return [part["text"] for message in data[2] for part in message["content"]]


def test_an_answer_is_the_models_own_in_the_template_of_its_run(page, folder):
    said, data = Visitor(page).ask("Why?")
    chat_model = load_chat_model(str(folder), device="cpu")
    expected = answer(
        chat_model.model, chat_model.tokenizer, ["Why?"], template=chat_model.template, max_new_tokens=24
    )[0]
    assert chat_model.template.before_user == "A: "
    assert said == []
    assert texts(data) == ["Why?", html.escape(expected)]
    assert data[3].startswith("24 tokens, ")


def test_what_a_visitor_writes_comes_back_as_text(page):
    _, data = Visitor(page).ask("<b>&lt;</b>")
    assert texts(data)[0] == "&lt;b&gt;&amp;lt;&lt;/b&gt;"


@pytest.mark.parametrize(
    ("question", "changed", "expected"),
    [
        ("x" * 100_000, {}, "100,000 characters and 4,000 are allowed"),
        (" ", {}, "is empty"),
        ("Why? " * 60, {}, "the last question alone is a prompt"),
        ("Why?", {"temperature": 99}, "2"),
        ("Why?", {"max_new_tokens": 10_000}, "32"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(page, question, changed, expected):
    said, data = Visitor(page).ask(question, **changed)
    assert data is None
    assert len(said) == 1
    assert expected in said[0]
    assert Visitor(page).ask("Why?")[1]


def test_the_page_is_for_this_machine_alone(page):
    assert page.startswith("http://127.0.0.1:")
    port = int(page.rstrip("/").rpartition(":")[2])
    with (
        pytest.raises(OSError, match=r"."),
        closing(socket.create_connection(("127.0.0.2", port), timeout=HUNG_SECONDS)),
    ):
        pass
    assert get(page).headers["content-security-policy"].startswith("default-src 'self'")
    assert get(page, headers={"Host": "elsewhere.example"}).status_code == httpx.codes.BAD_REQUEST
    told = get(f"{page}config").json()
    assert told["analytics_enabled"] is False
    public = {call["api_name"] for call in told["dependencies"] if call.get("api_visibility") == "public"}
    assert public == {"ask"}


def test_nothing_can_be_uploaded(page):
    sent = httpx.post(f"{page}gradio_api/upload", files={"files": ("a.txt", b"some text")}, **PATIENT)
    assert sent.status_code >= httpx.codes.BAD_REQUEST


def test_who_comes_when_the_line_is_full_is_told_so(slow_page, model):
    model.allow(3)
    answered, *waiting = visitors = [Visitor(slow_page) for _ in range(3)]
    answered.join("Why?", max_new_tokens=6)
    wait_until(lambda: model.is_answering, "the first answer")
    assert [visitor.join("Why?", max_new_tokens=6).status_code for visitor in waiting] == [httpx.codes.OK] * 2
    said, data = Visitor(slow_page).ask("Why?", max_new_tokens=6)
    assert data is None
    assert "Queue is full" in said[0]
    model.free()
    assert all(data for _, data in (visitor.listen() for visitor in visitors))
    assert Visitor(slow_page).ask("Why?", max_new_tokens=2)[1]


def test_an_answer_that_takes_too_long_ends(pages):
    _, data = Visitor(pages[2]).ask("Why?")
    assert data[3].startswith("1 token, ")
    assert "stopped after 0 seconds" in data[3]


def test_who_leaves_stops_the_model(slow_page, model):
    before = model.steps
    model.allow(3)
    visitor = Visitor(slow_page)
    visitor.join("Why?", max_new_tokens=24)
    with closing(visitor.events()) as events:
        while next(events)["msg"] != "process_generating":
            pass
    model.go_on_until_idle(slow_page)
    assert model.steps < before + 24
    model.free()
    assert Visitor(slow_page).ask("Why?", max_new_tokens=2)[1]


@pytest.mark.slow
def test_thirty_two_at_once_get_answers_or_are_told_that_it_is_busy(page):
    visitors = [Visitor(page) for _ in range(32)]
    together = threading.Barrier(32)

    def ask(visitor):
        together.wait(timeout=HUNG_SECONDS)
        return visitor.ask("Why?", max_new_tokens=8)

    with ThreadPoolExecutor(32) as threads:
        replies = list(threads.map(ask, visitors))
    answers = {tuple(texts(data)) for _, data in replies if data}
    assert len(answers) == 1  # greedy: nobody sees another one's conversation
    assert sum(bool(data) for _, data in replies) >= 16
    assert all("Queue is full" in said[0] for said, data in replies if not data)
    assert Visitor(page).ask("Why?")[1]


def failure(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    return done.stderr.strip().splitlines()[-1]


def test_a_port_that_is_taken_is_named(folder, page):
    port = page.rstrip("/").rpartition(":")[2]
    said = failure(f"from ftlib.chat import launch; launch([{str(folder)!r}], port={port})")
    assert said.startswith("ftlib.errors.ConfigError: the page can't be opened")
    assert port in said


def test_models_to_compare_are_two(folder):
    with pytest.raises(ModelError, match="nothing says which model"), serving(["nano"], compare=True):
        pass
    with pytest.raises(ModelError, match="two models can be compared, not 3"), serving(["nano"] * 3, compare=True):
        pass
    with pytest.raises(ModelError, match="several different ones"), serving([str(folder)] * 2):
        pass


def test_without_gradio_the_install_command_is_shown():
    said = failure("import sys; sys.modules['gradio'] = None; from ftlib.chat import launch; launch(['nano'])")
    assert "MissingExtraError: the chat page needs the package 'gradio'" in said
    assert "pip install 'ftlib[train,chat]'" in said


def test_in_a_notebook_the_page_stands_below_the_cell_which_does_not_wait(folder):
    opened = f"from ftlib.chat import launch\nlaunch([{str(folder)!r}], device='cpu', feedback='thumbs.jsonl')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(opened)])
    client = NotebookClient(notebook, timeout=HUNG_SECONDS, resources={"metadata": {"path": str(folder.parent)}})
    with client.setup_kernel():
        client.execute_cell(notebook.cells[0], 0)
        (shown,) = notebook.cells[0].outputs
        address = re.search(r'<iframe src="(http://127\.0\.0\.1:\d+/)"', shown["data"]["text/html"])[1]
        opened = get(f"{address}config").json()["app_id"]  # while the kernel lives
    with contextlib.suppress(httpx.TransportError):  # another page may have taken the port at once
        assert get(f"{address}config").json()["app_id"] != opened
