"""An evaluation on this machine: what command is run, and what its end means."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ucbench.format import seconds as duration
from ucbench.hub.redact import readable, redact, tail_of_file
from ucbench.hub.request import Request
from ucbench.hub.worker import child
from ucbench.hub.worker.failure import JobError

#: What is printed when the memory of the device, or the machine, is full.
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|can't allocate memory|not enough memory|MemoryError", re.IGNORECASE
)
#: Sentences of ucbench about this machine and not about the model.
_OWN_FAULT = re.compile(r"^error: (cannot write|another process is)", re.MULTILINE)
_ERROR_LINE = re.compile(r"^error: (.+)$", re.MULTILINE)
#: A line of the child's progress is passed on at most this often (seconds).
_PASSED_ON = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed request and where it is worked on. `deadline` is on the clock of `time.monotonic`."""

    request: Request
    shop: child.Workshop
    deadline: float

    @property
    def seconds_left(self) -> float:
        """Until the job has to be over."""
        return self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class LocalEvaluation:
    """Evaluates in a child process: `ucbench evaluate`, or `evaluator`, a command of the operator.

    `evaluator` is called with the path of the request's JSON file and that of the folder for the run. `data`
    names local data for tracks that need some.
    """

    evaluator: str | None = None
    limit: int | None = None
    batch_size: int | None = None
    device: str | None = None
    memory: int | None = None
    data: dict[str, str] = field(default_factory=dict)

    def __call__(self, job: Job, watch: Callable[[], object], say: Callable[[str], object]) -> None:
        """Leave a run in the job's workshop. Raises `JobError`, and what `watch` raises."""
        shop, request = job.shop, job.request
        shop.log.unlink(missing_ok=True)
        follow = _Follower(shop.log, say)

        def look() -> None:
            watch()
            follow()

        # Never all of the disk that others write to as well.
        disk = min(child.MOST_DISK, shutil.disk_usage(shop.folder.parent).free // 2)
        limits = child.Limits(max(1.0, job.seconds_left), self.memory, disk)
        outcome = child.run(self.command(request, shop), shop, limits, watch=look)
        explain(outcome, limits, tail_of_file(shop.log, 8000, also=[str(shop.folder.resolve())]))

    def command(self, request: Request, shop: child.Workshop) -> list[str]:
        """What the child runs."""
        if self.evaluator:
            path = shop.folder.resolve() / "request.json"
            path.write_bytes(request.to_json())
            return [*shlex.split(self.evaluator), str(path), str(shop.out.resolve())]
        return [sys.executable, "-m", "ucbench.cli", *self.evaluate(request, str(shop.out.resolve()))]

    def evaluate(self, request: Request, out: str) -> list[str]:
        """The arguments of `ucbench` for a request."""
        words = ["evaluate", request.model, "--revision", request.revision]
        if request.base_revision:
            # An adapter may name a branch of its base, or nothing: meant is what the gates looked at.
            words += ["--base-revision", request.base_revision]
        words += ["--dtype", request.dtype, "--track", request.track, "--out", out]
        for option, value in (
            ("--limit", self.limit),
            ("--batch-size", self.batch_size),
            ("--device", self.device),
            ("--data", self.data.get(request.track)),
        ):
            words += [] if value is None else [option, str(value)]
        return words


class _Follower:
    """Passes the child's progress on, now and then the newest line."""

    def __init__(self, log: Path, say: Callable[[str], object]) -> None:
        self._log, self._say = log, say
        self._at, self._last = 0, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last < _PASSED_ON:
            return
        self._last = time.monotonic()
        with self._log.open("rb") as stream:
            end = stream.seek(0, 2)
            stream.seek(max(self._at, end - 4096))
            text = stream.read(4096).decode("utf-8", "replace")
        self._at = end
        lines = [line for line in readable(text).splitlines() if line.strip()]
        if lines:
            self._say(redact(lines[-1])[:200])


def explain(outcome: child.Outcome, limits: child.Limits, log: str) -> None:
    """Raises `JobError` unless the child ended well; `log` is the redacted end of what it printed."""
    took = duration(outcome.seconds)
    if outcome.ending == "timeout":
        raise JobError("timeout", f"it was stopped after {took}", log=log)
    if outcome.ending == "memory":
        allowed = f"{(limits.memory or 0) / 1e9:.1f} GB"
        raise JobError(
            "out_of_memory",
            f"it took {outcome.peak / 1e9:.1f} GB of main memory, and {allowed} are allowed",
            log=log,
        )
    if outcome.ending == "disk":
        raise JobError(
            "evaluator_failed", f"it wrote more than {limits.disk / 1e9:.1f} GB", log=log, retryable=False
        )
    if outcome.ending == "processes":
        raise JobError("evaluator_failed", "it started too many processes", log=log, retryable=False)
    explain_status(outcome.code or 0, log)


def explain_status(code: int, log: str) -> None:
    """Raises `JobError` for an exit status of the evaluation other than 0."""
    if code == 0:
        return
    sentences = _ERROR_LINE.findall(log)
    said = sentences[-1] if sentences else ""
    if _OUT_OF_MEMORY.search(log) and code != 3:
        raise JobError("out_of_memory", said, log=log)
    if code == 2 and said:
        if _OWN_FAULT.search(log):
            raise JobError("worker_failed", said, log=log)
        raise JobError("unsupported", said, log=log)
    if code == 3 and said:
        raise JobError("track_data", said, log=log)
    if code == 128 + 9:
        raise JobError("out_of_memory", "the system killed it, most likely for want of memory", log=log)
    how = f"by signal {code - 128}" if code > 128 else f"with status {code}"
    raise JobError("evaluator_failed", f"it ended {how}", log=log)
