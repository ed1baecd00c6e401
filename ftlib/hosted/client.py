"""Questions to a provider: several at once, each until it is answered, answers kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ftlib.argument_checks import above, at_least, each, held
from ftlib.data.message_checks import question
from ftlib.data.messages import Message, RowError, checked_text
from ftlib.errors import DataError, ProviderError
from ftlib.hosted.cache import AnswerCache
from ftlib.hosted.calls import Caller, Question, connected
from ftlib.hosted.failures import CallFailedError
from ftlib.hosted.providers import Endpoint, Price, find_endpoint, get_provider, hidden, missing_key

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reply:
    """A hosted model's answer.

    Attributes:
        text: The answer.
        model: Who gave it.
        input_tokens: Tokens of the prompt, as the provider counts them; None if it doesn't.
        output_tokens: Tokens of the answer.
        cost_usd: What the call cost in US dollars, by the price in :mod:`ftlib.hosted.providers`; None if unknown.
            For an answer from the cache, what it cost when it was asked.
        cached: Whether it came from the disk, and cost nothing this time.
        seconds: How long it took, tries and pauses included.
    """

    text: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    cached: bool
    seconds: float


def why_not(provider: str, api_key: str | None = None) -> str | None:
    """Say why a provider can't be asked, or return None if it can.

    Args:
        provider: ``"openai"``, ``"deepseek"``, ``"lamini"`` or ``"local"`` (which needs no key).
        api_key: A key, if not from the environment.

    Raises:
        ProviderError: There is no such provider.

    >>> why_not("local")

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    remedy = missing_key(get_provider(provider), api_key)
    return f"not run: {remedy}" if remedy else None


_RULES = {
    "prompts": each(question),
    "max_tokens": at_least(1),
    "temperature": at_least(0),
    "timeout_seconds": above(0),
    "retries": at_least(0),
    "concurrency": at_least(1),
}


def ask(
    provider: str,
    prompts: Sequence[str | Sequence[Message]],
    *,
    model: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    system: str | None = None,
    max_tokens: int = 100,
    temperature: float | None = 0.0,
    options: Mapping[str, Any] | None = None,
    timeout_seconds: float = 60.0,
    retries: int = 2,
    concurrency: int = 4,
    price: Price | None = None,
    cache: Path | str | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> list[Reply]:
    """Ask a hosted model, several questions at once.

    Answers come from the disk where they are there. A question that the provider can't answer (a content filter,
    say) doesn't keep it from the others; a wrong key, a model that is gone or a network that stays away does. In
    both cases what was answered is kept, in ``cache`` and in the error's ``replies``: a second call asks only what
    is missing.

    Args:
        provider: ``"openai"``, ``"deepseek"``, ``"lamini"`` (which gets plain text) or ``"local"``, a server that
            speaks OpenAI's protocol, such as :func:`ftlib.hosted.server.local_server`, or vLLM.
        prompts: Questions, or conversations that end with a user's message.
        model: Default: the environment variable of the provider, such as OPENAI_MODEL, or else the model
            that :mod:`ftlib.hosted.providers` names.
        api_key: Default: the environment variable of the provider, such as OPENAI_API_KEY.
        base_url: Another address. A key goes there too.
        system: What the model is told before each question.
        max_tokens: The most tokens to write for each.
        temperature: 0 takes the likeliest token each time; None leaves the field out, for models that refuse it.
            Lamini takes none.
        options: Further fields of the request, as the provider names them.
        timeout_seconds: How long one try may wait for the service.
        retries: How often to try again after a timeout, a lost connection, or status 408, 409, 429 or 5xx. The
            ``openai`` client pauses for about half a second before the first of these, doubles that each time, and
            waits for as long as ``Retry-After`` says instead, unless that is minutes.
        concurrency: How many questions are under way at once.
        price: Price of the model, if not the one in :mod:`ftlib.hosted.providers`.
        cache: Folder that keeps answers, drawn ones too. A local server's are not kept: there the same name may
            stand for another model tomorrow.
        on_done: Called with (answered, all) after each answer, in another thread.

    Returns:
        One reply for each prompt, in the same order.

    Raises:
        ProviderError: At least one question has no answer.
        DataError: A prompt or argument can't be used.
        MissingExtraError: The provider's client isn't installed.

    Taught in: chapters/12_base_tuned_hosted.ipynb
    """
    key = hidden(api_key)
    del api_key  # an error's traceback may show the variables of its functions
    limits: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature, "concurrency": concurrency}
    patience: dict[str, Any] = {"timeout_seconds": timeout_seconds, "retries": retries}
    held(ask, _RULES, provider=provider, prompts=prompts, system=system, options=options, cache=cache)
    held(ask, _RULES, model=model, base_url=base_url, price=price, **limits, **patience)
    endpoint = find_endpoint(provider, model=model, api_key=key, base_url=base_url)
    options = {**endpoint.provider.options.get(endpoint.model, {}), **(options or {})}
    questions = [Question(_messages(prompt, system), max_tokens, temperature, options) for prompt in prompts]
    store = AnswerCache(cache) if cache and provider != "local" else None
    round_ = _Round(endpoint, questions, price or endpoint.provider.prices.get(endpoint.model), store, on_done)
    round_.look_up()
    if None in round_.replies:
        run_apart(round_.ask(concurrency, patience))
    return round_.replies_or_error()


@dataclass
class _Round:
    """Questions of one call: which are answered, which failed; the others are open."""

    endpoint: Endpoint
    questions: Sequence[Question]
    price: Price | None
    store: AnswerCache | None
    on_done: Callable[[int, int], None] | None
    replies: list[Reply | None] = field(default_factory=list)
    failures: dict[int, CallFailedError] = field(default_factory=dict)

    def look_up(self) -> None:
        """Take the answers that were kept."""
        kept = [self.store.get(self._request(question)) if self.store else None for question in self.questions]
        self.replies = [Reply(**one | {"cached": True}) if one else None for one in kept]

    async def ask(self, concurrency: int, patience: Mapping[str, Any]) -> None:
        """Answer what is missing."""
        gate = asyncio.Semaphore(concurrency)
        missing = [number for number, reply in enumerate(self.replies) if reply is None]
        async with connected(self.endpoint, **patience) as caller:
            await asyncio.gather(*(self._ask_one(number, caller, gate) for number in missing))

    def replies_or_error(self) -> list[Reply]:
        """Return the replies, if all are there."""
        if self.failures:
            raise self._error()
        return [reply for reply in self.replies if reply is not None]

    async def _ask_one(self, number: int, caller: Caller, gate: asyncio.Semaphore) -> None:
        async with gate:
            if any(failure.concerns_all for failure in self.failures.values()):
                return
            started = time.perf_counter()
            try:
                answer = await caller(self.questions[number])
            except CallFailedError as failure:
                self.failures[number] = failure
                return
        seconds = time.perf_counter() - started
        tokens = (answer.input_tokens, answer.output_tokens)
        reply = Reply(answer.text, self.endpoint.model, *tokens, self._cost(*tokens), cached=False, seconds=seconds)
        self.replies[number] = reply
        if self.store:
            self.store.put(self._request(self.questions[number]), asdict(reply))
        if self.on_done:
            self.on_done(sum(reply is not None for reply in self.replies), len(self.replies))

    def _cost(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        if self.price is None or input_tokens is None or output_tokens is None:
            return None
        return self.price.cost_usd(input_tokens, output_tokens)

    def _request(self, question: Question) -> dict[str, Any]:
        place = {"provider": self.endpoint.provider.name, "base_url": self.endpoint.base_url}
        return {**place, "model": self.endpoint.model, **asdict(question)}

    def _error(self) -> ProviderError:
        number, failure = min(self.failures.items(), key=lambda item: (not item[1].concerns_all, item[0]))
        answered = sum(reply is not None for reply in self.replies)
        told = failure.problem if failure.concerns_all else f"prompt {number}: {failure.problem}"
        kept = ", and kept: a second call asks only for the rest" if self.store and answered else ""
        remedy = f"{failure.remedy}. {answered} of {len(self.replies)} prompts were answered{kept}"
        name, status = self.endpoint.provider.name, failure.status
        return ProviderError(told, provider=name, status=status, remedy=remedy, replies=self.replies)


def run_apart(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end in a thread of its own: a notebook's own loop is busy with the notebook.

    When the caller is interrupted, the work is cancelled.
    """
    begun: Future[Callable[[], object]] = Future()

    async def begin() -> _T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await task

    with ThreadPoolExecutor(1, "ftlib-hosted") as thread:
        done = thread.submit(asyncio.run, begin())
        try:
            return done.result()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the work itself failed, and its loop is closed
                begun.result()()
            raise


def _messages(prompt: str | Sequence[Message], system: str | None) -> list[Message]:
    messages = [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DataError("a prompt must be text, or a conversation that ends with a user's message")
    if system is not None:
        messages = [Message(role="system", content=system), *messages]
    try:
        for message in messages:
            checked_text(message["content"] or "", f"the {message['role']}'s message", may_be_empty=True)
    except RowError as error:
        raise DataError(str(error)) from error
    return messages
