"""One question to one hosted model, through the provider's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ftlib.data.messages import Message
from ftlib.errors import MissingExtraError
from ftlib.hosted.failures import CallFailedError, lost, status_failure, unreadable
from ftlib.hosted.providers import Endpoint, Provider


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
async def connected(endpoint: Endpoint) -> AsyncIterator[Caller]:
    """Open what a provider's own client needs, and close it again.

    Raises:
        MissingExtraError: The client isn't installed.
    """
    connect = _lamini if endpoint.provider.name == "lamini" else _openai
    async with connect(endpoint) as caller:
        yield caller


@asynccontextmanager
async def openai_client(endpoint: Endpoint) -> AsyncIterator[Any]:
    """Open the ``openai`` client; it doesn't try again by itself.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError(missing_client("openai")) from error
    # A proxy has no business with this computer's own address, and a redirect none with a key.
    transport = openai.DefaultAsyncHttpxClient(trust_env=not endpoint.is_loopback, follow_redirects=False)
    async with openai.AsyncOpenAI(
        api_key=endpoint.key.value or "none",
        base_url=endpoint.base_url,
        default_headers=_foreign_headers(endpoint.provider, openai.Omit),
        max_retries=0,
        http_client=transport,
    ) as client:
        yield client


@contextmanager
def openai_errors(endpoint: Endpoint) -> Iterator[None]:
    """Turn what the ``openai`` client raises into a :class:`CallFailedError`."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        told = _told(error.body) or error.message
        raise status_failure(endpoint, error.status_code, told, headers=error.response.headers) from None
    except openai.APIConnectionError as error:
        raise lost(endpoint, error.__cause__ or error) from None
    except (openai.APIError, ValueError) as error:
        raise unreadable(endpoint, error) from None


@asynccontextmanager
async def _openai(endpoint: Endpoint) -> AsyncIterator[Caller]:
    async with openai_client(endpoint) as client:

        async def call(question: Question) -> Answer:
            fields = {endpoint.provider.limit_field: question.max_tokens, **question.options}
            if question.temperature is not None:
                fields["temperature"] = question.temperature
            with openai_errors(endpoint):
                reply = await client.chat.completions.create(
                    model=endpoint.model, messages=_plain(question.messages), extra_body=fields
                )
            return _completion(reply)

        yield call


@asynccontextmanager
async def _lamini(endpoint: Endpoint) -> AsyncIterator[Caller]:
    try:
        import aiohttp
        from lamini.api.rest_requests import make_async_web_request
        from lamini.api.utils.completion import Completion
        from lamini.error.error import LaminiError
    except ImportError as error:
        raise MissingExtraError(missing_client("lamini")) from error
    completion = Completion(endpoint.key.value, endpoint.base_url)
    url = f"{completion.api_prefix}completions"

    async def call(question: Question) -> Answer:
        body = completion.make_llm_req_map(
            prompt=_as_text(question.messages), model_name=endpoint.model, max_new_tokens=question.max_tokens
        )
        seen = _Seen()
        # The client's errors don't tell the status or how long to wait: the session does.
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(seen.note)
        session = aiohttp.ClientSession(trust_env=not endpoint.is_loopback, trace_configs=[trace])
        async with session:
            try:
                reply = await make_async_web_request(session, endpoint.key.value, url, "post", body | question.options)
            except LaminiError as error:
                raise status_failure(endpoint, seen.status, str(error), headers=seen.headers) from None
            except (aiohttp.ContentTypeError, ValueError) as error:
                raise unreadable(endpoint, error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise lost(endpoint, error) from None
        if not isinstance(reply, dict) or not isinstance(reply.get("output"), str):
            raise unreadable(endpoint, "there is no text under 'output'")
        return Answer(reply["output"])

    yield call


class _Seen:
    """Status and headers of the last response of a session."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def note(self, _session: Any, _context: Any, parameters: Any) -> None:
        self.status, self.headers = parameters.response.status, parameters.response.headers


def _completion(reply: Any) -> Answer:
    """Take the text out of a chat completion, if there is one."""
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


def _told(body: object) -> str:
    """Find the words in the body of an error, which each service wraps in its own way."""
    if isinstance(body, Mapping):
        return _told(body.get("error") or body.get("message") or body.get("detail") or "")
    return body if isinstance(body, str) else ""


def _plain(messages: Sequence[Message]) -> Any:
    fields = ("role", "content", "name", "tool_calls", "tool_call_id")
    return [{key: value for key, value in message.items() if key in fields} for message in messages]


def _as_text(messages: Sequence[Message]) -> str:
    """Lamini continues plain text: what the system says stands above what is asked."""
    return "\n\n".join(message["content"] or "" for message in messages)


def _foreign_headers(provider: Provider, omit: Any) -> dict[str, Any]:
    """Keep the names of an OpenAI account, which the client reads from the environment, from other services."""
    if provider.name == "openai":
        return {}
    return {"OpenAI-Organization": omit(), "OpenAI-Project": omit()}


def missing_client(package: str) -> str:
    """Say how a provider's own client is installed."""
    if package == "lamini":
        # Its pin numpy<2 is out of date, and would break the other packages.
        command = "pip install 'ftlib[lamini]' && pip install --no-deps lamini==3.4.6"
    else:
        command = "pip install 'ftlib[hosted]'"
    return f"the package {package!r} is not installed or not complete: run {command}"
