"""No proxy stands before this computer itself, and what somebody excepts from proxies stays excepted."""

import os

import pytest

from ftlib.loopback import keep_off_proxies

OURS = "127.0.0.1,localhost"


@pytest.mark.parametrize(
    ("lower", "upper", "wanted"),
    [
        (None, None, (OURS, OURS)),
        (None, "intranet", (f"intranet,{OURS}",) * 2),
        ("intranet", None, (f"intranet,{OURS}",) * 2),
        ("a,127.0.0.1", "b", ("a,127.0.0.1,b,localhost",) * 2),
        ("*", None, ("*", None)),
    ],
)
def test_both_spellings_except_what_either_did(monkeypatch, lower, upper, wanted):
    for name, value in (("no_proxy", lower), ("NO_PROXY", upper)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    keep_off_proxies()
    assert (os.environ.get("no_proxy"), os.environ.get("NO_PROXY")) == wanted
