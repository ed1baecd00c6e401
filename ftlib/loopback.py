"""This computer's own address, which no proxy is asked for."""

from __future__ import annotations

import os

HOST = "127.0.0.1"
_VARIABLES = ("no_proxy", "NO_PROXY")


def keep_off_proxies() -> None:
    """Say in this process's environment that no proxy stands before this computer itself.

    Clients of a server on this machine read that there. Without it a machine behind a proxy sends the proxy looking for
    its own 127.0.0.1. What either spelling of the variable excepts already stays, under both: programs prefer one.

    >>> keep_off_proxies()
    >>> "127.0.0.1" in os.environ["NO_PROXY"].split(",")
    True
    """
    known = [one for name in _VARIABLES for one in os.environ.get(name, "").split(",") if one]
    if "*" in known:  # all hosts; some programs take it only where it stands alone
        return
    for name in _VARIABLES:
        os.environ[name] = ",".join(dict.fromkeys([*known, HOST, "localhost"]))
