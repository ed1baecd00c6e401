"""Rules for arguments that hold messages (:mod:`ftlib.argument_checks`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftlib.argument_checks import each, refusal
from ftlib.data.messages import RowError, check_messages
from ftlib.errors import DataError


def message_list(name: str, value: Any) -> Any:
    """Allow a list of messages."""
    try:
        check_messages(value)
    except RowError as error:
        raise DataError(f"{name}: {error}") from error
    return value


def question(name: str, value: Any) -> Any:
    """Allow what can be asked: a text, or a list of messages."""
    return value if isinstance(value, str) else message_list(name, value)


def nonempty_message_list(name: str, value: Any) -> Any:
    """Allow a list of at least one message."""
    if not message_list(name, value):
        raise DataError(f"{name}: expected at least one message, found none")
    return value


def conversation_rows(name: str, value: Any) -> Any:
    """Allow rows with ``messages``: of a data set only that there is such a column, of a list each row."""
    columns = getattr(value, "column_names", None)
    if isinstance(columns, list):
        if "messages" not in columns:
            raise DataError(f"{name} has the columns {columns}, and no 'messages': see ftlib.load_conversations")
        if hasattr(value, "__len__") and len(value):
            message_list(f"{name}, row 0", value[0]["messages"])
        return value
    return each(_conversation)(name, value)


def _conversation(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping) or "messages" not in value:
        raise refusal(name, "a row with 'messages'", value)
    message_list(name, value["messages"])
    return value
