"""The queue: nothing is lost, nothing is done twice, whoever dies or comes late."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)
from typer.testing import CliRunner

from ucbench.cli import app
from ucbench.errors import StoreError, UcbenchError, UnknownNameError
from ucbench.hub import reasons
from ucbench.hub.queue import (
    PEOPLE,
    SKEW,
    ClaimLostError,
    DuplicateError,
    NotYoursError,
    Queue,
    Quota,
    QuotaError,
)
from ucbench.hub.request import MAX_ATTEMPTS, MAX_RETRIES, Request, State, new_id
from ucbench.hub.store import Changes, ConflictError, MissingError, open_store

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
LEASE = timedelta(hours=2)


class MemoryStore:
    """A store without a home. `first` runs before the next commit: somebody else who is quicker."""

    address = "memory"

    def __init__(self) -> None:
        self.trees: list[dict[str, bytes]] = [{}]
        self.first: Callable[[], object] | None = None

    def head(self) -> str:
        return str(len(self.trees) - 1)

    def paths(self, prefix: str = "", *, head: str | None = None) -> list[str]:
        return sorted(path for path in self.trees[int(head or self.head())] if path.startswith(prefix))

    def read(self, path: str, *, head: str | None = None) -> bytes:
        try:
            return self.trees[int(head or self.head())][path]
        except KeyError:
            raise MissingError(path) from None

    def read_all(self, prefix: str, *, head: str | None = None) -> dict[str, bytes]:
        return {path: self.read(path, head=head) for path in self.paths(prefix, head=head)}

    def commit(self, changes: Changes, *, expected: str, message: str) -> str:
        assert message
        first, self.first = self.first, None
        if first:
            first()
        if expected != self.head():
            raise ConflictError(expected)
        tree = dict(self.trees[-1])
        for path, content in changes.items():
            assert isinstance(content, bytes)
            tree[path] = content
        self.trees.append(tree)
        return self.head()

    def whoami(self) -> str:
        return "local"


class Clock:
    """The time by a machine whose clock is `skew` wrong."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def machine(self, skew: timedelta) -> Callable[[], datetime]:
        return lambda: self.time + skew


def request(
    model: str = "acme/vlm", *, submitter: str = "ada", at: datetime = START, **fields: object
) -> Request:
    commit = hashlib.sha1(model.encode()).hexdigest()
    content: dict[str, object] = {
        "id": new_id(at), "model": model, "revision": commit, "dtype": "bfloat16", "track": "pictograms",
        "benchmark": "pictograms/1", "submitter": submitter, "submitted_at": at,
    }  # fmt: skip
    return Request.model_validate({**content, **fields})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue:
    return Queue(MemoryStore(), clock)


# The life of a request.


def test_a_request_is_claimed_and_done_with_its_result_in_one_commit(queue: Queue, clock: Clock) -> None:
    asked = queue.add(request(), quota=None)
    clock.time += timedelta(minutes=1)
    claimed = queue.claim("box-1", lease=LEASE)
    assert claimed
    assert (claimed.id, claimed.state, claimed.attempts) == (asked.id, "RUNNING", 1)
    assert claimed.claim
    assert claimed.claim.until == clock.time + LEASE
    before = queue.store.head()
    ended = queue.done(claimed, "f" * 16, {"acme-vlm/f/record.json": b"{}"})
    assert int(queue.store.head()) == int(before) + 1
    assert queue.store.read("acme-vlm/f/record.json") == b"{}"
    assert (ended.state, ended.run_id, ended.claim) == ("DONE", "f" * 16, None)
    assert queue.get(asked.id) == ended
    assert queue.claim("box-2", lease=LEASE) is None


def test_the_order_is_priority_then_age_and_place_counts_those_that_wait(queue: Queue) -> None:
    late = queue.add(request("acme/late", at=START + timedelta(hours=1)), quota=None)
    early = queue.add(request("acme/early"), quota=None)
    urgent = queue.add(request("acme/urgent", at=START + timedelta(hours=2), priority=5), quota=None)
    assert [r.id for r in queue.all()] == [urgent.id, early.id, late.id]
    assert [queue.place(r.id) for r in (urgent, early, late)] == [1, 2, 3]
    taken = queue.claim("box", lease=LEASE, accepts=lambda r: r.model != "acme/urgent")
    assert taken
    assert taken.id == early.id
    assert (queue.place(early.id), queue.place(late.id)) == (None, 2)


def test_the_same_is_not_queued_twice_unless_it_failed(queue: Queue) -> None:
    first = queue.add(request(), quota=None)
    for again in (request(submitter="bob"), request("ACME/vlm", revision=first.revision)):
        with pytest.raises(DuplicateError, match=f"{first.id}, which is PENDING") as found:
            queue.add(again, quota=None)
        assert found.value.earlier == first
    queue.add(request(dtype="float32"), quota=None)
    queue.add(request(benchmark="pictograms/2"), quota=None)
    claimed = queue.claim("box", lease=LEASE, accepts=lambda r: r.id == first.id)
    assert claimed
    queue.fail(claimed, "unsupported", "it has no weights", retryable=False)
    second = queue.add(request(submitter="bob"), quota=None)
    with pytest.raises(DuplicateError, match=second.id):
        queue.retry(first.id, "ada")


def test_a_quota_counts_inside_the_same_compare_and_swap(queue: Queue) -> None:
    quota = Quota(unfinished=2, per_day=3)
    store = queue.store
    assert isinstance(store, MemoryStore)
    queue.add(request("acme/1"), quota=quota)
    # Another one from the same account lands between the check and the commit.
    store.first = lambda: queue.add(request("acme/2"), quota=quota)
    with pytest.raises(QuotaError, match="2 unfinished requests, and 2 is the most"):
        queue.add(request("acme/3", submitter="ADA"), quota=quota)
    assert len(queue.all()) == 2
    queue.add(request("acme/3", submitter="bob"), quota=quota)


def test_a_quota_for_the_day_counts_what_ended_and_what_was_rejected(queue: Queue, clock: Clock) -> None:
    quota = Quota(unfinished=5, per_day=2)
    first = queue.add(request("acme/1"), quota=quota)
    queue.cancel(first.id, "ada")
    queue.add(request("acme/2", state="REJECTED", reason="no_card", message="It has no card."), quota=quota)
    for state in ("PENDING", "REJECTED"):
        with pytest.raises(QuotaError, match="submit again after 2026-05-05 12:00 UTC"):
            queue.add(request("acme/3", state=state), quota=quota)
    clock.time += timedelta(hours=25)
    queue.add(request("acme/3", at=clock.time), quota=quota)


def test_failures_are_tried_again_until_the_attempts_are_used_up(queue: Queue) -> None:
    asked = queue.add(request(), quota=None)
    states: list[State] = []
    for _ in range(MAX_ATTEMPTS):
        claimed = queue.claim("box", lease=LEASE)
        assert claimed
        states.append(queue.fail(claimed, "timeout", "too slow", "log", retryable=True).state)
    assert states == ["PENDING", "PENDING", "FAILED"]
    assert queue.claim("box", lease=LEASE) is None
    found = queue.get(asked.id)
    assert (found.reason, found.message, found.log, found.attempts) == ("timeout", "too slow", "log", 3)
    with pytest.raises(UnknownNameError, match="no reason 'bad_luck'"):
        queue.fail(found, "bad_luck", "", retryable=False)


def test_what_a_failure_tells_is_redacted_readable_and_short(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_TEST_SECRET", "correct horse battery")
    queue.add(request(), quota=None)
    claimed = queue.claim("box", lease=LEASE)
    assert claimed
    log = "a\x1b[31mred\x1b[0m\n" * 5000 + "hf_abcDEF123 and correct horse battery\n"
    failed = queue.fail(claimed, "evaluator_failed", "with hf_abcDEF123\u202e", log, retryable=False)
    assert failed.message == "with [redacted]"
    assert failed.log
    assert failed.log.endswith("[redacted] and [redacted]")
    assert "\x1b" not in failed.log
    assert len(failed.log) <= 8000


# Who comes late, who dies.


def test_an_expired_lease_is_taken_again_and_the_late_worker_ends_nothing(queue: Queue, clock: Clock) -> None:
    asked = queue.add(request(), quota=None)
    late = queue.claim("late", lease=LEASE)
    assert late
    clock.time += LEASE + SKEW
    assert queue.claim("other", lease=LEASE) is None
    clock.time += timedelta(seconds=1)
    other = queue.claim("other", lease=LEASE)
    assert other
    assert (other.id, other.attempts) == (asked.id, 2)
    for act in (
        lambda: queue.fail(late, "timeout", "", retryable=True),
        lambda: queue.hand_back(late),
    ):
        with pytest.raises(ClaimLostError, match="claimed by other"):
            act()
    assert queue.store.paths("x/") == []
    ended = queue.done(other, "b" * 16)
    assert queue.done(late, "a" * 16, {"x/a/record.json": b"late"}) == ended
    assert queue.store.paths("x/") == []


def test_a_late_result_is_as_good_as_any_and_the_only_one(queue: Queue, clock: Clock) -> None:
    queue.add(request(), quota=None)
    late = queue.claim("late", lease=LEASE)
    clock.time += LEASE + SKEW + timedelta(seconds=1)
    other = queue.claim("other", lease=LEASE)
    assert late
    assert other
    ended = queue.done(late, "a" * 16, {"x/a/record.json": b"late"})
    assert (ended.state, ended.claim, ended.run_id) == ("DONE", None, "a" * 16)
    assert queue.done(other, "b" * 16, {"x/b/record.json": b"other"}) == ended
    assert queue.store.paths("x/") == ["x/a/record.json"]
    with pytest.raises(ClaimLostError, match="it is DONE"):
        queue.fail(other, "timeout", "", retryable=True)


def test_a_result_is_taken_of_what_was_given_up_unless_it_was_asked_for_anew(
    queue: Queue, clock: Clock
) -> None:
    held = []
    for name in ("acme/a", "acme/b"):
        asked = queue.add(request(name), quota=None)
        for _ in range(MAX_ATTEMPTS):
            last = queue.claim("box", lease=LEASE)
            assert last
            clock.time += LEASE + SKEW + timedelta(seconds=1)
        assert queue.claim("box", lease=LEASE) is None
        assert queue.get(asked.id).reason == "too_many_attempts"
        held.append(last)
    assert queue.done(held[0], "a" * 16).reason is None
    again = queue.add(request("acme/b"), quota=None)
    with pytest.raises(ClaimLostError, match="it is FAILED"):
        queue.done(held[1], "b" * 16)
    assert queue.get(again.id).state == "PENDING"


def test_after_a_lease_is_over_its_holder_may_still_finish_what_nobody_took(
    queue: Queue, clock: Clock
) -> None:
    queue.add(request(), quota=None)
    claimed = queue.claim("slow", lease=LEASE)
    assert claimed
    clock.time += 3 * LEASE
    assert queue.done(claimed, "a" * 16).state == "DONE"


def test_what_kills_its_workers_every_time_ends_failed(queue: Queue, clock: Clock) -> None:
    killer, other = queue.add(request("acme/killer"), quota=None), request("acme/fine", priority=-1)
    queue.add(other, quota=None)
    for _ in range(MAX_ATTEMPTS):
        claimed = queue.claim("box", lease=LEASE)
        assert claimed
        assert claimed.id == killer.id
        clock.time += LEASE + SKEW + timedelta(seconds=1)
    claimed = queue.claim("box", lease=LEASE)  # ends the one and takes the next, in one commit
    assert claimed
    assert claimed.id == other.id
    ended = queue.get(killer.id)
    assert (ended.state, ended.reason, ended.claim) == ("FAILED", "too_many_attempts", None)
    assert ended.message
    assert "machine" in ended.message


def test_handing_back_costs_no_attempt(queue: Queue) -> None:
    asked = queue.add(request(), quota=None)
    for _ in range(2 * MAX_ATTEMPTS):
        claimed = queue.claim("box", lease=LEASE)
        assert claimed
        back = queue.hand_back(claimed)
        assert (back.state, back.attempts, back.claim, back.started_at) == ("PENDING", 0, None, None)
    assert queue.place(asked.id) == 1


def test_who_is_second_in_a_race_takes_the_next_request(queue: Queue) -> None:
    first, second = queue.add(request("acme/1"), quota=None), queue.add(request("acme/2"), quota=None)
    store, quicker = queue.store, []
    assert isinstance(store, MemoryStore)
    store.first = lambda: quicker.append(queue.claim("quick", lease=LEASE))
    slower = queue.claim("slow", lease=LEASE)
    assert quicker[0].id == min(first.id, second.id)
    assert slower
    assert slower.id == max(first.id, second.id)


# By people.


def test_only_the_submitter_or_a_maintainer_cancels_and_retries(queue: Queue) -> None:
    asked = queue.add(request(), quota=None)
    for act in (queue.cancel, queue.retry):
        with pytest.raises(NotYoursError, match="submitted by ada; bob cannot"):
            act(asked.id, "bob")
    running = queue.claim("box", lease=LEASE)
    assert running
    cancelled = queue.cancel(asked.id, "Ada")
    assert (cancelled.state, cancelled.reason) == ("CANCELLED", "cancelled")
    with pytest.raises(ClaimLostError, match="it is CANCELLED"):
        queue.done(running, "a" * 16)
    with pytest.raises(UcbenchError, match="has ended"):
        queue.cancel(asked.id, "ada")
    assert queue.retry(asked.id, "local").state == "PENDING"
    queue.store.commit(
        {PEOPLE: json.dumps({"maintainers": ["Grace"]}).encode()},
        expected=queue.store.head(),
        message="people",
    )
    with pytest.raises(NotYoursError):
        queue.cancel(asked.id, "local")
    assert queue.cancel(asked.id, "grace").state == "CANCELLED"


def test_a_submitter_may_retry_a_few_times_and_within_the_quota(queue: Queue) -> None:
    asked = queue.add(request(), quota=None)
    with pytest.raises(UcbenchError, match="is PENDING; there is nothing to retry"):
        queue.retry(asked.id, "ada")
    for _ in range(MAX_RETRIES):
        queue.cancel(asked.id, "ada")
        again = queue.retry(asked.id, "ada")
        assert (again.attempts, again.reason, again.finished_at) == (0, None, None)
    queue.cancel(asked.id, "ada")
    with pytest.raises(QuotaError, match="retried 3 times"):
        queue.retry(asked.id, "ada")
    other = queue.add(request("acme/other"), quota=None)
    queue.cancel(other.id, "ada")
    queue.add(request("acme/third"), quota=None)
    with pytest.raises(QuotaError, match="unfinished"):
        queue.retry(other.id, "ada", quota=Quota(unfinished=1))
    rejected = queue.add(request("acme/no", state="REJECTED"), quota=None)
    with pytest.raises(NotYoursError, match="was rejected"):
        queue.retry(rejected.id, "ada")
    assert queue.retry(rejected.id, "local").state == "PENDING"


# Damage.


def test_a_damaged_file_stands_in_nobodys_way(queue: Queue) -> None:
    asked = queue.add(request(), quota=None)
    moved = request("acme/moved")
    strange = {
        "requests/2026-05/x.json": b"{", "requests/README.md": b"hello",
        "requests/2026-05/y.json": moved.to_json(),
        asked.path.replace("2026-05", "2026-06"): asked.to_json(),
    }  # fmt: skip
    queue.store.commit(strange, expected=queue.store.head(), message="damage")
    assert [r.id for r in queue.all()] == [asked.id]
    assert sorted(queue.damaged()) == sorted(strange)
    assert queue.claim("box", lease=LEASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"submitter": "\x1b]0;pwned\x07"}, {"submitter": ""}, {"submitter": "a" * 5000}, {"track": "<b>"},
        {"track": "t\n"}, {"dtype": "\x1b[2J"}, {"benchmark": "../x\x1b"}, {"reason": "\u202ereason"},
        {"run_id": "../../<script>"}, {"licence": "<i>"}, {"architecture": "x y"}, {"priority": 10**30},
        {"parameters": -5}, {"parameters": 10**300}, {"attempts": 10**30}, {"message": "m" * 50_000},
        {"submitted_at": "0001-01-01T00:00:00Z"}, {"finished_at": "9999-12-31T23:59:59-14:00"},
        {"claim": {"worker": "<b>w", "nonce": "n", "since": "2026-01-01T00:00:00Z",
                   "until": "2026-01-01T01:00:00Z"}},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_what_nobody_could_be_shown_is_no_request(queue: Queue, changes: dict[str, Any]) -> None:
    """A pull request that was merged unread can hold anything; one file must not break the rest."""
    asked = queue.add(request(), quota=None)
    other = request("acme/other")
    content = json.dumps(json.loads(other.to_json()) | changes).encode()
    queue.store.commit({other.path: content}, expected=queue.store.head(), message="merged")
    assert [r.id for r in queue.all()] == [asked.id]
    assert list(queue.damaged()) == [other.path]


def test_texts_of_others_lose_their_codes_and_tokens_as_they_are_read(queue: Queue) -> None:
    hostile = "\x1b]0;pwned\x07\x1b[2Jred \u202e with hf_abcdefghijklmnop\nnext"
    told = json.loads(request(state="FAILED").to_json()) | {"message": hostile, "log": hostile}
    path = Request.model_validate(told).path
    queue.store.commit({path: json.dumps(told).encode()}, expected=queue.store.head(), message="merged")
    (read,) = queue.all()
    assert read.message == read.log == "red  with [redacted]\nnext"


def test_the_command_shows_no_codes_of_others(tmp_path: Path, ucbench: Callable[..., Any]) -> None:
    store = open_store(str(tmp_path))
    store.commit({"requests/\u202eevil.json": b"{}"}, expected=store.head(), message="damage")
    told = ucbench("queue", "list", "--store", store.address)
    assert "requests/evil.json is no request" in told.stderr
    told = ucbench("queue", "show", "\x1b[2Jhf_abcdefghijklmnop", "--store", store.address)
    assert told.returncode == 2
    assert "there is no request '" in told.stderr
    assert "\x1b" not in told.stderr
    assert "hf_abcdefghijklmnop" not in told.stderr


def test_a_result_cannot_reach_into_the_queue(queue: Queue) -> None:
    queue.add(request(), quota=None)
    other = queue.add(request("acme/2"), quota=None)
    claimed = queue.claim("box", lease=LEASE)
    assert claimed
    with pytest.raises(StoreError, match="belongs to the queue"):
        queue.done(claimed, "a" * 16, {other.path: b"{}"})
    with pytest.raises(UcbenchError, match="is not new"):
        queue.add(claimed, quota=None)


def test_every_reason_reads_as_a_sentence() -> None:
    for code in reasons.REASONS:
        assert reasons.sentence(code, "it is so.")[0].isupper()
        assert reasons.sentence(code).endswith(".")


# The laws, whatever happens in whatever order.

MACHINES = 3


class Laws(RuleBasedStateMachine):
    """Three machines with clocks apart by at most `SKEW`, submitters, deaths, and others who are quicker."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.store = Clock(), MemoryStore()
        skews = (timedelta(), SKEW / 2, -SKEW / 2)
        self.queues = [Queue(self.store, self.clock.machine(skew)) for skew in skews]
        self.added: dict[str, Request] = {}
        self.done_by: dict[str, str] = {}
        #: Live claims: request id -> (nonce, true time at which the holder thinks its lease over).
        self.live: dict[str, tuple[str, datetime]] = {}
        self.finished_keys: list[str] = []

    @rule(name=st.sampled_from("abc"), machine=st.integers(0, MACHINES - 1))
    def add(self, name: str, machine: int) -> None:
        # Ids without chance, so that a failing example can be played again.
        number = f"{self.clock.time:%Y%m%dT%H%M%S}-{len(self.added):012x}"
        new = request(f"acme/{name}", at=self.clock.time, id=number)
        taken = any(
            r.key == new.key and r.state in ("PENDING", "RUNNING", "DONE") for r in self.queues[0].all()
        )
        try:
            self.queues[machine].add(new, quota=None)
        except DuplicateError:
            assert taken
        else:
            assert not taken
            self.added[new.id] = new

    @rule(
        target=claims,
        machine=st.integers(0, MACHINES - 1),
        rival=st.none() | st.integers(0, MACHINES - 1),
        hours=st.sampled_from([0.0, 0.0, 1.0, 1.99, 2.1, 5.0]),
    )
    def claim(self, machine: int, rival: int | None, hours: float) -> object:
        self.clock.time += timedelta(hours=hours)
        got: list[tuple[int, Request]] = []
        if rival is not None:
            self.store.first = lambda: got.extend((rival, r) for r in [self._claim(rival)] if r)
        mine = self._claim(machine)
        self.store.first = None
        if mine:
            got.append((machine, mine))
        return multiple(*got)

    def _claim(self, machine: int) -> Request | None:
        queue = self.queues[machine]
        taken = queue.claim(f"box-{machine}", lease=LEASE)
        if taken:
            assert taken.claim
            # One live claim a request: whoever had it before has seen his lease end.
            _, until = self.live.get(taken.id, ("", START))
            assert self.clock.time >= until
            assert 1 <= taken.attempts <= MAX_ATTEMPTS
            self.live[taken.id] = (taken.claim.nonce, self.clock.time + LEASE)
        return taken

    @rule(claim=consumes(claims), publishes=st.booleans())
    def finish(self, claim: tuple[int, Request], publishes: bool) -> None:
        machine, mine = claim
        assert mine.claim
        before = self.queues[0].get(mine.id)
        path = f"x/{mine.claim.nonce}"
        try:
            ended = self.queues[machine].done(mine, mine.claim.nonce, {path: b"r"} if publishes else {})
        except ClaimLostError:
            assert self._holder(before) != mine.claim.nonce
            assert before.state in ("CANCELLED", "FAILED")
            assert self.store.paths(path) == []
            return
        assert ended.state == "DONE"
        if before.state == "DONE":
            assert ended == before
            assert self.store.paths(path) == []
            return
        assert before.state in ("PENDING", "RUNNING") or before.reason == "too_many_attempts"
        assert mine.id not in self.done_by
        self.done_by[mine.id] = mine.claim.nonce
        self.finished_keys.append(mine.key)
        self.live.pop(mine.id, None)

    @rule(claim=consumes(claims), retryable=st.booleans())
    def fail(self, claim: tuple[int, Request], retryable: bool) -> None:
        self._end(claim, lambda queue, mine: queue.fail(mine, "timeout", "slow", retryable=retryable))

    @rule(claim=consumes(claims))
    def hand_back(self, claim: tuple[int, Request]) -> None:
        ended = self._end(claim, lambda queue, mine: queue.hand_back(mine))
        if ended:
            assert (ended.state, ended.attempts) == ("PENDING", claim[1].attempts - 1)

    def _end(self, claim: tuple[int, Request], act: Callable[[Queue, Request], Request]) -> Request | None:
        machine, mine = claim
        assert mine.claim
        before = self.queues[0].get(mine.id)
        try:
            ended = act(self.queues[machine], mine)
        except ClaimLostError:
            assert self._holder(before) != mine.claim.nonce
            return None
        assert self._holder(before) == mine.claim.nonce
        self.live.pop(mine.id)
        return ended

    @staticmethod
    def _holder(current: Request) -> str | None:
        return current.claim.nonce if current.claim else None

    @rule(_claim=consumes(claims))
    def die(self, _claim: object) -> None:
        """A worker is killed: nobody speaks for its claim any more."""

    @precondition(lambda self: self.added)
    @rule(data=st.data(), again=st.booleans())
    def people(self, data: st.DataObject, again: bool) -> None:
        chosen = data.draw(st.sampled_from(sorted(self.added)))
        before = self.queues[0].get(chosen)
        try:
            after = (self.queues[0].retry if again else self.queues[0].cancel)(chosen, "ada")
        except UcbenchError:
            return
        assert before.state != "DONE"
        assert after.state == ("PENDING" if again else "CANCELLED")
        self.live.pop(chosen, None)

    @invariant()
    def nothing_is_lost_and_states_are_whole(self) -> None:
        found = {r.id: r for r in self.queues[0].all()}
        assert found.keys() == self.added.keys()
        for r in found.values():
            assert r.attempts <= MAX_ATTEMPTS
            assert (r.claim is not None) == (r.state == "RUNNING")
            assert (r.run_id is not None) == (r.state == "DONE")
            assert (r.finished_at is not None) == (r.state in ("DONE", "FAILED", "CANCELLED"))
            if r.state == "DONE":
                assert r.run_id == self.done_by[r.id]
        assert len(set(self.finished_keys)) == len(self.finished_keys)

    @invariant()
    def states_follow_each_other_as_allowed(self) -> None:
        if len(self.store.trees) < 2:
            return
        allowed = {
            ("PENDING", "RUNNING"), ("RUNNING", "PENDING"), ("RUNNING", "RUNNING"), ("RUNNING", "DONE"),
            ("RUNNING", "FAILED"), ("PENDING", "CANCELLED"), ("RUNNING", "CANCELLED"),
            ("FAILED", "PENDING"), ("CANCELLED", "PENDING"), ("PENDING", "DONE"), ("FAILED", "DONE"),
        }  # fmt: skip
        for old, new in zip(self.store.trees[-4:], self.store.trees[-3:], strict=False):
            for path in new:
                if path in old and old[path] != new[path]:
                    before, after = json.loads(old[path])["state"], json.loads(new[path])["state"]
                    assert (before, after) in allowed

    def teardown(self) -> None:
        """Workers that live long enough empty the queue: nothing is stuck."""
        for _ in range(len(self.added) * (MAX_ATTEMPTS + 1)):
            self.clock.time += LEASE + 2 * SKEW
            mine = self.queues[0].claim("last", lease=LEASE)
            if mine and mine.claim:
                self.queues[0].done(mine, "z" * 16)
        assert {r.state for r in self.queues[0].all()} <= {"DONE", "FAILED", "CANCELLED"}


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


# In its real home.


def test_a_queue_in_a_folder_survives_its_process(tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    asked = Queue(open_store(address)).add(request(), quota=Quota())
    claimed = Queue(open_store(address)).claim("box", lease=LEASE)
    assert claimed
    result = tmp_path / "record.json"
    result.write_bytes(b"{}")
    Queue(open_store(address)).done(claimed, "a" * 16, lambda head: {"x/record.json": result} if head else {})
    assert Queue(open_store(address)).get(asked.id).state == "DONE"
    assert open_store(address).read("x/record.json") == b"{}"


# The command.


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, ["queue", *words], env={"COLUMNS": "100"})


def test_the_command_shows_cancels_and_retries(tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    queue = Queue(open_store(address))
    names = ("acme/first", "acme/second", "acme/[bold]odd")
    assert "there is no store" in invoke("list", "--store", address).stdout, "it may be misspelt"
    added = [
        queue.add(request(name.replace("[bold]", ""), at=START + timedelta(minutes=number)))
        for number, name in enumerate(names)
    ]
    claimed = queue.claim("box", lease=LEASE)
    assert claimed
    failed = queue.fail(claimed, "unsupported", "It has no weights.", "the log\n", retryable=False)

    listed = invoke("list", "--store", address)
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    places = [line.split()[:3] for line in lines if "acme/" in line]
    assert places == [
        ["PENDING", "#1", "acme/second"],
        ["PENDING", "#2", "acme/odd"],
        ["FAILED", "acme/first", "pictograms"],
    ]
    rows = json.loads(invoke("list", "--store", address, "--json", "--state", "failed").stdout)
    assert [(row["id"], row["reason"], row["place"]) for row in rows] == [(failed.id, "unsupported", None)]
    assert "no such request" in invoke("list", "--store", address, "--state", "DONE").stdout

    shown = invoke("show", failed.id, "--store", address).stdout
    for part in ("FAILED", "It has no weights.", "the log", "unsupported"):
        assert part in shown
    one = json.loads(invoke("show", added[1].id, "--store", address, "--json").stdout)
    assert (one["state"], one["place"], one["claim"]) == ("PENDING", 1, None)

    assert "is CANCELLED" in invoke("cancel", added[1].id, "--store", address).stdout
    assert "is PENDING, number 1" in invoke("retry", failed.id, "--store", address).stdout
    assert queue.get(failed.id).retries == 1


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    address = str(tmp_path / "store")
    queue = Queue(open_store(address))
    queue.add(request())
    claimed = queue.claim("box", lease=LEASE)
    assert claimed
    for words, said in (
        (["show", "20260504T120000-000000000000"], "there is no request"),
        (["retry", claimed.id], "there is nothing to retry"),
        (["list", "--state", "asleep"], "there is no state 'ASLEEP'"),
    ):
        done = invoke(*words, "--store", address)
        assert isinstance(done.exception, UcbenchError)
        assert said in str(done.exception)
    (tmp_path / "store" / "requests" / "x.json").write_text("{")
    done = invoke("list", "--store", address, "--json")
    assert "nonce" not in done.stdout
    assert json.loads(done.stdout)[0]["claim"]["worker"] == "box"
    assert "requests/x.json is no request" in done.stderr
