"""Waiting for a state: a test never waits for a time."""

from __future__ import annotations

import time

import pytest

HUNG_SECONDS = 600
"""When a test gives up waiting. No test depends on it: it only ends one that hangs."""


def wait_until(condition, what="what was waited for"):
    """Return the first true value of a condition; fail when there is none in HUNG_SECONDS."""
    end = time.monotonic() + HUNG_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"{what} did not come about in {HUNG_SECONDS} s")
        time.sleep(0.01)
    return found
