"""This computer's own address, which no proxy is asked for."""

from __future__ import annotations

import os

HOST = "127.0.0.1"


def keep_off_proxies() -> None:
    """Say in this process's environment that no proxy stands before this computer itself.

    Clients of a server on this machine read that there. Without it a machine behind a proxy sends the proxy looking for
    its own 127.0.0.1.

    >>> keep_off_proxies()
    >>> "127.0.0.1" in os.environ["NO_PROXY"].split(",")
    True
    """
    for name in ("NO_PROXY", "no_proxy"):
        known = [one for one in os.environ.get(name, "").split(",") if one]
        os.environ[name] = ",".join(dict.fromkeys([*known, HOST, "localhost"]))
