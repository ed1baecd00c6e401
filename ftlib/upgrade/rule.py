"""The columns of the table of changes: what a :class:`Rule` says, and short ways to write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

PACKAGES = ("transformers", "trl", "peft", "datasets", "accelerate", "huggingface_hub")

Kind = Literal[
    "rename",  # a keyword has another name
    "remove",  # a keyword is gone and nothing takes its place
    "value",  # what takes the place of a keyword depends on its value
    "setting",  # a value of a keyword is gone
    "say",  # a keyword is gone and a person has to decide
    "task",  # a value of the first argument is gone
    "config",  # keywords of a trainer moved to its configuration
    "order",  # positional parameters shifted
    "moved",  # an importable name lives elsewhere
    "gone",  # an importable name is gone
    "method",  # a method of an object is gone, or gives something else
    "member",  # a method or attribute of an object is gone, or has another name
    "attribute",  # an attribute of a trainer has another name
    "parameter",  # a method that subclasses override is passed one more argument
]


@dataclass(frozen=True)
class Rule:
    """One change of a library.

    Attributes:
        kind: What changed, which decides what ``--fix`` does.
        release: The library, and the release by which the old spelling was gone (``transformers 5.0``); the library
            alone while it is still accepted.
        where: What is called or subclassed, by its short name (``transformers.Trainer``, wherever in the package it
            was imported from); ``*`` stands for anything, and a name that starts with a dot is a method of any object.
        old: The old spelling.
        new: The new one; empty where nothing takes its place.
        why: One line for the reader.
        since: Release by which the new spelling was there, where that isn't the one by which the old was gone.
        values: For ``value``: source of a value -> the argument that replaces it (empty: none). For ``setting``: the
            same, and empty means that a person has to decide. For
            ``config``: keyword -> field of the configuration (empty: gone). For ``task``: the values that are gone.
        otherwise: For ``value``: what the new argument is where the old one was false.
        unless: Regular expression; a value that it matches is left to a person.
        keeps: Arguments to add where they aren't given, since the new callable has other defaults.
        needs: Import that the new spelling needs.
        order: Names of the positional parameters: for ``parameter`` as they are, elsewhere as they were.
    """

    kind: Kind
    release: str
    where: tuple[str, ...]
    old: str
    new: str = ""
    why: str = ""
    since: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""
    unless: str = ""
    keeps: tuple[str, ...] = ()
    needs: str = ""
    order: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What findings call the rule.

        >>> Rule("rename", "transformers 5.0", ("transformers.Trainer",), "tokenizer").name
        'Trainer.tokenizer'
        """
        brackets = "()" if self.kind == "attribute" else ""  # of an object, not an argument of the call
        of = self.where[0].rpartition(".")[2].replace("*", "") if self.where else ""
        return f"{of}{brackets}.{self.old}" if of else self.old

    @property
    def package(self) -> str:
        """The library whose installed version decides whether the rule applies."""
        return self.release.partition(" ")[0]

    @property
    def gone_by(self) -> str:
        """Release by which the old spelling was gone; empty while it is still accepted."""
        return self.release.partition(" ")[2]

    def instead_of(self, value: str) -> str | None:
        """Return what takes the place of the argument with this value, given as source; None where nothing is known.

        >>> switch("x 1", (), "fp16", 'precision="fp16"', "").instead_of("True")
        'precision="fp16"'
        """
        return self.values.get(value.replace("'", '"'))

    def applies_to(self, name: str) -> bool:
        """Is this short name one of those that the rule is about?"""
        return any(fnmatchcase(name, pattern) for pattern in self.where)


def removed(release: str, where: tuple[str, ...], names: str, why: str) -> list[Rule]:
    """Keywords that nothing takes the place of, with blanks between them."""
    return [Rule("remove", release, where, name, why=why) for name in names.split()]


def said(release: str, where: tuple[str, ...], names: str, why: str) -> list[Rule]:
    """Keywords that only a person can replace, with blanks between them."""
    return [Rule("say", release, where, name, why=why) for name in names.split()]


def gone(release: str, names: str, why: str) -> list[Rule]:
    """Importable names that are gone, with blanks between them."""
    package = release.partition(" ")[0]
    return [Rule("gone", release, (), f"{package}.{name}", why=why) for name in names.split()]


def moved(release: str, old: str, new: str, why: str, *, since: str = "") -> Rule:
    """An importable name that lives elsewhere."""
    home, _, name = new.rpartition(".")
    return Rule("moved", release, (), old, new, why, since, needs=f"from {home} import {name}")


def switch(
    release: str, where: tuple[str, ...], old: str, new: str, why: str, *, otherwise: str = "None", needs: str = ""
) -> Rule:
    """A flag: True becomes another argument, False is the default anyway, and a variable chooses between the two."""
    values = {"True": new, "False": ""}
    return Rule("value", release, where, old, new, why, values=values, otherwise=otherwise, needs=needs)


def fields(same: str, gone: str, **renamed: str) -> dict[str, str]:
    """Keywords of a trainer -> fields of its configuration.

    >>> fields("packing", "infinite", max_seq_length="max_length")
    {'packing': 'packing', 'max_seq_length': 'max_length', 'infinite': ''}
    """
    return {**{name: name for name in same.split()}, **renamed, **dict.fromkeys(gone.split(), "")}


def short_name(name: str) -> str:
    """A library's name without the modules between package and class or function.

    What TRL calls experimental keeps that word: it is not what goes by the same name elsewhere.

    >>> short_name("transformers.trainer.Trainer"), short_name("transformers.AutoModel.from_pretrained")
    ('transformers.Trainer', 'transformers.AutoModel.from_pretrained')
    """
    root, *rest = name.split(".")
    if rest[:1] == ["experimental"]:
        return f"{root}.experimental.{rest[-1]}"
    first = next((at for at, part in enumerate(rest) if part[:1].isupper()), len(rest) - 1)
    return ".".join([root, *rest[max(first, 0) :]])


def is_ours(name: str) -> bool:
    """Does a full name belong to a library that the rules are about?"""
    return name.partition(".")[0] in PACKAGES
