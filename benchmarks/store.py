"""Reading a queue of 1,000 requests from a store, against fetching its files one by one.

`python benchmarks/store.py` starts the tests' own Hub as a process that takes 20 ms to begin each answer, and
prints seconds of wall time and requests to the Hub. The naive way is `hf_hub_download` of one path after the
other, with its own cache; for a folder, one `read` after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from ucbench.hub.folder import FolderStore
from ucbench.hub.store import Store

REQUESTS, LATENCY = 1000, 0.02
REPO = "acme/store"
SERVER = Path(__file__).parents[1] / "tests" / "hub_server.py"


def requests() -> dict[str, bytes]:
    """Files of the size of a request that has failed."""
    return {f"requests/2026-{n % 6 + 1:02}/{n:06}.json": b'{"n": %06d}' % n * 80 for n in range(REQUESTS)}


def timed(what: str, work: Callable[[], Any], asked: Callable[[], int] = lambda: 0) -> None:
    before, start = asked(), time.perf_counter()
    found = work()
    seconds = time.perf_counter() - start
    assert found >= REQUESTS, found
    print(f"{what:60} {seconds:8.2f} s {asked() - before:6} requests")


def one_by_one(store: Store) -> int:
    head = store.head()
    return len([store.read(path, head=head) for path in store.paths(head=head)])


def main() -> None:
    work = Path(tempfile.mkdtemp())
    server = subprocess.Popen(
        [sys.executable, str(SERVER), "--state", str(work / "state"), "--account", "alice:hf_alice:acme"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    url = server.stdout.readline().strip()
    os.environ |= {"HF_ENDPOINT": url, "HF_HOME": str(work / "home"), "HF_HUB_DISABLE_XET": "1"}
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        measure(url, work)
    finally:
        server.kill()
        server.wait()


def measure(url: str, work: Path) -> None:
    from huggingface_hub import hf_hub_download

    from ucbench.hub.dataset import DatasetStore

    def asked() -> int:
        return len(httpx2.get(f"{url}/_requests").json())

    httpx2.post(f"{url}/_repos", json={"kind": "dataset", "repo_id": REPO}).raise_for_status()
    store = DatasetStore(REPO, token="hf_alice", cache=work / "cache")
    files = requests()
    store.commit(files, expected=store.head(), message="fill")
    httpx2.post(f"{url}/_faults", json=[{"kind": "slow", "seconds": LATENCY, "times": None}])

    def naively() -> int:
        head = store.head()
        for path in files:
            hf_hub_download(REPO, path, repo_type="dataset", revision=head)
        return len(files)

    def ours(client: DatasetStore) -> Callable[[], int]:
        return lambda: len(client.read_all("requests/"))

    def fresh() -> DatasetStore:
        return DatasetStore(REPO, token="hf_alice", cache=work / "cache")

    print(f"load {os.getloadavg()[0]:.1f}, {REQUESTS} requests, {LATENCY * 1000:.0f} ms before each answer")
    timed("Hub, naive, first time", naively, asked)
    timed("Hub, read_all, first time", ours(fresh()), asked)
    timed("Hub, read_all again, nothing new", ours(store), asked)
    timed("Hub, read_all again, nothing new, another process", ours(fresh()), asked)
    store.commit({next(iter(files)): b"changed"}, expected=store.head(), message="one")
    timed("Hub, naive, one request changed", naively, asked)
    timed("Hub, read_all, one request changed", ours(store), asked)
    folder = FolderStore(work / "folder")
    folder.commit(files, expected=folder.head(), message="fill")
    timed("folder, one read after the other", lambda: one_by_one(folder))
    timed("folder, read_all", lambda: len(folder.read_all("requests/")))


if __name__ == "__main__":
    main()
