"""What counts as a word in any script, and when two texts say the same."""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces between words: Thai to Lao, Burmese, Khmer, kana, Chinese characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_WIDE = re.compile("[\u3000-\u303f\uff01-\uff65]")  # punctuation of East Asia
_ASCII_WORD = re.compile(r"\w+")
_OPENING = "\"'(«‹“„‘‚¿¡「『（【"
_CLOSING = "\"')»›”“’‘.,;:!?…」』）】。，、；：！？।"
_MEASURING = "\"'!"  # behind a digit: feet and inches, a factorial
_MARKS = ".,;:!?…。，、；：！？।\"'"
QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'})


def words(text: str) -> list[str]:
    """Split a text into its words, in lower case and without punctuation.

    A word is a run of letters, their marks, digits and underscores. Where a script writes no spaces (Chinese, Japanese,
    Thai, ...) each character is a word, and so is each emoji or other pictorial symbol.

    >>> words("Why is input_ids 2-D?")
    ['why', 'is', 'input_ids', '2', 'd']
    >>> words("天气 हिन्दी 👍")
    ['天', '气', 'हिन्दी', '👍']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    found: list[str] = []
    inside = False
    for sign in unicodedata.normalize("NFC", text).casefold():
        kind = unicodedata.category(sign)
        if kind[0] == "M" and found and inside:
            found[-1] += sign
            continue
        alone = kind == "So" or bool(_UNSPACED.match(sign))
        if alone or not (kind[0] in "LMN" or sign == "_"):
            inside = alone  # so that its marks stay with it
            found += [sign] if alone else []
        elif inside and not _is_alone(found[-1][0]):
            found[-1] += sign
        else:
            found.append(sign)
            inside = True
    return found


def spaced(text: str) -> str:
    """Return a text in one Unicode form, with spaces around each character of a script that writes none.

    For what finds words by spaces, as BLEU does.

    >>> spaced("a cat"), spaced("天气 2").split()
    ('a cat', ['天', '气', '2'])
    """
    if text.isascii():
        return text
    found: list[str] = []
    for sign in unicodedata.normalize("NFC", text):
        if found and unicodedata.category(sign)[0] == "M":
            found[-1] += sign
        else:
            found.append(sign)
    apart = (f" {sign} " if _UNSPACED.match(sign) or _WIDE.match(sign) else sign for sign in found)
    return "".join(apart)


def _is_alone(sign: str) -> bool:
    return unicodedata.category(sign) == "So" or bool(_UNSPACED.match(sign))


def comparable(text: str) -> str:
    """Return the form in which two texts that say the same are equal.

    Case, the amount of white space, the two Unicode forms of an accent, curly or straight quotes, and the punctuation
    around a word (quotes, round brackets, a full stop at its end) don't count. Everything else does: symbols, signs,
    marks inside a word. A text of nothing but punctuation is compared as it is.

    >>> comparable(" Ids, and a  MASK.") == comparable("ids and a mask")
    True
    >>> comparable("2 < 3?") == comparable("2 > 3?"), comparable("3.14") == comparable("314")
    (False, False)
    """
    whole = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).translate(QUOTES)
    bare = [_bare(word) for word in whole.split()]
    return " ".join(word for word in bare if word) or " ".join(whole.split())


def _bare(word: str) -> str:
    """Take the punctuation off a word; a word of punctuation goes if it is plain marks, and else is a symbol."""
    kept = word.lstrip(_OPENING)
    while kept and kept[-1] in _CLOSING and not (kept[-1] in _MEASURING and kept[-2:-1].isdigit()):
        kept = kept[:-1]
    return kept if kept or all(sign in _MARKS for sign in word) else word
