"""Nothing that was computed is lost: whatever a command is to write, it sees first that it can."""

import importlib
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftlib import cli
from ftlib.chat.feedback import FeedbackFile
from ftlib.data.writing import save_conversations
from ftlib.errors import DataError, FtlibError, PromptTooLongError, ProviderError
from ftlib.evaluation.comparison import evaluate, read_json, write_csv, write_json
from ftlib.evaluation.page import write_html
from ftlib.files import check_folder, check_target, write_checked, write_whole
from ftlib.hosted.finetuning_file import write_finetuning_file

ROWS = [{"question": f"Why {number}?", "answer": "So."} for number in range(3)]
PACKAGES = "numpy==2.0\n"
SFT = """
data: {data_dir: rows.jsonl}
test_params: {log_file: %s}
"""


WORK = (
    "ftlib.models.loading.load_model",
    "ftlib.models.chat_model.load_model",
    "ftlib.training.prepare.load_model",
    "ftlib.training.sft_testing.load_model",
    "ftlib.models.chat_model.load_chat_model",
    "ftlib.pretraining.nano._corpus",
    "ftlib.data.reading.iter_conversations",
)


class WorkError(AssertionError):
    """Work has begun."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Work in a folder with a few sources, where any work that begins is an error."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "packages.txt").write_text(PACKAGES, encoding="utf-8")
    (tmp_path / "run.yaml").write_text(
        "model: {name: nano}\ndata: {source: rows.jsonl}\ntrain: {max_steps: 1}\n", encoding="utf-8"
    )
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("kept", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def work(*args, **options):
        raise WorkError

    # A module that was imported first while another one is patched would keep the patch for good.
    for module in {name.rpartition(".")[0] for name in WORK}:
        importlib.import_module(module)
    for name in WORK:
        monkeypatch.setattr(name, work)
    return tmp_path


def sft_file(target):
    Path("test.yaml").write_text(SFT % json.dumps(target), encoding="utf-8")
    return ["evaluate", "test.yaml"]


WRITERS = {
    "data --convert": lambda target: ["data", "rows.jsonl", "--convert", "openai", target],
    "evaluate --out": lambda target: ["evaluate", "rows.jsonl", "--model", "nano", "--out", target],
    "evaluate --csv": lambda target: ["evaluate", "rows.jsonl", "--model", "nano", "--csv", target],
    "evaluate --html": lambda target: ["evaluate", "rows.jsonl", "--model", "nano", "--html", target],
    "chat --feedback": lambda target: ["chat", "nano", "--feedback", target],
}
FOLDERS = {
    "train --out": lambda target: ["train", "run.yaml", "--out", target],
    "pretrain --out": lambda target: ["pretrain", "--run-folder", "r", "--packages", "packages.txt", "--out", target],
    "pretrain --run-folder": lambda target: [
        *("pretrain", "--out", "o", "--packages", "packages.txt", "--run-folder", target)
    ],
    "evaluate FILE.yaml": sft_file,
}


def outcome(arguments):
    """Return how a command ended: its error, and all files that are there."""
    found = CliRunner().invoke(cli.app, arguments)
    return found.exception


def everything(folder):
    return {
        path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*") if path.name != "test.yaml"
    }


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize(
    "target", ["nodir/x.jsonl", "file/x.jsonl", "folder", "no/dir/at/all.jsonl", f"{'x' * 300}.jsonl"]
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(place, command, target):
    before = everything(place)
    error = outcome(WRITERS[command](target))
    assert isinstance(error, FtlibError), repr(error)
    assert target.split("/")[0][:40] in str(error)
    assert everything(place) == before


@pytest.mark.parametrize("command", FOLDERS)
@pytest.mark.parametrize("target", ["file", "file/x", f"{'x' * 300}/y", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(place, command, target):
    before = everything(place)
    error = outcome(FOLDERS[command](target))
    assert isinstance(error, FtlibError), repr(error)
    assert everything(place) == before


@pytest.mark.parametrize("command", [*WRITERS, *FOLDERS])
def test_a_folder_without_permission_is_refused_before_any_work(place, command, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ftlib.files.tempfile.TemporaryFile", refuse)
    error = outcome({**WRITERS, **FOLDERS}[command]("folder/x.jsonl"))
    assert isinstance(error, FtlibError), repr(error)
    assert "Permission denied" in str(error)


@pytest.mark.parametrize("command", [*WRITERS, *FOLDERS])
def test_a_target_that_can_be_written_lets_the_work_begin(place, command):
    before = everything(place)
    target = "new.jsonl" if command in WRITERS else "new/run"
    assert isinstance(outcome({**WRITERS, **FOLDERS}[command](target)), WorkError)
    assert everything(place) == before


@pytest.mark.parametrize("command", [name for name in WRITERS if not name.startswith("chat")])
@pytest.mark.parametrize("way", ["the name", "another way there", "a link", "a hard link"])
def test_no_command_writes_over_its_own_source(place, command, way):
    (place / "link.jsonl").symlink_to("rows.jsonl")
    (place / "hard.jsonl").hardlink_to("rows.jsonl")
    targets = {"the name": "rows.jsonl", "another way there": "folder/../rows.jsonl"}
    targets |= {"a link": "link.jsonl", "a hard link": "hard.jsonl"}
    before = everything(place)
    error = outcome(WRITERS[command](targets[way]))
    assert isinstance(error, DataError)
    assert "is read here" in str(error)
    assert everything(place) == before


def test_two_results_need_two_files(place):
    found = CliRunner().invoke(cli.app, ["evaluate", "rows.jsonl", "--out", "x", "--csv", "folder/../x"])
    assert found.exit_code == 2
    assert "name one file twice" in found.output


def test_a_fix_that_cannot_be_written_still_tells_what_it_found(place, monkeypatch):
    (place / "old.py").write_text(
        "from transformers import TrainingArguments\nTrainingArguments('o', no_cuda=True)\n", encoding="utf-8"
    )

    def refuse(path, content):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ftlib.upgrade.write_whole", refuse)
    shown = CliRunner().invoke(cli.app, ["upgrade", "--fix", "old.py"])
    assert shown.exit_code == 1
    assert "can't be rewritten (Permission denied)" in " ".join(shown.stdout.split())
    assert "use_cpu" in shown.stdout


def test_what_cannot_be_written_after_all_is_an_error_that_names_the_file(place, monkeypatch):
    found = evaluate({"it": lambda asked: ["So."] * len(asked)}, ROWS)
    for write in (write_json, write_csv, write_html):
        with pytest.raises(DataError, match=r"nodir/x: there is no folder nodir"):
            write(found, "nodir/x")
    with pytest.raises(DataError, match="there is no folder nodir"):
        save_conversations([], "nodir/x.jsonl")
    with pytest.raises(DataError, match="there is no folder nodir"):
        FeedbackFile("nodir/x.jsonl")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ftlib.files.write_whole", full)
    with pytest.raises(DataError, match=r"x: can't be written \(No space left on device\)"):
        write_checked("x", "text")


def test_a_link_stays_a_link_and_a_device_a_device(place):
    (place / "link.jsonl").symlink_to("file")
    write_whole(place / "link.jsonl", "new")
    assert (place / "link.jsonl").is_symlink()
    assert (place / "file").read_text(encoding="utf-8") == "new"
    save_conversations([{"messages": [{"role": "user", "content": "a"}]}], place / "link.jsonl")
    assert (place / "link.jsonl").is_symlink()
    assert json.loads((place / "file").read_text(encoding="utf-8"))
    os.mkfifo(place / "pipe")
    reader = os.open(place / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(place / "pipe", "through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)
    assert not (place / "pipe").is_file()


def test_a_check_leaves_nothing_behind(place):
    before = everything(place)
    check_target("new.json")
    check_folder("new/deep")
    assert everything(place) == before


@pytest.fixture
def full(monkeypatch):
    """A disk without free space: a file is begun, and can't be finished."""

    def no_space(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ftlib.files.flush", no_space)


@pytest.mark.parametrize("name", ["new", "file"])
def test_a_disk_without_space_leaves_the_old_file_and_nothing_half(place, full, name):
    before = everything(place)
    with pytest.raises(DataError, match=r"can't be written \(No space left on device\)"):
        write_checked(name, "text")
    assert everything(place) == before


QUESTIONS = [{"question": "Why?", "answer": "So."}]


def evaluated(monkeypatch, *options, answers=("So.",), error=None):
    """Run ``ftlib evaluate`` with somebody who answers without a model."""

    def sources(*args):
        def fail(questions):
            raise error

        asked = {"it": lambda questions: list(answers)}
        return (asked | {"openai": fail} if error else asked), {}

    monkeypatch.undo()
    monkeypatch.setattr("ftlib.cli.evaluate._sources", sources)
    return CliRunner().invoke(cli.app, ["evaluate", "rows.jsonl", *options])


@pytest.fixture
def questions(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(QUESTIONS[0]) + "\n", encoding="utf-8")
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_what_cannot_be_written_is_shown_and_the_other_files_are_written(questions, monkeypatch):
    def write(found, path):
        raise DataError(f"{path}: can't be written (No space left on device)")

    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftlib.evaluation.comparison.write_json", write)
        shown = evaluated(monkeypatch, "--out", "x.json", "--csv", "x.csv")
    assert isinstance(shown.exception, DataError)
    assert "x.json: can't be written" in str(shown.exception)
    assert "1 question;" in shown.stdout
    assert "So." in (questions / "x.csv").read_text(encoding="utf-8")


def test_a_provider_that_fails_costs_nobody_elses_answers(questions, monkeypatch):
    error = ProviderError("refused", provider="openai", remedy="try again later", status=503)
    shown = evaluated(monkeypatch, "--out", "x.json", error=error)
    assert shown.exit_code == 1
    assert "openai: failed: openai: refused (status 503): try again later" in " ".join(shown.stdout.split())
    found = read_json(questions / "x.json")
    assert list(found.table["answer"]) == ["So."]
    assert list(found.summary["note"]) == ["", "failed: openai: refused (status 503): try again later"]


def test_whether_prompts_fit_is_found_out_before_anybody_is_asked(tiny_model, tiny_tokenizer):
    asked = []
    rows = [{"question": "Why?", "answer": "So."}, {"question": "word " * 90, "answer": "So."}]
    models = {"first": lambda questions: asked.append(questions), "second": (tiny_model, tiny_tokenizer)}
    with pytest.raises(PromptTooLongError, match=r"second: prompt 1 has \d+ tokens"):
        evaluate(models, rows, max_new_tokens=2)
    assert asked == []


HALF = "half a pair \ud83d"


def test_half_of_a_surrogate_pair_costs_no_answers(tmp_path, questions, monkeypatch):
    """A reply may hold one, and no encoding takes it. Where text is kept as it is, it stands there as JSON's escape."""
    shown = evaluated(monkeypatch, *("--out", "x.json", "--csv", "x.csv", "--html", "x.html"), answers=[HALF])
    assert shown.exit_code == 0, shown.exception
    assert list(read_json("x.json").table["answer"]) == [HALF.replace("\ud83d", "\ufffd")]
    row = {"messages": [{"role": "user", "content": HALF}, {"role": "assistant", "content": HALF}]}
    save_conversations([row], tmp_path / "saved.jsonl")
    assert json.loads((tmp_path / "saved.jsonl").read_text(encoding="utf-8")) == row
    with pytest.raises(DataError, match="conversation 0 holds half of a surrogate pair"):
        write_finetuning_file([row["messages"]], tmp_path / "tune.jsonl")
    assert not (tmp_path / "tune.jsonl").exists()
