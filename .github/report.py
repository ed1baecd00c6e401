"""Open an issue about a failed run with the newest releases, unless an open one is about the same failure.

Reads install.log and test.log; asks and files through GitHub's own command, gh. The failure is known again by a digest
of what failed, which stands in the issue.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
from pathlib import Path

LABEL = "newest releases"
CONSTRAINTS = Path("constraints.txt")


def failures(log: str) -> list[str]:
    r"""Return the tests that failed, in order; each once.

    >>> failures("FAILED tests/test_a.py::test_b[1] - assert 1 == 2\nERROR tests/test_c.py\n3 passed")
    ['tests/test_a.py::test_b[1]', 'tests/test_c.py']
    """
    return sorted(set(re.findall(r"^(?:FAILED|ERROR) (\S+)", log, flags=re.M)))


def newer() -> list[str]:
    """Name the packages whose version isn't the pinned one: one of them is the likely cause."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", CONSTRAINTS.read_text(encoding="utf-8"), flags=re.M))
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in importlib.metadata.distributions()}
    return [
        f"{name} {normal[name]} -> {found[name]}"
        for name in sorted(found.keys() & normal.keys())
        if found[name].partition("+")[0] != normal[name]
    ]


def describe(install: str, tests: str | None, run: str) -> tuple[str, str]:
    """Return what tells this failure from others, and the text of the issue.

    Args:
        install: What the installation printed.
        tests: What the tests printed; None if the installation failed before them.
        run: Address of the run.
    """
    failed = failures(tests) if tests is not None else ["the installation"]
    digest = hashlib.sha256("\n".join(failed).encode()).hexdigest()[:16]
    end = (install if tests is None else tests).splitlines()[-60:]
    parts = [
        f"With the newest releases of everything, this failed ([the run]({run})):",
        "\n".join(f"- `{name}`" for name in failed[:50]) or "- no test; see the end of the output",
        "Newer than in `constraints.txt`:",
        "\n".join(f"- {line}" for line in newer()) or "- nothing",
        "The end of the output:",
        "````text\n" + "\n".join(end)[-6000:] + "\n````",
        f"<!-- failure {digest} -->",
    ]
    return digest, "\n\n".join(parts) + "\n"


def gh(*arguments: str) -> str:
    """Run GitHub's command and return what it printed."""
    return subprocess.run(["gh", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """File it, or say that it is known."""
    log = Path("test.log")
    tests = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else None
    installation = Path("install.log").read_text(encoding="utf-8", errors="replace")
    digest, text = describe(installation, tests, os.environ["RUN"])
    known = gh("issue", "list", "--state", "open", "--label", LABEL, "--limit", "100", "--json", "number,body")
    same = [issue["number"] for issue in json.loads(known) if f"<!-- failure {digest} -->" in issue["body"]]
    if same:
        print(f"Issue {same[0]} is about the same failure: none is opened.")
        return
    Path("issue.md").write_text(text, encoding="utf-8")
    gh("label", "create", LABEL, "--force", "--description", "Found by the weekly run on the newest releases")
    title = "The newest releases break something"
    print(gh("issue", "create", "--title", title, "--label", LABEL, "--body-file", "issue.md"))


if __name__ == "__main__":
    main()
