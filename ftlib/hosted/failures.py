"""What can go wrong between a question and a hosted model's answer, what to do, and when to try again."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from ftlib.hosted.providers import Endpoint

_T = TypeVar("_T")

_LONGEST_WAIT_SECONDS = 120.0
_LAMINI_HAS_NO_MODEL = 594


class CallFailedError(Exception):
    """Why there is no answer, in words that hold no key.

    ``passes``: may the same call succeed in a moment? ``concerns_all``: would every other question fail too?
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        *,
        status: int | None = None,
        passes: bool = False,
        concerns_all: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """Keep what a message is made of."""
        super().__init__(problem)
        self.problem, self.remedy, self.status = problem, remedy, status
        self.passes, self.concerns_all, self.retry_after = passes, concerns_all, retry_after


async def persist(
    call: Callable[[], Awaitable[_T]], *, timeout_seconds: float, retries: int, backoff_seconds: float
) -> _T:
    """Call until there is an answer, or an error that another try would not mend.

    The pause doubles each time, unless the provider says how long to wait (up to two minutes).

    Raises:
        CallFailedError: There is no answer.
    """
    for attempt in range(retries + 1):
        try:
            return await asyncio.wait_for(call(), timeout_seconds)
        except asyncio.TimeoutError:
            problem = f"no answer within {timeout_seconds:g} s"
            failure = CallFailedError(problem, "raise timeout_seconds", passes=True, concerns_all=True)
        except CallFailedError as error:
            failure = error
        pause = backoff_seconds * 2**attempt if failure.retry_after is None else failure.retry_after
        if not failure.passes or attempt == retries or pause > _LONGEST_WAIT_SECONDS:
            break
        await asyncio.sleep(pause)
    raise failure


def status_failure(endpoint: Endpoint, status: int, told: str, *, headers: Mapping[str, str]) -> CallFailedError:
    """Say what an HTTP status means, and what to do."""
    provider = endpoint.provider
    told = endpoint.key.hide_in(told).strip().rstrip(".")
    gone = status in (404, _LAMINI_HAS_NO_MODEL)
    no_credit = status == 402 or (status == 429 and "quota" in told.lower())
    remedies = {
        401: f"set {provider.key_variable} to a key that is valid" if provider.key_variable else "check the key",
        403: "the key may not be used for this: check the account's rights, and whether the country is served",
        404: f"the model {endpoint.model!r} may have been retired: pass model=, or set {provider.model_variable}",
        429: "lower concurrency, or wait and ask again",
    }
    remedy = remedies.get(404 if gone else status, "see the provider's status page, and ask again later")
    if no_credit:
        remedy = "add credit to the account"
    elif status in (400, 422):
        remedy = "change what the message names (temperature=None leaves that field out)"
    return CallFailedError(
        told or f"HTTP status {status}",
        remedy,
        status=status,
        passes=(status in (408, 409, 429) or status >= 500) and not (gone or no_credit),
        concerns_all=gone or no_credit or status in (401, 403),
        retry_after=_retry_after(headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, which a server gives as a number or as the date when the wait is over."""
    given = headers.get("Retry-After", "").strip()
    if given.replace(".", "", 1).isdigit():
        return float(given)
    date = email.utils.parsedate_tz(given) if given else None
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def lost(endpoint: Endpoint, error: BaseException) -> CallFailedError:
    """Say that there was no answer at all."""
    told = endpoint.key.hide_in(str(error)).strip() or type(error).__name__
    remedy = "check the address" if endpoint.provider.base_url is None else "check the network"
    problem = f"the connection failed or broke off ({told})"
    return CallFailedError(problem, remedy, passes=True, concerns_all=True)


def unreadable(endpoint: Endpoint, error: object) -> CallFailedError:
    """Say that what came back is not what the protocol promises."""
    told = endpoint.key.hide_in(str(error)).partition("\n")[0][:200]
    remedy = "check that the address belongs to this kind of service"
    return CallFailedError(f"the answer can't be read: {told}", remedy, status=200)
