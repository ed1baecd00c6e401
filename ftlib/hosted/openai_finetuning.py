"""Fine-tuning on somebody else's computers: OpenAI's jobs (Lamini's: :mod:`ftlib.hosted.lamini_finetuning`).

Who can still use them (looked up 2026-11-22): OpenAI takes new jobs only from organisations that had fine-tuned
before 2026-05-07 and, since 2026-07-02, had asked a fine-tuned model within 60 days; from 2027-01-06 it takes none
(https://developers.openai.com/api/docs/deprecations). A fine-tuned model goes when its base model goes. The steps
are the same wherever a service speaks OpenAI's protocol: pass its ``base_url``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ftlib.errors import DataError, ProviderError
from ftlib.hosted.calls import openai_client, openai_errors
from ftlib.hosted.client import run_apart
from ftlib.hosted.failures import CallFailedError, persist, unreadable
from ftlib.hosted.finetuning_file import check_finetuning_file
from ftlib.hosted.job_refusals import refusals_of_job, refusals_of_start, refusals_of_upload
from ftlib.hosted.providers import Endpoint, find_endpoint, hidden

_T = TypeVar("_T")

BASE_MODEL = "gpt-4.1-mini-2025-04-14"
"""A base model that OpenAI fine-tunes (looked up 2026-11-22; it is retired on 2027-01-14)."""

_ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
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


@dataclass(frozen=True)
class JobEvent:
    """Something that a job reports.

    Attributes:
        id: Its name.
        message: What happened.
        level: ``"info"``, ``"warn"`` or ``"error"``.
        data: Numbers that belong to it, such as ``train_loss``.
    """

    id: str
    message: str
    level: str
    data: Mapping[str, Any]


class OpenAIJobs:
    """Fine-tuning jobs at OpenAI, or at another service that speaks its protocol.

    Args:
        api_key: Default: OPENAI_API_KEY.
        base_url: Default: OPENAI_BASE_URL, or else OpenAI's own address.
        timeout_seconds: How long one request may take; an upload may take ten times as long.
        retries: How often to ask again what changes nothing. What creates something is sent once.

    Raises:
        ProviderError: There is no key, or it or the address can't be used.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 2,
    ) -> None:
        """Find key and address."""
        key = hidden(api_key)
        del api_key  # an error's traceback may show the variables of its functions
        self._endpoint = find_endpoint("openai", model=BASE_MODEL, api_key=key, base_url=base_url)
        self._timeout_seconds, self._retries = timeout_seconds, retries

    def upload(self, path: str | Path) -> str:
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
        content = (place.name, place.read_bytes())
        means = refusals_of_upload(self._endpoint)
        sent = self._once(lambda client: client.files.create(file=content, purpose="fine-tune"), means, patience=10)
        return str(_named(sent, self._endpoint).id)

    def start(
        self,
        training_file: str,
        *,
        validation_file: str | None = None,
        base_model: str = BASE_MODEL,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate_multiplier: float | None = None,
        suffix: str | None = None,
        seed: int | None = None,
    ) -> Job:
        """Create a job; what is None is left to the service.

        Args:
            training_file: What :meth:`upload` returned.
            validation_file: The same, for the rows that are held back.
            base_model: The model to start from, with its date.
            epochs: Passes over the file.
            batch_size: Rows of one step.
            learning_rate_multiplier: Factor on the service's own learning rate.
            suffix: A part of the new model's name, at most 64 characters.
            seed: For a job that can be repeated.

        Raises:
            ProviderError: The service refuses it.
        """
        numbers = {"n_epochs": epochs, "batch_size": batch_size, "learning_rate_multiplier": learning_rate_multiplier}
        method = {"type": "supervised", "supervised": {"hyperparameters": _given(numbers)}}
        body = _given({"validation_file": validation_file, "suffix": suffix, "seed": seed})
        body |= {"training_file": training_file, "model": base_model, "method": method}
        means = refusals_of_start(self._endpoint, base_model, training_file)
        return _job(self._once(lambda client: client.fine_tuning.jobs.create(**body), means), self._endpoint)

    def get(self, job_id: str) -> Job:
        """Ask how a job is doing.

        Raises:
            ProviderError: There is no answer.
        """
        means = refusals_of_job(self._endpoint, job_id)
        return _job(self._again(lambda client: client.fine_tuning.jobs.retrieve(job_id), means), self._endpoint)

    def cancel(self, job_id: str) -> Job:
        """End a job.

        Raises:
            ProviderError: There is no answer.
        """
        means = refusals_of_job(self._endpoint, job_id)
        return _job(self._again(lambda client: client.fine_tuning.jobs.cancel(job_id), means), self._endpoint)

    def follow(self, job_id: str, *, poll_seconds: float = 10.0) -> Iterator[JobEvent]:
        """Report a job's events, the oldest first, until it has ended; then :meth:`get` names the new model.

        Args:
            job_id: The job.
            poll_seconds: Pause between two questions.

        Raises:
            ProviderError: The job failed or was cancelled, or the service doesn't answer.
        """
        seen: set[str] = set()
        while True:
            # The state before the events: then none that it brought about is missed.
            job = self.get(job_id)
            means = refusals_of_job(self._endpoint, job_id)
            for event in self._again(lambda client: _new_events(client, job_id, seen), means):
                seen.add(event.id)
                yield event
            if job.status in _ENDED:
                break
            time.sleep(poll_seconds)
        if job.status != "succeeded":
            told = job.problem or f"the job was {job.status}"
            raise ProviderError(told, provider="openai", remedy=f"see the events of {job_id}, and start another job")

    def _once(self, act: Callable[[Any], Awaitable[_T]], means: Mapping[int, str], *, patience: int = 1) -> _T:
        return self._run(act, means, retries=0, timeout_seconds=patience * self._timeout_seconds)

    def _again(self, act: Callable[[Any], Awaitable[_T]], means: Mapping[int, str]) -> _T:
        return self._run(act, means, retries=self._retries, timeout_seconds=self._timeout_seconds)

    def _run(
        self, act: Callable[[Any], Awaitable[_T]], means: Mapping[int, str], *, retries: int, timeout_seconds: float
    ) -> _T:
        patience = {"retries": retries, "timeout_seconds": timeout_seconds, "backoff_seconds": 0.5}
        done = run_apart(_outcome(self._endpoint, act, patience))
        if isinstance(done, CallFailedError):
            raise job_error(self._endpoint, done, means)
        return done


async def _outcome(
    endpoint: Endpoint, act: Callable[[Any], Awaitable[_T]], patience: Mapping[str, Any]
) -> _T | CallFailedError:
    async with openai_client(endpoint) as client:

        async def call() -> _T:
            with openai_errors(endpoint):
                return await act(client)

        try:
            return await persist(call, **patience)
        except CallFailedError as failure:
            return failure


async def _new_events(client: Any, job_id: str, seen: set[str]) -> list[JobEvent]:
    """Collect what is new; the service lists the newest first, a page at a time."""
    found: list[JobEvent] = []
    async for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
        if event.id in seen:
            break
        data = event.data if isinstance(event.data, Mapping) else {}
        found.append(JobEvent(event.id, event.message, event.level, data))
    return found[::-1]


def _job(told: Any, endpoint: Endpoint) -> Job:
    problem = getattr(_named(told, endpoint).error, "message", None)
    problem = endpoint.key.hide_in(problem) if problem else None
    return Job(told.id, told.status, told.model, told.fine_tuned_model, told.trained_tokens, problem)


def _named(told: Any, endpoint: Endpoint) -> Any:
    """Return what came back, if it is a file or job with a name and a state."""
    if not (isinstance(getattr(told, "id", None), str) and isinstance(getattr(told, "status", None), str)):
        raise job_error(endpoint, unreadable(endpoint, "there is no 'id' or 'status'"))
    return told


def job_error(endpoint: Endpoint, failure: CallFailedError, means: Mapping[int, str] | None = None) -> ProviderError:
    """Put a failure into the error that the caller gets.

    Args:
        endpoint: Who failed.
        failure: How.
        means: What to do about a status, where jobs mean something else by it than questions do.
    """
    name, remedy = endpoint.provider.name, (means or {}).get(failure.status or 0, failure.remedy)
    return ProviderError(failure.problem, provider=name, status=failure.status, remedy=remedy)


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
