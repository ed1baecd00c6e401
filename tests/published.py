"""What must not be published: the builder's secrets and places, and markup that shows as text."""

from __future__ import annotations

import os
import re
import socket
import sys
import tarfile
import tempfile
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

from tests.course import ROOT

CANARY_VARIABLE = "FTLIB_CANARY_KEY"
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|CANARY", re.IGNORECASE)
_ARCHIVES = {".whl", ".zip"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_NOT_PROSE = {"cite", "code", "pre", "script", "style"}
_RAW = {
    "a fence": re.compile(r"```|~~~|:::"),
    "a directive": re.compile(r"^[^\S\n]*(\{[a-z][a-z-]{2,}\}[^\S\n]*\S|\.\. [a-z-]+::)", re.MULTILINE),
    "a role": re.compile(r"\{[a-z][a-z:-]*\}[`\N{NO-BREAK SPACE}]|(?<!\S):[a-z][a-z:-]*:[`\N{NO-BREAK SPACE}]"),
    "an option of a directive": re.compile(r"^[^\S\n]*:[a-z][a-z-]*:(?=\s|$)", re.MULTILINE),
    "a substitution": re.compile(r"\{\{|\}\}|\{%|%\}"),
    "a comment": re.compile(r"<!--|-->"),
    "a formula": re.compile(r"\$\$|(?<![\w$])\$(?=\S)[^$\n]*[\\^_={][^$\n]*(?<=\S)\$(?!\w)"),
    "a table": re.compile(r"\|[^\S\n]*:?-{3,}|^[^\S\n]*\|.*\|[^\S\n]*$", re.MULTILINE),
    "a link": re.compile(r"\]\((?=\S)|\]\["),
    "a backtick": re.compile(r"`"),
    "stars of bold text": re.compile(r"\*\*\S[^*\n]*\S\*\*"),
    "a heading": re.compile(r"^[^\S\n]*#{1,6} ", re.MULTILINE),
}


def anywhere(text: str) -> re.Pattern[bytes]:
    """Find a text wherever it stands. A search index holds words in small letters, so their case plays no part."""
    return re.compile(re.escape(text.encode()), re.IGNORECASE)


def as_path(place: str | Path, more: str = "") -> re.Pattern[bytes]:
    """Find an absolute path and what lies below it; ``/home/a`` is neither in ``book/home/a`` nor in ``/home/ab``."""
    return re.compile(rb"(?<![\w.-])%s%s(?![\w-])" % (re.escape(str(place).encode()), more.encode()), re.IGNORECASE)


def machine_traces() -> dict[str, re.Pattern[bytes]]:
    """What tells on which machine, and with which keys, something was made: how to find it, by what it is."""
    found = {
        "the checkout": as_path(ROOT),
        "a temporary file": as_path(Path(tempfile.gettempdir(), tempfile.gettempprefix()), r"\w{6,}[^\s\"'<]*"),
    }
    if len(Path.home().parts) > 1:
        found["the home folder"] = as_path(Path.home())
    if len(Path(sys.prefix).parts) > 2:  # /usr is everybody's
        found["Python's folder"] = as_path(sys.prefix)
    if re.search(r"[\d.-]", socket.gethostname()) and len(socket.gethostname()) >= 6:  # else it is a word like another
        found["the computer's name"] = anywhere(socket.gethostname())
    secret = {name: value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= 12}
    return found | {f"the value of {name}": anywhere(value) for name, value in secret.items()}


def contents(path: Path):
    """Yield name and bytes of a file; of an archive, those of all that is in it."""
    if path.suffix in _ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path.name}: {name}", archive.read(name)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                yield f"{path.name}: {member.name}", archive.extractfile(member).read()
    elif path.suffix == ".inv":  # Sphinx's list of names: four lines, and the rest compressed
        yield path.name, zlib.decompress(path.read_bytes().split(b"\n", 4)[4])
    else:
        yield path.name, path.read_bytes()


def traces(text: str | bytes, wanted: dict[str, re.Pattern[bytes]]) -> list[str]:
    """Return which traces are in a text: by what they are, never by what they say."""
    searched = text.encode() if isinstance(text, str) else text
    return [what for what, pattern in wanted.items() if pattern.search(searched)]


def traces_in(folder: Path, wanted: dict[str, re.Pattern[bytes]]) -> list[str]:
    """Search every file below a folder, and say what is where."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files, f"{folder}: there is nothing to search"
    return [f"{name} holds {what}" for path in files for name, data in contents(path) for what in traces(data, wanted)]


class Prose(HTMLParser):
    """The text that a page shows, without code; a line stays a line, and code leaves a gap."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self.text, self.has_message = "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag in _VOID:
            return
        classes = set((dict(attributes).get("class") or "").split())
        self.has_message |= bool({"problematic", "system-message"} & classes)
        # What autodoc calls by its name, such as **options, a formula that is yet to be set, and what was printed: a
        # model may well answer with a fence.
        is_code = tag in _NOT_PROSE or {"sig", "math", "cell_output"} & classes
        self._open.append("code" if is_code else tag)
        if is_code:
            self.text += "\N{NO-BREAK SPACE}"

    def handle_endtag(self, tag):
        if tag not in _VOID and self._open:
            self._open.pop()

    def handle_data(self, data):
        if not _NOT_PROSE & set(self._open):
            self.text += data


def raw_markup(page: str) -> list[str]:
    """Return what a page of HTML shows of its own markup: directives, roles, fences, formulas, tables."""
    prose = Prose(page)
    text, found = prose.text, ["an error message of docutils"] * prose.has_message
    for what, pattern in _RAW.items():
        found += [f"{what}: {text[max(0, hit.start() - 30) : hit.end() + 30]!r}" for hit in pattern.finditer(text)]
    return found
