"""The worker: every request comes to an end that is told, whatever happens to the worker meanwhile."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ucbench import board, runs
from ucbench.cli import app
from ucbench.errors import AccessError, StoreError, UcbenchError
from ucbench.hub.dataset import DatasetStore
from ucbench.hub.folder import FolderStore
from ucbench.hub.queue import Queue
from ucbench.hub.request import Request, new_id
from ucbench.hub.retry import Patience
from ucbench.hub.store import OfflineError, Store, open_store
from ucbench.hub.worker import attempt, health, loop, processes
from ucbench.hub.worker.attempt import Bench, Options
from ucbench.hub.worker.failure import JobError
from ucbench.hub.worker.local import LocalEvaluation
from ucbench.hub.worker.loop import Worker
from ucbench.hub.worker.weights import Weights

LIMIT = 2
EVALUATOR = Path(__file__).with_name("evaluator.py")


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "caches"))


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(open_store(str(tmp_path / "store")))


def request(model: str = "acme/vlm", **fields: object) -> Request:
    content: dict[str, object] = {
        "id": new_id(), "model": model, "revision": "0" * 40, "dtype": "float32", "track": "pictograms",
        "benchmark": "pictograms/1", "submitter": "ada", "submitted_at": datetime.now(UTC),
    }  # fmt: skip
    return Request.model_validate({**content, **fields})


Make = Callable[..., Bench]


@pytest.fixture
def said() -> list[str]:
    """What workers told their operator."""
    return []


@pytest.fixture
def bench(queue: Queue, small_run: Path, tmp_path: Path, said: list[str]) -> Make:
    """Makes what a worker needs, with an evaluation in one of the evaluator's modes."""

    def make(mode: str = "honest", results: Store | None = None, **options: Any) -> Bench:
        wanted = {"folder": tmp_path / "worker", "name": "box", "tracks": ("pictograms",), "limit": LIMIT}
        return Bench(
            queue, results or queue.store, LocalEvaluation(command(small_run, mode)), None,
            Options(**{**wanted, "once": True, **options}), said.append,
        )  # fmt: skip

    return make


def command(small_run: Path, mode: str) -> str:
    return shlex.join([sys.executable, "-S", str(EVALUATOR), str(small_run), mode])


class Hasty(threading.Event):
    """An event that nobody has to wait for."""

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        return super().wait(0.01)


def head(store: Store) -> int:
    return int(store.head().partition("-")[0])


def test_an_adapter_is_evaluated_on_the_base_that_the_gates_looked_at() -> None:
    words = LocalEvaluation().evaluate(request(base="acme/base", base_revision="b" * 40), "out")
    assert words[words.index("--base-revision") + 1] == "b" * 40
    assert "--base-revision" not in LocalEvaluation().evaluate(request(), "out")


# To a good end.


def test_a_request_becomes_a_measured_run_on_the_board_in_two_commits(
    queue: Queue, bench: Make, tmp_path: Path
) -> None:
    asked = queue.add(request())
    before = head(queue.store)
    made = bench()
    assert Worker(made).run() == 0
    ended = queue.get(asked.id)
    assert (ended.state, ended.attempts, ended.claim) == ("DONE", 1, None)
    assert head(queue.store) == before + 2
    (run,) = runs.find(tmp_path / "store")
    record = run.record()
    assert (record.run_id, record.provenance, record.status) == (ended.run_id, "measured", "partial")
    assert record.entry.model == "acme/vlm"
    assert list(board.load(tmp_path / "store").rows["run_id"]) == [ended.run_id]
    assert not list((tmp_path / "worker" / "jobs").glob("*"))
    told = health.status(tmp_path / "worker")
    assert told
    assert (told["doing"], told["done"], told["alive"]) == ("stopped", 1, False)
    assert "no network" in told["isolation"]


def test_it_takes_what_it_was_told_to_take(queue: Queue, bench: Make) -> None:
    for name, fields in {
        "acme/other-track": {"track": "contexts", "benchmark": "contexts/1"},
        "acme/other-version": {"benchmark": "pictograms/2"},
        "acme/large": {"parameters": 8_000_000_000},
        "acme/unknown-size": {},
        "acme/small": {"parameters": 1_000_000},
    }.items():
        queue.add(request(name, **fields))
    assert Worker(bench(max_parameters=7_000_000_000)).run() == 0
    assert Worker(bench(max_parameters=7_000_000_000)).run() == 0  # nothing is left for it
    assert [r.model for r in queue.all() if r.state != "PENDING"] == ["acme/small"]


def test_forged_scores_and_daemons_of_an_evaluation_have_no_effect(
    queue: Queue, bench: Make, small_run: Path, tmp_path: Path
) -> None:
    queue.add(request("acme/forger"))
    queue.add(request("acme/summoner"))
    Worker(bench("forged")).run()
    Worker(bench("daemon")).run()
    truth = runs.Run(small_run).record().scores
    assert {run.record().entry.model for run in runs.find(tmp_path / "store")} == {
        "acme/forger", "acme/summoner"
    }  # fmt: skip
    assert [run.record().scores == truth for run in runs.find(tmp_path / "store")] == [True, True]
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x004713\x00" not in lines


# To a bad end, which is told.


def test_failures_have_a_reason_a_sentence_and_a_log_without_secrets(
    queue: Queue, bench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thetokenoftheworker")
    asked = queue.add(request())
    Worker(bench("secrets")).run()
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason, failed.attempts) == ("PENDING", "evaluator_failed", 1)
    assert failed.message
    assert failed.message.startswith("The evaluation ended with an error: it ended with status 1")
    assert failed.log
    assert failed.log.startswith("[redacted] no token here")
    assert str(tmp_path) not in failed.log
    Worker(bench("memory")).run()
    assert queue.get(asked.id).reason == "out_of_memory"
    Worker(bench("link")).run()
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason, failed.attempts) == ("FAILED", "invalid_result", 3)
    assert "hf_thetoken" not in (tmp_path / "store" / failed.path).read_text()
    assert list(runs.find(tmp_path / "store")) == []


def test_what_takes_too_long_is_stopped(queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt.Attempt, "_seconds_left", lambda _self: 0.5)
    asked = queue.add(request())
    Worker(bench("slow")).run()
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason, failed.log) == ("PENDING", "timeout", "evaluating slowly")


def test_a_cancelled_request_is_stopped(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(attempt, "LOOK_EVERY", 0.0)
    asked = queue.add(request())
    made = bench("slow")

    def cancel() -> None:
        until(lambda: queue.get(asked.id).state == "RUNNING")
        queue.cancel(asked.id, "ada")

    thread = threading.Thread(target=cancel)
    thread.start()
    assert Worker(made).run() == 0
    thread.join()
    assert queue.get(asked.id).state == "CANCELLED"
    assert "no longer ours" in str(said)


def test_a_worker_that_fails_by_its_own_fault_gives_up_before_all_attempts_are_gone(
    queue: Queue, bench: Make, said: list[str]
) -> None:
    for number in range(5):
        queue.add(request(f"acme/{number}"))
    made = bench(once=False)
    made.evaluation = lambda *_: 1 / 0
    with pytest.raises(UcbenchError, match="3 requests in a row failed by this machine's own fault"):
        Worker(made).run()
    # None is used up: another machine may do better.
    assert [(r.state, r.attempts, r.reason) for r in queue.all()] == [
        *[("PENDING", 1, "worker_failed")] * 3, *[("PENDING", 0, None)] * 2
    ]  # fmt: skip
    assert "ZeroDivisionError: division by zero" in str(said)


def test_without_access_the_claim_is_handed_back(queue: Queue, bench: Make) -> None:
    def refuse(*_: object) -> None:
        raise AccessError("this account may not run jobs")

    asked = queue.add(request())
    made = bench()
    made.evaluation = refuse
    with pytest.raises(AccessError):
        Worker(made).run()
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)


# The store is away, or two.


def test_a_store_that_is_away_is_waited_for(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    asked = queue.add(request())
    done, failures = queue.done, iter([OfflineError("the Hub is out of order")] * 3)

    def hiccup(*arguments: Any) -> Request:
        for error in failures:
            raise error
        return done(*arguments)

    monkeypatch.setattr(queue, "done", hiccup)
    made = bench()
    made.stop = Hasty()
    assert Worker(made).run() == 0
    assert queue.get(asked.id).state == "DONE"
    assert str(said).count("the Hub is out of order") == 3


def test_a_store_that_goes_away_is_told_by_a_worker_that_does_not_wait(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OfflineError("the Hub is out of order")

    monkeypatch.setattr(queue, "claim", away)
    with pytest.raises(OfflineError):
        Worker(bench()).run()


def test_a_result_that_is_there_already_is_not_computed_again(
    queue: Queue, bench: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = open_store(str(tmp_path / "results"))
    asked = queue.add(request())
    with monkeypatch.context() as patch:  # killed between the two commits

        def die(*_: object) -> Request:
            raise KeyboardInterrupt

        patch.setattr(queue, "done", die)
        with pytest.raises(KeyboardInterrupt):
            Worker(bench(results=results)).run()
    assert len(list(runs.find(tmp_path / "results"))) == 1
    assert queue.get(asked.id).state == "RUNNING"
    made = bench(results=results)
    made.evaluation = lambda *_: pytest.fail("it was evaluated again")
    assert Worker(made).run() == 0
    ended = queue.get(asked.id)
    assert (ended.state, ended.attempts) == ("DONE", 1)
    assert [run.run_id for run in runs.find(tmp_path / "results")] == [ended.run_id]
    assert not list(runs.find(tmp_path / "store"))


def test_a_self_reported_run_does_not_stand_for_a_measurement(
    queue: Queue, bench: Make, tmp_path: Path, said: list[str]
) -> None:
    store = tmp_path / "store"
    queue.add(request())
    (store / "store.json").write_text('{"workers": ["somebody"]}')
    made = bench()
    Worker(made).run()
    assert "counts as self-reported" in str(said)
    (run,) = runs.find(store)
    assert run.record().provenance == "self-reported"
    (store / "store.json").write_text('{"workers": ["local"], "maintainers": ["local"]}')
    queue.add(
        request(benchmark="pictograms/1", submitter="bob", dtype="float32", id=new_id(), model="acme/b")
    )
    Worker(bench()).run()
    provenances = {run.record().entry.model: run.record().provenance for run in runs.find(store)}
    assert provenances == {"acme/vlm": "self-reported", "acme/b": "measured"}


@pytest.fixture
def remote(hub: Any, tmp_path: Path) -> Store:
    """A store on the Hub that is asked quickly."""
    hub.create_repo("dataset", "acme/store", owner="alice")
    hub.commit("dataset", "acme/store", {"store.json": b'{"workers": ["alice"]}'})
    patience = Patience(attempts=2, first=0.01, longest=0.01)
    return DatasetStore("acme/store", token="hf_alice", patience=patience, cache=tmp_path / "blobs")


class Killed(threading.Event):
    """A worker that waits for its store is killed, or told to stop."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def wait(self, timeout: float | None = None) -> bool:
        del timeout
        if self.how == "killed":
            raise KeyboardInterrupt
        self.set()
        return True


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_result_that_is_ready_is_published_later_and_not_computed_again(
    hub: Any, remote: Store, bench: Make, how: str, said: list[str]
) -> None:
    queue = Queue(remote)
    asked = queue.add(request())
    made = bench(results=remote)
    made.queue, made.stop, honest = queue, Killed(how), made.evaluation

    def evaluate(*words: Any) -> None:
        honest(*words)
        hub.faults.add("503", method="POST", path="*/commit/*", times=None)

    made.evaluation = evaluate
    if how == "killed":
        with pytest.raises(KeyboardInterrupt):
            Worker(made).run()
    else:
        assert Worker(made).run() == 0
    hub.faults.clear()
    assert queue.get(asked.id).state == "RUNNING"
    again = bench(results=remote)
    again.queue, again.evaluation = queue, lambda *_: pytest.fail("it was evaluated again")
    assert Worker(again).run() == 0
    ended = queue.get(asked.id)
    assert (ended.state, ended.attempts) == ("DONE", 1)
    assert "was evaluated before" in str(said)
    assert f"acme-vlm/{ended.run_id}/record.json" in hub.files("dataset", "acme/store")
    titles = [commit["title"] for commit in hub.commits("dataset", "acme/store")]
    assert sum(title.startswith("Done: ") for title in titles) == 1


def test_a_result_that_was_ready_is_published_though_its_claim_is_lost(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    asked = queue.add(request())
    with monkeypatch.context() as patch:

        def die(*_: object) -> Request:
            raise KeyboardInterrupt

        patch.setattr(queue, "done", die)
        with pytest.raises(KeyboardInterrupt):
            Worker(bench()).run()
    later = Queue(queue.store, lambda: datetime.now(UTC) + timedelta(days=1))
    assert later.claim("other", lease=timedelta(hours=1))
    made = bench()
    made.evaluation = lambda *_: pytest.fail("it was evaluated again")
    assert Worker(made).run() == 0
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("DONE", 2), said


def test_a_store_that_cannot_be_written_costs_no_attempt_and_no_result(
    queue: Queue, bench: Make, tmp_path: Path
) -> None:
    results = open_store(str(tmp_path / "results"))
    asked = queue.add(request())
    made = bench(results=results)
    honest = made.evaluation

    def evaluate(*words: Any) -> None:
        honest(*words)
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "store.json").write_text("{")

    made.evaluation = evaluate
    with pytest.raises(StoreError, match=r"store\.json .* is damaged"):
        Worker(made).run()
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)
    (tmp_path / "results" / "store.json").unlink()
    again = bench(results=results)
    again.evaluation = lambda *_: pytest.fail("it was evaluated again")
    Worker(again).run()
    assert queue.get(asked.id).state == "DONE"


def test_a_damaged_queue_takes_no_result_with_it(queue: Queue, bench: Make, tmp_path: Path) -> None:
    job = tmp_path / "worker" / "jobs" / "x"
    job.mkdir(parents=True)
    (job / "claim.json").write_bytes(queue.add(request()).to_json())
    (tmp_path / "store" / ".ucbench" / "head").write_text("?")
    with pytest.raises(StoreError, match="is damaged"):
        Worker(bench()).run()
    assert job.is_dir()


def test_a_request_that_is_taken_out_of_the_store_ends_nothing_else(
    queue: Queue, bench: Make, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, there = queue.add(request("acme/gone")), queue.add(request("acme/there"))
    made = bench()
    honest = made.evaluation

    def evaluate(*words: Any) -> None:
        honest(*words)
        if queue.get(there.id).state == "PENDING":
            queue.store.commit({gone.path: None}, expected=queue.store.head(), message="by hand")

    made.evaluation = evaluate
    Worker(made).run()
    assert "there is no request" in str(said)
    Worker(made).run()
    assert [r.state for r in queue.all()] == ["DONE"]
    # And while it is evaluated.
    monkeypatch.setattr(attempt, "LOOK_EVERY", 0.0)
    watch = attempt.Watch(made, gone)
    with pytest.raises(attempt.CancelledError, match="in the queue no more"):
        until(watch)  # type: ignore[arg-type]


def test_a_store_that_hangs_keeps_nobody_from_watching_over_the_evaluation(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt.Attempt, "_seconds_left", lambda _self: 0.5)
    monkeypatch.setattr(attempt, "LOOK_EVERY", 0.0)
    asked, get, end = queue.add(request()), queue.get, threading.Event()

    def hang(*words: Any) -> Request:
        if threading.current_thread() is not threading.main_thread():
            end.wait(60)
        return get(*words)

    monkeypatch.setattr(queue, "get", hang)
    Worker(bench("slow")).run()
    end.set()
    assert get(asked.id).reason == "timeout"


# The machine.


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_no_request_an_attempt(
    queue: Queue, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = queue.add(request())
    made = bench()
    for patch in (
        lambda m: m.setattr(loop, "_LEAST_DISK", 1 << 60),  # before the claim
        lambda m: m.setattr(tempfile, "mkstemp", full),  # right after it
        lambda m: m.setattr(made, "evaluation", full),
        lambda m: m.setattr(attempt.received, "receive", full),
    ):
        with monkeypatch.context() as context:
            context.setattr(health.Health, "_write", lambda _self: None)
            context.setattr(FolderStore, "time", lambda _self: None)
            patch(context)
            with pytest.raises(StoreError, match=r"disk left|No space left"):
                Worker(made).run()
        assert queue.get(asked.id).attempts <= 1
        if queue.get(asked.id).state == "RUNNING":  # not even the store could be written
            queue.hand_back(queue.get(asked.id))
        assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)
    assert Worker(bench()).run() == 0
    assert queue.get(asked.id).state == "DONE"


@pytest.mark.parametrize(("hours", "how"), [(1, "ahead of"), (-1, "behind")])
def test_a_worker_whose_clock_is_wrong_takes_nothing(
    queue: Queue, bench: Make, hours: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = queue.add(request())
    monkeypatch.setattr(loop, "now", lambda: datetime.now(UTC) + timedelta(hours=hours))
    with pytest.raises(UcbenchError, match=f"the clock of this machine is .* {how} that of"):
        Worker(bench()).run()
    assert queue.get(asked.id).state == "PENDING"


@pytest.mark.parametrize("align", ["[" * 100_000, "{}" + " " * (5 << 20), '{"base": 1}'])
def test_what_a_checkpoint_says_of_its_training_is_read_with_care(tmp_path: Path, align: str) -> None:
    (tmp_path / "align.json").write_text(align)
    with pytest.raises(JobError) as found:
        attempt._trained_on(Weights("acme/vlm", "0" * 40, tmp_path))
    assert found.value.reason == "unsupported"


def test_an_evaluation_may_take_most_of_the_memory_here_unless_told_otherwise(tmp_path: Path) -> None:
    told: list[int | None] = []
    for words in ([], ["--memory-limit", "3"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Worker, "run", lambda self: told.append(self._bench.evaluation.memory) or 0)
            patch.setattr("ucbench.hub.worker.processes.hide_memory", lambda: None)
            done = invoke("worker", "--store", str(tmp_path), "--folder", str(tmp_path / "w"), *words)
            assert done.exit_code == 0, done.exception
    total = processes.memory_of_machine()
    assert 10**8 < total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert told == [int(0.9 * total), 3 * 10**9]


# Stopped and killed, as processes.


def start(tmp_path: Path, small_run: Path, mode: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-m", "ucbench.cli", "worker", "--store", str(tmp_path / "store"),
            "--name", "box", "--folder", str(tmp_path / "workers"), "--limit", str(LIMIT),
            "--poll", "0.2", "--evaluator",
            command(small_run, mode), "--cache-gb", "0.1", *more,
        ],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def submitted(hub: Any, queue: Queue) -> Request:
    """A request for a model that is on the Hub."""
    hub.create_repo("model", "acme/vlm", owner="alice")
    commit = hub.commit("model", "acme/vlm", {"config.json": b"{}", "model.safetensors": b"s" * 100})
    return queue.add(request(revision=commit))


def is_evaluating(queue: Queue, asked: Request, tmp_path: Path, starts: int = 1) -> bool:
    count = tmp_path / "workers" / "box" / "jobs" / asked.id / "work" / "out" / "starts"
    return queue.get(asked.id).state == "RUNNING" and count.exists() and count.read_text() == str(starts)


def test_a_worker_that_is_stopped_hands_its_claim_back(
    queue: Queue, submitted: Request, small_run: Path, tmp_path: Path
) -> None:
    worker = start(tmp_path, small_run, "slow")
    until(lambda: is_evaluating(queue, submitted, tmp_path))
    told = health.status(tmp_path / "workers" / "box")
    assert told
    assert (told["alive"], told["doing"], told["request"]) == (True, "evaluating", submitted.id)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 0, said
    back = queue.get(submitted.id)
    assert (back.state, back.attempts, back.claim) == ("PENDING", 0, None)
    assert "handed back" in said


def test_ctrl_c_hands_the_claim_back_too_and_exits_130(queue: Queue, bench: Make, said: list[str]) -> None:
    asked, before = queue.add(request()), signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        until(lambda: queue.get(asked.id).state == "RUNNING")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert Worker(bench("slow", once=False)).run() == 130
    thread.join()
    assert (queue.get(asked.id).state, queue.get(asked.id).attempts) == ("PENDING", 0)
    assert "handed back" in str(said)
    assert signal.getsignal(signal.SIGINT) is before


def test_after_a_kill_the_same_worker_goes_on_with_its_claim(
    queue: Queue, submitted: Request, small_run: Path, tmp_path: Path
) -> None:
    worker = start(tmp_path, small_run, "second")
    until(lambda: is_evaluating(queue, submitted, tmp_path))
    worker.kill()
    worker.communicate()
    assert queue.get(submitted.id).state == "RUNNING"
    _, said = start(tmp_path, small_run, "second", "--once").communicate(timeout=60)
    ended = queue.get(submitted.id)
    assert (ended.state, ended.attempts) == ("DONE", 1), said
    assert "going on from where it was" in said


def test_a_second_worker_in_the_same_folder_is_refused(tmp_path: Path, bench: Make) -> None:
    with (
        health.alone(tmp_path / "worker"),
        pytest.raises(StoreError, match="another worker is at work in"),
    ):
        Worker(bench()).run()


def test_what_earlier_starts_left_is_cleared_away(queue: Queue, bench: Make, tmp_path: Path) -> None:
    jobs = tmp_path / "worker" / "jobs"
    asked = {name: queue.add(request(f"acme/{name}")) for name in ("waiting", "ended")}
    queue.cancel(asked["ended"].id, "ada")
    for one in asked.values():
        (jobs / one.id).mkdir(parents=True)
        (jobs / one.id / "claim.json").write_bytes(one.to_json())
    (jobs / "damaged").mkdir()
    (jobs / "damaged" / "claim.json").write_text("{")
    made = bench(tracks=())
    Worker(made).run()
    # What waits may become ours again, and then goes on from what is there.
    assert [path.name for path in jobs.glob("*")] == [asked["waiting"].id]


# The whole way.


def lora() -> dict[str, bytes]:
    """The files of an adapter for the embedded model."""
    import numpy as np
    from safetensors.numpy import save

    draw = np.random.default_rng(5)
    name = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_{}.weight"
    sizes = {"A": (2, 160), "B": (160, 2)}
    weights = {name.format(k): draw.normal(size=size).astype("float32") for k, size in sizes.items()}
    config = {
        "peft_type": "LORA", "base_model_name_or_path": "acme/tiny", "r": 2, "lora_alpha": 2,
        "target_modules": r".*language_model.*layers\.0\..*q_proj",
    }  # fmt: skip
    return {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": save(weights, {"format": "pt"}),
    }


def test_an_adapter_on_the_hub_is_evaluated_by_ucbench_itself(hub: Any, queue: Queue, tmp_path: Path) -> None:
    from ucbench.models import registry

    files = {path.name: path.read_bytes() for path in registry.EMBEDDED["embedded:tiny-vlm"].iterdir()}
    for name in ("acme/tiny", "acme/lora"):
        hub.create_repo("model", name, owner="alice")
    base, commit = hub.commit("model", "acme/tiny", files), hub.commit("model", "acme/lora", lora())
    hub.commit("model", "acme/tiny", {"model.safetensors": None})  # gone from main, not from its commit
    asked = queue.add(request("acme/lora", revision=commit, base="acme/tiny", base_revision=base))
    done = subprocess.run(
        [
            sys.executable, "-m", "ucbench.cli", "worker", "--store", str(tmp_path / "store"), "--once",
            "--limit", "2", "--batch-size", "256", "--folder", str(tmp_path / "workers"),
        ],
        capture_output=True, text=True, env=os.environ | {"HF_TOKEN": "hf_alice"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ended = queue.get(asked.id)
    assert ended.state == "DONE", ended.log
    (run,) = runs.find(tmp_path / "store")
    record = run.record()
    entry = record.entry
    assert (entry.model, entry.revision, entry.adapter) == ("acme/tiny", base, f"acme/lora@{commit}")
    assert (record.provenance, record.engine.path) == ("measured", "shared_prefix")


#: Longer than anybody can wait, of loops that are each as short as a template may have them.
LOOP = "".join(f"{{% for {name} in range(90000) %}}" for name in "abc") + "{% endfor %}" * 3


@pytest.mark.slow
def test_a_chat_template_that_loops_is_stopped_and_told(
    hub: Any, queue: Queue, tmp_path: Path, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    from ucbench.hub.worker.weights import Cache
    from ucbench.models import registry

    monkeypatch.setattr(attempt.Attempt, "_seconds_left", lambda _self: 40.0)
    files = {path.name: path.read_bytes() for path in registry.EMBEDDED["embedded:tiny-vlm"].iterdir()}
    hub.create_repo("model", "acme/loop", owner="alice")
    commit = hub.commit("model", "acme/loop", files | {"chat_template.jinja": LOOP.encode()})
    asked = queue.add(request("acme/loop", revision=commit))
    made = bench()
    made.evaluation = LocalEvaluation(limit=LIMIT)
    made.cache = Cache(tmp_path / "models", 10**9, HfApi(endpoint=hub.url))
    assert Worker(made).run() == 0
    failed = queue.get(asked.id)
    assert (failed.state, failed.reason) == ("PENDING", "timeout")
    assert failed.message
    assert "chat template" in failed.message


# The command.


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no queue is named"),
        (["--store", "s", "--track", "nonsense"], "unknown track"),
        (["--store", "s", "--track", "unsafeconcepts"], "needs data"),
        (["--store", "s", "--data", "unsafeconcepts=/nowhere/at/all"], "there is no /nowhere"),
        (["--store", "s", "--data", "unsafeconcepts"], "TRACK=PATH"),
        (["--store", "s", "--time-limit", "soon"], "'soon' is no time limit"),
        (["--store", "s", "--name", "../box"], "is no name for a worker"),
        (["--store", "s", "--on", "my-cloud"], "--on takes hf-jobs"),
        (["--store", "s", "--on", "hf-jobs"], "needs --image"),
        (["--store", "s", "--on", "hf-jobs", "--image", "i", "--evaluator", "e"], "--evaluator is for"),
        (["--store", "ftp://somewhere"], "is no store"),
        (["--status", "--name", "nobody"], "there is no worker nobody"),
    ],
)
def test_wishes_that_make_no_sense_are_told(words: list[str], said: str, tmp_path: Path) -> None:
    done = invoke("worker", "--folder", str(tmp_path), *words)
    assert isinstance(done.exception, UcbenchError)
    assert said in str(done.exception)
    assert not (tmp_path / "jobs").exists()


def test_offline_is_one_sentence_and_exit_3(tmp_path: Path, queue: Queue, submitted: Request) -> None:
    words = [sys.executable, "-m", "ucbench.cli", "worker", "--once", "--store"]
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    away = subprocess.run(
        [*words, "hf://datasets/acme/store", "--folder", str(tmp_path / "w")],
        capture_output=True, text=True, env=env,
    )  # fmt: skip
    assert away.returncode == 3
    assert "HF_HUB_OFFLINE is set" in away.stderr.splitlines()[-1]
    assert "Traceback" not in away.stderr
    assert queue.get(submitted.id).state == "PENDING"


def test_the_status_of_a_worker_is_shown(tmp_path: Path, bench: Make, queue: Queue) -> None:
    queue.add(request())
    Worker(bench()).run()
    (tmp_path / "worker").rename(tmp_path / "box")
    words = ["worker", "--status", "--name", "box", "--folder", str(tmp_path)]
    done = invoke(*words)
    assert done.exit_code == 1
    assert done.stdout.startswith("box: stopped since ")
    assert "1 done and 0 failed" in done.stdout
    told = json.loads(invoke(*words, "--json").stdout)
    assert (told["name"], told["alive"], told["done"]) == ("box", False, 1)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_the_margin_of_a_lease_is_beyond_the_time_limit(queue: Queue, bench: Make) -> None:
    queue.add(request())
    seen: list[Request] = []
    made = bench(time_limit=timedelta(minutes=10))
    made.evaluation = lambda job, *_: seen.append(queue.get(job.request.id))
    Worker(made).run()
    assert seen[0].claim
    assert seen[0].claim.until - seen[0].claim.since == timedelta(minutes=25)
