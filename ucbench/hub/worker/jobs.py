"""An evaluation on a machine that is rented for it: a Job of the Hugging Face Hub.

The job runs `ucbench evaluate` in an image that has ucbench. It gets no token: it fetches the public model
at its commit, and its run comes back through its log (see `parcel`), to be received like that of a child.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import AccessError
from ucbench.files import write_text
from ucbench.hub.redact import tail
from ucbench.hub.worker import parcel
from ucbench.hub.worker.failure import JobError
from ucbench.hub.worker.local import Job, LocalEvaluation, explain_status

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_OUT = "/tmp/ucbench-runs"
_STATUS = re.compile(r"ucbench-status (\d+)")
_ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")


@dataclass(frozen=True, slots=True)
class HfJobs:
    """Evaluates as a Hugging Face Job. `evaluation` says how, `image` holds ucbench, `flavor` is the machine.

    `every` seconds the job is asked after; `namespace` is who pays for it.
    """

    api: HfApi
    image: str
    flavor: str
    namespace: str
    evaluation: LocalEvaluation
    every: float = 15.0

    def __call__(self, job: Job, watch: Callable[[], object], say: Callable[[str], object]) -> None:
        """Leave a run in the job's workshop. Raises `JobError`, and what `watch` raises."""
        job.shop.prepare()
        note = job.shop.folder / "job.json"
        rented = self._rented(job, note, say)
        try:
            stage, message = self._wait(rented, job, watch, say)
        except BaseException:
            self._cancel(rented, note)
            raise
        lines = self._log(rented, job, watch)
        for _ in range(3):  # the end of a log may come late
            if stage != "COMPLETED" or any(line.startswith("ucbench-run end") for line in lines):
                break
            time.sleep(self.every / 3)
            lines = self._log(rented, job, watch)
        text = tail("\n".join(line for line in lines if not parcel.is_line(line)), 8000)
        job.shop.log.write_text(text, encoding="utf-8")
        note.unlink(missing_ok=True)
        if status := [int(found[1]) for line in lines if (found := _STATUS.fullmatch(line.strip()))]:
            explain_status(status[-1], text)
        if stage != "COMPLETED":
            raise JobError("job_failed", f"it ended {stage} {message}".strip(), log=text)
        try:
            parcel.unpack(lines, job.shop.out)
        except parcel.ParcelError as error:
            raise JobError("job_failed", str(error), log=text) from error

    def command(self, job: Job) -> list[str]:
        """What the job runs."""
        evaluate = shlex.join(["ucbench", *self.evaluation.evaluate(job.request, _OUT)])
        pack = f"python -m {parcel.__name__} {_OUT}"
        script = f"{evaluate}; code=$?; echo ucbench-status $code; [ $code -ne 0 ] || {pack}; exit $code"
        return ["sh", "-c", script]

    def _rented(self, job: Job, note: Path, say: Callable[[str], object]) -> str:
        """The id of the job, which a worker that was killed may have begun."""
        with suppress(OSError, ValueError, KeyError, JobError):
            known = str(json.loads(note.read_text(encoding="utf-8"))["id"])
            found = self._ask(known)
            if found is None or found[0] not in _ENDED or found[0] == "COMPLETED":
                return known
        made = self._explained(
            lambda: self.api.run_job(
                image=self.image,
                command=self.command(job),
                flavor=self.flavor,
                timeout=int(max(60, job.seconds_left)),
                labels={"ucbench-request": job.request.id},
                namespace=self.namespace,
            )
        )
        write_text(note, json.dumps({"id": made.id}))
        say(f"job {made.id} on {self.flavor}")
        return str(made.id)

    def _wait(
        self, rented: str, job: Job, watch: Callable[[], object], say: Callable[[str], object]
    ) -> tuple[str, str]:
        """Its last stage, with the Hub's words about it. Raises `JobError`, and what `watch` raises."""
        stage = ""
        while True:
            found = self._ask(rented)
            if found and found[0] != stage:
                stage = found[0]
                say(f"job {rented}: {stage.lower()}")
            if found and stage in _ENDED:
                return found
            if job.seconds_left <= 0:
                raise JobError("timeout", "the job was cancelled")
            self._pause(watch)

    def _ask(self, rented: str) -> tuple[str, str] | None:
        """(stage, message) of the job; None when nothing can be learnt at the moment. Raises `JobError`."""
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

        try:
            status = self.api.inspect_job(job_id=rented, namespace=self.namespace).status
        except (HfHubHTTPError, httpx.TransportError, OSError) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code == 404:
                raise JobError("job_failed", "the Hub knows nothing of the job any more") from error
            return None
        return str(getattr(status.stage, "value", status.stage)), status.message or ""

    def _pause(self, watch: Callable[[], object]) -> None:
        until = time.monotonic() + self.every
        while time.monotonic() < until:
            watch()
            time.sleep(min(0.5, self.every))

    def _log(self, rented: str, job: Job, watch: Callable[[], object]) -> list[str]:
        """All that the job printed: its run is in it, so a Hub that is away is waited for."""
        while True:
            try:
                lines = self._explained(
                    lambda: list(self.api.fetch_job_logs(job_id=rented, namespace=self.namespace))
                )
            except JobError:
                if job.seconds_left <= 0:
                    raise
                self._pause(watch)
            else:
                return [line for text in lines for line in text.splitlines()]

    def _cancel(self, rented: str, note: Path) -> None:
        note.unlink(missing_ok=True)
        with suppress(Exception):  # it ends by itself when its time is over
            self.api.cancel_job(job_id=rented, namespace=self.namespace)

    def _explained(self, call: Callable[[], Any]) -> Any:
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

        try:
            return call()
        except HfHubHTTPError as error:
            if error.response.status_code in (401, 402, 403):
                raise AccessError(
                    f"this account may not run jobs for {self.namespace}; use a token that may, and see that "
                    "jobs are paid for there"
                ) from error
            raise JobError("job_failed", str(error).strip().partition("\n")[0]) from error
        except (httpx.TransportError, OSError) as error:
            raise JobError("job_failed", f"the Hub cannot be reached ({type(error).__name__})") from error
