"""How a chapter is written, so that its page is quiet: the strip, what is folded, what is predicted, and the quiz.

CONTRIBUTING.md says it in words; ``book/_extensions/quiet.py`` makes pages of it.
"""

import ast
import base64
import json
import re

import pytest

from tests.course import ROOT

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
NOT_YET: set[str] = set()
"""Chapters that are still to be written in this way. Empty, once all are."""
QUIET = [path for path in CHAPTERS if path.stem[:2] not in NOT_YET]
STRIP = ["Goal.", "You need.", "Time and memory.", "Model."]
LONGEST, MOST_CELLS, MOST_GIB = 2200, 30, 4
TEXT_WIDTH = 700  # pixels, of a page's text on a wide screen; chapters/matplotlibrc sets what figures are drawn with
FOLDED_IN_JUPYTER = {
    "hide-output": {"outputs_hidden"},
    "hide-input": {"source_hidden"},
    "hide-cell": {"outputs_hidden", "source_hidden"},
    "remove-cell": {"source_hidden"},
}
OUT_OF_SIGHT = {"hide-cell", "hide-input", "remove-cell", "remove-input"}
OUTPUT_OUT_OF_SIGHT = {"hide-cell", "hide-output", "remove-cell", "remove-output"}
chapters = pytest.mark.parametrize("path", QUIET, ids=lambda path: path.stem)


def cells_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "text": "".join(cell["source"]), "tags": set(cell["metadata"].get("tags", []))} for cell in cells]


def code_of(path):
    return [cell for cell in cells_of(path) if cell["cell_type"] == "code"]


def tree_of(cell):
    """Parse a cell; a line that speaks to IPython is none of Python's."""
    return ast.parse(re.sub(r"(?m)^(\s*)%.*$", r"\1pass", cell["text"]))


def is_check(node):
    """Tell whether a node is an assert, or a call such as ``torch.testing.assert_close(...)``."""
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return isinstance(node, ast.Assert) or (isinstance(called, ast.Attribute) and called.attr.startswith("assert_"))


def only_checks(statement):
    """Tell whether a statement is a check, or a loop or block of nothing else."""
    return is_check(statement) or (isinstance(statement, (ast.For, ast.With)) and all(map(only_checks, statement.body)))


def asserts_in(cell):
    return sum(map(is_check, ast.walk(tree_of(cell))))


def predictions_in(text):
    """Return where it says Predict in bold, and which of these are boxes."""
    said = re.findall(r"(?m)^.*\*\*Predict\b.*$", text)
    return said, [line for line in said if re.match(r"> \*\*Predict:\*\* \S", line)]


def questions_in(text):
    """Take the questions of a quiz apart: what is asked, the options, and the answers as (letter, verdict, why)."""
    items = r"((?:- .+\n)+)"
    answers_of = rf"<details>\n<summary>Answers</summary>\n\n{items}\n</details>(?:\n|$)"
    shape = re.compile(rf"\*\*(\d+)\. (.+?)\*\*\n\n{items}\n{answers_of}")
    for number, asked, options, answers in shape.findall(text):
        letters = re.findall(r"(?m)^- \*\*([A-Z])\.\*\* \S.*$", options)
        verdicts = re.findall(r"(?m)^- \*\*([A-Z]) is (right|wrong)\.\*\* (\S.*)$", answers)
        yield int(number), asked, (letters, options.count("\n")), verdicts


def test_the_chapters_that_are_still_to_be_written_so_exist():
    assert {path.stem[:2] for path in CHAPTERS} >= NOT_YET
    assert len(QUIET) >= 11


@chapters
def test_a_chapter_begins_with_one_strip(path):
    first = cells_of(path)[0]
    title, _, rest = first["text"].partition("\n\n")
    strip = rest.split("\n\n")[0].splitlines()
    assert title.startswith(f"# {int(path.stem[:2])}. ")
    assert [re.sub(r"^- \*\*([^*]+)\*\* \S.*", r"\1", line) for line in strip] == STRIP


@chapters
def test_imports_and_settings_are_one_folded_cell(path):
    install, setup = code_of(path)[:2]
    assert "remove-cell" in install["tags"]
    assert "hide-input" in setup["tags"]
    assert "import" in setup["text"]
    assert "SEED = " in setup["text"]
    assert not setup["outputs"]


def words_in(text):
    """Count words as a reader meets them: no addresses, tags or options of a directive, no talk with a model."""
    text = re.sub(r"```\{(?:talk|next-token)\}.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^:\w+:.*$|^`{3,}\{[^}]*\}|</?[a-z][^>\n]*>", "", text)
    return len(re.findall(r"\w[\w\u2019'-]*", re.sub(r"\]\([^)]*\)", "]", text)))


@chapters
def test_a_chapter_is_no_longer_than_an_evening_allows(path):
    text = "\n".join(cell["text"] for cell in cells_of(path) if cell["cell_type"] == "markdown")
    assert words_in(text) <= LONGEST
    assert sum(not cell["tags"] & OUT_OF_SIGHT for cell in code_of(path)) <= MOST_CELLS


@chapters
def test_a_chapter_takes_no_more_memory_than_its_strip_and_a_laptop_allow(path):
    cells = cells_of(path)
    (took,) = re.findall(r"at most ([\d.]+) GiB of memory", json.dumps([cell.get("outputs", []) for cell in cells]))
    strip = re.search(r"\*\*Time and memory\.\*\* (.*)", cells[0]["text"])[1]
    said = float(re.search(r"([\d.]+) GiB", strip.replace("half a GiB", "0.5 GiB"))[1])
    assert float(took) - 0.25 <= said <= MOST_GIB  # the strip rounds


@chapters
def test_what_the_book_folds_jupyter_folds_too(path):
    for cell in code_of(path):
        wanted = {name for tag in cell["tags"] for name in FOLDED_IN_JUPYTER.get(tag, ())}
        assert {name for name, on in cell["metadata"].get("jupyter", {}).items() if on} == wanted, cell["id"]


@chapters
def test_figures_are_sharp_on_dense_screens(path):
    for cell in code_of(path):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                width = int.from_bytes(base64.b64decode(output["data"]["image/png"])[16:20], "big")
                assert width >= 2 * TEXT_WIDTH, cell["id"]


@chapters
def test_each_figure_says_what_it_shows_to_who_does_not_see_it(path):
    for cell in code_of(path):
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            assert cell["metadata"].get("mystnb", {}).get("image", {}).get("alt"), cell["id"]


@chapters
def test_what_a_run_took_is_out_of_sight(path):
    timing = [cell for cell in code_of(path) if "This run took" in cell["text"]]
    assert timing == code_of(path)[-1:]
    assert "remove-cell" in timing[0]["tags"]


@chapters
def test_what_is_predicted_is_a_box_over_a_folded_output(path):
    cells = cells_of(path)
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if cell["cell_type"] != "markdown":
            continue
        said, boxes = predictions_in(cell["text"])
        assert said == boxes, cell["id"]
        assert len(boxes) <= 1, cell["id"]
        if boxes:
            assert cell["text"].rstrip().endswith(boxes[0]), cell["id"]
            assert after["cell_type"] == "code", cell["id"]
            assert "hide-output" in after["tags"], cell["id"]
            assert after["outputs"], cell["id"]
            top = [node for node in tree_of(after).body if is_check(node)]
            assert "hide-input" in after["tags"] or not top, f"{cell['id']}: an assert gives the answer away"


@chapters
def test_an_output_is_folded_only_under_a_prediction(path):
    open_question = False
    for cell in cells_of(path):
        if cell["cell_type"] == "markdown":
            # A caption may stand between two outputs that answer one question.
            open_question = bool(predictions_in(cell["text"])[1]) or (open_question and cell["text"].startswith("*"))
        assert open_question or "hide-output" not in cell["tags"], cell["id"]


def giving_away(cells):
    """Return the cells that show an output below a prediction, before a word that may come between.

    The page folds the first paragraph that follows, with the captions before it (``_reading`` in ``quiet.py``). So what
    comes between is a paragraph after that, or a heading, a list, a picture: whatever stays in sight.
    """
    found, open_question, read = [], False, False
    for cell in cells:
        if cell["cell_type"] == "markdown":
            if predictions_in(cell["text"])[1]:
                open_question, read = True, False
            elif open_question:
                parts = [part for part in re.split(r"\n\s*\n", cell["text"].strip()) if not is_caption(part)]
                if parts and not read and is_paragraph(parts[0]):
                    parts, read = parts[1:], True
                open_question = not parts
        elif open_question and cell["outputs"] and not cell["tags"] & OUTPUT_OUT_OF_SIGHT:
            found.append(cell["id"])
    return found


def is_caption(part):
    return re.fullmatch(r"\*(?!\*).+(?<!\*)\*", part, flags=re.DOTALL) is not None


def is_paragraph(part):
    return re.match(r"#|[-*+] |\d+\. |>|\||!\[|`{3}|:{3}|<", part) is None


@chapters
def test_no_output_in_sight_gives_a_prediction_away(path):
    assert giving_away(cells_of(path)) == []


def told(text, kind="markdown", *tags, shows=False):
    return {"cell_type": kind, "id": text, "text": text, "tags": {*tags}, "outputs": [shows] * shows}


ASKED = [told("Two plus two.\n\n> **Predict:** how many?"), told("print(4)", "code", "hide-output", shows=True)]


@pytest.mark.parametrize(
    "between",
    [
        [],
        [told("assert 4", "code", "hide-cell")],
        [told("*A caption.*")],
        [told("It is four.")],
        [told("*A caption.*\n\nIt is four.")],
    ],
)
def test_an_output_that_gives_a_prediction_away_is_found(between):
    table = told("table", "code", "hide-input", shows=True)
    assert giving_away([*ASKED, *between, table]) == ["table"]
    assert giving_away([*ASKED, *between, {**table, "tags": {"hide-output"}}]) == []
    assert giving_away([*ASKED, *between, told("silent", "code")]) == []


@pytest.mark.parametrize(
    "between", ["It is four.\n\nNow something else.", "It is four.\n\n## Something else", "![Four apples](apples.svg)"]
)
def test_an_output_behind_words_in_sight_gives_nothing_away(between):
    assert giving_away([*ASKED, told(between), told("table", "code", shows=True)]) == []


@chapters
def test_what_only_checks_is_folded(path):
    for cell in code_of(path):
        body = tree_of(cell).body
        if body and all(map(only_checks, body)) and asserts_in(cell):
            assert cell["tags"] & {"hide-cell", "remove-cell"}, cell["id"]
        if "hide-cell" in cell["tags"]:
            assert asserts_in(cell), f"{cell['id']} is called a check, and checks nothing"
            assert not cell["outputs"], cell["id"]


@chapters
def test_at_most_one_assert_stays_in_sight(path):
    shown = [cell for cell in code_of(path) if not cell["tags"] & OUT_OF_SIGHT]
    assert {cell["id"]: asserts_in(cell) for cell in shown if asserts_in(cell) > 1} == {}


@chapters
def test_cells_are_numbered_as_a_run_from_the_first_to_the_last_numbers_them(path):
    code = code_of(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


@chapters
def test_each_question_of_the_quiz_has_one_right_option_and_feedback_for_all(path):
    quizzes = [cell["text"] for cell in cells_of(path) if cell["text"].startswith("## Quiz\n")]
    assert len(quizzes) == 1, "one cell begins with the heading of the quiz"
    quiz = quizzes[0]
    questions = list(questions_in(quiz))
    assert len(questions) >= 3
    assert [number for number, *_ in questions] == list(range(1, len(questions) + 1))
    assert quiz.count("<details>") == len(questions)
    for _, asked, (letters, lines), verdicts in questions:
        assert len(letters) == lines == len(set(letters)) >= 3, asked
        assert [letter for letter, *_ in verdicts] == letters, asked
        assert [verdict for _, verdict, _ in verdicts].count("right") == 1, asked
        assert len({why for *_, why in verdicts}) == len(letters), asked
    assert "$" not in quiz, "quiz.js copies what it shows: write formulas in plain text"


def test_right_options_do_not_stand_in_one_place():
    places = []
    for path in QUIET:
        for _, _, _, verdicts in questions_in("".join(cell["text"] + "\n" for cell in cells_of(path))):
            places.append(next(letter for letter, verdict, _ in verdicts if verdict == "right"))
    shares = [places.count(letter) / len(places) for letter in "ABC"]
    assert min(shares) > 0.2
