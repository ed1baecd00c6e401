"""Every exception that ftlib raises on purpose: one tree, so that one ``except`` is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class FtlibError(Exception):
    """Something the caller can mend. The message names the thing, what was expected and what to do."""


class DataError(FtlibError):
    """A data file or row can't be used as it is."""


class ModelError(FtlibError):
    """A model name or folder can't be loaded."""


class PromptTooLongError(FtlibError):
    """A prompt leaves too few tokens of the model's context for an answer."""


class MissingExtraError(FtlibError, ImportError):
    """An optional dependency is not installed; the message holds the install command."""


class TruncationWarning(UserWarning):
    """Some rows were longer than allowed; the message counts the rows and the tokens that were cut."""


class SkippedRowWarning(UserWarning):
    """A row could not be used and was left out, as ``on_error="skip"`` asks; the message says which and why."""


class ColumnWarning(UserWarning):
    """Columns of a data set that may change what should be learnt are left out; the message names each."""


class TemplateWarning(UserWarning):
    """Some rows hold a template already, and another one is put around them; the message says what to do."""


class LeakWarning(UserWarning):
    """A random split put the same prompt on both sides; the message counts the rows and names one."""


class LossWarning(UserWarning):
    """A model's own loss is another than the cross-entropy of its next tokens; the message holds both."""


class PrecisionWarning(UserWarning):
    """Weights that round small updates away are trained; the message says how many, and how else."""


class RewardWarning(UserWarning):
    """For several steps, all answers to each prompt had one reward, and nothing was learnt; the message says which."""


class AdapterWarning(UserWarning):
    """All matrices of a model's blocks were to get an adapter, and some can't have one; the message names them."""


class DroppedRowsWarning(UserWarning):
    """Rows without a single target were left out; the message counts them and says why they have none."""


class ConfigError(FtlibError):
    """A run's configuration names something unknown or impossible; the message says where and what is allowed."""


class TrainingError(FtlibError):
    """A run can't go on, or would overwrite another one; what it had saved is kept."""


class ExportError(FtlibError):
    """A model can't be written in a format, or not at this place; nothing half-written is left."""


class ProviderError(FtlibError):
    """A hosted model gave no answer, or a job there failed. No message ever holds a key.

    Attributes:
        provider: Its name, as in ``ftlib.hosted.ask``.
        status: The HTTP status, if there was an answer at all.
        remedy: What to do.
        replies: What did come back, in the order of the prompts, with None for what is missing.
    """

    def __init__(
        self,
        problem: str,
        *,
        provider: str,
        remedy: str,
        status: int | None = None,
        replies: Sequence[Any] = (),
    ) -> None:
        """Make one message: who, what is wrong, and the remedy."""
        code = f" (status {status})" if status else ""
        super().__init__(f"{provider}: {problem}{code}: {remedy}")
        self.provider = provider
        self.status = status
        self.remedy = remedy
        self.replies = list(replies)
