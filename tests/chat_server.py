"""A small OpenAI-compatible server that answers by rule and misbehaves on demand, for tests and benchmarks.

    with ChatServer(Behaviour(latency=0.01, faults={"cut": 0.1}, rate=(50, 1.0))) as server:
        ... ask server.url ...
        assert server.most_at_once <= 8

It listens on 127.0.0.1 in a thread of this process. What it saw is counted: requests, how many at once,
how often each question was answered, what came in while it had asked for a pause, the seconds that all
requests took together.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import json
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Body = dict[str, Any]

#: Every way to misbehave; each is a name in `faults` and `script`.
FAULTS = (
    "429", "429-date", "429-bare", "429-quota", "500", "502", "503", "503-after", "504", "cut", "hang",
    "filter-400", "filter-azure", "filter-403", "filter-finish", "malformed", "not-chat", "no-choices",
    "error-200", "301", "400", "401", "402", "403", "404", "413",
)  # fmt: skip


def question_of(body: Body) -> str:
    """The text of a request's last message."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def images_of(body: Body) -> list[str]:
    """The image addresses of a request."""
    content = body["messages"][-1]["content"]
    return [] if isinstance(content, str) else [
        part["image_url"]["url"] for part in content if part["type"] == "image_url"
    ]  # fmt: skip


def key_of(body: Body) -> str:
    """The identity of what is asked: all messages, images too."""
    return hashlib.sha1(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()


def by_rule(body: Body) -> str:
    """An answer that the question and the picture alone decide."""
    draw = int(key_of(body), 16)
    if "A, B, C, or D" in question_of(body):
        return f"The answer is {'ABCD'[draw % 4]}."
    return "Yes, it is safe." if draw % 2 else "No, it is not safe."


@dataclass
class Behaviour:
    """What the server does.

    `latency` is seconds, or a function of the request; a request waits as long as `holds` says. `faults`
    gives each fault a probability, with at most `faults_a_question` of them for one question; `script` holds
    the outcomes ("ok" or a fault) of the first requests, in order of arrival. `rate` is (requests, seconds):
    more within a window of that length are turned away until it ends. `at_once` turns away what goes beyond
    that many at a time. `unsupported` may name max_tokens, temperature, top_p, seed, system and image.
    """

    model: str = "test-vlm"
    answer: Callable[[Body], str] = by_rule
    latency: float | Callable[[Body], float] = 0.0
    holds: Callable[[Body, ChatServer], bool] | None = None
    faults: Mapping[str, float] = field(default_factory=dict)
    faults_a_question: int = 3
    script: tuple[str, ...] = ()
    rate: tuple[int, float] | None = None
    at_once: int | None = None
    retry_after: float = 1.0
    key: str | None = None
    unsupported: frozenset[str] = frozenset()
    reasoning: str = ""
    finish_reason: str = "stop"
    counts_tokens: bool = True
    reported_model: str | None = None
    fingerprint: str | None = None
    seed: int = 2024


class ChatServer:
    """A running server; see the module."""

    def __init__(self, behaviour: Behaviour | None = None, **changes: Any) -> None:
        self.behaviour = behaviour or Behaviour(**changes)
        self.requests = 0
        self.at_once = self.most_at_once = 0
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Body] = []
        self.pauses = 0
        self.during_pauses = 0
        self.seconds = 0.0
        self._faulted: Counter[str] = Counter()
        self._script = deque(self.behaviour.script)
        self._random = random.Random(self.behaviour.seed)
        self._window: deque[float] = deque()
        self._paused_until = 0.0
        # With the protocol named, asyncio switches Nagle's delay off on what it accepts.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        routes = [Route("/v1/chat/completions", self._chat, methods=["POST"])]
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="critical", access_log=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> ChatServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    @property
    def doubled(self) -> dict[str, int]:
        """Questions that were answered well more than once."""
        return {key: n for key, n in self.answered.items() if n > 1}

    def recover(self) -> None:
        """Do well from now on, once nothing is under way: what a client had sent before it gave up may still
        come in, and would count as answered.
        """
        quiet, seen = time.monotonic(), self.requests
        while time.monotonic() - quiet < 0.5:
            if self.at_once or self.requests != seen:
                quiet, seen = time.monotonic(), self.requests
            time.sleep(0.01)
        self._script.clear()

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.requests += 1
        self.headers.append(dict(request.headers))
        self.bodies.append({**body, "messages": [{**m, "content": "..."} for m in body["messages"]]})
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._respond(body, request.headers.get("authorization"))
        finally:
            self.at_once -= 1

    async def _respond(self, body: Body, authorization: str | None) -> Response:
        rules, key = self.behaviour, key_of(body)
        self.asked[key] += 1
        turned_away = self._turn_away()
        if turned_away is not None:
            return turned_away
        latency = rules.latency(body) if callable(rules.latency) else rules.latency
        if latency:
            self.seconds += latency
            await asyncio.sleep(latency)
        while rules.holds and rules.holds(body, self):
            await asyncio.sleep(0.005)
        refusal = self._refuse(body, authorization)
        if refusal is not None:
            self.outcomes["refused"] += 1
            return refusal
        fault = self._fault(key)
        self.outcomes[fault or "ok"] += 1
        if fault:
            self._faulted[key] += 1
            return await self._fail(fault, body)
        self.answered[key] += 1
        return JSONResponse(self._completion(body))

    def _turn_away(self) -> Response | None:
        """429 while a pause lasts, beyond the rate, or beyond the number at once."""
        rules, now = self.behaviour, time.monotonic()
        if now < self._paused_until:
            self.during_pauses += 1
            return self._too_many(self._paused_until - now)
        if rules.at_once is not None and self.at_once > rules.at_once:
            return self._too_many(rules.retry_after)
        if rules.rate is not None:
            allowed, seconds = rules.rate
            while self._window and self._window[0] <= now - seconds:
                self._window.popleft()
            if len(self._window) >= allowed:
                return self._too_many(self._window[0] + seconds - now)
            self._window.append(now)
        return None

    def _too_many(self, seconds: float, *, date: bool = False) -> Response:
        until = time.monotonic() + seconds
        if until > self._paused_until + 1e-3:
            self.pauses += 1
        self._paused_until = max(self._paused_until, until)
        self.outcomes["429"] += 1
        after = f"{seconds:.3f}"
        headers = {"retry-after": after}
        if date:
            now = int(time.time())
            headers = {
                "date": email.utils.formatdate(now, usegmt=True),
                "retry-after": email.utils.formatdate(now + int(seconds + 0.999), usegmt=True),
            }
        return _error(429, "Rate limit reached for requests", "rate_limit_exceeded", headers=headers)

    def _fault(self, key: str) -> str | None:
        if self._script:
            outcome = self._script.popleft()
            return None if outcome == "ok" else outcome
        if self._faulted[key] >= self.behaviour.faults_a_question:
            return None
        draw = self._random.random()
        for fault, probability in self.behaviour.faults.items():
            draw -= probability
            if draw < 0:
                return fault
        return None

    def _refuse(self, body: Body, authorization: str | None) -> Response | None:
        """What is wrong with a request: key, model, parameters."""
        rules = self.behaviour
        if rules.key is not None and authorization != f"Bearer {rules.key}":
            given = (authorization or "").removeprefix("Bearer ")
            return _error(401, f"Incorrect API key provided: {given}", "invalid_api_key")
        if body["model"] != rules.model:
            return _error(404, f"The model `{body['model']}` does not exist.", "model_not_found")
        wants = {
            "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "temperature": "Unsupported value: 'temperature' does not support 0 with this model. "
            "Only the default (1) value is supported.",
            "top_p": "Unsupported parameter: 'top_p' is not supported with this model.",
        }
        for parameter, message in wants.items():
            if parameter in body and parameter in rules.unsupported:
                return _error(400, message, "unsupported_parameter", parameter)
        if "seed" in body and "seed" in rules.unsupported:
            detail = [
                {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
            ]
            return JSONResponse({"detail": detail}, 422)
        if "system" in rules.unsupported and body["messages"][0]["role"] == "system":
            return _error(400, "System role not supported", "BadRequestError")
        if "image" in rules.unsupported and images_of(body):
            return _error(400, f"{rules.model} is not a multimodal model", "BadRequestError")
        return None

    async def _fail(self, fault: str, body: Body) -> Response:
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "cut":
            whole = json.dumps(self._completion(body)).encode()

            async def half() -> AsyncIterator[bytes]:
                yield whole[: len(whole) // 2]
                raise ConnectionResetError("cut on purpose")

            return StreamingResponse(half(), headers={"content-length": str(len(whole))})
        if fault == "malformed":
            return Response(b'{"choices": [{"mess', media_type="application/json")
        if fault == "filter-finish":
            return JSONResponse(self._completion(body, finish="content_filter", text=""))
        simple: dict[str, Callable[[], Response]] = {
            "429": lambda: self._too_many(self.behaviour.retry_after),
            "429-date": lambda: self._too_many(self.behaviour.retry_after, date=True),
            "429-bare": lambda: _error(429, "slow down", "rate_limit_exceeded"),
            "429-quota": lambda: _error(429, "You exceeded your current quota", "insufficient_quota"),
            "500": lambda: _error(500, "internal error", "server_error"),
            "502": lambda: Response("<html><h1>502 Bad Gateway</h1></html>", 502, media_type="text/html"),
            "503": lambda: _error(503, "overloaded", "overloaded"),
            "503-after": lambda: _error(503, "starting", "starting", headers={"retry-after": "1"}),
            "504": lambda: Response("upstream timed out", 504),
            "filter-400": lambda: _error(400, "The response was filtered", "content_filter"),
            "filter-azure": lambda: JSONResponse(_AZURE, 400),
            "filter-403": lambda: _error(403, "Your input was flagged by moderation", "403"),
            "not-chat": lambda: JSONResponse(["surprise"]),
            "no-choices": lambda: JSONResponse({"id": "x", "choices": []}),
            "error-200": lambda: JSONResponse({"error": {"message": "upstream failed", "code": 502}}),
            "301": lambda: Response(status_code=301, headers={"location": "https://elsewhere.invalid/v1"}),
            "400": lambda: _error(400, "This model's maximum context length is exceeded", "context_length"),
            "401": lambda: _error(401, "key revoked", "invalid_api_key"),
            "402": lambda: _error(402, "out of credit", "payment_required"),
            "403": lambda: _error(403, "not your model", "forbidden"),
            "404": lambda: _error(404, "no such route", "not_found"),
            "413": lambda: Response("request entity too large", 413),
        }
        return simple[fault]()

    def _completion(self, body: Body, *, finish: str | None = None, text: str | None = None) -> Body:
        rules = self.behaviour
        text = rules.answer(body) if text is None else text
        message = {"role": "assistant", "content": text}
        if rules.reasoning:
            message["reasoning_content"] = rules.reasoning
        done: Body = {
            "id": f"chat-{self.requests}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": rules.reported_model or rules.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish or rules.finish_reason}],
        }
        if rules.fingerprint:
            done["system_fingerprint"] = rules.fingerprint
        if rules.counts_tokens:
            given, made = len(question_of(body).split()), len((text + " " + rules.reasoning).split())
            done["usage"] = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        return done


_AZURE = {
    "error": {
        "message": "The response was filtered due to the prompt triggering content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}


def _error(
    status: int,
    message: str,
    code: str,
    parameter: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": parameter, "code": code}
    return JSONResponse({"error": error}, status, headers=headers)
