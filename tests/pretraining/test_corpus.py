import sys

import pytest

from ftlib.errors import DataError
from ftlib.pretraining import corpus
from ftlib.pretraining.corpus import docstrings, harvest, near_copies, package_files, package_names, split_documents

SOURCE = '''
"""The module."""
class A:
    """The class."""
    def method(self):
        """The method,

        indented."""
async def later():
    "The coroutine."
def none(): pass
text = "no docstring"
'''


def test_docstrings_of_module_class_and_functions():
    assert sorted(docstrings(SOURCE)) == ["The class.", "The coroutine.", "The method,\n\nindented.", "The module."]


def test_source_is_parsed_and_never_run(tmp_path):
    marker = tmp_path / "ran"
    assert docstrings(f'"""Text."""\nopen({str(marker)!r}, "w")') == ["Text."]
    assert not marker.exists()


@pytest.mark.parametrize("broken", ["print 'old'", "def f(:", "\0", "(" * 2000])
def test_what_does_not_parse_gives_nothing(broken):
    assert docstrings(broken) == []


def test_harvest_drops_short_texts_and_copies(tmp_path, monkeypatch):
    long = "A sentence that is long enough to be kept because it has over eighty characters in it, surely."
    files = []
    for number, text in enumerate(
        [long, long.upper() + "  ", "short", long.replace("sentence", "phrase"), long + " 1", long + " 2"]
    ):
        file = tmp_path / f"m{number}.py"
        file.write_text(f'"""{text}"""', encoding="utf-8")
        files.append(file)
    monkeypatch.setattr(corpus, "package_files", lambda name: files)
    documents, sources = harvest(["python"])
    assert documents == [long, long.replace("sentence", "phrase"), long + " 1"]
    assert sources[0].documents == 3
    assert sources[0].text_bytes == sum(map(len, documents))


def test_files_are_python_files_without_tests():
    files = package_files("pytest")
    assert files
    assert all(file.suffix == ".py" for file in files)
    standard = package_files("python")
    assert any(file.name == "argparse.py" for file in standard)
    assert not any({"test", "site-packages"} & set(file.parts[-3:-1]) for file in standard)


def test_a_package_that_is_not_installed():
    with pytest.raises(DataError, match="'no-such-package' is not installed"):
        harvest(["no-such-package"])


def test_the_split_depends_on_the_text_alone():
    documents = [f"document number {chr(97 + i % 26) * (i + 1)}" for i in range(300)]
    train, held_out = split_documents(documents, held_out_percent=20)
    train_again, held_out_again = split_documents(reversed(documents), held_out_percent=20)
    assert set(train) == set(train_again)
    assert set(held_out) == set(held_out_again)
    assert 30 < len(held_out) < 90


def test_near_copies_share_half_of_their_sequences():
    original = "one two three four five six seven eight nine ten eleven twelve"
    changed_at_the_end = original.replace("twelve", "other")
    half = "one two three four five six seven eight and then something else entirely new here"
    short = "one two three"
    judged = near_copies([original.upper(), changed_at_the_end, half, short], [original, "unrelated words"])
    assert judged == [True, True, False, False]


def test_names_of_a_constraints_file(tmp_path):
    file = tmp_path / "constraints.txt"
    other = "win32" if sys.platform != "win32" else "linux"
    conditions = f'old==1 ; python_version < "3"\nnew==1 ; python_version > "3"\nelse==2 ; sys_platform == "{other}"\n'
    file.write_text("# torch==1\nnumpy==2.0\n\nrich==15.0 \n" + conditions, encoding="utf-8")
    assert package_names(file) == ["numpy", "rich", "new"]
    file.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(DataError, match="no name==version line found"):
        package_names(file)
    file.write_text("numpy==2.0\nrich==15.0 and more\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"constraints.txt: 'rich==15.0 and more' is no name==version line"):
        package_names(file)
    with pytest.raises(DataError, match="can't be read"):
        package_names(tmp_path / "none.txt")
