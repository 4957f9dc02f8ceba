"""Submitting a model: what is asked, the checks as they are made, and what became of it.

Everything that a check quotes came from outside and is escaped here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.format import escape
from ucbench.hub.gates.options import DTYPES, OWN
from ucbench.hub.queue import DuplicateError, Quota, QuotaError
from ucbench.hub.request import Request
from ucbench.hub.store import HUB
from ucbench.site.queue import view as queue_view
from ucbench.site.queue.view import Listing
from ucbench.site.serving import signin
from ucbench.tracks import registry

if TYPE_CHECKING:
    from ucbench.hub.gates.base import Check

#: The tracks that can be asked for.
TRACKS = tuple(registry.names())
#: Number formats; the first stands for the one that the checkpoint names.
FORMATS = (OWN, *DTYPES)
#: How a gate names an earlier request.
_REQUEST = re.compile(r"\b[0-9]{8}T[0-9]{6}-[0-9a-f]{12}\b")

_SHAPES = {
    "passed": '<path d="M2 8.5 6.2 13 14 3.5" fill="none" stroke="currentColor" stroke-width="2"/>',
    "warning": '<path d="M8 2 14.5 13.5h-13z" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M8 6.5v3.2M8 11v1.2" stroke="currentColor" stroke-width="1.5"/>',
    "failed": '<path d="M3 3l10 10M13 3 3 13" fill="none" stroke="currentColor" stroke-width="2"/>',
    "skipped": '<path d="M4 8h8" stroke="currentColor" stroke-width="1.5"/>',
}
_WORDS = {
    "passed": "passed",
    "warning": "passed, with a warning",
    "failed": "failed",
    "skipped": "not checked",
}


def check(found: Check) -> str:
    """One check with its tick: by shape and word, what was found, and what to do where it failed."""
    said = f'<span class="said">{escape(found.found)}</span>' if found.found else ""
    told = found.advice[:1].upper() + found.advice[1:]
    advice = f'<span class="advice">{queue_view.prose(told)}</span>' if told else ""
    return (
        f'<div class="check {escape(found.outcome)}"><svg viewBox="0 0 16 16" aria-hidden="true">'
        f'{_SHAPES[found.outcome]}</svg><span class="title">{escape(found.title)}'
        f'<span class="hidden">: {_WORDS[found.outcome]}</span></span>{said}{advice}</div>'
    )


@dataclass(frozen=True, slots=True)
class Used:
    """What an account has of its quota."""

    unfinished: int
    recent: int

    def sentence(self, quota: Quota) -> str:
        """For the form."""
        return (
            f"{self.unfinished} of {quota.unfinished} unfinished requests, "
            f"{self.recent} of {quota.per_day} in 24 hours"
        )


def used(listing: Listing, name: str, now: datetime | None = None) -> Used:
    """What the queue says of an account."""
    own = queue_view.select(listing.requests, submitter=name)
    since = (now or datetime.now(UTC)) - timedelta(days=1)
    return Used(
        sum(request.state in ("PENDING", "RUNNING") for request in own),
        sum(request.submitted_at > since for request in own),
    )


def quota_of(store: str, name: str) -> Quota | None:
    """What the account may submit. In a local folder `local` has it for itself."""
    return None if name == signin.LOCAL and not store.startswith(HUB) else Quota()


class Pace:
    """Checks cost the Hub and this server: one at a time for an account, and `most` in `seconds`."""

    def __init__(
        self, most: int = 10, seconds: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._lock = threading.Lock()
        self._begun: dict[str, list[float]] = {}
        self._running: set[str] = set()

    def begin(self, name: str) -> None:
        """Raises `QuotaError` when the account has to wait."""
        name = name.lower()
        with self._lock:
            now = self._clock()
            begun = [when for when in self._begun.get(name, []) if now - when < self._seconds]
            if name in self._running:
                raise QuotaError("A submission of yours is being checked already; wait until it has ended.")
            if len(begun) >= self._most:
                wait = round((self._seconds - (now - begun[0])) / 60) or 1
                raise QuotaError(
                    f"{self._most} submissions were checked for you in {self._seconds / 60:g} minutes; "
                    f"try again in {wait} minute{'s' if wait != 1 else ''}."
                )
            self._begun[name] = [*begun, now]
            self._running.add(name)

    def end(self, name: str) -> None:
        """The check that was begun has ended."""
        with self._lock:
            self._running.discard(name.lower())


PACE = Pace()


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form asks for."""

    model: str
    revision: str | None
    dtype: str
    track: str


class Submission:
    """One submission: `checks` grows while `run` goes on; then it is a request, or something was wrong."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.checks: list[Check] = []
        self.request: Request | None = None
        self.earlier: Request | None = None
        self.place: int | None = None
        self.problem = ""
        #: Not when the visitor left, or the checks could not be made.
        self.ended = False

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [found for found in self.checks if found.outcome == "failed"]

    def run(self, store: str, name: str | None) -> Iterator[Check]:
        """Make the checks for the account `name` and put the request into the queue if all pass.

        Raises `QuotaError` when the account has to wait, and what the queue, the store and the Hub raise.
        """
        from huggingface_hub import HfApi

        from ucbench.hub.gates import Limits, gates, request_of

        if name is None:
            raise UcbenchError("Sign in to submit a model.")
        queue, quota = queue_view.queue(store), quota_of(store, name)
        if quota is not None:
            queue.check_quota(name, quota)
            PACE.begin(name)
        try:
            wish = self.wish
            # No token: what this server may read is not what the visitor may.
            checks = gates(
                wish.model,
                wish.revision,
                dtype=wish.dtype,
                track=wish.track,
                api=HfApi(token=False),
                queue=queue,
                limits=Limits(quota=quota),
                submitter=name,
            )
            while True:
                try:
                    found = next(checks)
                except StopIteration as end:
                    facts = end.value
                    break
                self.checks.append(found)
                yield found
            if facts is None:
                self._look_for_earlier(store)
                self.ended = True
                return
            request = request_of(facts, track=wish.track, submitter=name)
            try:
                self.request = queue.add(request, quota=quota)
            except DuplicateError as error:
                self.earlier = error.earlier
            else:
                listing = queue_view.latest(store).refresh().value
                self.place = listing.places.get(request.id) if listing else None
            self.ended = True
        finally:
            if quota is not None:
                PACE.end(name)

    def _look_for_earlier(self, store: str) -> None:
        """The earlier request, where that is all that stands in the way."""
        if [found.id for found in self.failed] != ["duplicate"]:
            return
        if told := _REQUEST.search(self.failed[0].found):
            try:
                self.earlier = queue_view.queue(store).get(told.group())
            except UnknownNameError:
                return
