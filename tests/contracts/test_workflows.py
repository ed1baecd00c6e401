"""What runs on GitHub, as far as it can be looked at from here."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

import install
from tests.course import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps():
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                yield path.name, job, step


def test_actions_are_githubs_own_at_a_major_version():
    uses = {step["uses"] for _, _, step in steps() if "uses" in step}
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", one) for one in uses), uses
    assert len({one.partition("@")[0] for one in uses}) == len(uses)  # one version of each


def test_no_job_runs_for_ever_and_none_may_do_more_than_it_needs():
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"]["contents"] == "read", path.name
        assert all("timeout-minutes" in job or "needs" in job for job in workflow["jobs"].values()), path.name
    assert [path.name for path in WORKFLOWS if "issues: write" in path.read_text(encoding="utf-8")] == ["newest.yml"]


def test_every_supported_python_and_every_system_is_tested():
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]
    pairs = jobs["library"]["strategy"]["matrix"]["include"]
    assert {pair["os"] for pair in pairs} == {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert {pair["python"] for pair in pairs} == {f"3.{minor}" for _, minor in install.SUPPORTED}
    least = re.search(r'requires-python = ">=(\S+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    setup = next(step for step in jobs["oldest-python"]["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == least[1]


def test_files_that_steps_name_are_there():
    for name, _, step in steps():
        for path in re.findall(r"[\w./-]+\.py\b|\.ci/run", step.get("run", "")):
            assert (ROOT / path).is_file(), f"{name}: {path}"


@pytest.fixture
def report(tmp_path, monkeypatch):
    """The program that files an issue, in a folder with a log of a failed run, and with a GitHub that we made up."""
    spec = importlib.util.spec_from_file_location("report", ROOT / ".github" / "report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    issues = []

    def gh(*arguments):
        if arguments[:2] == ("issue", "list"):
            return json.dumps(issues)
        if arguments[:2] == ("issue", "create"):
            issues.append({"number": len(issues) + 1, "body": Path(arguments[-1]).read_text(encoding="utf-8")})
        return ""

    module.gh, module.issues = gh, issues
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUN", "https://example.org/run/1")
    (tmp_path / "constraints.txt").write_text(
        'pytest==0.1\nrich==0.2 ; python_version > "3"\nno-such-package==1\n', encoding="utf-8"
    )
    (tmp_path / "install.log").write_text("installed\n", encoding="utf-8")
    (tmp_path / "test.log").write_text(
        "FAILED tests/test_b.py::test_x - boom 0.1 s\nERROR tests/test_a.py\n2 failed in 3 s\n", encoding="utf-8"
    )
    return module


def test_an_issue_is_opened_once_for_a_failure(report, capsys, tmp_path):
    report.main()
    (tmp_path / "test.log").write_text(
        "ERROR tests/test_a.py\nFAILED tests/test_b.py::test_x - boom 9 s\n2 failed in 4 s\n", encoding="utf-8"
    )
    report.main()  # the same tests, in another order and with other times
    assert "Issue 1 is about the same failure" in capsys.readouterr().out
    (issue,) = report.issues
    assert "- `tests/test_a.py`\n- `tests/test_b.py::test_x`" in issue["body"]
    assert re.search(r"- pytest 0\.1 -> \d.*\n- rich 0\.2 -> \d", issue["body"])
    (tmp_path / "test.log").write_text("FAILED tests/test_c.py::test_new - boom\n", encoding="utf-8")
    report.main()
    assert len(report.issues) == 2


def test_an_installation_that_fails_is_an_issue_too(report, tmp_path):
    (tmp_path / "test.log").unlink()
    (tmp_path / "install.log").write_text("ERROR: ResolutionImpossible\n", encoding="utf-8")
    report.main()
    assert "- `the installation`" in report.issues[0]["body"]
    assert "ResolutionImpossible" in report.issues[0]["body"]


def test_text_is_checked_out_with_the_same_line_ends_everywhere():
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text(encoding="utf-8")
    assert not any(b"\r\n" in path.read_bytes() for path in ROOT.glob("datasets/*/*.*"))
