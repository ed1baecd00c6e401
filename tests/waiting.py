"""Waiting for a state: a test never waits for a time."""

from __future__ import annotations

import time

HUNG_SECONDS = 600
"""When a test gives up waiting. No test depends on it: it only ends one that hangs."""


def wait_until(condition, what="what was waited for"):
    """Return the first true value of a condition; fail when there is none in HUNG_SECONDS."""
    end = time.monotonic() + HUNG_SECONDS
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    assert found, f"{what} did not come about in {HUNG_SECONDS} s"
    return found
