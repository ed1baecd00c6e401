"""Rules that are made of rows of the table in :mod:`ftlib.compat.api_changes`, where these facts stand."""

from __future__ import annotations

from ftlib.compat.api_changes import Rename
from ftlib.upgrade.rule import Rule, switch


def derived(row: Rename, where: tuple[str, ...], *, release: str = "", why: str = "") -> Rule:
    """Make a rule about an argument that a row of the table names.

    Args:
        row: The row; its ``old`` is not None.
        where: What takes the argument, as in :class:`ftlib.upgrade.rule.Rule`.
        release: The library and the release by which it was gone there, where that isn't transformers.
        why: One line for the reader, where the row's reason is not one.

    >>> from ftlib.compat.api_changes import TOKENIZER
    >>> rule = derived(TOKENIZER, ("transformers.Trainer",))
    >>> rule.kind, rule.release, rule.old, rule.new
    ('rename', 'transformers 5.0', 'tokenizer', 'processing_class')
    """
    old, new, why = str(row.old), row.new, why or row.reason
    release = release or f"transformers {row.gone or ''}".strip()
    if new is None:
        why = f"set the environment variable {row.variable}" if row.variable else why
        return Rule("remove" if row.idle else "say", release, where, old, why=why)
    value = row.forward(True)
    if isinstance(value, dict):
        (key,) = value
        return Rule("say", release, where, old, why=f'give it in {new}, as "{key}"')
    if row.off is not None:
        on, off = (repr(each).replace("'", '"') for each in (value, row.off))
        return switch(release, where, old, f"{new}={on}", why, otherwise=off)
    return Rule("rename", release, where, old, new, why, "" if row.gone else str(row.since), unless=row.unless)
