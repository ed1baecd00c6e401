"""What can go wrong between a question and a hosted model's answer, and what to do.

The ``openai`` client tries again by itself; a failure is what it leaves in the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from ftlib.errors import ProviderError
from ftlib.hosted.providers import Endpoint

_LAMINI_HAS_NO_MODEL = 594


class CallFailedError(Exception):
    """Why there is no answer, in words that hold no key.

    ``concerns_all``: would every other question fail too?
    """

    def __init__(self, problem: str, remedy: str, *, status: int | None = None, concerns_all: bool = False) -> None:
        """Keep what a message is made of."""
        super().__init__(problem)
        self.problem, self.remedy, self.status, self.concerns_all = problem, remedy, status, concerns_all


def is_gone(status: int) -> bool:
    """Whether a status says that there is no such model."""
    return status in (404, _LAMINI_HAS_NO_MODEL)


def lacks_credit(status: int, told: str) -> bool:
    """Whether an account has nothing left to pay with: OpenAI says so with the status of a rate limit.

    >>> lacks_credit(429, "You exceeded your current quota"), lacks_credit(429, "Rate limit reached")
    (True, False)
    """
    return status == 402 or (status == 429 and "quota" in told.lower())


def failure_of(endpoint: Endpoint, error: Exception) -> CallFailedError:
    """Say what an error of the ``openai`` client means, and what to do."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return status_failure(endpoint, error.status_code, _told(error.body) or error.message)
    if isinstance(error, openai.APITimeoutError):
        seconds = error.request.extensions["timeout"]["read"]
        return CallFailedError(f"no answer within {seconds:g} s", "raise timeout_seconds", concerns_all=True)
    if isinstance(error, openai.APIConnectionError):
        return lost(endpoint, error.__cause__ or error)
    return unreadable(endpoint, error)


def status_failure(endpoint: Endpoint, status: int, told: str) -> CallFailedError:
    """Say what an HTTP status means, and what to do."""
    provider = endpoint.provider
    told = endpoint.key.hide_in(told).strip().rstrip(".")
    gone, no_credit = is_gone(status), lacks_credit(status, told)
    change = "change what the message names (temperature=None leaves that field out)"
    remedies = {
        400: change,
        401: f"set {provider.key_variable} to a key that is valid" if provider.key_variable else "check the key",
        402: "add credit to the account",
        403: "the key may not be used for this: check the account's rights, and whether the country is served",
        404: f"the model {endpoint.model!r} may have been retired: pass model=, or set {provider.model_variable}",
        422: change,
        429: "lower concurrency, or wait and ask again",
    }
    meant = 404 if gone else 402 if no_credit else status
    return CallFailedError(
        told or f"HTTP status {status}",
        remedies.get(meant, "see the provider's status page, and ask again later"),
        status=status,
        concerns_all=meant in (401, 402, 403, 404),
    )


def lost(endpoint: Endpoint, error: BaseException) -> CallFailedError:
    """Say that there was no answer at all."""
    told = endpoint.key.hide_in(str(error)).strip() or type(error).__name__
    remedy = "check the address" if endpoint.provider.base_url is None else "check the network"
    return CallFailedError(f"the connection failed or broke off ({told})", remedy, concerns_all=True)


def unreadable(endpoint: Endpoint, error: object) -> CallFailedError:
    """Say that what came back is not what the protocol promises."""
    told = endpoint.key.hide_in(str(error)).partition("\n")[0][:200]
    remedy = "check that the address belongs to this kind of service"
    return CallFailedError(f"the answer can't be read: {told}", remedy, status=200)


def provider_error(endpoint: Endpoint, failure: CallFailedError) -> ProviderError:
    """Put a failure into the error that the caller gets."""
    name = endpoint.provider.name
    return ProviderError(failure.problem, provider=name, status=failure.status, remedy=failure.remedy)


def _told(body: object) -> str:
    """Find the words in the body of an error, which each service wraps in its own way."""
    if isinstance(body, Mapping):
        return _told(body.get("error") or body.get("message") or body.get("detail") or "")
    return body if isinstance(body, str) else ""
