"""The pretraining corpus: docstrings read from the Python files on your own disk, and their way into token ids.

Files are parsed with :mod:`ast`. Nothing is imported and nothing is executed, so harvesting is safe
whatever the packages contain.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import platform
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ftlib.errors import DataError
from ftlib.old_calls import tokenizer_before_data

END_OF_TEXT, PADDING = "<|endoftext|>", "<|padding|>"

STANDARD_LIBRARY = "python"
MIN_CHARACTERS = 80
"""A text shorter than this is left out."""
_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "site-packages", "__pycache__", "idlelib", "node_modules"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """One package as it was harvested: a row of the corpus manifest.

    Attributes:
        name: Distribution name, or ``"python"`` for the standard library.
        version: Its installed version.
        documents: Documents that it added (after deduplication).
        text_bytes: Their size in UTF-8 bytes.
        sha256: Hash over those documents, in order.
    """

    name: str
    version: str
    documents: int
    text_bytes: int
    sha256: str


def docstrings(source_code: str) -> list[str]:
    r"""Return every docstring of a Python source text, in the order of the file's tree.

    Args:
        source_code: Python source. Text that does not parse gives an empty list, because installed
            packages carry templates and Python 2 files that are no valid Python today.

    >>> docstrings('def f():\n    "Add nothing."')
    ['Add nothing.']
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's files: not ours to report
            tree = ast.parse(source_code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, _DOCUMENTED))
    return [text for text in found if text]


def package_files(name: str) -> list[Path]:
    """List the Python files of an installed distribution (or of the standard library), sorted.

    Args:
        name: Distribution name as pip spells it, or ``"python"`` for the standard library.

    Raises:
        DataError: The distribution is not installed.
    """
    found: Iterable[tuple[Path, PurePath]]
    if name == STANDARD_LIBRARY:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = ((path, path.relative_to(root)) for path in root.rglob("*.py"))
    else:
        try:
            listed = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            raise DataError(f"package {name!r} is not installed: install it, or leave it out of the harvest") from None
        found = ((Path(str(item.locate())), item) for item in listed if item.suffix == ".py")
    return sorted(path for path, inside in found if not _SKIPPED_FOLDERS.intersection(inside.parts))


def package_names(constraints: Path) -> list[str]:
    """Read the distribution names of a constraints file: its ``name==version`` lines.

    A line with a condition, such as ``overrides==7.7.0 ; python_version < "3.12"``, counts where the condition holds.

    Raises:
        DataError: The file is missing, a line can't be understood, or the file pins nothing.
    """
    try:
        lines = constraints.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(
            f"{constraints}: can't be read ({error.strerror}): give a file of name==version lines"
        ) from error
    pins = [_pin(line, constraints) for line in lines if "==" in line and not line.lstrip().startswith("#")]
    names = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate()]
    if not names:
        raise DataError(f"{constraints}: no name==version line found: nothing to harvest")
    return names


def _pin(line: str, file: Path) -> Requirement:
    try:
        return Requirement(line)
    except InvalidRequirement as error:
        told = str(error).partition("\n")[0]
        raise DataError(f"{file}: {line.strip()!r} is no name==version line ({told}): mend it, or delete it") from error


def harvest(names: Iterable[str], *, min_characters: int = MIN_CHARACTERS) -> tuple[list[str], list[Source]]:
    """Collect the docstrings of several packages, each text once.

    Two documents count as the same when they differ in white space, case or digits only.

    Args:
        names: Distribution names; ``"python"`` stands for the standard library.
        min_characters: Shorter documents are dropped: they carry a name and hardly any prose.

    Returns:
        The documents, and one :class:`Source` per package.

    Raises:
        DataError: A package is not installed.

    Taught in: chapters/03_pretraining.ipynb
    """
    documents: list[str] = []
    sources: list[Source] = []
    seen: set[bytes] = set()
    for name in names:
        fresh = list(_unseen(_texts(package_files(name)), seen, min_characters))
        digest = hashlib.sha256("\0".join(fresh).encode("utf-8", "replace")).hexdigest()
        text_bytes = sum(len(text.encode("utf-8", "replace")) for text in fresh)
        sources.append(Source(name, _version(name), len(fresh), text_bytes, digest))
        documents += fresh
    return documents, sources


def split_documents(documents: Iterable[str], *, held_out_percent: int = 2) -> tuple[list[str], list[str]]:
    """Split by document: the hash of a text decides, so the split survives a change of order or of packages.

    >>> train, held_out = split_documents([f"document {i}" for i in range(1000)], held_out_percent=10)
    >>> len(train) + len(held_out), 60 < len(held_out) < 140
    (1000, True)
    """
    train: list[str] = []
    held_out: list[str] = []
    for text in documents:
        bucket = int.from_bytes(_fingerprint(text)[:4], "big") % 100
        (held_out if bucket < held_out_percent else train).append(text)
    return train, held_out


def near_copies(held_out: Sequence[str], train: Iterable[str], *, words: int = 8, share: float = 0.5) -> list[bool]:
    """Say of each held-out document whether much of it stands in the training text too.

    Args:
        held_out: Documents to judge.
        train: Documents they may be copied from.
        words: Length of the word sequences that are compared.
        share: A document is a near-copy when at least this share of its sequences occurs in ``train``.

    >>> near_copies(["a b c d", "a b x y"], ["now a b c d"], words=2, share=0.6)
    [True, False]
    """
    wanted = [set(_sequences(text, words)) for text in held_out]
    unmatched = set().union(*wanted)
    found: set[int] = set()
    for text in train:
        found.update(unmatched.intersection(_sequences(text, words)))
    return [bool(own) and len(own & found) >= share * len(own) for own in wanted]


def train_tokenizer(documents: Iterable[str], vocabulary_size: int, context: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE tokenizer in the manner of Pythia's.

    Any text can be written with it and read back unchanged, because its alphabet is the 256 bytes.
    End-of-text and padding are two different tokens, so that masking one never masks the other.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=PADDING,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a tokenizer so that older releases can read it too.

    transformers 5 names a class that transformers 4 doesn't know, and tokenizers from 0.20 on write a merge as a pair
    of tokens, where older ones (those that transformers 4.41 takes) read a string with a space between the two.
    """
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    content = json.loads(settings.read_text(encoding="utf-8"))
    for only_in_release_5 in ("backend", "is_local", "local_files_only"):
        content.pop(only_in_release_5, None)
    content["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    vocabulary = folder / "tokenizer.json"
    content = json.loads(vocabulary.read_text(encoding="utf-8"))
    content["model"]["merges"] = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]
    ]
    vocabulary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@tokenizer_before_data(0)
def encode_documents(tokenizer: PreTrainedTokenizerFast, documents: Sequence[str]) -> np.ndarray:
    """Turn documents into one long row of token ids, an end-of-text token behind each.

    Returns:
        An array of ``uint16``, shape ``(tokens,)``.
    """
    arrays: list[np.ndarray] = []
    for start in range(0, len(documents), 1000):
        rows = tokenizer(list(documents[start : start + 1000]), add_special_tokens=False, verbose=False)["input_ids"]
        arrays += [np.array([*row, tokenizer.eos_token_id], dtype=np.uint16) for row in rows]
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.uint16)


def _sequences(text: str, words: int) -> Iterator[int]:
    written = text.casefold().split()
    for start in range(len(written) - words + 1):
        yield hash(tuple(written[start : start + words]))


def _texts(files: Iterable[Path]) -> Iterator[str]:
    for path in files:
        yield from docstrings(path.read_text(encoding="utf-8", errors="replace"))


def _unseen(texts: Iterable[str], seen: set[bytes], min_characters: int) -> Iterator[str]:
    for text in texts:
        key = _fingerprint(text)
        if len(text) >= min_characters and key not in seen:
            seen.add(key)
            yield text


def _fingerprint(text: str) -> bytes:
    normal = "".join("0" if character.isdigit() else character for character in text.casefold())
    return hashlib.sha256(" ".join(normal.split()).encode("utf-8", "replace")).digest()


def _version(name: str) -> str:
    return platform.python_version() if name == STANDARD_LIBRARY else importlib.metadata.version(name)
