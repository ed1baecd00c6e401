"""What it means when a service refuses a fine-tuning job: not what it means when a model is asked."""

from __future__ import annotations

from ftlib.hosted.providers import Endpoint

CLOSING = (
    "OpenAI is closing this service: it takes jobs only from organisations that fine-tuned before 2026-05-07 and still "
    "ask their models, and none from 2027-01-06 (https://developers.openai.com/api/docs/deprecations)"
)
"""As looked up on 2026-11-22."""
_ELSEWHERE = "train on your own machine (ftlib train), or at another service (base_url=)"


def refusals_of_start(endpoint: Endpoint, base_model: str, training_file: str) -> dict[int, str]:
    """Say what to do if a job is not created, by HTTP status."""
    closing = f"{_told_of(endpoint)}: {_ELSEWHERE}"
    missing = f"check that {base_model!r} can be fine-tuned and that this key sent the file {training_file!r}"
    return {
        403: f"this account may not start fine-tuning jobs, or the key may not: {closing}",
        404: f"{missing}; {closing}",
        410: closing,
    }


def refusals_of_job(endpoint: Endpoint, job_id: str) -> dict[int, str]:
    """Say what to do if a service says nothing about a job, by HTTP status."""
    return {
        403: f"this key may not see the job {job_id!r}: take one of the project that started it, with the right to",
        404: f"this key sees no job {job_id!r}: check its name, and that the key is of the project that started it",
        410: f"the job {job_id!r} is gone: {_told_of(endpoint)}",
    }


def refusals_of_upload(endpoint: Endpoint) -> dict[int, str]:
    """Say what to do if a file is not taken, by HTTP status."""
    closing = f"{_told_of(endpoint)}: {_ELSEWHERE}"
    return {
        403: f"this account may not send files for fine-tuning, or the key may not: {closing}",
        404: f"no files can be sent to {endpoint.base_url}: check the address; {closing}",
        410: closing,
    }


def _told_of(endpoint: Endpoint) -> str:
    is_openai = endpoint.base_url == endpoint.provider.base_url
    return CLOSING if is_openai else f"not every service has fine-tuning, and {CLOSING}"
