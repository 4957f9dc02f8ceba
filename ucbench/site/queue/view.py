"""The queue as the page shows it: what was read from the store, which requests, in what order, as HTML.

Everything in a request came from outside and is escaped here.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from ucbench.errors import UcbenchError
from ucbench.format import count, escape, seconds
from ucbench.hub.queue import Queue, Quota
from ucbench.hub.request import ENDED, MAX_ATTEMPTS, Request, State
from ucbench.hub.store import open_store
from ucbench.site.data import published
from ucbench.site.data.latest import Latest
from ucbench.site.shared import ALWAYS, track_name

#: Seconds between two reads of the store while somebody looks.
EVERY = 5.0
#: Requests of a group shown at most: the first that wait, the newest that ended.
MOST_SHOWN = 50

#: State -> its id in the address and its word.
STATES: dict[State, tuple[str, str]] = {
    "PENDING": ("waiting", "Waiting"),
    "RUNNING": ("running", "Running"),
    "DONE": ("done", "Done"),
    "FAILED": ("failed", "Failed"),
    "REJECTED": ("rejected", "Rejected"),
    "CANCELLED": ("cancelled", "Cancelled"),
}
ALL = "all"

_SHAPES: dict[State, str] = {
    "PENDING": '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "RUNNING": '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor"/>',
    "DONE": '<path d="M2 8.5 6.2 13 14 3.5" fill="none" stroke="currentColor" stroke-width="2"/>',
    "FAILED": '<path d="M3 3l10 10M13 3 3 13" fill="none" stroke="currentColor" stroke-width="2"/>',
    "REJECTED": '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M4 12 12 4" stroke="currentColor" stroke-width="1.5"/>',
    "CANCELLED": '<path d="M2.5 8h11" stroke="currentColor" stroke-width="2"/>',
}


def address() -> str | None:
    """The store of the queue, as the environment says."""
    return os.environ.get("UCBENCH_STORE") or None


def hub() -> str:
    """The address that the ids of models are under."""
    from huggingface_hub import constants

    return constants.ENDPOINT.rstrip("/")


@lru_cache(maxsize=8)
def queue(store: str) -> Queue:
    """The queue of a store. Raises `StoreError` for an address that is none."""
    return Queue(open_store(store))


@dataclass(frozen=True, slots=True)
class Listing:
    """All requests as of one head of the store."""

    requests: tuple[Request, ...] = ()
    head: str = ""
    maintainers: frozenset[str] = frozenset()
    damaged: int = 0
    #: Request id -> its place among those that wait, 1 for the next.
    places: Mapping[str, int] = field(default_factory=dict)


def read(store: str, last: Listing | None = None) -> Listing:
    """Read the store now; `last` where nothing has changed since. Raises what the store raises."""
    found = queue(store)
    head = found.store.head()
    if last is not None and last.head == head:
        return last
    requests = tuple(found.all(head))
    waiting = [request.id for request in requests if request.state == "PENDING"]
    return Listing(
        requests,
        head,
        frozenset(name.lower() for name in found.maintainers(head)),
        len(found.damaged(head)),
        {request_id: place for place, request_id in enumerate(waiting, start=1)},
    )


@lru_cache(maxsize=8)
def latest(store: str) -> Latest[Listing]:
    """The listing of a store, read in the background for all visitors together."""

    def again(last: Listing | None) -> Listing:
        now = read(store, last)
        if last is not None and published_in(last) != published_in(now):
            published.look_again()
        return now

    return Latest(again, every=EVERY)


def published_in(listing: Listing) -> set[str | None]:
    """The runs that the requests have led to."""
    return {request.run_id for request in listing.requests if request.state == "DONE"}


def counts(requests: Sequence[Request]) -> dict[str, int]:
    """How many requests are in each state, and in all, by the ids in the address."""
    found = {name: 0 for name, _ in STATES.values()}
    for request in requests:
        found[STATES[request.state][0]] += 1
    return {ALL: len(requests), **found}


def label(state: str, numbers: Mapping[str, int]) -> str:
    """A state's word and how many there are, for the filter."""
    words = dict(STATES.values()) | {ALL: "All"}
    return f"{words[state]} {count(numbers.get(state, 0))}"


def select(requests: Sequence[Request], *, state: str = ALL, submitter: str | None = None) -> list[Request]:
    """Requests of one state, and of one submitter if one is named."""
    return [
        request
        for request in requests
        if state in (ALL, STATES[request.state][0])
        and (submitter is None or request.submitter.lower() == submitter.lower())
    ]


def arranged(requests: Sequence[Request]) -> list[tuple[str, list[Request]]]:
    """Running, then waiting in the order of the queue, then ended with the newest first; none empty."""
    running = sorted((r for r in requests if r.state == "RUNNING"), key=lambda r: r.started_at or _EVER)
    waiting = [r for r in requests if r.state == "PENDING"]
    ended = sorted(
        (r for r in requests if r.state in ENDED),
        key=lambda r: (r.finished_at or r.submitted_at, r.id),
        reverse=True,
    )
    groups = [("Running", running), ("Waiting", waiting), ("Ended", ended)]
    return [(name, group) for name, group in groups if group]


#: What a group begins with.
_WHICH = {"Running": "The longest running", "Waiting": "The first", "Ended": "The newest"}
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at the queue; the request that the address names, and one whose cancelling is asked about."""

    name: str | None = None
    maintainer: bool = False
    opened: str | None = None
    confirming: str | None = None

    def owns(self, request: Request) -> bool:
        """Whether the viewer has submitted it."""
        return self.name is not None and request.submitter.lower() == self.name.lower()

    def may(self, request: Request) -> tuple[str, ...]:
        """What to offer: `cancel`, `retry`. The store's queue has the last word."""
        if not self.owns(request) and not self.maintainer:
            return ()
        if request.state in ("PENDING", "RUNNING"):
            return ("cancel",)
        if request.state in ("FAILED", "CANCELLED") or (self.maintainer and request.state == "REJECTED"):
            return ("retry",)
        return ()


def act(store: str, command: str, visitor: str | None) -> str:
    """Cancel or retry a request for a visitor: `cancel:<id>`. Returns a sentence about what happened.

    Raises `NotYoursError` when it is another's, and what the queue and the store raise.
    """
    action, _, request_id = command.partition(":")
    if visitor is None or action not in ("cancel", "retry"):
        raise UcbenchError("Sign in to change a request of yours.")
    if action == "cancel":
        changed = queue(store).cancel(request_id, by=visitor)
        said = f"{changed.model} was cancelled."
    else:
        changed = queue(store).retry(request_id, by=visitor, quota=Quota())
        said = f"{changed.model} waits again."
    latest(store).refresh()
    return said


def html(groups: Sequence[tuple[str, list[Request]]], listing: Listing, viewer: Viewer, hub: str) -> str:
    """The requests, a list a group; `hub` is the address that model ids are under."""
    parts = []
    for name, group in groups:
        shown = group[:MOST_SHOWN]
        # What the address is about is shown wherever it stands, and what the viewer waits for.
        own = [r for r in group[MOST_SHOWN:] if name != "Ended" and viewer.owns(r)][:MOST_SHOWN]
        shown += [r for r in group[MOST_SHOWN:] if r.id == viewer.opened and r not in own] + own
        items = "".join(_item(request, listing, viewer, hub) for request in shown)
        more = (
            f'<p class="quiet">{_WHICH[name]} {MOST_SHOWN} of {count(len(group))}'
            f"{', and yours' if own else ''}.</p>"
            if len(shown) < len(group)
            else ""
        )
        parts.append(
            f'<section><h2>{escape(name)}<span class="quiet">{count(len(group))}</span></h2>'
            f"<ul>{items}</ul>{more}</section>"
        )
    return f'<div class="queue">{"".join(parts)}</div>'


def _item(request: Request, listing: Listing, viewer: Viewer, hub: str) -> str:
    opened = ' class="opened"' if request.id == viewer.opened else ""
    return (
        f'<li{opened} id="{escape(request.id)}">'
        f'<div class="state">{_state(request, listing)}</div>'
        f'<div class="what">{_what(request, hub)}{_why(request)}</div>'
        f'<div class="when">{_when(request)}</div>'
        f'<div class="do">{_links(request)}{_buttons(request, viewer)}</div>'
        f"{_log(request, viewer)}</li>"
    )


def _state(request: Request, listing: Listing) -> str:
    word = STATES[request.state][1]
    place = listing.places.get(request.id)
    beside = ""
    if place is not None:
        beside = f'<span class="quiet">{"next" if place == 1 else ordinal(place)}</span>'
    return (
        f'<span class="mark {STATES[request.state][0]}"><svg viewBox="0 0 16 16" aria-hidden="true">'
        f"{_SHAPES[request.state]}</svg>{word}</span>{beside}"
    )


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`, `22nd`."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    return f"{number:,}{'th' if number % 100 in (11, 12, 13) else ends.get(number % 10, 'th')}"


def _what(request: Request, hub: str) -> str:
    def link(model: str, revision: str | None, text: str) -> str:
        at = f"/tree/{urllib.parse.quote(revision)}" if revision else ""
        return (
            f'<a href="{escape(hub)}/{escape(urllib.parse.quote(model))}{at}" target="_blank" '
            f'rel="noopener noreferrer">{escape(text)}</a>'
        )

    parts = [escape(request.revision[:7]), escape(request.dtype), escape(track_name(request.track))]
    if request.base:
        parts.append(f"adapter of {link(request.base, request.base_revision, request.base)}")
    return (
        f'<span class="model">{link(request.model, request.revision, request.model)}</span>'
        f'<span class="quiet">{" · ".join(parts)}</span>'
        f'<span class="quiet">by {escape(request.submitter)}, {moment(request.submitted_at)}</span>'
    )


def _why(request: Request) -> str:
    if not request.message:
        return ""
    before = "Last attempt: " if request.state in ("PENDING", "RUNNING") else ""
    return f'<p class="why">{before}{prose(request.message)}</p>'


def prose(text: str) -> str:
    """A sentence from outside as HTML; what stands between backticks is a command."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _when(request: Request) -> str:
    lines = []
    if request.state == "RUNNING" and request.started_at:
        lines.append(f"since {moment(request.started_at)}")
    if request.state in ENDED and request.finished_at:
        lines.append(moment(request.finished_at))
        if request.started_at and request.state in ("DONE", "FAILED"):
            taken = (request.finished_at - request.started_at).total_seconds()
            lines += [f"after {seconds(taken)}"] if taken >= 0 else []
    if request.state == "RUNNING":
        lines.append(f"attempt {request.attempts} of {MAX_ATTEMPTS}")
    elif request.attempts > 1 or (request.attempts and request.state == "PENDING"):
        lines.append(f"{request.attempts} of {MAX_ATTEMPTS} attempts made")
    if request.claim and request.claim.until < datetime.now(UTC):
        lines.append("its worker is overdue; another takes over")
    return "".join(f"<span>{line}</span>" for line in lines)


def moment(when: datetime) -> str:
    """`21 Nov 2026, 21:14 UTC`, readable by machines."""
    when = when.astimezone(UTC)
    return f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}">{when.day} {when:%b %Y, %H:%M} UTC</time>'


def _links(request: Request) -> str:
    if request.state != "DONE" or not request.run_id:
        return ""
    query = {"q": request.model}
    if request.track != ALWAYS[0]:
        query = {"track": request.track, **query}
    # Relative: the site may be served below a path.
    return f'<a href="./?{escape(urllib.parse.urlencode(query))}">See its scores</a>'


def _buttons(request: Request, viewer: Viewer) -> str:
    known = f'<span class="hidden"> {escape(request.model)}</span>'
    if request.id == viewer.confirming and "cancel" in viewer.may(request):
        return (
            f"<span>Cancel it?</span>"
            f'<button type="button" class="press" data-choose="cancel:{escape(request.id)}">'
            f"Yes, cancel{known}</button>"
            f'<button type="button" class="press" data-choose="keep:{escape(request.id)}">'
            f"Keep{known}</button>"
        )
    words = {"cancel": ("ask", "Cancel"), "retry": ("retry", "Try again")}
    return "".join(
        f'<button type="button" class="press" data-choose="{words[action][0]}:{escape(request.id)}">'
        f"{words[action][1]}{known}</button>"
        for action in viewer.may(request)
    )


def _log(request: Request, viewer: Viewer) -> str:
    """The end of the log, redacted when it was stored and once more: others write to the store as well."""
    if not request.log:
        return ""
    from ucbench.hub.redact import tail

    reason = f" · {escape(request.reason)}" if request.reason else ""
    unfolded = " open" if request.id == viewer.opened else ""
    return (
        f'<details data-keep="{escape(request.id)}"{unfolded}><summary>End of the log{reason}</summary>'
        f'<pre tabindex="0">{escape(tail(request.log, 20_000))}</pre></details>'
    )
