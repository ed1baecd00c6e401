"""Fine-tuning on somebody else's computers: OpenAI's jobs (Lamini's: :mod:`ftlib.hosted.lamini_finetuning`).

Who can still use them (looked up 2026-11-22): OpenAI takes new jobs only from organisations that had fine-tuned
before 2026-05-07 and, since 2026-07-02, had asked a fine-tuned model within 60 days; from 2027-01-06 it takes none
(https://developers.openai.com/api/docs/deprecations). A fine-tuned model goes when its base model goes. The steps
are the same wherever a service speaks OpenAI's protocol: pass its ``base_url``.

Each step is one function, which takes a client. Those of ``openai.OpenAI`` will do; :func:`openai_client` makes one
that sends its key nowhere else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ftlib.errors import DataError, ProviderError
from ftlib.hosted.calls import client_settings, find_openai
from ftlib.hosted.failures import failure_of, provider_error, unreadable
from ftlib.hosted.finetuning_file import check_finetuning_file
from ftlib.hosted.providers import Endpoint, Key, find_endpoint, get_provider, hidden

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJobEvent

_T = TypeVar("_T")

BASE_MODEL = "gpt-4.1-mini-2025-04-14"
"""A base model that OpenAI fine-tunes (looked up 2026-11-22; it is retired on 2027-01-14)."""
CLOSING = (
    "OpenAI is closing this service: it takes jobs only from organisations that fine-tuned before 2026-05-07 and still "
    "ask their models, and none from 2027-01-06 (https://developers.openai.com/api/docs/deprecations): train on your "
    "own machine (ftlib train), or at another service (base_url=); not every one has fine-tuning"
)
"""As looked up on 2026-11-22."""


@dataclass(frozen=True)
class FineTuningJob:
    """A fine-tuning job.

    Attributes:
        id: Its name at the provider.
        status: As the provider calls it: ``"queued"``, ``"running"``, ``"succeeded"``...
        base_model: What is fine-tuned.
        model: Name of the result, for ``ask(..., model=...)``, once there is one.
        trained_tokens: Tokens that are billed, once they are known.
        problem: Why it failed.
    """

    id: str
    status: str
    base_model: str
    model: str | None = None
    trained_tokens: int | None = None
    problem: str | None = None


def openai_client(
    *, api_key: str | None = None, base_url: str | None = None, timeout_seconds: float = 60.0, retries: int = 2
) -> OpenAI:
    """Open OpenAI's own client; a ``with`` block closes it.

    Args:
        api_key: Default: OPENAI_API_KEY.
        base_url: Default: OPENAI_BASE_URL, or else OpenAI's own address.
        timeout_seconds: How long one request may wait for the service.
        retries: How often to ask again what changes nothing. What creates something is sent once.

    Raises:
        ProviderError: There is no key, or it or the address can't be used.
        MissingExtraError: The client isn't installed.
    """
    key = hidden(api_key)
    del api_key  # an error's traceback may show the variables of its functions
    endpoint = find_endpoint("openai", model=BASE_MODEL, api_key=key, base_url=base_url)
    openai = find_openai()
    settings = client_settings(endpoint, openai.DefaultHttpxClient)
    client: OpenAI = openai.OpenAI(**settings, max_retries=retries, timeout=timeout_seconds)
    return client


def upload_file(client: OpenAI, path: str | Path) -> str:
    """Check a file and send it.

    Returns:
        The file's name at the provider.

    Raises:
        DataError: The file has problems; all of them are listed.
        ProviderError: It can't be sent.
    """
    place = Path(path).expanduser()
    problems = check_finetuning_file(place).problems
    if problems:
        more = f"\n... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise DataError(f"{place}: not sent; mend this first:\n" + "\n".join(problems[:20]) + more)
    files, content = client.with_options(max_retries=0).files, (place.name, place.read_bytes())
    refused = f"this account may not send files for fine-tuning, or the key may not. {CLOSING}"
    return str(_named(client, lambda: files.create(file=content, purpose="fine-tune"), refused).id)


def start_job(
    client: OpenAI,
    training_file: str,
    *,
    validation_file: str | None = None,
    base_model: str = BASE_MODEL,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate_multiplier: float | None = None,
    suffix: str | None = None,
    seed: int | None = None,
) -> FineTuningJob:
    """Create a job; what isn't given is left to the service.

    Args:
        client: An ``openai`` client.
        training_file: What :func:`upload_file` returned.
        validation_file: The same, for the rows that are held back.
        base_model: The model to start from, with its date.
        epochs: Passes over the file.
        batch_size: Rows of one step.
        learning_rate_multiplier: Factor on the service's own learning rate.
        suffix: A part of the new model's name, at most 64 characters.
        seed: For a job that can be repeated.

    Raises:
        ProviderError: The service refuses it or doesn't answer.
    """
    hyperparameters = _given(n_epochs=epochs, batch_size=batch_size, learning_rate_multiplier=learning_rate_multiplier)
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    body = _given(model=base_model, training_file=training_file, validation_file=validation_file)
    body |= _given(method=method, suffix=suffix, seed=seed)
    jobs = client.with_options(max_retries=0).fine_tuning.jobs
    refused = (
        "this account may not start fine-tuning jobs, or the key may not, or it didn't send the file "
        f"{training_file!r}, or {base_model!r} can't be fine-tuned. {CLOSING}"
    )
    return _job(client, lambda: jobs.create(**body), refused)


def get_job(client: OpenAI, job_id: str) -> FineTuningJob:
    """Ask how a job is doing.

    Raises:
        ProviderError: There is no answer.
    """
    return _job(client, lambda: client.fine_tuning.jobs.retrieve(job_id), _not_seen(job_id))


def cancel_job(client: OpenAI, job_id: str) -> FineTuningJob:
    """End a job.

    Raises:
        ProviderError: There is no answer.
    """
    return _job(client, lambda: client.fine_tuning.jobs.cancel(job_id), _not_seen(job_id))


def follow_job(client: OpenAI, job_id: str, *, poll_seconds: float = 10.0) -> Iterator[FineTuningJobEvent]:
    """Report a job's events, the oldest first, until it has ended; then :func:`get_job` names the new model.

    Args:
        client: An ``openai`` client.
        job_id: The job.
        poll_seconds: Pause between two questions.

    Yields:
        What happened: ``message``, ``level``, and in ``data`` numbers such as ``train_loss``.

    Raises:
        ProviderError: The job failed or was cancelled, or the service doesn't answer.
    """
    seen: set[str] = set()
    while True:
        # The state before the events: then none that it brought about is missed.
        job = get_job(client, job_id)
        yield from _new_events(client, job_id, seen)
        if job.status in ("succeeded", "failed", "cancelled"):
            break
        time.sleep(poll_seconds)
    if job.status != "succeeded":
        told = job.problem or f"the job was {job.status}"
        raise ProviderError(told, provider="openai", remedy=f"see the events of {job_id}, and start another job")


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _new_events(client: OpenAI, job_id: str, seen: set[str]) -> list[FineTuningJobEvent]:
    """Collect what is new; the service lists the newest first, a page at a time."""

    def collect() -> list[FineTuningJobEvent]:
        listed = client.fine_tuning.jobs.list_events(job_id, limit=100)
        return list(itertools.takewhile(lambda event: event.id not in seen, listed))

    found = _answer(client, collect, _not_seen(job_id))
    seen.update(event.id for event in found)
    return found[::-1]


def _job(client: OpenAI, call: Callable[[], Any], refused: str) -> FineTuningJob:
    told = _named(client, call, refused)
    problem = getattr(told.error, "message", None)
    problem = Key(client.api_key).hide_in(problem) if problem else None
    return FineTuningJob(told.id, told.status, told.model, told.fine_tuned_model, told.trained_tokens, problem)


def _named(client: OpenAI, call: Callable[[], Any], refused: str) -> Any:
    """Return what comes back, if it is a file or job with a name and a state."""
    told = _answer(client, call, refused)
    if not (isinstance(getattr(told, "id", None), str) and isinstance(getattr(told, "status", None), str)):
        raise provider_error(_endpoint(client), unreadable(_endpoint(client), "there is no 'id' or 'status'"))
    return told


def _answer(client: OpenAI, call: Callable[[], _T], refused: str) -> _T:
    """Call, and say what is wrong in an error that doesn't lead to the client's own, which may quote the key.

    ``refused`` says what to do about a status that means something else to a job than to a question.
    """
    import openai

    try:
        return call()
    except (openai.APIError, ValueError) as error:
        failure = failure_of(_endpoint(client), error)
    if failure.status in (403, 404, 410):
        failure.remedy = refused
    raise provider_error(_endpoint(client), failure)


def _endpoint(client: OpenAI) -> Endpoint:
    return Endpoint(get_provider("openai"), BASE_MODEL, str(client.base_url).rstrip("/"), Key(client.api_key))


def _not_seen(job_id: str) -> str:
    return f"this key sees no job {job_id!r}: check its name, and that the key is of the project that started it"
