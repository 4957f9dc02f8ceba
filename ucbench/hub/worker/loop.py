"""The worker's loop: claim a request, see it to an end, again.

A request costs three commits at most: the claim, its result, its new state; the last two are one where queue
and results share a store. Killed at any moment, the next start of the same worker in the same folder ends
what is left of the child, goes on with a claim that is still its own, and evaluates nothing twice. What is no
fault of the request (a full disk, a damaged store, no access) costs it no attempt: it is handed back, and the
worker ends with a sentence. A result that is ready stays in the worker's folder until it is published.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

from pydantic import ValidationError

from ucbench.errors import AccessError, StoreError, UcbenchError, UnknownNameError
from ucbench.files import write_text
from ucbench.format import seconds as duration
from ucbench.hub import results as published
from ucbench.hub.queue import SKEW, ClaimLostError, now
from ucbench.hub.redact import redact
from ucbench.hub.request import Request
from ucbench.hub.store import ConflictError, ForbiddenError, OfflineError
from ucbench.hub.worker import child
from ucbench.hub.worker.attempt import AFTERWARDS, Attempt, Bench, CancelledError, StoppedError
from ucbench.hub.worker.failure import JobError, is_of_the_machine
from ucbench.hub.worker.health import Health, alone
from ucbench.tracks.suites import suite_of

#: After so many failures of its own in a row a worker gives up, before it uses up everybody's attempts.
MOST_OWN_FAILURES = 3
#: After these the next attempt may be ours again, and goes on from what is there.
_GOES_ON = ("timeout", "incomplete", "download_failed")
#: Bytes of disk without which no claim is made.
_LEAST_DISK = 256 << 20


class Worker:
    """Works on a queue until it is told to stop."""

    def __init__(self, bench: Bench) -> None:
        say = bench.say
        bench.say = lambda text: say(redact(text))
        self._bench, self._options = bench, bench.options
        self._health = Health(bench.options.folder, bench.options.name)
        bench.doing = self._health.tell
        self._own_failures = 0
        self._failed_here: set[str] = set()
        self._signal = 0

    def run(self) -> int:
        """Work; returns the exit status: 0, or 130 after Ctrl+C.

        Raises `AccessError` when the store cannot be reached at the start or may not be written,
        `StoreError` when another worker uses the folder, or nothing can be written to it or to the store,
        `UcbenchError` when children cannot be kept in, the clock is wrong, or this machine fails again and
        again.
        """
        with alone(self._options.folder), self._signals(), self._health.beating():
            self._greet()
            waiting = self._left_behind()
            while not self._bench.stop.is_set():
                request = waiting.pop() if waiting else self._claim()
                if request is not None:
                    self._work_on(request)
                elif not self._options.once:
                    self._health.tell("idle", request=None, model=None)
                    self._bench.stop.wait(self._options.poll)
                if self._options.once and not waiting:
                    break
            self._health.tell("stopped", request=None, model=None)
        return 130 if self._signal == signal.SIGINT else 0

    def _greet(self) -> None:
        results, say = self._bench.results, self._bench.say
        self._check_clock()  # nothing else is worth looking at when the store is out of reach
        shop = child.Workshop(self._options.folder / "probe", self._options.without)
        found = child.isolation(shop)
        child.remove(shop.folder)
        self._health.tell("idle", isolation=str(found))
        say(f"worker {self._options.name}: evaluations have {found}")
        account = results.whoami()
        if account not in published.settings(results).workers:
            say(
                f"note: {account} is no worker of {results.address} (its store.json names them), so what it "
                "publishes counts as self-reported"
            )

    def _check_clock(self) -> None:
        """Leases go by the clocks of those who claim, so a wrong one takes others' requests from them."""
        store = self._bench.queue.store
        time_there = store.time()
        apart = now() - time_there if time_there else timedelta()
        if abs(apart) > SKEW:
            how = "ahead of" if apart > timedelta() else "behind"
            raise UcbenchError(
                f"the clock of this machine is {duration(abs(apart).total_seconds())} {how} that of "
                f"{store.address}, and leases go by it; set it right and start the worker again"
            )

    def _left_behind(self) -> list[Request]:
        """Claims of an earlier start that are still ours, or whose result is ready; what is neither goes."""
        found: list[Request] = []
        for folder in sorted((self._options.folder / "jobs").glob("*")):
            shop = child.Workshop(folder)
            child.clean_up(shop)
            try:
                mine = Request.model_validate_json((folder / "claim.json").read_bytes())
                current = self._bench.queue.get(mine.id)
            except (OSError, ValidationError, UnknownNameError):
                child.remove(folder)
                continue
            ours = current.claim and mine.claim and current.claim.nonce == mine.claim.nonce
            if ours or (
                mine.claim and shop.ended.exists() and current.state in ("PENDING", "RUNNING", "FAILED")
            ):
                self._bench.say(f"{Attempt(self._bench, mine).title}: going on from where it was")
                found.append(mine)
        return found

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self._options.folder).free
        if free < _LEAST_DISK:
            raise StoreError(
                f"{self._options.folder} has {free / 1e6:.0f} MB of disk left, too little for an evaluation; "
                "make room and start the worker again"
            )

    def _sweep(self) -> None:
        """Remove what was kept of requests that have ended, or are no more."""
        folders = list((self._options.folder / "jobs").glob("*"))
        if not folders:
            return
        open_ones = {r.id for r in self._bench.queue.all() if r.state in ("PENDING", "RUNNING")}
        for folder in folders:
            if folder.name not in open_ones:
                child.remove(folder)

    def _claim(self) -> Request | None:
        """The next request; None when there is none, or the store cannot be reached at the moment."""
        queue, lease = self._bench.queue, self._options.time_limit + AFTERWARDS
        try:
            self._sweep()
            self._check_disk()
            # What failed here by this machine's fault is for others first.
            request = queue.claim(
                self._options.name,
                lease=lease,
                accepts=lambda each: each.id not in self._failed_here and self._accepts(each),
            ) or queue.claim(self._options.name, lease=lease, accepts=self._accepts)
        except (OfflineError, ConflictError) as error:
            if self._options.once:
                raise
            self._bench.say(f"no claim: {error}")
            return None
        if request is None:
            return None
        try:
            write_text(self._bench.folder(request) / "claim.json", request.to_json().decode())
        except StoreError:
            self._end(lambda: queue.hand_back(request))
            raise
        return request

    def _accepts(self, request: Request) -> bool:
        options, suite = self._options, suite_of(request.track)
        if options.max_parameters is not None and (
            request.parameters is None or request.parameters > options.max_parameters
        ):
            return False
        # Another version of the benchmark is for workers of that version.
        return request.track in options.tracks and request.benchmark == f"{suite.id}/{suite.version}"

    def _work_on(self, request: Request) -> None:
        """See a claimed request to an end, whatever that is."""
        attempt, say, queue = Attempt(self._bench, request), self._bench.say, self._bench.queue
        self._health.tell("claimed", request=request.id, model=request.model)
        begin, keep = time.monotonic(), False
        say(f"{attempt.title}: request {request.id}, attempt {request.attempts}")
        try:
            run_id = attempt.run()
        except StoppedError:
            say(f"{attempt.title}: handed back")
            keep = True
            self._end(lambda: queue.hand_back(request))
        except (CancelledError, ClaimLostError) as error:
            say(f"{attempt.title}: {error}")
        except JobError as error:
            keep = error.retryable and error.reason in _GOES_ON
            self._failed(attempt, error)
        except Exception as error:
            if isinstance(error, AccessError | StoreError) or is_of_the_machine(error):
                self._not_at_fault(request, error)
            # A fault of the worker's own: told to the submitter without particulars, to the operator with.
            say(f"{attempt.title}: {type(error).__name__}: {error}")
            self._failed(attempt, JobError("worker_failed", type(error).__name__))
            keep = child.Workshop(self._bench.folder(request)).ended.exists()
        else:
            if run_id is None:  # the store is out of reach, and we were told to stop
                return
            self._own_failures = 0
            self._health.count("done")
            say(f"{attempt.title}: done in {duration(time.monotonic() - begin)}, run {run_id}")
        if not keep:
            child.remove(self._bench.folder(request))
        if self._own_failures >= MOST_OWN_FAILURES:
            raise UcbenchError(
                f"{self._own_failures} requests in a row failed by this machine's own fault; mend what the "
                "lines above say and start the worker again"
            )

    def _not_at_fault(self, request: Request, error: Exception) -> NoReturn:
        """Hand a request back that nothing is wrong with, and end the worker."""
        shop = child.Workshop(self._bench.folder(request))
        if is_of_the_machine(error) and not shop.ended.exists():
            child.remove(shop.folder)  # which makes room
        self._end(lambda: self._bench.queue.hand_back(request))
        if isinstance(error, UcbenchError):
            raise error
        raise StoreError(f"cannot work in {self._options.folder}: {error}; mend that") from error

    def _failed(self, attempt: Attempt, error: JobError) -> None:
        self._health.count("failed")
        if error.reason == "worker_failed":
            self._own_failures += 1
            self._failed_here.add(attempt.request.id)
        else:
            self._own_failures = 0
        self._bench.say(f"{attempt.title}: {error.reason}: {error}")
        self._end(
            lambda: self._bench.queue.fail(
                attempt.request, error.reason, str(error), error.log, retryable=error.retryable
            )
        )

    def _end(self, act: Callable[[], Request]) -> None:
        """Tell the queue how a claim ended; where that is not to be, its lease ends it."""
        try:
            self._bench.patiently(act)
        except (ClaimLostError, UnknownNameError, ForbiddenError) as error:
            self._bench.say(str(error))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl+C end the job at hand in order; the second one ends the process at once."""
        before: dict[signal.Signals, Any] = {}

        def stop(number: int, _frame: FrameType | None) -> None:
            self._signal = number
            self._bench.stop.set()
            signal.signal(number, before[signal.Signals(number)])

        if threading.current_thread() is threading.main_thread():
            before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
