"""A results store in a local folder, as of one head; only what changed since the last time is read.

What is kept lies in the user's folder for caches. Whoever looks gets a folder of links to it, so that what is
written there never damages what is kept. Paths come from the store: only those of results are taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from ucbench.board import BOARD, BREAKDOWNS, MANIFEST, RANKS, SCHEMA
from ucbench.board_cache import BoardCache, caches
from ucbench.files import alone, atomic_path, write_text
from ucbench.hub.store import HUB, Store

CARD, WORKERS, TAKEDOWN = "README.md", "store.json", "takedown.json"
_ROOT = (BOARD, BREAKDOWNS, RANKS, MANIFEST, SCHEMA, CARD, WORKERS, TAKEDOWN)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._+=@-]*"
_RUN_FILE = re.compile(rf"{_NAME}/[0-9a-f]{{16}}/(record\.json|answers\.parquet|judgements/{_NAME}\.parquet)")

Progress = Callable[[int, int], None]


def is_result(path: str) -> bool:
    """Whether a path of the store is that of a published result or of the board."""
    return path in _ROOT or _RUN_FILE.fullmatch(path) is not None


class Mirror:
    """The copy of one store on this machine."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._kept, self._index = folder / "files", folder / "versions.json"
        self._views, self._lock = folder / "views", folder / "lock"
        self._computed = folder / "computed"

    @property
    def cache(self) -> BoardCache:
        """What was computed for the store's runs; to be used inside `at`."""
        return _computed(self._computed)

    @contextmanager
    def at(self, head: str, progress: Progress = lambda _done, _total: None) -> Iterator[Path]:
        """A folder with the store's results as of `head`, to work in; it is gone afterwards.

        One process at a time. Raises `StoreError` where nothing can be written, and as the store does.
        """
        advice = "mend that, or name a folder in UCBENCH_CACHE"
        with alone(self._lock, "somebody else works here", advice, wait=True):
            versions = self._fetch(head, progress)
            shutil.rmtree(self._views, ignore_errors=True)
            view = self._views / str(os.getpid())
            view.mkdir(parents=True)
            for path in versions:
                _link(self._kept / path, view / path)
            try:
                yield view
            finally:
                shutil.rmtree(view, ignore_errors=True)

    def _fetch(self, head: str, progress: Progress) -> dict[str, str]:
        wanted = {path: v for path, v in self._store.versions(head=head).items() if is_result(path)}
        there = {path: v for path, v in self._read_index().items() if wanted.get(path) == v}
        # What is not in the index is not to be trusted: a killed process may have left it half done.
        write_text(self._index, json.dumps(there))
        for file in list(self._kept.rglob("*")):
            if file.is_file() and file.relative_to(self._kept).as_posix() not in there:
                file.unlink()
        missing = sorted(wanted.keys() - there.keys())

        def fetch(path: str) -> None:
            content = self._store.read(path, head=head)
            with atomic_path(self._kept / path) as temporary:
                temporary.write_bytes(content)

        with ThreadPoolExecutor(8) as pool:
            for done, _ in enumerate(pool.map(fetch, missing), start=1):
                progress(done, len(missing))
        write_text(self._index, json.dumps(wanted))
        return wanted

    def _read_index(self) -> dict[str, str]:
        try:
            index = json.loads(self._index.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {path: v for path, v in index.items() if is_result(path) and (self._kept / path).is_file()}


def mirror_of(store: Store) -> Mirror:
    """The mirror of a store; its place goes by the store's address."""
    from huggingface_hub import constants

    on_hub = store.address.startswith(HUB)
    address = f"{constants.ENDPOINT} {store.address}" if on_hub else str(Path(store.address).resolve())
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", store.address).strip("-.")[-60:]
    place = hashlib.sha256(address.encode()).hexdigest()[:12]
    return Mirror(store, caches() / "results" / f"{name}-{place}")


@lru_cache(maxsize=8)
def _computed(folder: Path) -> BoardCache:
    """One a process, as it keeps what it has read."""
    return BoardCache(folder)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # a file system without links
        target.hardlink_to(source)
        return
    shutil.copyfile(source, target)
