"""Who offers models over the network: addresses, names of environment variables, default models and prices.

Models are retired every few months, and prices change: this table is the one place that names them. An
environment variable or an argument takes the place of each.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ftlib.errors import DataError, ProviderError
from ftlib.nearest import one_of


@dataclass(frozen=True)
class Price:
    """What a model costs.

    Attributes:
        input_usd: US dollars for a million tokens of the prompt (not taken from the provider's own cache).
        output_usd: US dollars for a million tokens of the answer, of its reasoning too.
        as_of: Day on which the price was looked up.
        source: Where.
    """

    input_usd: float
    output_usd: float
    as_of: str = ""
    source: str = ""

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float:
        """Price of one answer in US dollars.

        >>> Price(input_usd=0.1, output_usd=0.5).cost_usd(1_000_000, 1_000_000)
        0.6
        """
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / 1e6


@dataclass(frozen=True)
class Provider:
    """One service.

    Attributes:
        name: As in ``ftlib.hosted.ask``.
        base_url: Its address; None where there is none before a server is started.
        default_model: The model that is asked unless another is named.
        key_variable: Environment variable of the key; None where none is needed.
        url_variable: Environment variable of another address.
        model_variable: Environment variable of another model.
        limit_field: How the request calls the most tokens to write.
        prices: Of the models whose price is known.
        options: Further fields of a request, for the models that take them.
    """

    name: str
    base_url: str | None
    default_model: str | None
    key_variable: str | None
    url_variable: str
    model_variable: str
    limit_field: str = "max_tokens"
    prices: Mapping[str, Price] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A secret that doesn't show itself: not when printed, not among a traceback's variables."""

    value: str = field(repr=False)

    def hide_in(self, text: str) -> str:
        """Return a text without the secret, should it be in there.

        >>> Key("sk-1").hide_in("Incorrect API key provided: sk-1")
        'Incorrect API key provided: [key]'
        """
        return text.replace(self.value, "[key]") if self.value else text


def hidden(key: str | Key | None) -> Key:
    """Wrap a key, without the space around it; nothing becomes an empty one.

    Raises:
        DataError: It is no text.

    >>> hidden("sk-1")
    Key()
    """
    if not isinstance(key, str | Key | None):
        raise DataError(f"api_key must be text, not {type(key).__name__}")
    return key if isinstance(key, Key) else Key((key or "").strip())


@dataclass(frozen=True)
class Endpoint:
    """Where a question goes: a provider's model, at an address, with a key (an empty one where none is needed)."""

    provider: Provider
    model: str
    base_url: str
    key: Key

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this computer's own."""
        return is_loopback(self.base_url)


def _provider(name: str, base_url: str, model: str, *, url: str = "BASE_URL", **further: Any) -> Provider:
    """Write a service down whose variables begin with its name."""
    key, address, chosen = (f"{name.upper()}_{what}" for what in ("API_KEY", url, "MODEL"))
    return Provider(name, base_url, model, key, address, chosen, **further)


_OPENAI, _DEEPSEEK = "gpt-6-luna", "deepseek-flash"
PROVIDERS: dict[str, Provider] = {
    one.name: one
    for one in (
        _provider(
            "openai",
            "https://api.openai.com/v1",
            _OPENAI,
            limit_field="max_completion_tokens",
            prices={
                _OPENAI: Price(0.10, 0.50, "2026-11-22", f"https://developers.openai.com/api/docs/models/{_OPENAI}")
            },
            # It reasons unless told not to, and what it thinks counts against the limit of an answer.
            options={_OPENAI: {"reasoning_effort": "none"}},
        ),
        _provider(
            "deepseek",
            "https://api.deepseek.com",
            _DEEPSEEK,
            # At peak hours; at others it is half.
            prices={_DEEPSEEK: Price(0.30, 1.20, "2026-11-22", "https://api-docs.deepseek.com/quick_start/pricing")},
            options={_DEEPSEEK: {"thinking": {"type": "disabled"}}},
        ),
        _provider("lamini", "https://api.lamini.ai", "meta-llama/Llama-2-7b-chat-hf", url="API_URL"),
        Provider("local", None, None, None, "FTLIB_LOCAL_URL", "FTLIB_LOCAL_MODEL"),
    )
}
"""Every provider by name; prices and default models as of 2026-11-22.

:meta hide-value:
"""


def get_provider(name: str) -> Provider:
    """Return a provider by its name.

    Raises:
        ProviderError: There is none of that name.

    >>> get_provider("openai").key_variable
    'OPENAI_API_KEY'
    """
    if name in PROVIDERS:
        return PROVIDERS[name]
    raise ProviderError(f"unknown provider {name!r}", provider=name, remedy=one_of(name, PROVIDERS))


def missing_key(provider: Provider, api_key: str | None = None) -> str | None:
    """Return what to do for a key, or None if there is one or none is needed."""
    if provider.key_variable is None or (api_key or os.environ.get(provider.key_variable, "")).strip():
        return None
    return f"set {provider.key_variable}"


def find_endpoint(
    name: str, *, model: str | None = None, api_key: str | Key | None = None, base_url: str | None = None
) -> Endpoint:
    """Find out whom to ask: arguments first, then the environment, then the table.

    A key from the environment goes to the provider's own address or to one that the caller gave, by argument
    or by the provider's own variable, and to no other.

    Args:
        name: The provider's name.
        model: A model's name.
        api_key: The key.
        base_url: Another address that speaks the same protocol.

    Raises:
        ProviderError: The provider is unknown, there is no key, or an argument can't be used.

    >>> find_endpoint("deepseek", api_key="sk-1")  # doctest: +ELLIPSIS
    Endpoint(provider=Provider(name='deepseek', ...), model='deepseek-flash', ..., key=Key())
    """
    key = hidden(api_key)
    del api_key  # an error's traceback may show the variables of its functions
    provider = get_provider(name)
    if not key.value:
        if remedy := missing_key(provider):
            raise ProviderError("there is no key", provider=name, remedy=remedy)
        key = hidden(os.environ.get(provider.key_variable or ""))
    place = _given(base_url, provider.url_variable, provider.base_url)
    wanted = _given(model, provider.model_variable, provider.default_model)
    if place is None:
        remedy = (
            f"start one with ftlib.hosted.server.local_server and pass its base_url, or set {provider.url_variable}"
        )
        raise ProviderError("there is no address", provider=name, remedy=remedy)
    if wanted is None:
        remedy = f"pass model=, or set {provider.model_variable}"
        raise ProviderError("no model is named", provider=name, remedy=remedy)
    _check_key(provider, key)
    _check_address(provider, place, key)
    return Endpoint(provider, wanted, place.rstrip("/"), key)


def is_loopback(url: str) -> bool:
    """Whether an address is this computer's own.

    >>> is_loopback("http://127.0.0.1:8000/v1"), is_loopback("https://api.openai.com/v1")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, not a number
        return host == "localhost"


def _given(argument: str | None, variable: str, default: str | None) -> str | None:
    return argument or os.environ.get(variable, "").strip() or default


def _check_key(provider: Provider, key: Key) -> None:
    odd = re.search(r"[^\x21-\x7e]", key.value)
    if odd:
        raise ProviderError(
            f"the key holds a space or another character that no key has, at position {odd.start() + 1}",
            provider=provider.name,
            remedy="copy it again, without what stands around it",
        )


def _check_address(provider: Provider, url: str, key: Key) -> None:
    try:
        address = urlsplit(url)
        usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = key.hide_in(url)
        raise ProviderError(
            f"{shown!r} is no address", provider=provider.name, remedy="give one such as 'https://host/v1'"
        )
    if address.username or address.password:
        remedy = "pass the key as api_key, and the address without it"
        raise ProviderError("the address holds a user's name or password", provider=provider.name, remedy=remedy)
    if key.value and address.scheme == "http" and not is_loopback(url):
        remedy = "use https: over http anyone on the way could read it"
        raise ProviderError(
            f"the key would go unencrypted to {address.hostname}", provider=provider.name, remedy=remedy
        )
