"""Sections of pages that programs make: what stands between their markers is renewed, and nothing else."""

import pytest

from book.generators.sections import renewed
from ftlib.errors import DataError
from ftlib.files import write_whole


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ("no marker", r"<!-- a: begin --> stands there 0 times"),
        ("<!-- a: begin -->", r"<!-- a: end --> stands there 0 times"),
        ("<!-- a: begin --><!-- a: begin --><!-- a: end -->", r"<!-- a: begin --> stands there 2 times"),
        ("<!-- a: begin --><!-- a: end --><!-- a: end -->", r"<!-- a: end --> stands there 2 times"),
        ("<!-- a: end --><!-- a: begin -->", r"<!-- a: end --> stands in front of <!-- a: begin -->"),
    ],
)
def test_a_section_needs_both_of_its_markers_once(tmp_path, page, why):
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    with pytest.raises(DataError, match=rf"page\.md: the marker {why}"):
        renewed(tmp_path / "page.md", {"a": "new"})
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page


def test_sections_are_renewed_side_by_side_and_all_else_stays(tmp_path):
    page = "0\n<!-- b: begin -->\n\nold\n\n<!-- b: end -->\n1<!-- a: begin --><!-- a: end -->2\n"
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    new = renewed(tmp_path / "page.md", {"a": "A", "b": "B\\1"})
    assert new == "0\n<!-- b: begin -->\n\nB\\1\n\n<!-- b: end -->\n1<!-- a: begin -->\n\nA\n\n<!-- a: end -->2\n"
    write_whole(tmp_path / "page.md", new)
    assert renewed(tmp_path / "page.md", {"b": "B\\1"}) == new
