"""The queue of requests: files in a store, changed by compare-and-swap alone.

    PENDING --claim--> RUNNING --done--> DONE
       ^                  |----fail----> FAILED       (or PENDING again while attempts are left)
       |<---hand back-----|
       |<---lease over----|  taken by the next claim; FAILED after `MAX_ATTEMPTS`
    PENDING, RUNNING --cancel--> CANCELLED;  FAILED, CANCELLED, REJECTED --retry--> PENDING

A claim carries a nonce that nobody else has, and only who holds the nonce may end it badly or hand it back.
Its lease ends at `until` by the clock of the machine that claimed. Others take the request when their own
clock is `skew` past that, so that clocks may differ by so much without a live claim being taken. Where they
differ by more, or a store was away for long, two machines may work on one request. What counts then is the
request itself: the first result for it ends it well, the late one of an earlier claim too, and there is no
second one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from pydantic import ValidationError

from ucbench.errors import StoreError, UcbenchError, UnknownNameError
from ucbench.hub import reasons
from ucbench.hub.redact import readable, redact, tail
from ucbench.hub.request import FOLDER, MAX_ATTEMPTS, MAX_RETRIES, Claim, Request, State
from ucbench.hub.store import HUB, Changes, MissingError, Store, change

#: How far the clocks of two machines may be apart, unless a queue is told otherwise.
SKEW = timedelta(minutes=5)

#: The file that names the people of a store: {"workers": [account, ...], "maintainers": [account, ...]}.
PEOPLE = "store.json"

#: States in which a request stands in the way of another one for the same.
_TAKEN: tuple[State, ...] = ("PENDING", "RUNNING", "DONE")
#: Heads whose requests are kept in memory.
_KEPT = 4


class DuplicateError(UcbenchError):
    """The same was asked for before; `earlier` is that request."""

    def __init__(self, earlier: Request) -> None:
        self.earlier = earlier
        super().__init__(
            f"{earlier.model} at {earlier.revision[:7]} ({earlier.dtype}, track {earlier.track}) was "
            f"submitted before as request {earlier.id}, which is {earlier.state}; see it with "
            f"`ucbench queue show {earlier.id}`"
        )


class QuotaError(UcbenchError):
    """An account has used up what it may submit."""


class ClaimLostError(UcbenchError):
    """The request is not ours any more: its lease ended and somebody else took it, or it was cancelled."""


class NotYoursError(UcbenchError):
    """Only the submitter or a maintainer may do that."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one account may have: so many unfinished requests, so many submitted in 24 hours."""

    unfinished: int = 5
    per_day: int = 20


@dataclass(frozen=True, slots=True)
class _Content:
    requests: dict[str, Request]
    order: list[Request]
    damaged: dict[str, str]


def now() -> datetime:
    """The time by this machine's clock."""
    return datetime.now(UTC)


class Queue:
    """The requests of a store. Safe to share between threads.

    Every method raises what the store raises; every change is one commit.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime] = now, *, skew: timedelta = SKEW) -> None:
        self.store = store
        self._clock, self._skew = clock, skew
        self._lock = Lock()
        self._heads: dict[str, _Content] = {}

    def all(self, head: str | None = None) -> list[Request]:
        """All requests, those with the highest priority first, then the oldest; cached by head."""
        return list(self._at(head or self.store.head()).order)

    def damaged(self, head: str | None = None) -> dict[str, str]:
        """Files among the requests that are none, with what is wrong; no other method looks at them."""
        return dict(self._at(head or self.store.head()).damaged)

    def get(self, request_id: str, head: str | None = None) -> Request:
        """The request of that id. Raises `UnknownNameError`."""
        found = self._at(head or self.store.head()).requests.get(request_id)
        if found is None:
            raise UnknownNameError(
                f"there is no request {request_id!r} in {self.store.address}; `ucbench queue list` shows all"
            )
        return found

    def place(self, request_id: str) -> int | None:
        """Its place among those that wait, 1 for the next one; None when it does not wait."""
        waiting = [request.id for request in self.all() if request.state == "PENDING"]
        return waiting.index(request_id) + 1 if request_id in waiting else None

    def add(self, request: Request, *, quota: Quota | None = None) -> Request:
        """Put a request into the queue, or on record when it is REJECTED.

        Raises `DuplicateError` when the same waits, runs or is done, `QuotaError`, and `UcbenchError` for a
        request that is not new.
        """
        if request.state not in ("PENDING", "REJECTED") or request.claim or request.attempts:
            raise UcbenchError(f"request {request.id} is not new: {request.state}")

        def prepare(head: str) -> Changes:
            content = self._at(head)
            if request.id in content.requests:
                raise DuplicateError(content.requests[request.id])
            if request.state == "PENDING":
                _check_duplicate(request, content)
            if quota:
                _check_quota(request.submitter, request.state, quota, content, self._clock())
            return {request.path: request.to_json()}

        change(self.store, prepare, message=f"Submit {request.model} ({request.id})")
        return request

    def check(self, request: Request) -> None:
        """Raises `DuplicateError` as `add` would; writes nothing."""
        _check_duplicate(request, self._at(self.store.head()))

    def check_quota(self, submitter: str, quota: Quota) -> None:
        """Raises `QuotaError` as `add` would for one more request of an account; writes nothing."""
        _check_quota(submitter, "PENDING", quota, self._at(self.store.head()), self._clock())

    def claim(
        self,
        worker: str,
        *,
        lease: timedelta,
        accepts: Callable[[Request], bool] = lambda _request: True,
    ) -> Request | None:
        """Take the first request that waits, or whose lease is over, among those that `accepts` takes.

        What had its last attempt ends FAILED on the way. Returns None when there is nothing to do.
        """
        taken: list[Request] = []

        def prepare(head: str) -> Changes | None:
            taken.clear()
            time = self._clock()
            changes: dict[str, bytes] = {}
            for request in self._at(head).order:
                over = request.state == "RUNNING" and _lease_over(request, time - self._skew)
                if over and request.attempts >= MAX_ATTEMPTS:
                    ended = _ended(request, "FAILED", time, "too_many_attempts")
                    changes[ended.path] = ended.to_json()
                elif not taken and (over or request.state == "PENDING") and accepts(request):
                    since = _not_before(time, request)
                    mine = _with(
                        request,
                        state="RUNNING",
                        attempts=request.attempts + 1,
                        started_at=since,
                        finished_at=None,
                        claim=Claim(
                            worker=worker, nonce=secrets.token_hex(12), since=since, until=since + lease
                        ),
                    )
                    changes[mine.path] = mine.to_json()
                    taken.append(mine)
            return changes or None

        change(self.store, prepare, message=f"Claim by {worker}")
        return taken[0] if taken else None

    def hand_back(self, request: Request) -> Request:
        """Let others have a claimed request; the attempt does not count. Raises `ClaimLostError`."""

        def handed(current: Request) -> Request:
            return _with(
                current,
                state="PENDING",
                claim=None,
                attempts=max(0, current.attempts - 1),
                started_at=None,
            )

        return self._end_claim(request, handed, f"Hand back {request.id}")

    def done(
        self, request: Request, run_id: str, changes: Changes | Callable[[str], Changes] | None = None
    ) -> Request:
        """End a claimed request well, with the files of its result in the same commit.

        `changes` may depend on the head they go on. When the request is done already, nothing is written
        and that one is returned. A result is taken after the lease is over too, whoever has the request by
        then. Raises `ClaimLostError` when it is not wanted any more.
        """
        outcome: list[Request] = []

        def prepare(head: str) -> Changes | None:
            outcome.clear()
            current = self.get(request.id, head)
            if current.state == "DONE":
                outcome.append(current)
                return None
            if not _is_wanted(current, self._at(head)):
                _check_claim(request, current)
            ended = _with(
                current,
                state="DONE",
                claim=None,
                run_id=run_id,
                finished_at=_not_before(self._clock(), current),
                reason=None,
                message=None,
                log=None,
            )
            files = changes(head) if callable(changes) else changes or {}
            if foreign := [path for path in files if path.startswith(f"{FOLDER}/")]:
                raise StoreError(f"a result cannot hold {foreign[0]}, which belongs to the queue")
            outcome.append(ended)
            return {**files, ended.path: ended.to_json()}

        change(self.store, prepare, message=f"Done: {request.model} on {request.track} ({request.id})")
        return outcome[0]

    def fail(self, request: Request, reason: str, message: str, log: str = "", *, retryable: bool) -> Request:
        """End an attempt badly: PENDING again when it is retryable and attempts are left, else FAILED.

        `message` and `log` are redacted. Raises `ClaimLostError`, `UnknownNameError` for an unknown reason.
        """
        reasons.reason(reason)
        told = {
            "reason": reason,
            "message": redact(readable(message))[:2000],
            "log": tail(log, 8000) or None,
        }

        def failed(current: Request) -> Request:
            if retryable and current.attempts < MAX_ATTEMPTS:
                return _with(current, state="PENDING", claim=None, started_at=None, **told)
            time = _not_before(self._clock(), current)
            return _with(current, state="FAILED", claim=None, finished_at=time, **told)

        return self._end_claim(request, failed, f"Failed: {request.id} ({reason})")

    def cancel(self, request_id: str, by: str) -> Request:
        """Take a request out of the queue; a worker that is at it will find its claim gone.

        Raises `NotYoursError`, `UnknownNameError`, `UcbenchError` when it has ended.
        """

        def cancelled(current: Request, head: str) -> Request:
            self._check_owner(current, by, head)
            if current.state not in ("PENDING", "RUNNING"):
                raise UcbenchError(f"request {current.id} has ended ({current.state}); nothing is to cancel")
            return _ended(current, "CANCELLED", self._clock(), "cancelled", f"by {by}")

        return self._change_one(request_id, cancelled, f"Cancel {request_id}")

    def retry(self, request_id: str, by: str, *, quota: Quota | None = None) -> Request:
        """Let a request that failed or was cancelled wait again, with all its attempts.

        A submitter may do so `MAX_RETRIES` times, a maintainer always, and for REJECTED ones too. Raises
        `NotYoursError`, `DuplicateError`, `QuotaError`, `UnknownNameError`, `UcbenchError`.
        """

        def again(current: Request, head: str) -> Request:
            maintainer = self._check_owner(current, by, head)
            if current.state not in ("FAILED", "CANCELLED", "REJECTED"):
                raise UcbenchError(f"request {current.id} is {current.state}; there is nothing to retry")
            if not maintainer and current.state == "REJECTED":
                raise NotYoursError(f"request {current.id} was rejected; mend what it says and submit again")
            if not maintainer and current.retries >= MAX_RETRIES:
                raise QuotaError(
                    f"request {current.id} was retried {current.retries} times; ask the maintainers"
                )
            content = self._at(head)
            _check_duplicate(current, content)
            if quota and not maintainer:
                _check_unfinished(current.submitter, quota, content)
            return _with(
                current,
                state="PENDING",
                attempts=0,
                retries=current.retries + 1,
                claim=None,
                started_at=None,
                finished_at=None,
                reason=None,
                message=None,
                log=None,
            )

        return self._change_one(request_id, again, f"Retry {request_id}")

    def maintainers(self, head: str | None = None) -> frozenset[str]:
        """Who may cancel and retry the requests of others: named in `store.json`, `local` in a folder."""
        try:
            content = json.loads(self.store.read(PEOPLE, head=head or self.store.head()))
            named = content.get("maintainers", [])
            if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
                raise ValueError
        except MissingError:
            return frozenset() if self.store.address.startswith(HUB) else frozenset({"local"})
        except (ValueError, AttributeError) as error:
            raise StoreError(f"{PEOPLE} of {self.store.address} is damaged; mend it by hand") from error
        return frozenset(named)

    def _check_owner(self, request: Request, by: str, head: str) -> bool:
        """Whether `by` is a maintainer. Raises `NotYoursError` when it is not the submitter either."""
        maintainer = by.lower() in {name.lower() for name in self.maintainers(head)}
        if not maintainer and by.lower() != request.submitter.lower():
            raise NotYoursError(
                f"request {request.id} was submitted by {request.submitter}; {by} cannot change it"
            )
        return maintainer

    def _end_claim(self, request: Request, make: Callable[[Request], Request], message: str) -> Request:
        def checked(current: Request, _head: str) -> Request:
            _check_claim(request, current)
            return make(current)

        return self._change_one(request.id, checked, message)

    def _change_one(self, request_id: str, make: Callable[[Request, str], Request], message: str) -> Request:
        outcome: list[Request] = []

        def prepare(head: str) -> Changes:
            changed = make(self.get(request_id, head), head)
            outcome[:] = [changed]
            return {changed.path: changed.to_json()}

        change(self.store, prepare, message=message)
        return outcome[0]

    def _at(self, head: str) -> _Content:
        with self._lock:
            known = self._heads.get(head)
        if known is not None:
            return known
        content = _parse(self.store.read_all(f"{FOLDER}/", head=head))
        with self._lock:
            self._heads[head] = content
            while len(self._heads) > _KEPT:
                self._heads.pop(next(iter(self._heads)))
        return content


def _parse(files: dict[str, bytes]) -> _Content:
    requests: dict[str, Request] = {}
    damaged: dict[str, str] = {}
    for path, content in files.items():
        try:
            request = Request.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            damaged[path] = f"{'.'.join(map(str, first['loc'])) or 'top level'}: {first['msg']}"
            continue
        if request.path != path:
            damaged[path] = f"it holds request {request.id}, which belongs elsewhere"
            continue
        requests[request.id] = request
    order = sorted(requests.values(), key=lambda r: (-r.priority, r.submitted_at, r.id))
    return _Content(requests, order, damaged)


def _with(request: Request, **changes: object) -> Request:
    # Validated anew, unlike with model_copy: nothing that cannot be read again is written.
    return Request.model_validate({**dict(request), **changes})


def _ended(request: Request, state: State, time: datetime, code: str, detail: str = "") -> Request:
    return _with(
        request,
        state=state,
        claim=None,
        finished_at=_not_before(time, request),
        reason=code,
        message=reasons.sentence(code, detail),
    )


def _not_before(time: datetime, request: Request) -> datetime:
    """The time, but never before what happened to the request by the clocks of others."""
    return max(moment for moment in (time, request.submitted_at, request.started_at) if moment)


def _lease_over(request: Request, time: datetime) -> bool:
    return request.claim is None or time > request.claim.until


def _check_claim(mine: Request, current: Request) -> None:
    if mine.claim and current.claim and mine.claim.nonce == current.claim.nonce:
        return
    what = f"claimed by {current.claim.worker}" if current.claim else current.state
    raise ClaimLostError(f"request {mine.id} is no longer ours, it is {what}; the result is not taken")


def _is_wanted(current: Request, content: _Content) -> bool:
    """Whether a result for a request is still to come, or was given up for want of time alone."""
    given_up = current.state == "FAILED" and current.reason == "too_many_attempts"
    again = any(r.id != current.id and r.state in _TAKEN and r.key == current.key for r in content.order)
    return current.state in ("PENDING", "RUNNING") or (given_up and not again)


def _check_duplicate(request: Request, content: _Content) -> None:
    for other in content.order:
        if other.id != request.id and other.state in _TAKEN and other.key == request.key:
            raise DuplicateError(other)


def _check_unfinished(submitter: str, quota: Quota, content: _Content) -> None:
    own = [other for other in content.order if other.submitter.lower() == submitter.lower()]
    unfinished = sum(other.state in ("PENDING", "RUNNING") for other in own)
    if unfinished >= quota.unfinished:
        raise QuotaError(
            f"{submitter} has {unfinished} unfinished requests, and {quota.unfinished} is the most; "
            "wait for one to end, or cancel one"
        )


def _check_quota(submitter: str, state: State, quota: Quota, content: _Content, time: datetime) -> None:
    if state == "PENDING":
        _check_unfinished(submitter, quota, content)
    own = [other for other in content.order if other.submitter.lower() == submitter.lower()]
    day = timedelta(days=1)
    recent = sorted(other.submitted_at for other in own if time - other.submitted_at < day)
    if len(recent) >= quota.per_day:
        free = recent[len(recent) - quota.per_day] + day
        raise QuotaError(
            f"{submitter} has submitted {len(recent)} requests in 24 hours, and {quota.per_day} is "
            f"the most; submit again after {free:%Y-%m-%d %H:%M} UTC"
        )
