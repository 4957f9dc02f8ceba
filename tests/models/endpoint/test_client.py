"""The client against a real server that misbehaves in every way."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ucbench.errors import AccessError, UcbenchError
from ucbench.models.endpoint import failures
from ucbench.models.endpoint.client import ChatClient, Service
from ucbench.models.endpoint.messages import ChatRequest, Reply
from ucbench.models.endpoint.retries import Policy

QUICK = Policy(attempts=4, first_wait=0.002, longest_wait=0.01, rate_limited=8)
SECRET = "sk-very-secret-0123456789"
Ask = Callable[..., ChatClient]


@pytest.fixture
def ask(chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """A client of a new server; both end with the test. The server is `client.server`."""
    clients: list[ChatClient] = []
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)

    def make(
        *, timeout: float = 20, concurrency: int = 8, policy: Policy = QUICK, **behaviour: Any
    ) -> ChatClient:
        server = chat_server(**behaviour)
        client = ChatClient(Service("test-vlm", server.url, timeout=timeout, concurrency=concurrency), policy)
        client.server = server  # type: ignore[attr-defined]
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def questions(n: int) -> Iterator[tuple[int, ChatRequest]]:
    return ((i, ChatRequest(f"question {i}")) for i in range(n))


@pytest.mark.parametrize(
    "fault",
    ["500", "502", "503", "504", "cut", "malformed", "not-chat", "no-choices", "error-200", "429-bare"],
)
def test_what_passes_is_tried_again(fault: str, ask: Ask) -> None:
    client = ask(script=(fault, fault, "ok"))
    reply = client.complete(ChatRequest("q"))
    assert reply.text
    assert (reply.tries, client.server.requests) == (3, 3)


@pytest.mark.parametrize("fault", ["429", "429-date", "503-after"])
def test_a_wait_that_is_asked_for_is_kept(fault: str, ask: Ask) -> None:
    client = ask(script=(fault,), retry_after=1)
    assert client.complete(ChatRequest("q")).tries == 2
    assert client.server.during_pauses == 0, "it came back before its time"


def test_a_slow_reply_times_out_and_is_tried_again(ask: Ask) -> None:
    client = ask(script=("hang", "ok"), timeout=0.5)
    reply = client.complete(ChatRequest("q"))
    assert reply.text
    assert reply.tries >= 2


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        ("500", failures.UnavailableError, QUICK.attempts),
        ("cut", failures.UnavailableError, QUICK.attempts),
        ("504", failures.TimedOutError, QUICK.attempts),
        ("429-bare", failures.RateLimitedError, QUICK.rate_limited),
        ("filter-400", failures.RefusedError, 1),
        ("filter-azure", failures.RefusedError, 1),
        ("filter-403", failures.RefusedError, 1),
        ("filter-finish", failures.RefusedError, 1),
        ("400", failures.BadRequestError, 1),
        ("413", failures.BadRequestError, 1),
        ("401", failures.DeniedError, 1),
        ("402", failures.ExhaustedError, 1),
        ("403", failures.DeniedError, 1),
        ("404", failures.NotFoundError, 1),
        ("301", failures.NotFoundError, 1),
        ("429-quota", failures.ExhaustedError, 1),
    ],
)
def test_what_stays_is_a_typed_failure(fault: str, kind: type[Exception], requests: int, ask: Ask) -> None:
    client = ask(script=(fault,) * 20)
    with pytest.raises(kind) as caught:
        client.complete(ChatRequest("q"))
    assert type(caught.value) is kind
    assert client.server.requests == requests


def test_a_pause_that_is_too_long_ends_the_work(ask: Ask) -> None:
    client = ask(script=("429",), retry_after=36_000)
    with pytest.raises(failures.ExhaustedError, match="600 minutes"):
        client.complete(ChatRequest("q"))


def test_concurrency_is_kept_and_used(ask: Ask) -> None:
    client = ask(latency=0.02, concurrency=5)
    outcomes = dict(client.stream(questions(40)))
    assert set(outcomes) == set(range(40))
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    assert client.server.most_at_once == 5
    assert client.server.requests == 40


def test_concurrency_is_kept_by_threads_that_ask_one_by_one(ask: Ask) -> None:
    client = ask(latency=0.02, concurrency=2)
    threads = [threading.Thread(target=client.complete, args=(ChatRequest(f"{i}"),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.server.most_at_once == 2
    assert not client.server.doubled


def test_one_slow_answer_holds_up_no_other(ask: Ask) -> None:
    def holds(body: dict[str, Any], server: Any) -> bool:
        return body["messages"][0]["content"] == "question 0" and len(server.answered) < 59

    client = ask(holds=holds, concurrency=3)
    order = [number for number, _ in client.stream(questions(60))]
    assert sorted(order) == list(range(60))
    assert order.index(0) >= 58, "it and the last of the others may cross"


def test_a_rate_limit_of_the_whole_endpoint_is_kept(ask: Ask) -> None:
    client = ask(rate=(20, 0.5), latency=0.002, concurrency=8)
    outcomes = dict(client.stream(questions(80)))
    assert all(isinstance(outcome, Reply) for outcome in outcomes.values())
    server = client.server
    assert server.pauses >= 2
    # Those under way when the limit struck cannot be called back; nobody else comes in a pause.
    assert server.during_pauses <= 8 * server.pauses
    assert not server.doubled


def test_a_service_that_allows_less_is_met_at_its_pace(ask: Ask) -> None:
    client = ask(at_once=2, retry_after=0.01, latency=0.01, concurrency=16)
    outcomes = dict(client.stream(questions(60)))
    assert [o for o in outcomes.values() if not isinstance(o, Reply)] == []
    assert client.limiter.allowed < 16


def test_a_failure_that_meets_everybody_ends_the_stream(ask: Ask) -> None:
    client = ask(script=("ok",) * 10 + ("401",) * 1000, concurrency=2)
    come: list[Any] = []
    with pytest.raises(failures.DeniedError):
        come.extend(client.stream(questions(500)))
    assert len(come) <= 10
    assert client.server.requests < 50


def test_requests_are_read_as_they_are_needed_and_their_errors_are_raised(ask: Ask) -> None:
    client = ask(concurrency=2)
    read = []

    def requests() -> Iterator[tuple[int, ChatRequest]]:
        for i in range(100):
            read.append(i)
            if i == 50:
                raise UcbenchError("no more")
            yield i, ChatRequest(f"{i}")

    stream = client.stream(requests())
    next(stream)
    assert len(read) <= 10
    with pytest.raises(UcbenchError, match="no more"):
        list(stream)


def test_closing_the_stream_stops_it_and_the_client_goes_on(ask: Ask) -> None:
    client = ask(latency=0.01, concurrency=2)
    stream = client.stream(questions(1000))
    next(stream)
    stream.close()
    assert client.complete(ChatRequest("after")).text
    assert client.server.requests < 30


def test_a_closed_client_answers_nobody_and_hangs_nowhere(ask: Ask) -> None:
    client = ask(latency=30)
    threading.Timer(0.2, client.close).start()
    outcomes = [outcome for _, outcome in client.stream(questions(3))]
    assert all(isinstance(outcome, failures.UnavailableError) for outcome in outcomes)


def test_a_forgotten_client_ends_its_thread(chat_server: Callable[..., Any]) -> None:
    def threads() -> int:
        return sum(thread.name == "chat" for thread in threading.enumerate())

    before = threads()
    client = ChatClient(Service("test-vlm", chat_server().url))
    client.complete(ChatRequest("q"))
    assert threads() == before + 1
    del client
    gc.collect()
    assert threads() == before


@pytest.mark.parametrize(
    ("lacks", "request_", "requests"),
    [
        ({"max_tokens"}, ChatRequest("q"), 2),
        ({"temperature"}, ChatRequest("q"), 2),
        ({"max_tokens", "temperature", "top_p", "seed", "system"},
         ChatRequest("q", system="s", temperature=1.0, top_p=0.5, seed=1), 6),
    ],
)  # fmt: skip
def test_what_a_service_does_not_take_is_found_out_once(
    lacks: set[str], request_: ChatRequest, requests: int, ask: Ask
) -> None:
    client = ask(unsupported=frozenset(lacks))
    assert client.complete(request_).text
    assert client.server.requests == requests
    assert len(client.capabilities.notes()) == len(lacks)
    assert client.complete(request_).tries == 1
    body = client.server.bodies[-1]
    assert not lacks & set(body)
    assert ("max_completion_tokens" in body) == ("max_tokens" in lacks)


def test_everybody_learns_it_together(ask: Ask) -> None:
    client = ask(unsupported=frozenset({"max_tokens", "temperature"}), latency=0.01)
    assert all(isinstance(outcome, Reply) for _, outcome in client.stream(questions(30)))


def test_the_key_goes_to_the_service_and_nowhere_else(
    chat_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    server = chat_server(key=SECRET)
    client = ChatClient(Service("test-vlm", server.url, key_env="MY_KEY"))
    assert client.complete(ChatRequest("q")).text
    assert SECRET not in repr(client.service) + repr(client) + repr(vars(client))
    other = chat_server(key="another")
    denied = ChatClient(Service("test-vlm", other.url, key_env="MY_KEY"))
    with pytest.raises(failures.DeniedError) as caught:
        denied.complete(ChatRequest("q"))
    assert SECRET not in "".join(traceback.format_exception(caught.value)), "the server had echoed it"
    assert "MY_KEY" in caught.value.reason


def test_the_hub_token_is_not_sent_to_an_endpoint(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    client = ask()
    client.complete(ChatRequest("q"))
    assert "authorization" not in client.server.headers[-1]
    assert not [value for value in client.server.headers[-1].values() if "hf_x" in value]


def test_user_and_query_of_an_address_stay_out_of_errors(chat_server: Callable[..., Any]) -> None:
    server = chat_server(script=("404",) * 9)
    url = server.url.replace("http://", f"http://user:{SECRET}@") + f"?key={SECRET}2"
    with pytest.raises(failures.NotFoundError) as caught:
        ChatClient(Service("test-vlm", url)).complete(ChatRequest("q"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert server.url in caught.value.reason


def test_a_key_that_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccessError, match="HF_HUB_OFFLINE"):
        ChatClient(Service("owner/name", provider="auto"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(AccessError, match="HF_TOKEN"):
        ChatClient(Service("owner/name", provider="auto"))
    with pytest.raises(AccessError, match="NO_KEY"):
        ChatClient(Service("m", "http://127.0.0.1:9/v1", key_env="NO_KEY"))


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host/v1", "http://", "http://host:99999/v1", "http://a b", ""]
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UcbenchError, match="--endpoint"):
        Service("m", url)


@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_may_be_written_in_several_ways(path: str, chat_server: Callable[..., Any]) -> None:
    server = chat_server()
    client = ChatClient(Service("test-vlm", server.url.removesuffix("/v1") + path), QUICK)
    assert client.complete(ChatRequest("q")).text
    client.close()


def test_nobody_there() -> None:
    client = ChatClient(Service("m", "http://127.0.0.1:9/v1"), QUICK)
    with pytest.raises(failures.UnreachableError, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        client.complete(ChatRequest("q"))
