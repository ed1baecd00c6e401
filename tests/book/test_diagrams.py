"""The diagrams of the book: readable on white and on the dark ground, on a phone, by ear, and true.

A picture in a page can't know the page's theme. So every text stands in a filled box, and the boxes stand on nothing.
"""

import json
import re
from functools import cache
from xml.etree import ElementTree

import pytest
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from tests.course import ROOT

FOLDER = ROOT / "book" / "_static" / "diagrams"
FILES = sorted(FOLDER.glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
GROUNDS = ("#ffffff", "#121212", "#14181e")  # white, and the dark grounds of the book's theme and of the one below it
# Drawn, and not yet on a page. Whoever puts one on a page takes it off this list.
WAITING: set[str] = set()
USE = re.compile(
    r"!\[([^]]*)\]\(([^)]*_static/diagrams/([\w-]+)\.svg)\)(.*?)(?=\n\n|\Z)(?:\n\n(.*?)(?=\n\n|\Z))?", re.DOTALL
)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def pages():
    for path in (*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("book/**/*.md")):
        text = path.read_text(encoding="utf-8")
        cells = json.loads(text)["cells"] if path.suffix == ".ipynb" else [{"cell_type": "markdown", "source": text}]
        for cell in cells:
            if cell["cell_type"] == "markdown":
                yield path, "".join(cell["source"])


def uses():
    for path, text in pages():
        for alt, address, name, rest, caption in USE.findall(text):
            yield path, alt, address, name, rest, caption


@cache
def root_of(path):
    return ElementTree.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 (our own file)


def rules(root):
    """Return the declarations of each class and element in the file's style sheet."""
    found = {}
    for selectors, body in re.findall(
        r"([^{}]+)\{([^}]*)\}", "".join(style.text for style in root.iter(f"{SVG}style"))
    ):
        for selector in selectors.split(","):
            found.setdefault(selector.strip(), {}).update(dict(re.findall(r"([\w-]+):\s*([^;]+);", body)))
    return found


def styled(element, root):
    """Return what applies to an element: its attributes, the rule of its name, those of its classes."""
    sheet, classes = rules(root), element.get("class", "").split()
    names = [element.tag.removeprefix(SVG), *(name for name in sheet if name.removeprefix(".") in classes)]
    return dict(element.attrib) | {key: value for name in names for key, value in sheet.get(name, {}).items()}


def texts_in_boxes(root):
    """Yield each text with its box: the last one drawn before it that it stands in."""
    boxes = []
    for element in root.iter():
        if element.tag == f"{SVG}rect":
            boxes.append(element)
        elif element.tag == f"{SVG}text":
            inside = [box for box in boxes if stands_in(element, box)]
            assert inside, f"{element.text!r} stands in no box: on one of the two grounds it can't be read"
            yield element, inside[-1]


def stands_in(text, box):
    (x, y), (left, top, width, height) = numbers(text, "x", "y"), numbers(box, "x", "y", "width", "height")
    return left <= x <= left + width and top <= y <= top + height


def numbers(element, *names):
    return [float(element.get(name, 0)) for name in names]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def size_of(text, root):
    style = styled(text, root)
    size = style.get("font-size") or style.get("font") or root.get("font-size")
    return float(re.match(r"[\d.]+", size).group())


def width_of(text, root):
    """Width in DejaVu Sans, which is wider than what a phone, a Mac or Windows takes for ``system-ui``."""
    weight = "bold" if styled(text, root).get("font-weight") == "600" else "normal"
    font = FT2Font(findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    font.set_size(100, 72)
    font.set_text(text.text)
    return font.get_width_height()[0] / 64 * size_of(text, root) / 100


def test_the_measures_are_those_of_the_standard():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@each_file
def test_it_is_an_image_with_a_title_and_a_description(path):
    root = root_of(path)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root.get("aria-labelledby").split() == [root[0].get("id"), root[1].get("id")]
    assert len(root[0].text) >= 15
    assert len(root[1].text) >= 60


@each_file
def test_nothing_runs_and_nothing_is_fetched(path):
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"<script|<foreignObject|<image|<use|href|\son\w+=|@import|https?:|url\((?!#)|data:", text)


@each_file
def test_texts_are_read_on_any_ground(path):
    root = root_of(path)
    for text, box in texts_in_boxes(root):
        ratio = contrast(styled(text, root)["fill"], styled(box, root)["fill"])
        assert ratio >= 4.5, f"{text.text!r}: contrast {ratio:.1f}"


@each_file
def test_lines_are_seen_on_white_and_on_the_dark_ground(path):
    root = root_of(path)
    for line in root.iter(f"{SVG}path"):
        style = styled(line, root)
        if "ink" in line.get("class", ""):
            continue  # over a light box
        colour = style.get("stroke") or style["fill"]
        assert min(contrast(colour, ground) for ground in GROUNDS) >= 3


@each_file
def test_texts_are_large_enough_for_a_phone_and_fit_their_boxes(path):
    root = root_of(path)
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
    for text, box in texts_in_boxes(root):
        assert size_of(text, root) >= 22 * width / 720, f"{text.text!r} is under 11 px where the picture is 360 px wide"
        room = float(box.get("width"))
        assert width_of(text, root) <= room - 8, f"{text.text!r} doesn't fit: {width_of(text, root):.0f} of {room:.0f}"


@each_file
def test_every_box_is_inside_the_picture(path):
    root = root_of(path)
    for box in root.iter(f"{SVG}rect"):
        x, y, width, height = numbers(box, "x", "y", "width", "height")
        assert x >= 1
        assert y >= 1
        assert x + width <= float(root.get("width")) - 1
        assert y + height <= float(root.get("height")) - 1


def test_every_diagram_is_used_or_waits():
    used = {name for _, _, _, name, _, _ in uses()}
    drawn = {path.stem for path in FILES}
    assert len(drawn) >= 16
    assert used <= drawn
    assert drawn - used == WAITING


def test_every_use_has_a_text_for_the_ear_and_a_caption():
    for path, alt, address, name, rest, caption in uses():
        assert (path.parent / address).resolve() == FOLDER / f"{name}.svg"
        assert len(alt) >= 20, f"{path.name}, {name}: say in the alt text what the picture shows"
        assert not rest.strip(), f"{path.name}, {name}: {rest!r} stands right behind the picture"
        assert re.fullmatch(r"\*[^*\s].{19,}[.?!)]\*", caption, re.DOTALL), (
            f"{path.name}, {name}: no caption in italics"
        )


def test_every_chapter_has_a_picture_in_its_first_screen():
    before_the_text = {}
    for path, text in pages():
        if path.suffix == ".ipynb":
            before_the_text[path.name] = before_the_text.get(path.name, "") + text
    for name, text in before_the_text.items():
        assert USE.search(text.partition("\n## ")[0]), f"{name}: a diagram belongs above the first section"
