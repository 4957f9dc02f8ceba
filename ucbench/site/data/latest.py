"""A value that is read in the background: whoever asks gets the last good one at once.

Streamlit's cache would make the first visitor wait, and drop the old value when a read fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Generic, TypeVar

from ucbench.errors import UcbenchError
from ucbench.hub.redact import readable, redact

T = TypeVar("T")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """The last good value, when it was known to hold, and why the newest read failed, if it did."""

    value: T | None = None
    at: datetime | None = None
    problem: str = ""

    @property
    def stale(self) -> bool:
        """Whether there is a value that could not be confirmed just now."""
        return self.value is not None and bool(self.problem)


class Latest(Generic[T]):
    """`read` gets the last good value and returns the present one, or raises `UcbenchError`."""

    def __init__(
        self,
        read: Callable[[T | None], T],
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._every, self._clock = read, every, clock
        self._seen: Seen[T] = Seen()
        #: Guards what follows; reads themselves happen one at a time, outside it.
        self._state = threading.Condition()
        self._reading = threading.Lock()
        self._asked: float | None = None
        self._tried = self._busy = False

    def get(self, *, wait: float = 0.0, due: bool = False) -> Seen[T]:
        """What is known now. Starts a read when the last one is `every` seconds old, or `due` for a reason.

        Waits at most `wait` seconds, and only as long as no read has ended yet.
        """
        with self._state:
            now = self._clock()
            due = due or self._asked is None or now - self._asked >= self._every
            # A store that hangs is not asked again before it has answered.
            if due and not self._busy:
                self._asked, self._busy = now, True
                threading.Thread(target=self._in_background, name="ucbench-latest", daemon=True).start()
            if not self._tried and wait > 0:
                self._state.wait_for(lambda: self._tried, timeout=wait)
            return self._seen

    def refresh(self) -> Seen[T]:
        """Read now, in this thread: after a change of one's own."""
        with self._state:
            self._asked = self._clock()
        self._refresh()
        with self._state:
            return self._seen

    def _in_background(self) -> None:
        try:
            self._refresh()
        finally:
            with self._state:
                self._busy = False

    def _refresh(self) -> None:
        with self._reading:
            seen = self._seen
            started = datetime.now(UTC)
            try:
                seen = Seen(self._read(seen.value), started)
            except UcbenchError as error:
                if str(error) != seen.problem:
                    # Once each, for whoever keeps the site: visitors are told less.
                    _LOG.warning("what was read before stays in place: %s", redact(readable(str(error))))
                seen = replace(seen, problem=str(error))
            except Exception:
                # A fault of ours must not end the refreshing, nor pass for fresh data.
                _LOG.exception("a background read failed")
                seen = replace(seen, problem="the server met an error of its own")
            with self._state:
                self._seen, self._tried = seen, True
                self._state.notify_all()
