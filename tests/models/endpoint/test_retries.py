"""The limiter by itself, on an event loop."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from ucbench.models.endpoint.retries import Limiter, Policy


@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_never_more_than_allowed_and_everybody_gets_a_turn(concurrency: int, n: int, seed: int) -> None:
    draw = random.Random(seed)
    under_way = most = 0
    finished = []

    async def work(limiter: Limiter, number: int) -> None:
        nonlocal under_way, most
        async with limiter.slot() as sent_at:
            under_way += 1
            most = max(most, under_way)
            try:
                for _ in range(draw.randrange(3)):
                    await asyncio.sleep(0)
                if draw.random() < 0.2:
                    limiter.pause(0.0005, sent_at)
                else:
                    limiter.succeeded()
            finally:
                under_way -= 1
            finished.append(number)

    async def all_of_it() -> Limiter:
        limiter = Limiter(concurrency)
        tasks = [asyncio.create_task(work(limiter, number)) for number in range(n)]
        await asyncio.sleep(0)
        cancelled = draw.randrange(n)
        tasks[cancelled].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return limiter

    limiter = asyncio.run(all_of_it())
    assert most <= concurrency
    assert limiter.under_way == 0
    assert len(finished) >= n - 1
    assert 1 <= limiter.allowed <= concurrency


def test_a_pause_holds_everybody_back_and_narrows_once() -> None:
    async def all_of_it() -> list[str]:
        limiter, events = Limiter(8), []

        async def limited() -> None:
            async with limiter.slot() as sent_at:
                await asyncio.sleep(0)
                limiter.pause(0.05, sent_at)
                events.append("pause")

        async def later() -> None:
            await asyncio.sleep(0.001)
            async with limiter.slot():
                events.append("later")

        await asyncio.gather(limited(), limited(), limited(), later())
        assert limiter.allowed == 7, "three limits of one moment are one"
        for _ in range(8):
            limiter.succeeded()
        assert limiter.allowed == 8
        limiter.pause(0.0, asyncio.get_running_loop().time())
        assert limiter.allowed == 8, "what went well in between was the service's rate, not its width"
        return events

    assert asyncio.run(all_of_it()) == ["pause", "pause", "pause", "later"]


@given(st.integers(1, 1000))
def test_waits_grow_and_are_bounded(failed: int) -> None:
    policy = Policy(first_wait=0.5, longest_wait=30.0)
    whole = min(30.0, 0.5 * 2 ** (failed - 1))
    assert whole / 2 <= policy.wait(failed) <= whole
