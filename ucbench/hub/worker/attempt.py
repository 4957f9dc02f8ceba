"""One attempt at a claimed request: fetch, evaluate, receive, publish."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ucbench.errors import AccessError, StoreError, UcbenchError, UnknownNameError
from ucbench.files import alone, write_text
from ucbench.format import short_revision
from ucbench.hub import results as published
from ucbench.hub.mirror import is_result
from ucbench.hub.queue import Queue
from ucbench.hub.redact import tail_of_file
from ucbench.hub.request import Request
from ucbench.hub.store import Changes, ConflictError, OfflineError, Store, change
from ucbench.hub.worker import child, received, weights
from ucbench.hub.worker.failure import JobError
from ucbench.hub.worker.local import Job
from ucbench.record import Entry, RunRecord
from ucbench.runs import RECORD, Run

T = TypeVar("T")

#: What a lease has beyond the time limit: for judging, and for publishing to a Hub that is slow.
AFTERWARDS = timedelta(minutes=15)
#: How often a running evaluation is looked up in the queue (seconds): it may have been cancelled.
LOOK_EVERY = 60.0
#: Bytes of a file of settings that is read here and not in the child.
_LARGEST_ALIGN = 4 << 20

Evaluation = Callable[[Job, Callable[[], object], Callable[[str], object]], object]


class StoppedError(child.StopError):
    """The worker was told to stop."""


class CancelledError(child.StopError):
    """The claim is no longer ours."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a worker takes and how.

    `tracks` are ids; `max_parameters` is the largest model it takes. `time_limit` is for fetching and
    evaluating together. `poll` seconds are between two looks at an empty queue. `limit` samples only: a
    rehearsal, whose runs are not ranked. `data` names local data for tracks that need some. `without` ways
    of isolation are not used.
    """

    folder: Path
    name: str
    tracks: tuple[str, ...]
    max_parameters: int | None = None
    time_limit: timedelta = timedelta(hours=2)
    judge: str | None = None
    limit: int | None = None
    data: dict[str, str] = field(default_factory=dict)
    once: bool = False
    poll: float = 30.0
    without: tuple[str, ...] = ()


@dataclass(slots=True)
class Bench:
    """What every attempt of a worker uses.

    `cache` is None where the evaluation fetches the model itself. `stop` is set when the worker is to stop.
    `say` takes a line for the operator, `doing` a word of what is being done. `abandoned`: a download still
    runs in a thread that nothing can end but the end of the process.
    """

    queue: Queue
    results: Store
    evaluation: Evaluation
    cache: weights.Cache | None
    options: Options
    say: Callable[[str], object]
    doing: Callable[[str], object] = lambda _what: None
    stop: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False

    def folder(self, request: Request) -> Path:
        """Where a request is worked on."""
        return self.options.folder / "jobs" / request.id

    def patiently(self, act: Callable[[], T]) -> T | None:
        """Do it as soon as the store can be reached; None when the worker is told to stop before that."""
        pause = 2.0
        while True:
            try:
                return act()
            except (OfflineError, ConflictError) as error:
                self.say(f"again in {pause:.0f} s: {error}")
                if self.stop.wait(pause):
                    return None
                pause = min(60.0, 2 * pause)


class Watch:
    """Called again and again during an evaluation, raises when the worker is to stop or has lost its claim.

    The queue is asked beside it: a store that is slow to answer shall not keep anybody from watching over
    the evaluation.
    """

    def __init__(self, bench: Bench, request: Request) -> None:
        self._bench, self._request = bench, request
        self._last = -math.inf  # at once: what an earlier start has claimed may be somebody else's
        self._asking: threading.Thread | None = None
        self._lost = ""

    def __call__(self) -> None:
        """Raises `StoppedError`, `CancelledError`."""
        if self._bench.stop.is_set():
            raise StoppedError
        if self._lost:
            raise CancelledError(self._lost)
        due = time.monotonic() - self._last >= LOOK_EVERY
        if due and not (self._asking and self._asking.is_alive()):
            self._last = time.monotonic()
            self._asking = threading.Thread(target=self._ask, daemon=True)
            self._asking.start()

    def _ask(self) -> None:
        mine = self._request.claim
        try:
            current = self._bench.queue.get(self._request.id)
        except UnknownNameError:
            self._lost = "stopped, as it is in the queue no more"
        except (AccessError, StoreError):
            return  # it is asked again, and published only with the claim in hand
        else:
            if not current.claim or not mine or current.claim.nonce != mine.nonce:
                self._lost = f"stopped, as it is {current.state} and no longer ours"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed request on a bench."""

    bench: Bench
    request: Request

    @property
    def title(self) -> str:
        """For the operator."""
        request = self.request
        commit = short_revision(request.revision)
        return f"{request.model}@{commit} ({request.dtype}) on {request.track}"

    def run(self) -> str | None:
        """The id of the request's published run; None when it has to stay unpublished for now.

        What an evaluation left is kept until it is published, and published without another one by whoever
        works in this folder next. Raises `JobError`, `ClaimLostError`, `StoppedError`, `CancelledError`, and
        `AccessError` and `StoreError` for what is no fault of the request.
        """
        from ucbench.judges import registry as judges
        from ucbench.tracks import registry as tracks
        from ucbench.tracks.scoring import check_judge, scoring
        from ucbench.tracks.sources import Sources

        bench, request, options = self.bench, self.request, self.bench.options
        track = tracks.load(request.track, Sources(data=options.data.get(request.track)))
        judge = judges.load(options.judge or scoring(track.id).judge)
        check_judge(track.id, judge)
        expected = received.Expected(request, track, judge, options.limit)
        there = bench.patiently(lambda: self._published(expected))
        if there:
            return there if bench.patiently(lambda: bench.queue.done(request, there)) else None
        shop = child.Workshop(bench.folder(request), options.without)
        run = self._kept(shop, expected) or self._evaluated(shop, expected)
        bench.doing("publishing")
        return self._publish(run)

    def _evaluated(self, shop: child.Workshop, expected: received.Expected) -> Run:
        bench = self.bench
        job = Job(self.request, shop, time.monotonic() + self._seconds_left())
        watch = Watch(bench, self.request)
        with ExitStack() as stack:
            if bench.cache is not None:
                bench.doing("fetching")
                held = self._fetched(bench.cache, job, stack, watch)
                weights.show(held, shop.models)
                expected = replace(expected, trained_on=_trained_on(held[0]))
            bench.doing("evaluating")
            bench.evaluation(job, watch, lambda text: bench.say(f"{self.title}: {text}"))
        write_text(shop.ended, json.dumps({"trained_on": expected.trained_on}))
        return self._received(shop, expected)

    def _kept(self, shop: child.Workshop, expected: received.Expected) -> Run | None:
        """The run of an evaluation that has ended, before its worker could publish it."""
        try:
            told = json.loads(shop.ended.read_text(encoding="utf-8"))["trained_on"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.bench.say(f"{self.title}: was evaluated before")
        try:
            return self._received(shop, replace(expected, trained_on=None if told is None else tuple(told)))
        except JobError:
            return None

    def _fetched(
        self, cache: weights.Cache, job: Job, stack: ExitStack, watch: Callable[[], object]
    ) -> list[weights.Weights]:
        """The model, and what it stands on, held until `stack` closes."""
        request = self.request
        wanted = [(request.model, request.revision)]
        if request.base and request.base_revision:
            wanted.append((request.base, request.base_revision))

        def look() -> None:
            watch()
            if job.seconds_left <= 0:
                raise JobError("timeout", "the files did not arrive in time")

        def fetch(model: str, revision: str) -> weights.Weights:
            return self._in_thread(lambda: stack.enter_context(cache.held(model, revision)), look)

        return [fetch(*commit) for commit in wanted]

    def _in_thread(self, call: Callable[[], T], watch: Callable[[], object]) -> T:
        """The result of a call that cannot be interrupted; when `watch` raises, it is left to itself."""
        found: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                found.append(call())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
                watch()
        except BaseException:
            self.bench.abandoned = self.bench.abandoned or thread.is_alive()
            raise
        if errors:
            raise errors[0]
        return found[0]

    def _received(self, shop: child.Workshop, expected: received.Expected) -> Run:
        self.bench.doing("judging")
        checked = shop.folder / "checked"
        child.remove(checked)
        try:
            return received.receive(shop.out, expected, checked)
        except JobError as error:
            shop.ended.unlink(missing_ok=True)
            error.log = error.log or tail_of_file(shop.log, 8000, also=[str(shop.folder.resolve())])
            raise

    def _published(self, expected: received.Expected) -> str:
        """The id of a measured run that is there already for exactly this request, or nothing."""
        request, results = self.request, self.bench.results
        whole = Entry(model=request.model)
        tuned = Entry(model=str(request.base), adapter=f"{request.model}@{request.revision}")
        slug = (tuned if request.base else whole).slug
        head = results.head()
        for path in results.paths(f"{slug}/", head=head):
            if not path.endswith(f"/{RECORD}"):
                continue
            content = results.read(path, head=head)
            try:
                record = RunRecord.model_validate_json(content)
                received.check_entry(record.entry, request)
                received.check_track(record, expected)
            except (ValidationError, JobError):
                continue
            if record.provenance == "measured" and record.status != "incomplete":
                return record.run_id
        return ""

    def _publish(self, run: Run) -> str | None:
        """Put result and state into the store; see `run`."""
        bench, request = self.bench, self.request
        results, queue, record = bench.results, bench.queue, run.record()

        def publish() -> Request:
            provenance = published.provenance_of(results, results.whoami(), record)
            try:
                prepare = _once(results, published.publish_run(results, run, provenance=provenance))
            except StoreError as error:
                raise JobError("invalid_result", str(error)) from error
            try:
                if results is queue.store:
                    return queue.done(request, run.run_id, prepare)
                change(results, lambda head: prepare(head) or None, message=published.title(record))
            except published.AlreadyThereError as error:
                bench.say(f"{self.title}: {error}")
            return queue.done(request, run.run_id)

        # One worker of a machine after the other: each makes the board anew, and all but one would do so in
        # vain. No worker's name begins with a dot.
        turn = bench.options.folder.parent / ".publishing"

        def in_turn() -> Request:
            with alone(turn, "another worker publishes", "mend that", wait=True):
                return publish()

        return run.run_id if bench.patiently(in_turn) else None

    def _seconds_left(self) -> float:
        """Of the time limit, which began with the claim; a little is always left to finish."""
        assert self.request.claim is not None
        until = self.request.claim.until - AFTERWARDS
        return max(60.0, (until - datetime.now(until.tzinfo)).total_seconds())


def _once(results: Store, prepare: published.Prepare) -> published.Prepare:
    """The same changes again as long as the results are the same: most commits are of the queue alone.

    Without this, those who claim would always be quicker than those who make a board.
    """
    made: list[tuple[dict[str, str], Changes]] = []

    def remembered(head: str) -> Changes:
        versions = {path: v for path, v in results.versions(head=head).items() if is_result(path)}
        if not made or made[0][0] != versions:
            made[:] = [(versions, prepare(head))]
        return made[0][1]

    return remembered


def _trained_on(model: weights.Weights) -> tuple[str, ...]:
    """What the checkpoint says it was trained on. Raises `JobError`."""
    from ucbench.models.adapter import ALIGN, read_align

    told = model.folder / ALIGN
    if told.exists() and told.stat().st_size > _LARGEST_ALIGN:
        raise JobError("unsupported", f"{ALIGN} of {model.model} has {told.stat().st_size / 1e6:.0f} MB")
    try:
        return read_align(model.folder, model.model)[1]
    except UcbenchError as error:
        raise JobError("unsupported", str(error)) from error
