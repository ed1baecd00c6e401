"""Where the files are that travel with the course, and where it keeps what took a while to make."""

from __future__ import annotations

import os
from pathlib import Path

from ftlib.errors import DataError

CACHE_VARIABLE = "FTLIB_CACHE"
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes of a name, as file systems have it, and of a path
_PACKAGE = Path(__file__).resolve().parent


def assets_folder() -> Path:
    """Return the folder with what the library brings along: nano, model cards, configurations of known models."""
    return _PACKAGE / "assets"


def library_folder() -> Path:
    """Return the folder that another process must search to import this very library."""
    return _PACKAGE.parent


def architectures_file() -> Path:
    """Return the file with configurations of models of the Hub, by their ids.

    >>> architectures_file().name
    'architectures.json'
    """
    return assets_folder() / "architectures.json"


def nano_folder() -> Path:
    """Return the folder with nano's weights, tokenizer and training log.

    >>> sorted(path.name for path in nano_folder().glob("*.safetensors"))
    ['model.safetensors']
    """
    return assets_folder() / "nano"


def talk_folder() -> Path:
    """Return the folder with the programs and the style sheet that let a model answer inside a page.

    >>> sorted(path.name for path in talk_folder().iterdir())
    ['lm', 'talk.css']
    """
    return assets_folder() / "talk"


def shipped(folder: str) -> Path:
    """Return a folder that travels with the course: inside an installed package, or beside it in a checkout.

    Args:
        folder: ``"datasets"`` or ``"configs"``.

    >>> (shipped("configs") / "faq.yaml").is_file()
    True
    """
    installed = _PACKAGE / "shipped" / folder
    return installed if installed.is_dir() else _PACKAGE.parent / folder


def check_name(name: str | Path) -> None:
    """See that a text is no longer than the name of a file can be: whole data was given where its name is expected.

    Raises:
        DataError: It is longer.
    """
    names = str(name).replace(os.sep, "/").split("/")
    if len(str(name)) > _LONGEST_PATH or any(len(one.encode("utf-8", "replace")) > _LONGEST_NAME for one in names):
        raise DataError(f"{str(name)[:60]!r}...: too long for the name of a file ({len(str(name))} characters)")


def cache_folder() -> Path:
    r"""Return the folder for what can be made again: that of FTLIB_CACHE, or else the system's usual place.

    The usual place is ``$XDG_CACHE_HOME/ftlib`` or ``~/.cache/ftlib`` on Linux, ``~/Library/Caches/ftlib`` on macOS and
    ``%LOCALAPPDATA%\ftlib\Cache`` on Windows. Nothing is made here.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("ftlib", appauthor=False)
