"""One question to one hosted model, through the ``openai`` client, which also waits and tries again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ftlib.data.messages import Message
from ftlib.errors import MissingExtraError
from ftlib.hosted.failures import CallFailedError, failure_of, is_gone, lacks_credit, unreadable
from ftlib.hosted.providers import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion


@dataclass(frozen=True)
class Question:
    """What is asked, and how the answer shall be drawn.

    Attributes:
        messages: The conversation so far; it ends with a user's message.
        max_tokens: The most tokens to write.
        temperature: 0 takes the likeliest token each time; None leaves the choice to the provider.
        options: Further fields of the request, as the provider names them.
    """

    messages: Sequence[Message]
    max_tokens: int
    temperature: float | None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came back: the text, and tokens read and written where the provider counts them."""

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None


Caller = Callable[[Question], Awaitable[Answer]]


@asynccontextmanager
async def connected(endpoint: Endpoint, *, retries: int, timeout_seconds: float) -> AsyncIterator[Caller]:
    """Open the ``openai`` client, and close it again; what it yields raises a :class:`CallFailedError`.

    Raises:
        MissingExtraError: The client isn't installed.
    """
    openai = find_openai()
    ask = _ask_lamini if endpoint.provider.name == "lamini" else _ask_openai
    settings = client_settings(endpoint, openai.DefaultAsyncHttpxClient, event_hooks={"response": [_try_no_more]})
    async with openai.AsyncOpenAI(**settings, max_retries=retries, timeout=timeout_seconds) as client:

        async def call(question: Question) -> Answer:
            try:
                return await ask(client, endpoint, question)
            except (openai.APIError, ValueError) as error:
                raise failure_of(endpoint, error) from None

        yield call


def find_openai() -> ModuleType:
    """Return OpenAI's own package.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError(missing_client("openai")) from error
    return openai


def client_settings(endpoint: Endpoint, transport: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Return what an ``openai`` client is made with, so that the key goes to the endpoint and nowhere else."""
    from openai import Omit

    # The client reads the names of an OpenAI account from the environment: they are kept from other services.
    headers = {} if endpoint.provider.name == "openai" else {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    return {
        "api_key": endpoint.key.value or "none",
        "base_url": endpoint.base_url,
        "default_headers": headers,
        # A proxy has no business with this computer's own address, and a redirect none with a key.
        "http_client": transport(trust_env=not endpoint.is_loopback, follow_redirects=False, **options),
    }


async def _try_no_more(response: Any) -> None:
    """Tell the client, which tries again after 429 and 5xx, where another try would be in vain."""
    status = response.status_code
    told = (await response.aread()).decode(errors="replace") if status == 429 else ""
    if is_gone(status) or lacks_credit(status, told):
        response.headers["x-should-retry"] = "false"


async def _ask_openai(client: AsyncOpenAI, endpoint: Endpoint, question: Question) -> Answer:
    fields = {endpoint.provider.limit_field: question.max_tokens, **question.options}
    if question.temperature is not None:
        fields["temperature"] = question.temperature
    known = ("role", "content", "name", "tool_calls", "tool_call_id")
    messages: Any = [{key: value for key, value in said.items() if key in known} for said in question.messages]
    reply = await client.chat.completions.create(model=endpoint.model, messages=messages, extra_body=fields)
    return _completion(reply)


async def _ask_lamini(client: AsyncOpenAI, endpoint: Endpoint, question: Question) -> Answer:
    """Lamini continues plain text: what the system says stands above what is asked."""
    prompt = "\n\n".join(said["content"] or "" for said in question.messages)
    fields = {"model_name": endpoint.model, "prompt": prompt, "max_new_tokens": question.max_tokens}
    fields |= {"output_type": None, "max_tokens": None, **question.options}
    reply = await client.post("/v1/completions", body=fields, cast_to=object)
    if not isinstance(reply, dict) or not isinstance(reply.get("output"), str):
        raise unreadable(endpoint, "there is no text under 'output'")
    return Answer(reply["output"])


def _completion(reply: ChatCompletion) -> Answer:
    """Take the text out of a chat completion, if there is one: a service may leave out what the types promise."""
    choices = getattr(reply, "choices", None)
    choice = choices[0] if choices else None
    message = getattr(choice, "message", None)
    if choice is None or message is None:
        raise CallFailedError("the answer holds no choice", "ask again", status=200)
    if choice.finish_reason == "content_filter":
        raise CallFailedError("the provider's content filter stopped the answer", "rephrase the prompt", status=200)
    if refusal := getattr(message, "refusal", None):
        raise CallFailedError(f"the model refused: {refusal}", "rephrase the prompt", status=200)
    if not isinstance(message.content, str) or (not message.content and choice.finish_reason == "length"):
        raise CallFailedError("the answer holds no text", "raise max_tokens: reasoning may use them up", status=200)
    usage = reply.usage
    return Answer(message.content, *((usage.prompt_tokens, usage.completion_tokens) if usage else ()))


def missing_client(package: str) -> str:
    """Say how a provider's own client is installed."""
    if package == "lamini":
        # Its pin numpy<2 is out of date, and would break the other packages.
        command = "pip install 'ftlib[lamini]' && pip install --no-deps lamini==3.4.6"
    else:
        command = "pip install 'ftlib[hosted]'"
    return f"the package {package!r} is not installed or not complete: run {command}"
