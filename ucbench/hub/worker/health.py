"""Whether a worker lives and what it is at: a small file beside the store, written every few seconds."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ucbench.errors import StoreError
from ucbench.files import write_text

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
            write_text(self._path, json.dumps(self._facts | {"beat": _now()}, indent=1) + "\n")

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"cannot write {folder}: {error.strerror}; name another folder with --folder"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another worker is at work in {folder}; give this one a name of its own with --name"
            ) from error
        yield
    finally:
        os.close(handle)


def status(folder: Path) -> dict[str, Any] | None:
    """What the worker of a folder last told, with `alive`; None when there was never one."""
    try:
        told: dict[str, Any] = json.loads((folder / HEALTH).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told | {"alive": _is_held(folder / LOCK)}


def _is_held(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
