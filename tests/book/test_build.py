"""The command that builds the book, on small courses in an empty folder."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import nbformat
import psutil
import pytest

from book import chapters as chapters_module
from book import pages
from book.build import CACHE, INTERRUPTED, USAGE, gather, main, parsed
from book.chapters import BookError, Store, chapters_of, chosen, digest_of
from book.execution import Crew
from book.failures import Failure, box, failed_page, plain
from book.machine import GIB, free_bytes, usable_cores
from tests.course import ROOT

CONFIG = """
title: A small course
only_build_toc_files: true
execute: {execute_notebooks: "off", timeout: -1, stderr_output: error}
"""
WARNS = "import warnings\nwarnings.warn('careful')"
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
CHILD = """import subprocess, sys
command = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(command, start_new_session=True).pid)"""

ENDLESS = """import os
from pathlib import Path
Path("new").write_text(str(os.getpid()))
Path("new").rename("pid")
while True:
    try:
        while True: pass
    except KeyboardInterrupt:
        if POLITE: raise
"""


class Course:
    """A course with the parts that the command reads; chapters are made of the code of their cells."""

    def __init__(self, root):
        self.root = root
        for name in ("README.md", "LICENSE", "LICENSE-text", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, root)
        files = {"_config.yml": CONFIG, "book/index.md": "# A small course\n", "ftlib/__init__.py": ""}
        files |= {"datasets/faq/train.jsonl": "{}\n", "configs/run.yaml": "steps: 1\n", "ftlib/assets/weights": "1"}
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")

    def write(self, **cells):
        (self.root / "chapters").mkdir(exist_ok=True)
        for name, code in cells.items():
            title = nbformat.v4.new_markdown_cell(f"# {name}\n\nAn introduction.")
            notebook = nbformat.v4.new_notebook(cells=[title, *map(nbformat.v4.new_code_cell, code)])
            nbformat.write(notebook, self.path(name))
        names = sorted(path.stem for path in (self.root / "chapters").glob("*.ipynb"))
        entries = "".join(f"  - file: chapters/{name}\n" for name in names)
        (self.root / "_toc.yml").write_text(
            f"format: jb-book\nroot: book/index\nchapters:\n{entries}", encoding="utf-8"
        )
        return chapters_of(self.root)

    def path(self, name):
        return self.root / "chapters" / f"{name}.ipynb"

    def page(self, name):
        return (self.root / pages.SITE / "chapters" / f"{name}.html").read_text(encoding="utf-8")

    def start(self, *arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "book.build", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
        return subprocess.Popen(command, cwd=self.root, env=environment, **pipes)

    def store(self):
        return Store(self.root / CACHE, digest_of(self.root))

    def crew(self, cell_seconds=60):
        return Crew(self.root, 2, 1, cell_seconds, lambda chapter: None)


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path)


@pytest.fixture
def build(course, monkeypatch, capfd):
    """The command in this process: what it says, and its exit status."""
    monkeypatch.chdir(course.root)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments):
        status = main(arguments)
        return "".join(capfd.readouterr()), status

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


def texts(notebook):
    return [output.get("text") for cell in notebook.cells for output in cell.get("outputs", [])]


# Which chapters


def test_chapters_are_chosen_by_number_or_name(course):
    known = course.write(**{"02_pretraining": [], "07_training": [], "12_metrics": []})
    names = [one.name for one in chosen(known, "12, 2 training chapters/02_pretraining.ipynb")]
    assert names == ["02_pretraining", "07_training", "12_metrics"]
    assert chosen(known, " ") == known
    with pytest.raises(BookError, match=r"3, 08_x(.|\n)*02_pretraining\n *07_training\n *12_metrics"):
        chosen(known, "3 02 08_x")


# When a chapter is executed again


LIBRARY = ("ftlib/__init__.py", "ftlib/assets/weights", "ftlib/new.py")


@pytest.mark.parametrize(
    "name", [*LIBRARY, "datasets/faq/train.jsonl", "configs/run.yaml", "constraints.txt", "pyproject.toml"]
)
def test_what_numbers_depend_on_is_in_the_digest(course, name):
    before = digest_of(course.root)
    with (course.root / name).open("a", encoding="utf-8") as file:
        file.write("x")
    assert digest_of(course.root) != before


def test_what_they_do_not_depend_on_is_not(course):
    before = digest_of(course.root)
    for name in ("book/index.md", "ftlib/__pycache__/a.pyc", "ftlib/.DS_Store", "runs/x"):
        (course.root / name).parent.mkdir(exist_ok=True)
        (course.root / name).write_text("x", encoding="utf-8")
    assert digest_of(course.root) == before


def test_a_file_that_moves_or_goes_changes_the_digest(course):
    before = digest_of(course.root)
    (course.root / "configs/run.yaml").rename(course.root / "configs/other.yaml")
    assert digest_of(course.root) != before


def test_versions_and_settings_are_in_the_digest_but_no_key(course, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = [digest_of(course.root)]
    for name, value in (("FTLIB_MODEL", "a"), ("FTLIB_MODEL", "b"), ("OPENAI_API_KEY", "sk-1")):
        monkeypatch.setenv(name, value)
        found.append(digest_of(course.root))
    monkeypatch.setattr(chapters_module.platform, "python_version", lambda: "3.99")
    found.append(digest_of(course.root))
    monkeypatch.setattr(chapters_module.importlib.metadata, "distributions", list)
    found.append(digest_of(course.root))
    assert len(set(found)) == len(found)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-2")
    assert digest_of(course.root) == found[-1]


def test_an_execution_is_found_until_a_cell_changes(course):
    (chapter,) = course.write(**{"01_one": ["print(1)", "2"]})
    store, executed = course.store(), nbformat.read(chapter.path, as_version=4)
    executed.cells[1].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    assert store.find(chapter) is None
    store.keep(chapter, executed, seconds=7)
    assert texts(store.find(chapter)) == ["1\n"]
    assert store.seconds(chapter) == 7

    changed = nbformat.read(chapter.path, as_version=4)
    changed.cells[0].source = "# Another title"
    nbformat.write(changed, chapter.path)
    assert store.find(chapter).cells[0].source == "# Another title"
    changed.cells[2].metadata["tags"] = ["raises-exception"]
    nbformat.write(changed, chapter.path)
    assert store.find(chapter) is None
    del changed.cells[2].metadata["tags"]
    changed.cells[2].source = "3"
    nbformat.write(changed, chapter.path)
    assert store.find(chapter) is None


def test_old_states_of_the_library_leave_the_store(course):
    for index in range(5):
        folder = course.root / CACHE / f"digest{index}"
        Store(course.root / CACHE, folder.name)
        os.utime(folder, (index, index))
    Store(course.root / CACHE, "digest2")
    kept = {path.name for path in (course.root / CACHE).iterdir() if path.is_dir()}
    assert kept == {"digest2", "digest3", "digest4"}


def test_an_unknown_time_is_the_one_that_the_stored_outputs_tell(course):
    (chapter,) = course.write(**{"01_one": ["'This run took 105 s and at most 1 GiB'"]})
    assert course.store().seconds(chapter) == 105


# Execution


def run(crew, chapters):
    outcomes = {}
    crew.run(chapters, lambda outcome: outcomes.update({outcome.chapter.name: outcome}))
    return outcomes


def test_a_chapter_that_fails_does_not_stop_the_others(course):
    bad = ["print('before')", "", "assert 1 == 2, __import__('os').getcwd()", "print('after')"]
    course.write(**{"01_bad": bad, "02_dies": ["1", DIES], "03_warns": [WARNS, "1"], "04_good": ["print(4)"]})
    course.path("05_broken").write_text("{nope", encoding="utf-8")
    course.path("06_empty").write_text("{}", encoding="utf-8")
    outcomes = run(course.crew(), course.write())
    assert [name for name, one in sorted(outcomes.items()) if one.failure is None] == ["04_good"]
    assert outcomes["04_good"].peak_bytes > 10 * 2**20
    assert texts(outcomes["04_good"].notebook) == ["4\n"]

    bad = outcomes["01_bad"]
    assert texts(bad.notebook)[0] == "before\n"
    assert bad.failure.cell == 3
    assert "----> 1 assert 1 == 2" in bad.failure.details
    assert bad.failure.summary == "code cell 3: AssertionError: chapters"
    assert outcomes["02_dies"].failure.cell == 2
    assert "kernel died" in outcomes["02_dies"].failure.summary
    assert outcomes["03_warns"].failure.cell == 1
    assert "careful" in outcomes["03_warns"].failure.details
    for name in ("05_broken", "06_empty"):
        assert outcomes[name].failure.cell is None
        assert f"{name}.ipynb can't be read" in outcomes[name].failure.details


def test_a_cell_has_a_limit_and_leaves_no_process_behind(course):
    known = course.write(**{"01_slow": [CHILD, "import time\nwhile True: time.sleep(1)"]})
    outcome = run(course.crew(cell_seconds=2), known)["01_slow"]
    assert outcome.failure.cell == 2
    assert "longer than 2 s" in outcome.failure.summary
    child = int(texts(outcome.notebook)[0])
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_kernels_say_nothing_beside_the_cells(course, capfd):
    run(course.crew(), course.write(**{"01_good": ["1"]}))
    assert capfd.readouterr() == ("", "")


def test_each_kernel_gets_its_share_of_threads(course, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    known = course.write(**{"01_good": ["import os\nprint(os.environ['OMP_NUM_THREADS'])"]})
    crew = Crew(course.root, workers=1, threads=3, cell_seconds=60, begins=lambda chapter: None)
    assert texts(run(crew, known)["01_good"].notebook) == ["3\n"]


def test_a_container_holds_cores_and_memory_down(tmp_path):
    assert usable_cores(tmp_path) >= 1
    assert free_bytes(tmp_path) > 0
    (tmp_path / "cpu.max").write_text("50000 100000\n", encoding="utf-8")
    assert usable_cores(tmp_path) == 1
    for name, text in (
        ("memory.max", GIB),
        ("memory.current", GIB // 2),
        ("memory.stat", f"anon 1\ninactive_file {2**20}"),
    ):
        (tmp_path / name).write_text(f"{text}\n", encoding="utf-8")
    assert free_bytes(tmp_path) == GIB // 2 + 2**20
    for name in ("cpu.max", "memory.max"):
        (tmp_path / name).write_text("max 100000\n" if name == "cpu.max" else "max\n", encoding="utf-8")
    assert usable_cores(tmp_path) == usable_cores(tmp_path / "none")
    assert free_bytes(tmp_path) > GIB // 2 + 2**20


# What a page says about a failure


def test_a_message_is_plain(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    said = f"\x1b[31mFile {tmp_path}/ftlib/a.py\x1b[0m\n{sys.prefix}/lib/b.py\n/home/somebody/.cache/c"
    assert plain(said, tmp_path) == "File ftlib/a.py\n.venv/lib/b.py\n~/.cache/c"
    assert plain("\n".join(map(str, range(100))), tmp_path).splitlines()[0] == "88"


def test_the_box_stands_under_the_title_and_holds_any_message():
    title = nbformat.v4.new_markdown_cell("# Title\n\nText.")
    code = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("error", ename="E", evalue="v")])
    page = failed_page(nbformat.v4.new_notebook(cells=[title, code]), Failure(1, "```\n:::\nend"))
    first, _, rest = page.cells[0].source.partition("\n")
    assert first == "# Title"
    assert rest.rstrip().endswith("Text.")
    assert "````text\n```\n:::\nend\n````" in rest
    assert page.cells[1].outputs == []
    assert len(code.outputs) == 1
    code_first = failed_page(nbformat.v4.new_notebook(cells=[code]), Failure(None, "x"))
    assert code_first.cells[0].source == box(Failure(None, "x"))


# The command


@pytest.mark.slow
def test_from_a_failure_to_a_book(course, build):
    course.write(**{"01_good": ["print('one')"], "02_bad": ["print('before')", "1 / 0", "print('after')"]})
    said, status = build()
    assert status == 1, said
    assert "FAILED 02_bad, code cell 2: ZeroDivisionError" in said
    assert 'make book CHAPTERS="02"' in said
    page = re.sub(r"<[^>]+>", "", course.page("02_bad"))
    assert page.index("02_bad") < page.index("failed in code cell 2") < page.index("An introduction")
    assert "ZeroDivisionError: division by zero" in page
    assert "\nbefore" in page
    assert str(course.root) not in course.page("02_bad")
    assert "one" in course.page("01_good")
    served = course.root / pages.SITE / "_sources" / "chapters" / "02_bad.ipynb"
    assert served.read_bytes() == course.path("02_bad").read_bytes()

    course.write(**{"02_bad": ["print('before')", "1 / 1", "print('after')"]})
    said, status = build()
    assert status == 0, said
    assert "begins  02_bad" in said
    assert "begins  01_good" not in said
    assert "failed in code cell" not in course.page("02_bad")
    assert list((course.root / pages.SITE / "_static").glob("ftlib-*.whl"))

    said, status = build()
    assert status == 0, said
    assert "begins" not in said
    assert "Making the pages" not in said


def test_what_is_not_chosen_comes_from_the_store_or_as_it_is_stored(course, capsys, cache):
    trained = cache / "runs" / "key" / "run"
    trained.mkdir(parents=True)
    one, two, three = course.write(**{"01_one": ["print(1)"], "02_two": ["print(2)"], "03_three": ["print(3)"]})
    gather(course.root, parsed(["--chapters", "1"]))
    assert "stored outputs: 02, 03\n" in capsys.readouterr().out
    notebooks, failures = gather(course.root, parsed(["--chapters", "2"]))
    said = capsys.readouterr().out
    assert re.findall(r"begins +(\S+)", said) == ["02_two"]
    assert "nothing changed since: 01\n" in said
    assert "stored outputs: 03\n" in said
    assert {one: ["1\n"], two: ["2\n"]} == {chapter: texts(notebook) for chapter, notebook in notebooks.items()}
    assert not failures
    (course.root / "ftlib/__init__.py").write_text("# changed", encoding="utf-8")
    gather(course.root, parsed(["--chapters", "three"]))
    assert "stored outputs: 01, 02\n" in capsys.readouterr().out
    assert trained.is_dir()
    gather(course.root, parsed(["--chapters", "three", "--fresh"]))
    assert not trained.exists()
    assert re.findall(r"begins +(\S+)", capsys.readouterr().out) == [three.name]
    assert gather(course.root, parsed(["--stored"])) == ({}, {})
    two.path.write_text("{nope", encoding="utf-8")
    for arguments in (["--stored"], ["--chapters", "3"]):
        notebooks, failures = gather(course.root, parsed(arguments))
        assert list(failures) == [two]
        assert "can't be read" in notebooks[two].cells[0].source


@pytest.mark.slow
def test_pages_with_a_warning_are_no_book_where_that_is_asked_for(course, build):
    course.write(**{"01_good": ["print('one')"]})
    (course.root / pages.SITE).mkdir(parents=True)
    (course.root / pages.SITE / "index.html").write_text("the previous site", encoding="utf-8")
    (course.root / "book/index.md").write_text("# A small course\n\n[broken](nowhere.md)\n", encoding="utf-8")
    said, status = build("--strict", "--stored")
    assert status == 1, said
    assert re.search(r"^\S*book/index.md:3: WARNING: .*nowhere", said, re.M), said
    assert (course.root / pages.SITE / "index.html").read_text(encoding="utf-8") == "the previous site"
    assert "previous site stays" in said
    said, status = build("--stored")
    assert status == 0, said
    assert "begins" not in said
    assert not pages.is_current(course.root)  # so that a strict build would not take them for good ones


@pytest.mark.slow
def test_pages_are_tested_once(course, build):
    course.write(**{"01_good": ["print('one')"]})
    (course.root / "tests").mkdir()
    test = "import pathlib\nimport pytest\n\n@pytest.mark.book\ndef test():\n    assert {}\n"
    file = course.root / "tests/test_pages.py"

    def outcome(claim, *arguments):
        file.write_text(test.format(claim), encoding="utf-8")
        said, status = build(*arguments)
        return ("Testing" in said, "passed their tests when" in said, status)

    assert outcome("pathlib.Path('_build/html/index.html').is_file()") == (True, False, 0)
    assert outcome("pathlib.Path('_build/html/index.html').is_file()") == (False, True, 0)
    assert outcome("pathlib.Path('_build/html/index.html').is_file()", "--pytest-flags=-q") == (True, False, 0)
    assert outcome("False") == (True, False, 1)


def test_what_cannot_be_done_is_said_in_one_message(course, build):
    assert build() == (
        "The book isn't built: there is no _toc.yml here: call this in the course's folder\n",
        USAGE,
    )
    course.write(**{"01_good": []})
    said, status = build("--chapters", "9")
    assert status == USAGE
    assert "no chapter is called 9" in said
    assert "01_good" in said
    with filelock.FileLock(course.root / pages.BUILT / "book.lock"):
        said, status = build()
    assert status == USAGE
    assert "another build of the book" in said


@pytest.mark.parametrize(("number", "polite"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interrupt_keeps_what_is_done(course, number, polite):
    endless = ENDLESS.replace("POLITE", str(polite))
    good, _ = course.write(**{"01_good": ["print(1)"], "02_endless": [endless]})
    at_work = course.root / "chapters" / "pid"
    with course.start() as process:
        for line in process.stdout:
            if "done" in line:
                break
        while process.poll() is None and not at_work.is_file():
            threading.Event().wait(0.05)
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait() == INTERRUPTED, rest
    assert "Stopped. What was done is kept" in rest
    assert "Traceback" not in rest
    kernel = int(at_work.read_text(encoding="utf-8"))
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE
    assert texts(course.store().find(good)) == ["1\n"]
    assert not (course.root / pages.SITE).exists()
