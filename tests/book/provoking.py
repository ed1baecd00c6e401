"""Runs the code of an entry, and hears everything that is said meanwhile: errors, warnings, log lines and output."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from textwrap import dedent

import torch
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

from book.troubles.trouble import Trouble
from ftlib import cli
from tests.course import ROOT
from tests.loopback import CANARY, Loopback, Response

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "So."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
LOGGERS = ("", "transformers", "datasets", "accelerate", "trl", "peft")


class Heard(logging.Handler):
    """What was said, one entry for each error, warning, line of a log and line of output."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())

    def has(self, message):
        return any(matches(said, message) for said in self.said)


def matches(said, message):
    """Whether something that was said is what the page shows; how it is broken into lines doesn't count."""
    pattern = ".*".join(map(re.escape, " ".join(message.split()).split("...")))
    return re.fullmatch(pattern, " ".join(_COLOUR.sub("", said).split())) is not None


@contextlib.contextmanager
def hearing():
    heard, output = Heard(), io.StringIO()
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    transformers_logging.warning_once.cache_clear()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(output):
            warnings.simplefilter("always")
            yield heard
    finally:
        torch.set_warn_always(always)
        for logger in loggers:
            logger.removeHandler(heard)
        heard.said += [f"{warning.category.__name__}: {warning.message}" for warning in caught]
        heard.said += output.getvalue().splitlines()


def run(code, names):
    """Run Python, and return what was said; an error, also with all of its traceback, is raised no further."""
    with hearing() as heard:
        try:
            exec(compile(dedent(code), "<entry>", "exec"), names)  # noqa: S102 (the entries are ours)
        except Exception as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            heard.said += [said, "".join(traceback.format_tb(error.__traceback__)) + said]
            names["error"] = error
    return heard


def serve(stack, refuse):
    """Start what takes OpenAI's place: ``refuse(request, number)`` gives a status and what is said, or None."""

    def answer(asked, number):
        refusal = refuse(asked.json, number)
        if refusal is None:
            return Response(_COMPLETION)
        return Response({"error": {"message": refusal[1]}}, status=refusal[0])

    server = stack.enter_context(Loopback(answer))
    os.environ.update({"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": CANARY})


def provoke(trouble: Trouble, names):
    """Write the entry's files and run what causes the message."""
    for name, content in trouble.files.items():
        Path(name).write_text(dedent(content).lstrip("\n"), encoding="utf-8")
    return run(trouble.provoke, names)


def mend(trouble: Trouble, names):
    """Do what the page says, and return what was said; an error is raised, because a cure must work."""
    names.pop("error", None)
    if trouble.language == "bash":
        for line in trouble.shown_fix.splitlines():
            _command(line)
        return Heard()
    if trouble.language in ("json", "yaml"):
        (name,) = trouble.files
        Path(name).write_text(trouble.shown_fix + "\n", encoding="utf-8")
    heard = run(trouble.fix if trouble.language == "python" else trouble.provoke, names)
    if "error" in names:
        raise names["error"]
    return heard


def holds(trouble: Trouble, names):
    return eval(trouble.holds, names)  # noqa: S307 (the entries are ours)


def _command(line):
    """Run one command of a shell; of an installation, only look whether it names something that can be installed."""
    words = shlex.split(line, comments=True)
    if words[:2] == ["pip", "install"]:
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for name in words[2:]:
            wanted = name.removeprefix("ftlib[").removesuffix("]")
            assert name == "--no-deps" or re.search(rf"^{wanted} = \[", project, flags=re.M), line
    elif words[0] == "export":
        os.environ.update(word.split("=", 1) for word in words[1:])
    elif words[0] == "ftlib":
        done = CliRunner().invoke(cli.app, words[1:])
        assert done.exit_code == 0, done.output
    else:
        assert words[0] == "torchrun", line
        subprocess.run([sys.executable, "-m", "torch.distributed.run", *words[1:]], check=True, capture_output=True)
