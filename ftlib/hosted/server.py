"""A model of your own behind OpenAI's protocol, on this computer alone: ``transformers serve``, started and stopped.

The same client then asks the tuned model and a hosted one, over the same protocol, and no key is needed.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from ftlib.errors import ConfigError, MissingExtraError, ModelError
from ftlib.hosted.providers import PROVIDERS
from ftlib.models.loading import check_device, load_model, save_quietly
from ftlib.models.names import resolve_name
from ftlib.models.tokenizer import load_tokenizer
from ftlib.paths import library_folder
from ftlib.text.chat_template import template_of, to_jinja
from ftlib.text.ends import end_ids
from ftlib.text.templates import Template

_HOST = "127.0.0.1"
_RUNNING = re.compile(rf"running on http://{re.escape(_HOST)}:([0-9]+)")
_SERVING_PACKAGES = ("fastapi", "uvicorn", "pydantic", "openai")
_PARENT_CHECK_SECONDS = 0.5
_FOLDER_PREFIX = "ftlib-server-"
_LONGEST_NAME = 96


@dataclass(frozen=True)
class LocalServer:
    """A server that runs.

    Attributes:
        base_url: Its address, for ``ask("local", ..., base_url=...)`` or any client of OpenAI's protocol.
        model: Name of the one model that it serves.
    """

    base_url: str
    model: str


@contextlib.contextmanager
def local_server(
    model: Any = "auto",
    *,
    tokenizer: Any = None,
    template: Template | None = None,
    name: str | None = None,
    port: int | None = None,
    device: str | None = None,
    wait_seconds: float = 600.0,
) -> Iterator[LocalServer]:
    """Serve a model over OpenAI's protocol for as long as the ``with`` block lasts.

    The server listens on 127.0.0.1 alone, needs no network, answers for this one model, and ends with the process
    that started it, however that ends. It computes in float32, as :func:`ftlib.load_model` does.

    Args:
        model: A name or folder that :func:`ftlib.load_model` knows, or a model.
        tokenizer: The tokenizer that belongs to a model; not needed for a name.
        template: The template that the model was trained with; default: what its tokenizer tells
            (:func:`ftlib.text.chat_template.template_of`).
        name: What the model is called: letters, digits and ``._-``, also as ``"owner/name"``; default: the folder's
            name, or ``"model"``.
        port: Default: a free one.
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``; default: the best one that is there.
        wait_seconds: How long loading may take.

    Yields:
        Address and model name, once the server answers.

    Raises:
        MissingExtraError: The extra ``serving`` isn't installed.
        ModelError: The model can't be loaded, or the server doesn't start (the message holds what it printed); or this
            is Windows.
        ConfigError: The name can't be used.

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    _check_installed()
    name = _short_name(model) if name is None else _checked_name(name)
    chosen = check_device(device)
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        place = Path(folder)
        _lay_out(place / name, model, tokenizer, template)
        process = _start(place, name, port, chosen)
        output = _Output(process)
        try:
            yield LocalServer(f"http://{_HOST}:{output.wait_for_port(wait_seconds)}/v1", name)
        finally:
            _stop(process)
            output.close()


def _lay_out(place: Path, model: Any, tokenizer: Any, template: Template | None) -> None:
    """Make a folder for the server: weights (linked where they lie in a folder), tokenizer, settings."""
    place.mkdir(parents=True)
    named = isinstance(model, (str, Path))
    tokenizer = load_tokenizer(model) if named and tokenizer is None else tokenizer
    if tokenizer is None:
        raise ModelError("a model was given without its tokenizer: pass tokenizer= as well")
    folder = Path(resolve_name(model)) if named else None
    told: Any = None
    if folder is not None and (folder / "config.json").is_file():
        for file in folder.iterdir():
            # Nothing else: what is written anew below must not be written through a link into the caller's folder.
            if file.name == "config.json" or ".safetensors" in file.name:
                (place / file.name).symlink_to(file.resolve())
        if (folder / GENERATION_CONFIG_NAME).is_file():
            told = GenerationConfig.from_pretrained(folder)
    else:
        whole = told = load_model(model, device="cpu")[0] if named else model
        # Adapters are put into the weights: the server knows nothing of them. The caller's model stays as it is.
        save_quietly(_merged(whole), place)
    # Written last: saving a model writes a generation_config.json of its own.
    template = template or template_of(tokenizer)
    _write_tokenizer(place, tokenizer, template)
    _write_settings(place, tokenizer, end_ids(told, tokenizer, template))


def _write_tokenizer(place: Path, tokenizer: Any, template: Template) -> None:
    kept = tokenizer.chat_template
    tokenizer.chat_template = to_jinja(template, tokenizer)
    try:
        tokenizer.save_pretrained(place)
    finally:
        tokenizer.chat_template = kept


def _write_settings(place: Path, tokenizer: Any, ends: list[int]) -> None:
    # The server switches drawing off at temperature 0, but never on.
    settings = {"do_sample": True, "top_k": 0, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    settings |= {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    (place / GENERATION_CONFIG_NAME).write_text(json.dumps(settings), encoding="utf-8")


def _merged(model: Any) -> Any:
    if not hasattr(model, "merge_and_unload"):
        return model
    return copy.deepcopy(model).merge_and_unload()


def _start(place: Path, name: str, port: int | None, device: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ftlib.hosted.server", str(os.getpid()), "serve", name, "--host", _HOST]
    command += ["--port", str(port or 0), "--device", device, "--dtype", "float32"]
    secrets = {one.key_variable for one in PROVIDERS.values()} | {"HF_TOKEN"}
    environment = {key: value for key, value in os.environ.items() if key not in secrets}
    library = str(library_folder())
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONSAFEPATH": "1",  # the working directory holds a model, and no modules
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH", "")])),
    }
    return subprocess.Popen(  # noqa: S603 (our own module, with arguments that no shell reads)
        command,
        cwd=place,  # so that the model's name is its folder's, without a path
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # a Ctrl-C is for the caller; the server is stopped in order
    )


class _Output:
    """What the server prints: read all the time, so that it never waits for a reader; the end of it is kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._port: str | None = None
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines = [*self._lines[-50:], line]
            if found := _RUNNING.search(line):
                self._port = found[1]
                self._told.set()
        self._told.set()

    def wait_for_port(self, seconds: float) -> str:
        """Return the port when the server answers there."""
        end = time.monotonic() + seconds
        self._told.wait(seconds)
        if self._told.is_set() and self._port is None:  # it closed its output: it ends, or has ended
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, end - time.monotonic()))
        while self._port and self._process.poll() is None and time.monotonic() < end:
            if _is_healthy(self._port):
                return self._port
            time.sleep(0.05)
        raise ModelError(self._reason(seconds))

    def _reason(self, seconds: float) -> str:
        code = self._process.poll()
        what = f"did not answer within {seconds:g} s" if code is None else f"ended at once (exit status {code})"
        printed = "".join(self._lines[-15:]).strip() or "nothing"
        return f"the local server {what}; raise wait_seconds, or see what it printed:\n{printed}"

    def close(self) -> None:
        self._reader.join(timeout=5)
        if self._process.stdout:
            self._process.stdout.close()


def _is_healthy(port: str) -> bool:
    # Without the environment's proxies: they can't reach this computer's own address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{_HOST}:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[str]) -> None:
    """End the server and whatever it started: first with a request, then without."""
    for sent, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


def _short_name(model: Any) -> str:
    if not isinstance(model, (str, Path)):
        return "model"
    place = Path(model).expanduser() if Path(model).expanduser().is_dir() else Path(resolve_name(model))
    return re.sub(r"[^A-Za-z0-9._-]", "-", place.name).lstrip(".-_")[:_LONGEST_NAME] or "model"


def _checked_name(name: str) -> str:
    """Hold a name to what can be a folder's below the server's own, and no option of its command line."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", name) or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"name {name[:40]!r}: expected at most {_LONGEST_NAME} letters, digits and '._-', such as 'faq' or 'me/faq'"
        )
    return name


def _check_installed() -> None:
    import importlib.util

    if os.name != "posix":
        raise ModelError("the local server runs on Linux and macOS: on Windows start it inside WSL")
    missing = [name for name in _SERVING_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the local server needs {', '.join(missing)}: install it with pip install 'ftlib[serving]'"
        )


def _serve(parent: int, arguments: list[str]) -> None:
    """Run transformers' command line in this process, and end when the parent has ended.

    Not left to the operating system (PR_SET_PDEATHSIG): that is Linux's alone, and follows the thread that started
    the server, which in a notebook may end before the process does.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        if Path.cwd().name.startswith(_FOLDER_PREFIX):  # nobody else is left to delete it
            shutil.rmtree(Path.cwd(), ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    from transformers.cli.transformers import main

    sys.argv = ["transformers", *arguments]
    main()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
