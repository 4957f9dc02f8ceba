"""Whether a worker lives and what it is at: a small file beside the store, written every few seconds."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ucbench import files
from ucbench.errors import StoreError

HEALTH, LOCK = "health.json", "lock"
EVERY = 10.0


class Health:
    """What a worker tells of itself; `beat` says when it last did."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / HEALTH
        self._lock = threading.Lock()
        self._facts: dict[str, Any] = {
            "name": name,
            "pid": os.getpid(),
            "started": _now(),
            "doing": "starting",
            "request": None,
            "model": None,
            "since": _now(),
            "done": 0,
            "failed": 0,
            "isolation": None,
        }

    def tell(self, doing: str | None = None, **facts: Any) -> None:
        """Say what it is at now; facts that are not named stay."""
        with self._lock:
            if doing is not None:
                self._facts |= {"doing": doing, "since": _now()}
            self._facts |= facts
        self._write()

    def count(self, what: str) -> None:
        """One more `done` or `failed`."""
        with self._lock:
            self._facts[what] += 1

    def _write(self) -> None:
        with self._lock, suppress(StoreError):  # a full disk shall not end an evaluation
            files.write_text(self._path, json.dumps(self._facts | {"beat": _now()}, indent=1) + "\n")

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write the file again and again until the block ends."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(EVERY):
                self._write()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second worker away from a folder; the lock dies with its process. Raises `StoreError`."""
    busy = f"another worker is at work in {folder}; give this one a name of its own with --name"
    with files.alone(folder / LOCK, busy, "name another folder with --folder"):
        yield


def status(folder: Path) -> dict[str, Any] | None:
    """What the worker of a folder last told, with `alive`; None when there was never one."""
    try:
        told: dict[str, Any] = json.loads((folder / HEALTH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told | {"alive": files.is_taken(folder / LOCK)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
