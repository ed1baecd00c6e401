"""Nothing that others may see holds a key of whoever made it, or tells where it was made; and no page shows markup."""

import hashlib
import html
import json
import os
import re
import subprocess
import sys
import zipfile
import zlib

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from book.pages import JUPYTER_BOOK
from ftlib.cli.diagnosis import KEYS
from ftlib.models.loading import save_model
from tests.published import ROOT, anywhere, as_path, contents, machine_traces, raw_markup, traces, traces_in

# Letters and digits: a search index has it as it is. This file travels in the sdist, and doesn't hold it.
CANARY, PERSON = (f"canary{hashlib.sha256(what).hexdigest()[:16]}" for what in (b"a key", b"a person"))
VARIABLES = ("FTLIB_CANARY_KEY", *KEYS)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of a machine where every key is the canary, with a home of its own."""
    home = tmp_path_factory.mktemp("home") / PERSON
    home.mkdir()
    return os.environ | dict.fromkeys(VARIABLES, CANARY) | {"HOME": str(home), "USER": PERSON}


def everything():
    return machine_traces() | {"the canary": anywhere(CANARY), "the person": anywhere(PERSON)}


def build_page(folder, page, environment, **settings):
    """Build a book of one page as `make book` would, except for what is given; return the folder of the site."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    for part in ("logo", "bibtex_bibfiles", "execute"):
        config.pop(part)
    config["html"].pop("favicon")
    config["sphinx"]["extra_extensions"].remove("sphinx.ext.viewcode")  # source text, and most of the time
    config["sphinx"]["local_extensions"] = {
        name: str(ROOT / place) for name, place in config["sphinx"]["local_extensions"].items()
    }
    for name in ("html_static_path", "html_css_files", "html_js_files", "templates_path"):
        config["sphinx"]["config"].pop(name)
    config["sphinx"]["config"] |= settings
    folder.mkdir()
    (folder / "_config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: page\n", encoding="utf-8")
    (folder / "page.md").write_text(page, encoding="utf-8")
    command = [*JUPYTER_BOOK, "build", "-W", "--keep-going", folder]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "_build" / "html"


PLANTED = '''
"""Defaults that hold the machine."""
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from pydantic import BaseModel, Field

KEY = os.environ["FTLIB_CANARY_KEY"]

def function(text="plain", *, variables=os.environ, home=Path.home(), key=KEY):
    """Do nothing."""

@dataclass
class Job:
    """Do nothing."""

    variables: dict = KEY
    home: Path = Path.home()

    def method(self, key=KEY):
        """Do nothing."""

class Model(BaseModel):
    """Do nothing."""

    key: str = Field(KEY, min_length=1)
    made: str = Field(default_factory=os.getcwd)

class Row(NamedTuple):
    """Do nothing."""

    key: str = KEY
'''
MODULES = ("planted", "ftlib.cli.diagnosis", "ftlib.hosted.providers", "ftlib.training.config_sections")


@pytest.fixture(scope="module")
def api_page(tmp_path_factory, environment):
    """Build a page on modules of the library, and on a planted one whose defaults hold the machine."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.py").write_text(PLANTED, encoding="utf-8")

    def build(name, modules, **settings):
        directives = "".join(f".. automodule:: {module}\n" for module in modules)
        page = f"# Page\n\n```{{eval-rst}}\n{directives}```\n"
        return build_page(folder / name, page, environment | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}, **settings)

    return build


def test_the_api_page_shows_defaults_as_they_are_written(api_page):
    site = api_page("as-written", MODULES)
    assert traces_in(site, everything()) == []
    page = (site / "page.html").read_text(encoding="utf-8")
    assert raw_markup(page) == []
    text = " ".join(html.unescape(re.sub("<[^>]*>", "", page)).split())
    for written in (
        "variables=os.environ, home=Path.home(), key=KEY",
        "Job(variables: dict = KEY, home: Path = Path.home())",
        "method(key=KEY)",
        "made: str = os.getcwd()",
        "Row(key: str = KEY)",
        "environment: Mapping[str, str] | None = None",
        "prices: Mapping[str, Price] = dict()",
        "learning_rate: Annotated[float | None, Gt(gt=0)] = None",
    ):
        assert written in text, written
    assert "cpu, cuda or mps; default: the best" in text


def test_the_search_finds_what_a_page_publishes(api_page):
    found = traces_in(api_page("evaluated", ["planted"], autodoc_preserve_defaults=False), everything())
    assert {"page.html holds the canary", "page.html holds the person"} <= set(found)


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("<p>```{admonition} Solution</p>", "a fence"),
        ("<p>Look: ~~~</p>", "a fence"),
        ("<div><p>:::{dropdown} Solution\nText\n:::</p></div>", "a fence"),
        ("<li>{admonition} 1. What is wrong?</li>", "a directive"),
        ("<p>.. note::\n   Text</p>", "a directive"),
        ("<p>See {ref}`chapter`</p>", "a role"),
        ("<p>See {ref}<code>chapter</code></p>", "a role"),
        ("<p>It scored {glue:text}<code>score</code></p>", "a role"),
        ("<p>See :func:<cite>open</cite></p>", "a role"),
        ("<p>Title\n:class: dropdown\nThe answer</p>", "an option of a directive"),
        ("<p>:width: 80%</p>", "an option of a directive"),
        ("<p>Version {{ version }}</p>", "a substitution"),
        ("<p>&lt;!-- listing --&gt;</p>", "a comment"),
        ("<p>The loss $-\\log p$ falls</p>", "a formula"),
        ("<p>Its mean $x_i$</p>", "a formula"),
        ("<p>$$</p>", "a formula"),
        ("<p>| name | score |\n|---|---|</p>", "a table"),
        ("<p>[here](page.md)</p>", "a link"),
        ("<p>[here][there]</p>", "a link"),
        ("<td>`&lt;</td><td>im_start</td>", "a backtick"),
        ("<li>**Goal.**</li>", "stars of bold text"),
        ("<p>Text\n## Quiz</p>", "a heading"),
        ('<p><span class="problematic">x</span></p>', "an error message of docutils"),
    ],
)
def test_markup_that_shows_is_found(page, what):
    assert [one.partition(":")[0] for one in raw_markup(page)].count(what) >= 1
    assert (
        raw_markup(page.replace("<p>", "<pre>").replace("</p>", "</pre>")) == []
        or not page.startswith("<p>")
        or ("problematic" in page)
    )


def test_what_only_looks_like_markup_is_left_alone():
    page = """
    <p>It costs $5 to $7, or {a, b}: 3 | 4. Note: 10:30:00, x**2 and C#.</p><p>A set {x} of <code>```{note}</code>.</p>
    <pre>:::{dropdown}\n{{ x }} $a_b$</pre><script>`$x_1$`</script><h2>Quiz<a>#</a></h2>
    <dt class="sig">f(**names: Any, **more: Any)</dt><span class="math">\\(x_1\\) $$</span><p>a **names b</p>
    <div class="cell_output"><table><tr><td>```python\n</td></tr></table></div>"""
    assert raw_markup(page) == []


def test_traces_are_found_wherever_they_are(tmp_path):
    wanted = {"key": anywhere("canary7a"), "home": as_path("/home/ann")}
    assert traces("words:{CANARY7A:3}", wanted) == ["key"]
    assert traces("file:///home/ann/x and '/home/ann'", wanted) == ["home"]
    assert traces("book/home/ann, /home/anna, ../home/ann", wanted) == []
    with zipfile.ZipFile(tmp_path / "x-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.txt", "canary7a " * 99)
    head = b"# Sphinx inventory version 2\n# Project: x\n# Version: 1\n# zlib\n"
    (tmp_path / "objects.inv").write_bytes(head + zlib.compress(b"canary7a " * 99))
    assert traces_in(tmp_path, wanted) == ["objects.inv holds key", "x-1-py3-none-any.whl: inside.txt holds key"]


def test_wheel_and_sdist(tmp_path, environment):
    code = "import sys; from hatchling.build import build_sdist as s, build_wheel as w; s(sys.argv[1]); w(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gz", ".whl"]
    assert all(len(list(contents(path))) > 100 for path in tmp_path.iterdir())
    assert traces_in(tmp_path, everything()) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("chapters/*.ipynb")), ids=lambda path: path.stem)
def test_stored_outputs(path):
    assert traces(path.read_bytes(), everything()) == []


CELLS = (
    "from ftlib.cli.diagnosis import check_environment, check_nano, examine\n"
    "from ftlib.hosted.providers import find_endpoint",
    "import inspect, os, ftlib",
    "examine?\ncheck_nano??",
    "help(examine)\nprint(inspect.signature(check_nano), find_endpoint('openai'))",
    "check_environment(os.environ), check_nano()",
)


def test_an_executed_notebook(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    shown = json.dumps([cell["outputs"] for cell in notebook.cells])
    assert "Look at everything that the course needs" in shown
    assert "OPENAI_API_KEY" in shown
    assert traces(shown, {"the canary": anywhere(CANARY)}) == []


EVERYTHING = """
import logging, os, sys, traceback
logging.basicConfig(level=logging.DEBUG, filename="everything.log")
from ftlib.chat.feedback import FeedbackFile
from ftlib.cli import app
from ftlib.cli.diagnosis import check_environment
from ftlib.errors import FtlibError
from ftlib.hosted import ask
from ftlib.data.messages import assistant, user
from ftlib.models.loading import load_model
from ftlib.training.config import FinetuneConfig

def call(*arguments):
    print("$", *arguments, flush=True)
    try:
        app(arguments, standalone_mode=False)
    except (Exception, SystemExit):
        traceback.print_exc()

call("train", "tiny.yaml", "--out", "run")
call("train", "tiny.yaml", "--out", "run")  # refused: a run is never overwritten
call("train", "none.yaml")
call("evaluate", "rows.jsonl", "--model", "run", "--max-new-tokens", "8",
     "--html", "page.html", "--csv", "table.csv", "--out", "all.json")
call("generate", "Why?", "--model", "no-such-model")
call("estimate", "nano")
print(check_environment(os.environ), load_model("run")[1])
for wrong in (lambda: ask("openai", ["Why?"], base_url="http://127.0.0.1:9", retries=0),
              lambda: ask("openai", ["Why?"], base_url="ftp://nowhere"),
              lambda: FinetuneConfig.from_dict({"tracking": {"project": "course", "key": 1}})):
    try:
        wrong()
    except FtlibError:
        traceback.print_exc()
FeedbackFile("feedback.jsonl").rate([user("Why?"), assistant("So.")], model="run", is_good=True)
"""


def test_a_run_with_its_log_its_pages_and_its_errors(tmp_path, environment, tiny_model, tiny_tokenizer):
    pytest.importorskip("wandb")
    save_model(tiny_model, tiny_tokenizer, tmp_path / "base")
    rows = [{"question": f"Question {number}?", "answer": "word " * (number % 5 + 1)} for number in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {
        "model": {"name": "base"},
        "data": {"source": "rows.jsonl", "validation_share": 0.2},
        "train": {"max_steps": 2, "batch_size": 2},
        "checkpoint": {"every_steps": 1},
        "tracking": {"project": "course"},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-c", EVERYTHING]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    (tmp_path / "shown.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("Traceback") >= 6
    for made in ("run/README.md", "run/config.yaml", "page.html", "table.csv", "all.json", "feedback.jsonl"):
        assert (tmp_path / made).stat().st_size, made
    tracked = [str(path.relative_to(tmp_path)) for path in tmp_path.glob("run/wandb/**/*")]
    assert list(tmp_path.glob("run/wandb/offline-run-*/run-*.wandb")), (tracked, done.stderr[:3000])
    assert (tmp_path / "everything.log").stat().st_size
    assert traces_in(tmp_path, {"the canary": anywhere(CANARY)}) == []
