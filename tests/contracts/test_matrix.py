"""The lists of packages behind ``make matrix``; the matrix itself runs apart, in environments of its own."""

import pytest

from tests import matrix


def pins(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.partition(" ;")[0].split("==") for line in lines if line and not line.startswith("#"))


PINNED = pins(matrix.ROOT / "constraints.txt")


@pytest.mark.parametrize("name", ["tests", "chapter"])
def test_what_all_releases_share_is_pinned_as_everywhere(name):
    shared = pins(matrix.LISTS / f"{name}.txt")
    assert shared == {package: PINNED[package] for package in shared}


def test_every_release_has_a_list_and_the_oldest_comes_first():
    assert matrix.releases() == ["4.41.2", "4.46.3", "4.57.1", "5.0.0", "pinned"]
    for release in matrix.releases()[:-1]:
        packages = pins(matrix.LISTS / f"transformers-{release}.txt")
        assert packages["transformers"] == release
        assert set(packages) == {"transformers", "tokenizers", "huggingface-hub", "datasets"}


def test_every_file_that_the_matrix_runs_is_there():
    files = [matrix.ROOT / "tests" / name for name in matrix.TESTS]
    assert [path.name for path in [*files, matrix.ROOT / matrix.CHAPTER] if not path.is_file()] == []
    assert matrix.torch_pin() == f"torch=={PINNED['torch']}"


def test_a_failure_is_shown_and_counted(capsys):
    pytest_alone = [matrix.sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest"]
    result = matrix.outcome_of("any", "tests", [*pytest_alone, "tests/no_such_file.py"], matrix.Console(soft_wrap=True))
    assert result.failed
    assert "no_such_file" in capsys.readouterr().out
