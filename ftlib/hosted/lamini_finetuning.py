"""Fine-tuning at Lamini, with its own client.

Whether the service is still offered could not be confirmed (2026-11-22).
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

from ftlib.argument_checks import above, each, held
from ftlib.data.message_checks import message_list
from ftlib.data.messages import Message
from ftlib.errors import DataError, MissingExtraError
from ftlib.hosted.calls import missing_client
from ftlib.hosted.failures import CallFailedError, lost, provider_error, status_failure, unreadable
from ftlib.hosted.openai_finetuning import FineTuningJob
from ftlib.hosted.providers import Endpoint, find_endpoint, hidden

if TYPE_CHECKING:
    from lamini import Lamini

_RULES = {"conversations": each(message_list), "timeout_seconds": above(0)}
_STATUS = {"AuthenticationError": 401, "ModelNotFoundError": 594, "RateLimitError": 429, "UserError": 400}


def train_at_lamini(
    conversations: Iterable[Sequence[Message]],
    *,
    model: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    finetune_args: Mapping[str, Any] | None = None,
    timeout_seconds: float = 600.0,
) -> FineTuningJob:
    """Send questions and answers to Lamini and start a job there, with its own client.

    Args:
        conversations: Messages of each: one question and one answer.
        model: What to fine-tune; default: LAMINI_MODEL, or else the one in :mod:`ftlib.hosted.providers`.
        api_key: Default: LAMINI_API_KEY.
        base_url: Default: LAMINI_API_URL, or else Lamini's own address.
        finetune_args: Passed on, such as ``{"max_steps": 100, "learning_rate": 1e-5}``.
        timeout_seconds: How long the upload and the request may take together.

    Raises:
        ProviderError: There is no key, or the service refuses it or doesn't answer.
        DataError: A conversation isn't one question and one answer.
        MissingExtraError: The client isn't installed.
    """
    key = hidden(api_key)
    del api_key  # an error's traceback may show the variables of its functions
    given = {"conversations": conversations, "finetune_args": finetune_args, "timeout_seconds": timeout_seconds}
    held(train_at_lamini, _RULES, **given)
    endpoint = find_endpoint("lamini", model=model, api_key=key, base_url=base_url)
    rows = [_pair(number, messages) for number, messages in enumerate(conversations)]
    if not rows:
        raise DataError("there are no conversations to train on: give at least one")
    arguments = dict(finetune_args or {})
    told = _answer(endpoint, lambda client: client.train(rows, finetune_args=arguments), timeout_seconds)
    return FineTuningJob(str(told["job_id"]), str(told.get("status", "CREATED")), endpoint.model)


def get_lamini_job(
    job_id: str, *, api_key: str | None = None, base_url: str | None = None, timeout_seconds: float = 60.0
) -> FineTuningJob:
    """Ask how a job at Lamini is doing; when it is ``"COMPLETED"``, ``model`` names the result.

    Raises:
        ProviderError: There is no key or no answer.
        MissingExtraError: The client isn't installed.
    """
    key = hidden(api_key)
    del api_key  # an error's traceback may show the variables of its functions
    held(get_lamini_job, _RULES, job_id=job_id, timeout_seconds=timeout_seconds)
    endpoint = find_endpoint("lamini", api_key=key, base_url=base_url)
    told = _answer(endpoint, lambda client: client.check_job_status(job_id), timeout_seconds)
    if "status" not in told:
        raise provider_error(endpoint, unreadable(endpoint, "there is no 'status'"))
    has_ended_well = told["status"] in ("COMPLETED", "PARTIALLY COMPLETED")
    result = told.get("model_name") if has_ended_well else None
    return FineTuningJob(str(told.get("job_id", job_id)), str(told["status"]), endpoint.model, result)


def _pair(number: int, messages: Sequence[Message]) -> dict[str, str]:
    if [message["role"] for message in messages] != ["user", "assistant"]:
        raise DataError(f"row {number}: Lamini trains on one question and one answer: leave other turns out")
    return {"input": messages[0]["content"] or "", "output": messages[1]["content"] or ""}


def _answer(endpoint: Endpoint, act: Callable[[Lamini], Any], timeout_seconds: float) -> Mapping[str, Any]:
    """Call the client in a thread: it sets no time limit of its own. What it prints is dropped (it may hold a key)."""
    done: Future[Mapping[str, Any] | CallFailedError] = Future()

    def work() -> None:
        try:
            done.set_result(_outcome(endpoint, act))
        except BaseException as error:
            done.set_exception(error)

    with contextlib.redirect_stdout(io.StringIO()):
        threading.Thread(target=work, name="ftlib-lamini", daemon=True).start()
        try:
            told = done.result(timeout_seconds)
        except FutureTimeoutError:
            told = CallFailedError(f"no answer within {timeout_seconds:g} s", "raise timeout_seconds")
    if isinstance(told, CallFailedError):
        raise provider_error(endpoint, told)
    return told


def _outcome(endpoint: Endpoint, act: Callable[[Lamini], Any]) -> Mapping[str, Any] | CallFailedError:
    """Return a failure instead of raising it: an error would lead to the client's variables, which know the key."""
    try:
        import requests
        from lamini import Lamini
        from lamini.error.error import LaminiError
    except ImportError as error:
        raise MissingExtraError(missing_client("lamini")) from error
    try:
        told = act(Lamini(endpoint.model, api_key=endpoint.key.value, api_url=endpoint.base_url))
    except LaminiError as error:
        return status_failure(endpoint, _STATUS.get(type(error).__name__, 500), str(error))
    except (requests.exceptions.JSONDecodeError, KeyError, TypeError) as error:
        return unreadable(endpoint, f"{type(error).__name__}: {error}")
    except requests.exceptions.RequestException as error:
        return lost(endpoint, error)
    return told if isinstance(told, Mapping) else unreadable(endpoint, "expected an object")
