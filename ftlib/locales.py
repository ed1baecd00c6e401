"""What goes to a terminal or a pipe: letters that its encoding lacks, and those that it would obey."""

from __future__ import annotations

import codecs
import io
import re
import sys

from ftlib.errors import DataError

# What a terminal obeys instead of showing it, and what hides or turns other letters: control characters, the marks of
# writing direction, invisible letters and tags, halves of surrogate pairs. Joiners of emoji and of Indic letters stay.
_NOT_SHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


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


def printable(text: str) -> str:
    r"""Show as an escape what a terminal would obey: text from a file or a model can't move the cursor or set a title.

    >>> print(printable("a\x1b[2Jb\u202e"))
    a\x1b[2Jb\u202e
    """
    return _NOT_SHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))
