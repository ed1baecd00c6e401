"""Terminals and pipes whose encoding isn't UTF-8: ASCII in a bare container, a code page on Windows."""

from __future__ import annotations

import codecs
import io
import sys

from ftlib.errors import DataError


def let_any_text_be_printed() -> None:
    r"""Let this process print letters that the encoding of its output lacks, instead of raising UnicodeEncodeError.

    ASCII stands for a locale that nobody has set: text goes out as UTF-8 then, as from Python itself (PEP 540). In any
    other encoding a letter that it lacks is printed as an escape such as ``\u2588``. A stream that was put in place of
    the process's own one, as a notebook does, stays as it is.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if codecs.lookup(stream.encoding).name == "ascii":
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        else:
            stream.reconfigure(errors="backslashreplace")


def why_unreadable(name: str) -> str:
    r"""Say why no library can open a file of this name, and what to do; nothing where Python could read the name.

    >>> why_unreadable("runs/first")
    ''
    """
    if not any("\udc80" <= letter <= "\udcff" for letter in name):
        return ""
    encoding = sys.getfilesystemencoding()
    return (
        f"its name holds bytes that the locale's encoding ({encoding}) lacks: set PYTHONUTF8=1 if names are UTF-8 here"
    )


def typed(text: str) -> str:
    r"""Return a text from the command line or the keyboard as what was typed.

    Where the locale is ASCII, Python leaves every byte beyond it as a surrogate, which no tokenizer takes. The bytes
    are read as UTF-8 here.

    Raises:
        DataError: They aren't UTF-8.

    >>> typed("Gr\udcc3\udcb6\udcc3\udc9fe"), typed("Größe")
    ('Größe', 'Größe')
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise DataError(f"{text!a}: not UTF-8 text ({error.reason}): type it in a UTF-8 terminal") from error
