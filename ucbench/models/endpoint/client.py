"""One request in, one reply out, or one typed failure: the bottom layer of everything that asks a service.

    with ChatClient(Service(model="gpt-4o", endpoint="https://api.openai.com/v1")) as client:
        reply = client.complete(ChatRequest("Is the sky blue?"))
        for tag, outcome in client.stream(((n, ChatRequest(text)) for n, text in enumerate(texts))):
            ...

Requests run on an event loop in a thread of their own, so the methods can be called from any thread.
Transport and request format are huggingface_hub's.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from ucbench.errors import AccessError, UcbenchError
from ucbench.models.endpoint import keys, reading
from ucbench.models.endpoint.capabilities import Capabilities
from ucbench.models.endpoint.failures import (
    BadRequestError,
    ExhaustedError,
    RateLimitedError,
    RequestError,
    RetriedError,
    UnavailableError,
    UnreachableError,
)
from ucbench.models.endpoint.messages import ChatRequest, Reply, arguments
from ucbench.models.endpoint.retries import Limiter, Policy

if TYPE_CHECKING:
    from httpx2 import Response
    from huggingface_hub import AsyncInferenceClient

Tag = TypeVar("Tag")

#: Tries of a host that was never reached: it is more likely mistyped than busy.
FIRST_CONTACT = 3


@dataclass(frozen=True, slots=True)
class Service:
    """A model and where it is served: `endpoint` (a base URL such as http://host:8000/v1) or `provider`.

    `provider` is `auto` or a name that huggingface_hub knows. `key_env` names the environment variable
    that holds the key; by default OPENAI_API_KEY for an endpoint, if set, and HF_TOKEN for a provider.
    """

    model: str
    endpoint: str | None = None
    provider: str | None = None
    key_env: str | None = None
    timeout: float = 300.0
    concurrency: int = 8

    def __post_init__(self) -> None:
        """Raises `UcbenchError` for a service that cannot be."""
        if (self.endpoint is None) == (self.provider is None):
            raise UcbenchError("give either the URL of an endpoint or the name of a provider, one of the two")
        if not self.model:
            raise UcbenchError("the model has no name; give the id under which it is served")
        if self.endpoint is not None:
            _check_url(self.endpoint)
        if self.concurrency < 1:
            raise UcbenchError(f"--concurrency must be at least 1, not {self.concurrency}")

    @property
    def place(self) -> str:
        """Where it is, for people and records; no secrets."""
        if self.endpoint is not None:
            return keys.public_url(self.endpoint)
        return f"the provider {self.provider}" if self.provider != "auto" else "the Hub's providers"

    @property
    def key_name(self) -> str:
        """The environment variable that holds the key."""
        return self.key_env or (keys.OPENAI_KEY if self.endpoint is not None else keys.HUB_KEY)

    def key(self) -> keys.Key:
        """The key from the environment. Raises `AccessError` when there must be one and is not."""
        if self.endpoint is None:
            _check_online()
        return keys.read(self.key_name, required=bool(self.key_env) or self.endpoint is None)


class ChatClient:
    """Asks one service. Bounded concurrency, pauses and retries hold for all its requests together.

    `capabilities` is what was found out about the service so far.
    """

    def __init__(self, service: Service, policy: Policy | None = None, key: keys.Key | None = None) -> None:
        """`key` is used instead of the one in the environment."""
        self.service = service
        self.policy = policy or Policy()
        self.capabilities = Capabilities()
        self.limiter = Limiter(service.concurrency)
        key = service.key() if key is None else key
        secrets = (key.value, *(keys.secrets_of(service.endpoint) if service.endpoint else ()))
        self._reader = reading.Reader(
            place=service.place,
            model=service.model,
            key=service.key_name,
            has_key=bool(key.value),
            secrets=secrets,
        )
        self._session = _session(service, key)
        self._reached = False
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(self._loop,), name="chat", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _stop, self._loop, thread, self._session)

    def __enter__(self) -> ChatClient:
        """Itself; leaving the block closes it."""
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections. Requests that are under way fail."""
        self._end()

    def complete(self, request: ChatRequest) -> Reply:
        """Ask and wait. Raises a `ChatError` when the last try failed."""
        work = asyncio.run_coroutine_threadsafe(self._complete(request), self._loop)
        try:
            return work.result()
        finally:
            work.cancel()

    def stream(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Iterator[tuple[Tag, Reply | RequestError]]:
        """Ask all, `service.concurrency` at a time, and yield outcomes as they come, in any order.

        `requests` is read as places become free, in the caller's thread. Raises what it raises, and a
        `ServiceError`, after stopping what is under way; so does closing the iterator.
        """
        for group in self.groups(requests):
            yield from group

    def groups(
        self, requests: Iterable[tuple[Tag, ChatRequest]]
    ) -> Generator[list[tuple[Tag, Reply | RequestError]], None, None]:
        """As `stream`, but each time all outcomes that have come since, at least one."""
        source = enumerate(requests)
        come: queue.SimpleQueue[tuple[int, Tag, Reply | BaseException]] = queue.SimpleQueue()
        under_way: dict[int, Future[None]] = {}
        # The limiter bounds what is sent. As many again stand ready, so that the wait of one that is to
        # be tried again, or the next picture, leaves no place empty.
        ready = 2 * self.service.concurrency
        try:
            while True:
                while len(under_way) < ready and (item := next(source, None)) is not None:
                    number, (tag, request) = item
                    work = self._put(number, tag, request, come)
                    under_way[number] = asyncio.run_coroutine_threadsafe(work, self._loop)
                if not under_way:
                    return
                outcomes = [come.get()]
                while not come.empty():
                    outcomes.append(come.get())
                group: list[tuple[Tag, Reply | RequestError]] = []
                fatal: BaseException | None = None
                for number, tag, outcome in outcomes:
                    del under_way[number]
                    if isinstance(outcome, Reply | RequestError):
                        group.append((tag, outcome))
                    else:
                        fatal = fatal or outcome
                if group:
                    yield group
                if fatal:
                    raise fatal
        finally:
            for future in under_way.values():
                future.cancel()

    async def _put(
        self,
        number: int,
        tag: Tag,
        request: ChatRequest,
        come: queue.SimpleQueue[tuple[int, Tag, Reply | BaseException]],
    ) -> None:
        try:
            come.put((number, tag, await self._complete(request)))
        except Exception as error:
            come.put((number, tag, error))
        except asyncio.CancelledError:
            come.put((number, tag, UnavailableError("the client was closed")))
            raise

    async def _complete(self, request: ChatRequest) -> Reply:
        """Try until there is a reply, or the policy says that it is enough."""
        failed = limited = tries = 0
        while True:
            able = self.capabilities
            tries += 1
            async with self.limiter.slot() as sent_at:
                try:
                    reply = await self._once(request, able)
                except BadRequestError as failure:
                    self._learn(failure, request, able)
                    continue
                except RetriedError as failure:
                    last = failure
                    self._reached = self._reached or not isinstance(failure, UnreachableError)
                    if isinstance(failure, RateLimitedError):
                        limited += 1
                    else:
                        failed += 1
                    self._pause(failure, limited, sent_at)
                else:
                    self._reached = True
                    self.limiter.succeeded()
                    return replace(reply, tries=tries)
            attempts = self.policy.attempts
            if isinstance(last, UnreachableError) and not self._reached:
                attempts = min(attempts, FIRST_CONTACT)
            if failed >= attempts or limited >= self.policy.rate_limited:
                raise last
            if not isinstance(last, RateLimitedError):
                await asyncio.sleep(self.policy.wait(failed))

    def _learn(self, failure: BadRequestError, request: ChatRequest, able: Capabilities) -> None:
        """Remember what to leave out; raises `failure` when there is nothing to be learnt from it."""
        if self.capabilities != able:
            return  # another request has learnt meanwhile
        learnt = able.learn(failure, system=bool(request.system))
        if learnt is able:
            raise failure
        self.capabilities = learnt

    def _pause(self, failure: RetriedError, limited: int, sent_at: float) -> None:
        """Hold all requests back when the service asked for it."""
        after = failure.after
        if after is None and isinstance(failure, RateLimitedError):
            after = self.policy.wait(limited)
        if after is None:
            return
        if after > self.policy.longest_pause:
            raise ExhaustedError(
                f"{self.service.place} asks to wait {after / 60:,.0f} minutes; "
                "start the same command again after that"
            ) from failure
        self.limiter.pause(after, sent_at)

    async def _once(self, request: ChatRequest, able: Capabilities) -> Reply:
        """One try."""
        try:
            # The session's own timeout counts from byte to byte; this one bounds the whole.
            async with asyncio.timeout(self.service.timeout):
                output = await self._session.chat_completion(
                    model=self.service.model, **arguments(request, able)
                )
        except Exception as error:
            # No context: a message of the transport's may hold the whole address.
            raise (self._reader.failure(error) or error) from None
        return self._reader.reply(output)


def _session(service: Service, key: keys.Key) -> AsyncInferenceClient:
    import httpx2
    from huggingface_hub import AsyncInferenceClient

    class Session(AsyncInferenceClient):
        """The Hub's client over connections of our own.

        Its own pool refuses every address, local ones too, when the Hub is to be left alone
        (HF_HUB_OFFLINE), and its reading of errors fails on bodies of a shape that it does not expect.
        """

        async def _get_async_client(self) -> Any:
            if self._async_client is None:
                places = service.concurrency
                connections = httpx2.AsyncClient(
                    limits=httpx2.Limits(max_connections=places, max_keepalive_connections=places),
                    event_hooks={"response": [_raise_for_status]},
                    timeout=None,
                )
                self._async_client = await self.exit_stack.enter_async_context(connections)
            return self._async_client

    if service.endpoint is None:
        return Session(provider=service.provider, token=key.value, timeout=service.timeout)  # type: ignore[arg-type]
    # Without a key of its own the client would send the Hub's token to whatever address this is.
    authorization: Any = f"Bearer {key.value}" if key.value else None
    return Session(
        base_url=_chat_url(service.endpoint),
        api_key="-",
        headers={"authorization": authorization},
        timeout=service.timeout,
    )


async def _raise_for_status(response: Response) -> None:
    if not response.is_success:
        await response.aread()
        response.raise_for_status()


def _check_online() -> None:
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise AccessError("HF_HUB_OFFLINE is set, so no provider of the Hub can be asked; unset it")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise UcbenchError("--endpoint is no web address; give one such as http://localhost:8000/v1")


def _chat_url(url: str) -> str:
    """The address of chat completions below a base URL; a bare host has them below /v1."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, session: AsyncInferenceClient) -> None:
    async def end() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await session.close()  # type: ignore[no-untyped-call]
        loop.stop()

    loop.call_soon_threadsafe(lambda: loop.create_task(end()))
    if threading.current_thread() is not thread:
        thread.join(timeout=5)
