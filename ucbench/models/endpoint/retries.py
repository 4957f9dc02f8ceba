"""When to try again, and how many requests may be under way."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a request is tried, and how long it waits in between (seconds).

    `rate_limited` tries are counted apart: a service that says when to come back is not failing.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    rate_limited: int = 20
    #: A service that asks for a longer pause than this is out of quota.
    longest_pause: float = 900.0

    def wait(self, failed: int) -> float:
        """Seconds before the try that follows `failed` failed ones: doubling, half of it at random."""
        longest: float = min(self.longest_wait, self.first_wait * 2 ** min(failed - 1, 20))
        return longest * random.uniform(0.5, 1.0)


#: A step that was struck down at once is tried again after twice as many successes, up to so many times.
PATIENCE = 16


class Limiter:
    """Bounds the requests under way, and holds all of them back while the service asks for a pause.

    When hardly anything succeeded since the last pause, the bound shrinks by an eighth; it grows back by
    one for as many successes as it is wide, later where that step was struck down before. So a service that
    allows less than `concurrency` is met near its own pace, and one that allows so many a minute is asked at
    full width in between. Used within one event loop.
    """

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.allowed = concurrency
        self.under_way = 0
        self.most = 0
        self.pauses = 0
        self._successes = 0
        self._since_pause = 0
        self._patience = 1
        self._widened = False
        self._open_at = 0.0
        self._paused_at = float("-inf")
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait for a place; yields the time at which it was given, for `pause`."""
        loop = asyncio.get_running_loop()
        ticket: asyncio.Future[None] = loop.create_future()
        self._queue.append(ticket)
        self._admit()
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._leave()
            raise
        try:
            yield loop.time()
        finally:
            self._leave()

    def succeeded(self) -> None:
        """A request came back well."""
        self._successes += 1
        self._since_pause += 1
        if self.allowed < self.concurrency and self._successes >= self.allowed * self._patience:
            self._successes = 0
            if self._widened:  # the step before this one went well
                self._patience = max(1, self._patience // 2)
            self._widened = True
            self.allowed += 1
            self._admit()

    def pause(self, seconds: float, sent_at: float) -> None:
        """The service asked, of a request sent at `sent_at`, to come back after `seconds`."""
        now = asyncio.get_running_loop().time()
        self._open_at = max(self._open_at, now + seconds)
        if sent_at >= self._paused_at:  # those sent before were under way when the limit struck
            if self._since_pause < self.allowed:
                self.allowed = max(1, self.allowed - max(1, self.allowed // 8))
                if self._widened:
                    self._patience = min(2 * self._patience, PATIENCE)
                self._widened = False
            self._paused_at, self._successes, self._since_pause = now, 0, 0
            self.pauses += 1

    def _leave(self) -> None:
        self.under_way -= 1
        self._admit()

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._open_at - loop.time()
        if left > 0:
            if self._queue and self._timer is None:
                self._timer = loop.call_later(left, self._open)
            return
        while self._queue and self.under_way < self.allowed:
            ticket = self._queue.popleft()
            if not ticket.done():
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                ticket.set_result(None)

    def _open(self) -> None:
        self._timer = None
        self._admit()
