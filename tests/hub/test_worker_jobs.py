"""Evaluations on rented machines: the real client, a server that runs the jobs as processes of this machine.

What the Hub itself does with a job is not proven here: its images, how soon and how much of a log it gives.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from ucbench import runs
from ucbench.errors import AccessError
from ucbench.hub.queue import Queue
from ucbench.hub.request import Request, new_id
from ucbench.hub.store import open_store
from ucbench.hub.worker.attempt import Bench, Options
from ucbench.hub.worker.jobs import HfJobs
from ucbench.hub.worker.local import LocalEvaluation
from ucbench.hub.worker.loop import Worker

#: Stands for the image's `ucbench`: takes the arguments of `evaluate`, leaves a copy of a run.
UCBENCH = """#!/bin/sh
echo "evaluating with $*; token: ${HF_TOKEN:-none}"
case "$MODE" in
  wrong) echo "error: the checkpoint has no weights" >&2; exit 2;;
  slow) exec sleep 600;;
esac
printf '%s' '{"model": "acme/vlm", "revision": "'$4'", "dtype": "'$6'"}' > request.json
while [ "$1" != --out ]; do shift; done
mkdir -p "$2"
exec @python@ -S @evaluator@ @template@ honest request.json "$2"
"""


class Jobs:
    """The part of the Hub that rents machines out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.mode = ""
        self.refuse = 0
        self.cut = self.away = 0
        self.jobs: dict[str, dict[str, Any]] = {}
        jobs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = self.path.split("/")[3:]
                if jobs.refuse:
                    return self._send(jobs.refuse, {"error": "no"})
                if len(parts) == 1:
                    return self._send(200, jobs.start(json.loads(body), self.headers["Authorization"]))
                jobs.cancel(parts[1])
                return self._send(200, {})

            def do_GET(self) -> None:
                parts = self.path.split("?")[0].split("/")[3:]
                job = jobs.jobs.get(parts[1])
                if jobs.away:
                    jobs.away -= 1
                    return self._send(503, {"error": "out of order"})
                if job is None:
                    return self._send(404, {"error": "no such job"})
                if len(parts) == 2:
                    return self._send(200, jobs.facts(parts[1]))
                lines = job["log"].read_text().splitlines()
                if jobs.cut:
                    jobs.cut -= 1
                    lines = lines[:-2]
                moment = "2026-01-01T00:00:00.000Z"
                events = [json.dumps({"data": line, "timestamp": moment}) for line in lines]
                return self._send(200, "".join(f"data: {event}\n\n" for event in events).encode())

            def _send(self, status: int, body: object) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                kind = "text/event-stream" if isinstance(body, bytes) else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def start(self, spec: dict[str, Any], authorization: str) -> dict[str, Any]:
        number = f"job{len(self.jobs)}"
        place = self._folder / number
        place.mkdir()
        script = spec["command"][2].replace("/tmp/ucbench-runs", str(place / "runs"))
        env = {"PATH": self.path, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "MODE": self.mode}
        log = place / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["sh", "-c", script], cwd=place, env=env, stdout=stream, stderr=stream, start_new_session=True
            )
        self.jobs[number] = {
            "spec": spec, "authorization": authorization, "process": process, "log": log, "cancelled": False,
        }  # fmt: skip
        return self.facts(number)

    def cancel(self, number: str) -> None:
        self.jobs[number]["cancelled"] = True
        os.killpg(self.jobs[number]["process"].pid, 9)

    def facts(self, number: str) -> dict[str, Any]:
        job = self.jobs[number]
        code = job["process"].poll()
        stage = "CANCELED" if job["cancelled"] else {None: "RUNNING", 0: "COMPLETED"}.get(code, "ERROR")
        return {
            "id": number, "createdAt": "2026-01-01T00:00:00.000Z", "command": job["spec"]["command"],
            "flavor": job["spec"]["flavor"], "labels": job["spec"]["labels"],
            "status": {"stage": stage, "message": None}, "owner": {"id": "1", "name": "acme", "type": "org"},
        }  # fmt: skip


@pytest.fixture
def jobs(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: Path) -> Iterator[Jobs]:
    """The server; `hub` makes this process a client that is online."""
    del hub
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "caches"))
    (tmp_path / "bin").mkdir()
    script = UCBENCH
    for word, value in (
        ("@python@", sys.executable),
        ("@evaluator@", Path(__file__).with_name("evaluator.py")),
        ("@template@", small_run),
    ):
        script = script.replace(word, str(value))
    (tmp_path / "bin" / "ucbench").write_text(script)
    (tmp_path / "bin" / "ucbench").chmod(0o755)
    server = Jobs(tmp_path)
    threading.Thread(target=server.server.serve_forever, daemon=True).start()
    yield server
    server.server.shutdown()
    for job in server.jobs.values():
        job["process"].kill()


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(open_store(str(tmp_path / "store")))


@pytest.fixture
def asked(queue: Queue) -> Request:
    fields = {
        "id": new_id(), "model": "acme/vlm", "revision": "0" * 40, "dtype": "float32", "track": "pictograms",
        "benchmark": "pictograms/1", "submitter": "ada", "submitted_at": datetime.now(UTC),
    }  # fmt: skip
    return queue.add(Request.model_validate(fields))


@pytest.fixture
def bench(jobs: Jobs, queue: Queue, tmp_path: Path) -> Bench:
    api = HfApi(endpoint=jobs.url, token="hf_thetokenoftheworker")
    rented = HfJobs(api, "acme/ucbench:1", "l4x1", "acme", LocalEvaluation(limit=2), every=0.05)
    options = Options(
        tmp_path / "worker", "box", ("pictograms",), limit=2, once=True, time_limit=timedelta(hours=1)
    )
    return Bench(queue, queue.store, rented, None, options, lambda _text: None)


def test_a_run_comes_home_from_a_job_that_has_no_token(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request, tmp_path: Path
) -> None:
    jobs.cut = 2  # the end of the log comes late
    assert Worker(bench).run() == 0
    ended = queue.get(asked.id)
    assert ended.state == "DONE", (ended.message, ended.log)
    (run,) = runs.find(tmp_path / "store")
    assert (run.record().provenance, run.run_id) == ("measured", ended.run_id)
    (job,) = jobs.jobs.values()
    spec = job["spec"]
    assert spec["labels"]["ucbench-request"] == asked.id
    assert (spec["dockerImage"], spec["flavor"]) == ("acme/ucbench:1", "l4x1")
    assert 3000 < spec["timeoutSeconds"] <= 3600
    assert not spec.get("secrets")
    assert job["authorization"] == "Bearer hf_thetokenoftheworker"
    assert "hf_thetoken" not in json.dumps(spec)
    assert "token: none" in job["log"].read_text()


def test_a_job_that_fails_is_told_with_its_log(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request
) -> None:
    jobs.mode = "wrong"
    Worker(bench).run()
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason) == ("FAILED", "unsupported")
    assert failed.message
    assert "the checkpoint has no weights" in failed.message
    assert failed.log
    assert "evaluating with evaluate acme/vlm --revision" in failed.log


def test_a_job_whose_machine_dies_is_tried_again(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request
) -> None:
    jobs.mode = "slow"

    def die() -> None:
        until(lambda: jobs.jobs)
        jobs.jobs["job0"]["process"].kill()

    thread = threading.Thread(target=die)
    thread.start()
    Worker(bench).run()
    thread.join()
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason) == ("PENDING", "job_failed")


def test_a_hub_that_is_away_loses_no_job_that_has_ended(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request
) -> None:
    jobs.away = 30
    assert Worker(bench).run() == 0
    assert (queue.get(asked.id).state, len(jobs.jobs)) == ("DONE", 1)


def test_stopping_the_worker_cancels_the_job(jobs: Jobs, bench: Bench, queue: Queue, asked: Request) -> None:
    jobs.mode = "slow"

    def stop() -> None:
        until(lambda: jobs.jobs)
        bench.stop.set()

    thread = threading.Thread(target=stop)
    thread.start()
    assert Worker(bench).run() == 0
    thread.join()
    assert jobs.jobs["job0"]["cancelled"]
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)
    bench.stop.clear()
    jobs.mode = ""
    assert Worker(bench).run() == 0  # with another job than the cancelled one
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts, len(jobs.jobs)) == ("DONE", 1, 2)


def test_a_worker_that_was_killed_goes_on_with_the_job_it_rented(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(HfJobs, "_wait", die)
        patch.setattr(HfJobs, "_cancel", lambda *_: None)  # a killed worker cancels nothing
        with pytest.raises(KeyboardInterrupt):
            Worker(bench).run()
    assert queue.get(asked.id).state == "RUNNING"
    Worker(bench).run()
    assert queue.get(asked.id).state == "DONE"
    assert len(jobs.jobs) == 1


def test_an_account_that_may_not_rent_is_told_so_and_keeps_no_claim(
    jobs: Jobs, bench: Bench, queue: Queue, asked: Request
) -> None:
    jobs.refuse = 402
    with pytest.raises(AccessError, match="may not run jobs for acme"):
        Worker(bench).run()
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
