"""How near the limiter comes to what a service allows: simulated services on a simulated clock."""

from __future__ import annotations

import asyncio
import math
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from ucbench.models.endpoint.retries import Limiter, Policy


class Clock(selectors.SelectSelector):
    """Sleeping takes no time: the clock jumps to where the next thing happens."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


def simulate(work: Coroutine[Any, Any, None]) -> float:
    """The simulated seconds that `work` takes."""
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()
    return clock.now


#: (time, requests under way) -> None, or the seconds to come back after.
Rule = Callable[[float, int], float | None]


@dataclass
class Service:
    """Answers after 0.1 to 0.3 s, one question in 50 after 3 s; its rule turns requests away."""

    rule: Rule
    under_way: int = 0
    turned_away: int = 0
    seconds: float = 0.0
    draw: random.Random = field(default_factory=lambda: random.Random(2024))

    async def ask(self) -> float | None:
        await asyncio.sleep(0.01)
        self.under_way += 1
        try:
            after = self.rule(asyncio.get_running_loop().time(), self.under_way)
            if after is not None:
                self.turned_away += 1
                return after
            latency = 3.0 if self.draw.random() < 0.02 else self.draw.uniform(0.1, 0.3)
            self.seconds += latency + 0.01
            await asyncio.sleep(latency)
            return None
        finally:
            self.under_way -= 1


def sliding(n: int, seconds: float) -> Rule:
    """At most n in any stretch of time of that length."""
    window: deque[float] = deque()

    def rule(now: float, _: int) -> float | None:
        while window and window[0] <= now - seconds:
            window.popleft()
        if len(window) >= n:
            return window[0] + seconds - now
        window.append(now)
        return None

    return rule


def bucket(capacity: float, per_second: float) -> Rule:
    """A token bucket that says when to come back in whole seconds."""
    state = {"tokens": capacity, "at": 0.0}

    def rule(now: float, _: int) -> float | None:
        state["tokens"] = min(capacity, state["tokens"] + (now - state["at"]) * per_second)
        state["at"] = now
        if state["tokens"] < 1:
            return float(math.ceil((1 - state["tokens"]) / per_second))
        state["tokens"] -= 1
        return None

    return rule


def at_once(n: int) -> Rule:
    """At most n at a time; the others shall come back after a second."""
    return lambda _, under_way: 1.0 if under_way > n else None


async def ask_all(service: Service, limiter: Limiter, n: int) -> int:
    """As the client does it; returns the most refusals of one question."""
    questions = iter(range(n))
    worst = 0

    async def worker() -> None:
        nonlocal worst
        for _ in questions:
            refusals = 0
            while True:
                async with limiter.slot() as sent_at:
                    after = await service.ask()
                    if after is None:
                        limiter.succeeded()
                        break
                    refusals += 1
                    limiter.pause(after, sent_at)
            worst = max(worst, refusals)

    await asyncio.gather(*(worker() for _ in range(2 * limiter.concurrency)))
    return worst


@pytest.mark.parametrize(
    ("rule", "n", "width", "least_seconds", "ratio"),
    [
        (lambda _now, _n: None, 1000, 16, 0.0, 1.2),
        (sliding(40, 1.0), 1000, 16, 24.0, 1.4),
        (sliding(300, 10.0), 1000, 16, 30.0, 1.25),
        (sliding(60, 60.0), 300, 16, 240.0, 1.1),
        (bucket(10, 10), 500, 16, 49.0, 1.25),
        (bucket(100, 20), 1000, 16, 45.0, 1.1),
        (bucket(1, 1), 60, 16, 59.0, 1.3),
        (at_once(8), 500, 8, 0.0, 2.1),
        (at_once(2), 200, 2, 0.0, 1.9),
    ],
)  # fmt: skip
def test_time_is_near_what_the_service_allows(
    rule: Rule, n: int, width: int, least_seconds: float, ratio: float
) -> None:
    service, limiter = Service(rule), Limiter(16)
    worst: list[int] = []

    async def work() -> None:
        worst.append(await ask_all(service, limiter, n))

    seconds = simulate(work())
    ideal = max(least_seconds, service.seconds / width)
    assert seconds <= ratio * ideal
    assert worst[0] < Policy().rate_limited, "no question is given up"
    assert limiter.most <= 16
