"""Text is UTF-8 wherever a file or a pipe is opened, whatever the machine's locale says."""

import ast
import json
import re

import pytest

from tests.course import ROOT

FOLDERS = ("ftlib", "tests", "benchmarks", "chapters", "book")
OPENERS = ("open", "fdopen")
NOT_FILES = ("opener.open", "tarfile.open", "os.open", "webbrowser.open", "jsonlines.open")


def sources():
    """Yield a name and Python for every module, every cell and every block of a page."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix == ".py" and "old_code" not in path.parts:
                yield name, path.read_text(encoding="utf-8")
            elif path.suffix == ".ipynb" and "old_code" not in path.parts:
                cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
                code = [("".join(cell["source"]), place) for place, cell in enumerate(cells) if is_python(cell)]
                yield from ((f"{name} cell {place}", source) for source, place in code)
            elif path.suffix == ".md":
                blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.S | re.M)
                yield from ((f"{name} block {place}", block) for place, block in enumerate(blocks))


def is_python(cell):
    return cell["cell_type"] == "code" and not re.search(r"^\s*[%!]", "".join(cell["source"]), flags=re.M)


def unsaid(source):
    """Name the calls that leave the encoding of text to the machine."""
    for node in ast.walk(ast.parse(source)):
        if (isinstance(node, ast.Call) and leaves_it_open(node)) or (
            isinstance(node, ast.Dict) and asks_for_text(node)
        ):
            yield f"line {node.lineno}: {ast.unparse(node)[:100]}"


def asks_for_text(words):
    pairs = zip(words.keys, words.values, strict=True)
    return any(
        key is not None and ast.unparse(key) == "'text'" and ast.unparse(value) == "True" for key, value in pairs
    )


def leaves_it_open(call):
    name = ast.unparse(call.func)
    given = {word.arg for word in call.keywords}
    if "encoding" in given or name in NOT_FILES or None in given:
        return False
    method = name.rpartition(".")[2]
    if method in ("read_text", "write_text"):
        return len(call.args) <= (method == "write_text")  # the encoding comes next
    if given & {"text", "universal_newlines"} and method in ("run", "Popen", "check_output", "check_call"):
        return True
    return method in OPENERS and not is_binary(call)


def is_binary(call):
    modes = [word.value for word in call.keywords if word.arg == "mode"]
    texts = [node.value for node in [*call.args, *modes] if isinstance(node, ast.Constant)]
    return any(isinstance(text, str) and re.fullmatch(r"[rwxa+]*b[rwxa+]*", text) for text in texts)


@pytest.mark.parametrize(
    ("source", "faults"),
    [
        ("path.read_text()", 1),
        ("path.read_text('utf-8')", 0),
        ("path.write_text(words)", 1),
        ("path.write_text(words, encoding='utf-8')", 0),
        ("open(path)", 1),
        ("path.open('w')", 1),
        ("path.open('wb')", 0),
        ("subprocess.run(words, text=True)", 1),
        ("subprocess.run(words, encoding='utf-8')", 0),
        ("pipes = {'stdin': PIPE, 'text': True}", 1),
        ("jsonlines.open(path)", 0),
    ],
)
def test_what_counts_as_unsaid(source, faults):
    assert len(list(unsaid(source))) == faults


def test_the_encoding_of_text_is_never_left_to_the_machine():
    found = [f"{name} {fault}" for name, source in sources() for fault in unsaid(source)]
    assert found == []
