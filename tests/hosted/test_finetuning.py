import json
import re
from email.parser import BytesParser
from email.policy import HTTP

import pytest

from ftlib.errors import DataError, ProviderError
from ftlib.hosted import ask
from ftlib.hosted.finetuning_file import write_finetuning_file
from ftlib.hosted.lamini_finetuning import get_lamini_job, train_at_lamini
from ftlib.hosted.openai_finetuning import (
    BASE_MODEL,
    cancel_job,
    follow_job,
    get_job,
    openai_client,
    start_job,
    upload_file,
)
from tests.hosted.test_client import completion, everything_about
from tests.loopback import CANARY, Loopback, Response
from tests.waiting import HUNG_SECONDS

PAIRS = [[{"role": "user", "content": f"Why {n}?"}, {"role": "assistant", "content": "So."}] for n in range(10)]
JOB_FIELDS = {"model", "training_file", "validation_file", "method", "suffix", "seed"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_MODEL",
        "LAMINI_API_KEY",
        "LAMINI_API_URL",
        "LAMINI_MODEL",
    ):
        monkeypatch.delenv(name, raising=False)


def parts_of(asked):
    """The fields of a form with a file."""
    head = f"Content-Type: {asked.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + asked.body)
    return {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}


class OpenAIService:
    """Files and jobs, as https://developers.openai.com/api/reference describes them; three rounds to the end."""

    def __init__(self, ends="succeeded", events=5):
        self.ends, self.events, self.polls, self.files = ends, events, 0, {}

    def __call__(self, asked, number):
        assert asked.headers["Authorization"] == f"Bearer {CANARY}"
        path, _, query = asked.path.partition("?")
        if (asked.method, path) == ("POST", "/files"):
            return self.take_file(asked)
        if (asked.method, path) == ("POST", "/fine_tuning/jobs"):
            return self.create(asked)
        if (asked.method, path) == ("GET", "/fine_tuning/jobs/ftjob-1"):
            self.polls += 1
            return Response(self.job())
        if (asked.method, path) == ("POST", "/fine_tuning/jobs/ftjob-1/cancel"):
            return Response(self.job("cancelled"))
        if (asked.method, path) == ("GET", "/fine_tuning/jobs/ftjob-1/events"):
            return self.list_events(dict(pair.split("=") for pair in query.split("&")))
        if (asked.method, path) == ("POST", "/chat/completions"):
            assert asked.json["model"] == "ft:gpt-4.1-mini:org::abc"
            return Response(completion())
        return Response({"error": {"message": f"no such address: {asked.method} {path}"}}, 404)

    def take_file(self, asked):
        parts = parts_of(asked)
        assert set(parts) == {"purpose", "file"}
        assert parts["purpose"].get_content().strip() == "fine-tune"
        assert parts["file"].get_filename().endswith(".jsonl")
        lines = parts["file"].get_payload(decode=True).decode().splitlines()
        assert all(json.loads(line)["messages"] for line in lines)
        name = f"file-{len(self.files)}"
        self.files[name] = lines
        kinds = {"object": "file", "purpose": "fine-tune", "status": "processed"}
        return Response({"id": name, "bytes": len(asked.body), "created_at": 1, "filename": "x.jsonl", **kinds})

    def create(self, asked):
        body = asked.json
        assert set(body) <= JOB_FIELDS
        assert body["method"]["type"] == "supervised"
        assert set(body["method"]["supervised"]["hyperparameters"]) <= {
            "n_epochs",
            "batch_size",
            "learning_rate_multiplier",
        }
        for field in ("training_file", "validation_file"):
            if body.get(field, "file-0") not in self.files:
                return Response({"error": {"message": f"invalid {field}"}}, 400)
        return Response(self.job("validating_files"))

    def job(self, status=None):
        status = status or ("running" if self.polls < 3 else self.ends)
        done = status == "succeeded"
        problem = {"code": "x", "message": f"bad data near {CANARY}", "param": None} if status == "failed" else None
        return {
            "id": "ftjob-1",
            "object": "fine_tuning.job",
            "created_at": 1,
            "model": BASE_MODEL,
            "status": status,
            "fine_tuned_model": "ft:gpt-4.1-mini:org::abc" if done else None,
            "trained_tokens": 420 if done else None,
            "error": problem,
            "training_file": "file-0",
            "validation_file": None,
            "hyperparameters": {},
            "organization_id": "org-1",
            "result_files": [],
            "seed": 1,
        }

    def list_events(self, query):
        """The newest first; each poll brings more."""
        there = [f"e{number}" for number in range(self.events * self.polls)][::-1]
        after = there.index(query["after"]) + 1 if "after" in query else 0
        page = there[after : after + min(int(query["limit"]), 2)]
        kinds = {"object": "fine_tuning.job.event", "created_at": 1, "level": "info", "type": "metrics"}
        data = [{"id": name, "message": f"step {name}", "data": {"step": 1}, **kinds} for name in page]
        return Response({"object": "list", "data": data, "has_more": bool(there[after + len(page) :])})


def client_of(server):
    return openai_client(api_key=CANARY, base_url=server.url, timeout_seconds=HUNG_SECONDS)


def test_from_the_file_to_the_answer(tmp_path):
    train = write_finetuning_file(PAIRS, tmp_path / "train.jsonl")
    validation = write_finetuning_file(PAIRS[::-1], tmp_path / "validation.jsonl")
    with Loopback(OpenAIService()) as server, client_of(server) as client:
        files = [upload_file(client, train), upload_file(client, validation)]
        settings = {"epochs": 2, "learning_rate_multiplier": 0.5, "suffix": "faq", "seed": 1}
        job = start_job(client, files[0], validation_file=files[1], **settings)
        assert (job.id, job.status, job.model) == ("ftjob-1", "validating_files", None)
        events = list(follow_job(client, job.id, poll_seconds=0))
        job = get_job(client, job.id)
        (reply,) = ask("openai", ["Why?"], model=job.model, api_key=CANARY, base_url=server.url)
    assert files == ["file-0", "file-1"]
    assert [event.id for event in events] == [f"e{number}" for number in range(15)]
    assert events[0].data == {"step": 1}
    assert (job.status, job.trained_tokens) == ("succeeded", 420)
    assert reply.text == "So."
    body = next(asked.json for asked in server.asked if asked.path == "/fine_tuning/jobs")
    assert body == {
        "model": BASE_MODEL,
        "training_file": "file-0",
        "validation_file": "file-1",
        "suffix": "faq",
        "seed": 1,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
    }
    assert CANARY not in repr(client) + repr(job) + repr(events)


def test_a_file_with_problems_is_not_sent(tmp_path):
    rows = [*PAIRS, *[[{"role": "user", "content": "Why?"}]] * 30]
    place = write_finetuning_file(rows, tmp_path / "x.jsonl")
    with Loopback(OpenAIService()) as server, client_of(server) as client:
        with pytest.raises(DataError, match="not sent; mend this first") as caught:
            upload_file(client, place)
        assert server.asked == []
    assert "line 11: the last message must be the assistant's" in str(caught.value)
    assert "... and 10 more" in str(caught.value)


REFUSED = {
    "upload": "this account may not send files for fine-tuning, or the key may not",
    "start": "this account may not start fine-tuning jobs, or the key may not, or it didn't send the file 'file-1'",
    "get": "this key sees no job 'ftjob-1'",
    "cancel": "this key sees no job 'ftjob-1'",
    "follow": "this key sees no job 'ftjob-1'",
}


@pytest.mark.parametrize("step", REFUSED)
@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_refused_job_points_the_right_way(tmp_path, step, status):
    steps = {
        "upload": lambda client: upload_file(client, write_finetuning_file(PAIRS, tmp_path / "x.jsonl")),
        "start": lambda client: start_job(client, "file-1"),
        "get": lambda client: get_job(client, "ftjob-1"),
        "cancel": lambda client: cancel_job(client, "ftjob-1"),
        "follow": lambda client: list(follow_job(client, "ftjob-1", poll_seconds=0)),
    }
    told = {"error": {"message": f"No, {CANARY}."}}
    with Loopback(lambda asked, number: Response(told, status)) as server, client_of(server) as client:
        with pytest.raises(ProviderError) as caught:
            steps[step](client)
        assert len(server.asked) == 1
    assert caught.value.status == status
    assert REFUSED[step] in caught.value.remedy
    assert step in ("get", "cancel", "follow") or "2027-01-06" in caught.value.remedy
    for wrong in ("OPENAI_MODEL", "pass model=", "country", "again later", "status page"):
        assert wrong not in str(caught.value)
    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize("ends", ["failed", "cancelled"])
def test_a_job_that_comes_to_nothing(ends):
    with Loopback(OpenAIService(ends=ends)) as server, client_of(server) as client:
        events = []
        with pytest.raises(ProviderError, match=r"bad data near \[key\]|the job was cancelled") as caught:
            events.extend(follow_job(client, "ftjob-1", poll_seconds=0))
        assert cancel_job(client, "ftjob-1").status == "cancelled"
    assert len(events) == 15
    assert "ftjob-1" in caught.value.remedy
    assert CANARY not in everything_about(caught.value)


def test_errors_of_the_service():
    with Loopback(OpenAIService()) as server, client_of(server) as client:
        with pytest.raises(ProviderError, match="invalid training_file") as caught:
            start_job(client, "file-9")
        assert caught.value.status == 400
        with pytest.raises(ProviderError, match="no such address") as caught:
            get_job(client, "ftjob-2")
        assert caught.value.status == 404
    told = {"error": {"message": "Your organization can no longer create fine-tuning jobs."}}
    with Loopback(lambda *_: Response(told, 403)) as server, client_of(server) as client:
        with pytest.raises(ProviderError, match="no longer create") as caught:
            start_job(client, "file-0")
        assert caught.value.status == 403
    for body in (b"<html>", {}, {"id": 5}, []):
        with Loopback(lambda *_, body=body: Response(body)) as server, client_of(server) as client:
            with pytest.raises(ProviderError, match="can't be read"):
                get_job(client, "ftjob-1")
            assert len(server.asked) == 1
    with pytest.raises(ProviderError, match="set OPENAI_API_KEY"):
        openai_client()


def test_only_what_changes_nothing_is_asked_twice(tmp_path):
    service = OpenAIService()
    service.files["file-0"] = []

    def answer(asked, number):
        return Response({"error": {"message": "busy"}}, 500) if number % 2 == 0 else service(asked, number)

    with Loopback(answer) as server, client_of(server) as client:
        assert get_job(client, "ftjob-1").status == "running"
        assert len(server.asked) == 2
        with pytest.raises(ProviderError, match="busy"):
            start_job(client, "file-0")
        assert len(server.asked) == 3


def test_any_client_of_openai_will_do(monkeypatch):
    import openai

    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with Loopback(OpenAIService()) as server, openai.OpenAI(base_url=server.url) as client:
        assert get_job(client, "ftjob-1").status == "running"
        with pytest.raises(ProviderError, match="sees no job 'ftjob-2'"):
            get_job(client, "ftjob-2")


class LaminiService:
    """The addresses and fields that lamini's own client 3.4.6 uses."""

    def __init__(self):
        self.polls = 0

    def __call__(self, asked, number):
        assert asked.headers["Authorization"] == f"Bearer {CANARY}"
        assert asked.headers["Lamini-Version"] == "3.4.6"
        name = f"{asked.method} {asked.path}"
        if name == "GET /v1/get-upload-base-path":
            return Response({"upload_base_path": "local"})
        if name == "POST /v1/local-data":
            assert set(asked.json) == {"upload_base_path", "data"}
            assert asked.json["data"] == [{"input": f"Why {n}?", "output": "So."} for n in range(10)]
            return Response({"dataset_id": "d1", "dataset_location": "/data/d1"})
        if name == "POST /v1/existing-data":
            assert asked.json == {"dataset_id": "d1", "upload_base_path": "local"}
            return Response({"dataset_location": "/data/d1"})
        if name == "POST /v1/train":
            assert asked.json == {
                "model_name": "EleutherAI/pythia-410m",
                "dataset_id": "d1",
                "upload_file_path": "/data/d1",
                "finetune_args": {"max_steps": 5},
            }
            return Response({"job_id": 77, "status": "CREATED"})
        assert name == "GET /v1/train/jobs/77"
        self.polls += 1
        done = self.polls > 1
        return Response({"job_id": 77, "status": "COMPLETED" if done else "RUNNING", "model_name": "tuned" * done})


def train(server, **arguments):
    return train_at_lamini(PAIRS, api_key=CANARY, base_url=server.url, **arguments)


def test_lamini_from_the_rows_to_the_model(capfd):
    with Loopback(LaminiService()) as server:
        job = train(server, model="EleutherAI/pythia-410m", finetune_args={"max_steps": 5})
        states = [get_lamini_job(job.id, api_key=CANARY, base_url=server.url) for _ in range(2)]
    assert (job.id, job.status, job.base_model) == ("77", "CREATED", "EleutherAI/pythia-410m")
    assert [(state.status, state.model) for state in states] == [("RUNNING", None), ("COMPLETED", "tuned")]
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (Response({"detail": f"bad key {CANARY}"}, 401), r"bad key \[key\] \(status 401\): set LAMINI_API_KEY"),
        (Response({"detail": "no such model"}, 594), "may have been retired"),
        (Response({"detail": f"broken {CANARY}"}, 500), r"broken \[key\]"),
        (Response(b"<html>", headers={"Content-Type": "text/html"}), "can't be read"),
        (Response({}), "can't be read"),
        (Response(fault="hang"), "no answer within 0.5 s"),
        (Response({"upload_base_path": "local"}, fault="cut"), "broke off"),
    ],
)
def test_faults_at_lamini(response, message, capfd):
    with Loopback(lambda *_: response) as server, pytest.raises(ProviderError, match=message) as caught:
        train(server, timeout_seconds=0.5 if response.fault == "hang" else HUNG_SECONDS)
    assert CANARY not in everything_about(caught.value) + "".join(capfd.readouterr())


def test_arguments_of_lamini():
    with pytest.raises(DataError, match="row 1: Lamini trains on one question and one answer"):
        train_at_lamini([PAIRS[0], PAIRS[0] * 2], api_key=CANARY)
    with pytest.raises(DataError, match="no conversations"):
        train_at_lamini([], api_key=CANARY)
    with pytest.raises(ProviderError, match=re.escape("lamini: there is no key: set LAMINI_API_KEY")):
        train_at_lamini(PAIRS)
