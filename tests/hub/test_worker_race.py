"""Many workers, one queue: killed at random, over a failing Hub, all is done exactly once."""

from __future__ import annotations

import collections
import random
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ucbench import board, runs
from ucbench.hub.queue import Queue
from ucbench.hub.request import Request, new_id
from ucbench.hub.store import Store, open_store

SCRIPT = Path(__file__).with_name("race_worker.py")


class Race:
    """Workers on a queue, and what happens to them."""

    def __init__(self, address: str, folder: Path, template: Path, *, lease: float) -> None:
        self._words = [address, str(folder), template, lease]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._draw = random.Random(5)
        self.killed = self.lost = 0
        folder.mkdir()

    def start(self, name: str) -> None:
        address, folder, template, lease = self._words
        words = [address, folder, name, str(template), str(lease), "1"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, str(SCRIPT), *words], stdout=log, stderr=log
            )

    def kill(self, *, for_good: bool) -> None:
        """SIGKILL one at random; its machine comes back as it was, or never, and a new one in its place."""
        alive = [name for name, process in self._running.items() if process.poll() is None]
        if not alive:
            return
        name = self._draw.choice(alive)
        process = self._running.pop(name)
        process.kill()
        process.wait()
        self.killed += 1
        self.lost += for_good
        self.start(f"{name}x" if for_good else name)

    def run(self, workers: int, *, kills: int, every: float, losses: int, patience: float) -> None:
        for number in range(workers):
            self.start(f"box-{number}")
        begin = last = time.monotonic()
        try:
            while any(process.poll() is None for process in self._running.values()):
                assert time.monotonic() - begin < patience, "some requests are stuck"
                if self.killed < kills and time.monotonic() - last > every * self._draw.uniform(0.5, 1.5):
                    last = time.monotonic()
                    self.kill(for_good=self.lost < losses and self._draw.random() < 0.5)
                time.sleep(0.1)
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()
        codes = {name: process.returncode for name, process in self._running.items()}
        assert set(codes.values()) == {0}, codes


def submit(queue: Queue, count: int) -> list[Request]:
    """That many requests, each for another key."""
    moment = datetime.now(UTC)
    added: list[Request] = []
    for number in range(count):
        fields = {
            "id": new_id(moment), "model": f"acme/vlm-{number // 2}", "revision": "0" * 40,
            "dtype": ("float32", "bfloat16")[number % 2], "track": "pictograms", "benchmark": "pictograms/1",
            "submitter": "ada", "submitted_at": moment,
        }  # fmt: skip
        added.append(Request.model_validate(fields))
    # In one commit: how they came is not what is raced for.
    files = {request.path: request.to_json() for request in added}
    queue.store.commit(files, expected=queue.store.head(), message="requests")
    return added


def check(store: Store, added: list[Request], folder: Path) -> None:
    """Everything was done, with its result, and the board shows it."""
    found = {request.id: request for request in Queue(store).all()}
    assert found.keys() == {request.id for request in added}
    assert collections.Counter(request.state for request in found.values()) == {"DONE": len(added)}
    for path, content in store.read_all("", head=store.head()).items():
        if not path.startswith("requests/") and not path.startswith("."):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    records = {run.run_id: run.record() for run in runs.find(folder)}
    assert len(records) == len(added)
    for request in found.values():
        entry = records[str(request.run_id)].entry
        assert (entry.model, entry.dtype) == (request.model, request.dtype)
    assert {record.provenance for record in records.values()} == {"measured"}
    assert set(board.load(folder).rows["run_id"]) == set(records)
    assert board.is_current(folder, [folder])


def test_a_small_race_over_a_folder(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "caches"))
    store = open_store(str(tmp_path / "store"))
    added = submit(Queue(store), 8)
    race = Race(str(tmp_path / "store"), tmp_path / "boxes", small_run, lease=6)
    race.run(3, kills=2, every=2, losses=1, patience=240)
    check(store, added, tmp_path / "copy")


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_eight_workers_two_hundred_requests_kills_and_faults(
    hub: Any, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "caches"))
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    hub.create_repo("dataset", "acme/store", owner="alice")
    hub.commit("dataset", "acme/store", {"store.json": b'{"workers": ["alice"]}'})
    store = open_store("hf://datasets/acme/store")
    added = submit(Queue(store), 200)
    for kind, how in {
        "500-after": {"method": "POST", "path": "*/commit/*", "rate": 0.03},
        "cut-after": {"method": "POST", "path": "*/commit/*", "rate": 0.02},
        "412": {"method": "POST", "path": "*/commit/*", "rate": 0.03},
        "429": {"rate": 0.01, "seconds": 1.0},
        "503": {"rate": 0.01},
        "cut": {"rate": 0.01},
    }.items():
        hub.faults.add(kind, times=None, **how)
    race = Race("hf://datasets/acme/store", tmp_path / "boxes", small_run, lease=120)
    race.run(8, kills=40, every=12, losses=12, patience=5000)
    hub.faults.clear()
    check(store, added, tmp_path / "copy")
    titles = [commit["title"] for commit in hub.commits("dataset", "acme/store")]
    done = collections.Counter(re.findall(r"^Done: .*\((\S+)\)$", "\n".join(titles), re.MULTILINE))
    assert done == {request.id: 1 for request in added}
    print(f"{race.killed} kills, {race.lost} machines lost, {len(titles)} commits, {hub.faults.all()}")
