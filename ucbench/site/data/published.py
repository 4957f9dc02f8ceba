"""The published results that the site shows: a results store, mirrored to a folder at a pinned revision.

`UCBENCH_RESULTS_STORE`, else `UCBENCH_STORE`, names the store. It is read in the background, and a new
revision takes the place of the old one when it is whole on disk and its board can be read: no visitor
waits for a store, or meets half of one. Until the first is whole, and while there is none, the committed
results stand in, and the page says so.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Literal

from ucbench.board import MANIFEST
from ucbench.errors import StoreError
from ucbench.hub.mirror import mirror_of
from ucbench.hub.store import MissingError, Store, open_store
from ucbench.site.data.latest import Latest

#: Seconds between two looks at the head of the store while somebody visits.
EVERY = 60.0
#: Mirrors that are kept, the newest with those that somebody may be reading still.
_KEPT = 3


@dataclass(frozen=True, slots=True)
class Published:
    """What is shown and where it is from.

    `snapshot`: the committed results, because the store is `reading` for the first time, `unreachable` or
    `empty`. Otherwise `at` is when `revision` was last known to be the store's newest; `unreachable` then
    says that this could not be confirmed just now.
    """

    folder: Path
    revision: str = ""
    at: datetime | None = None
    state: Literal["current", "reading", "unreachable", "empty"] = "current"

    @property
    def snapshot(self) -> bool:
        """Whether these are the committed results in place of the store's."""
        return self.at is None

    def note(self) -> str:
        """A sentence about a snapshot; empty otherwise."""
        if not self.snapshot:
            return ""
        return {
            "reading": "The published results are being fetched.",
            "unreachable": "The published results cannot be reached at the moment.",
            "empty": "Nothing has been published yet.",
            "current": "",
        }[self.state] + " What you see is the snapshot that came with this site."

    def as_of(self) -> str:
        """`Data as of 21 Nov 2026, 21:14 UTC, revision 8697c26.`; empty for a snapshot."""
        if self.at is None:
            return ""
        said = f"Data as of {self.at.day} {self.at:%b %Y, %H:%M} UTC, revision {self.revision[:7]}."
        away = " The store cannot be reached at the moment." if self.state == "unreachable" else ""
        return said + away


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """A revision on disk; no folder where the store holds no board."""

    revision: str
    folder: Path | None = None
    manifest: bytes = b""


class Mirror:
    """The newest whole revision of a store; `check` reads its board, and raises if it cannot be shown."""

    def __init__(self, store: Store, check: Callable[[Path], object]) -> None:
        self._store, self._check = store, check
        self._root: Path | None = None
        self._folders: list[Path] = []
        self.latest: Latest[_Mirrored] = Latest(self._read, every=EVERY)

    def shown(self, committed: Path) -> Published:
        """What to show now; never waits."""
        seen = self.latest.get()
        if seen.value is None:
            return Published(committed, state="unreachable" if seen.problem else "reading")
        if seen.value.folder is None:
            return Published(committed, state="unreachable" if seen.problem else "empty")
        state: Literal["unreachable", "current"] = "unreachable" if seen.problem else "current"
        return Published(seen.value.folder, seen.value.revision, seen.at, state)

    def _read(self, last: _Mirrored | None) -> _Mirrored:
        head = self._store.head()
        if last is not None and last.revision == head:
            return last
        try:
            manifest = self._store.read(MANIFEST, head=head)
        except MissingError:
            return _Mirrored(head)
        if last is not None and last.folder is not None and last.manifest == manifest:
            # The queue moved on, the results did not.
            return _Mirrored(head, last.folder, manifest)
        try:
            folder = self._folder(head)
            with mirror_of(self._store).at(head) as view:
                shutil.copytree(view, folder, copy_function=_link)
            self._check(folder)
        except BaseException as error:
            if self._root is not None:
                shutil.rmtree(self._folder(head).parent, ignore_errors=True)
            if isinstance(error, OSError):  # shutil.Error is one: a disk that is full or cannot be written to
                raise StoreError(
                    f"the results of {self._store.address} cannot be copied to this machine ({error}); make "
                    "room, or name folders that can be written to in TMPDIR and UCBENCH_CACHE"
                ) from error
            raise
        self._folders.append(folder)
        while len(self._folders) > _KEPT:
            shutil.rmtree(self._folders.pop(0).parent, ignore_errors=True)
        return _Mirrored(head, folder, manifest)

    def _folder(self, head: str) -> Path:
        self._root = self._root or _own_folder()
        return self._root / hashlib.sha256(head.encode()).hexdigest()[:16] / "results"


def _link(source: str, target: str) -> None:
    """Files of a mirror are replaced, never changed: another name for one is as good as a copy."""
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def address() -> str | None:
    """The store of the published results, as the environment says."""
    return os.environ.get("UCBENCH_RESULTS_STORE") or os.environ.get("UCBENCH_STORE") or None


def shown(committed: Path, check: Callable[[Path], object]) -> Published | None:
    """What to show instead of the committed results; None when no store is named."""
    store = address()
    return None if store is None else mirror(store, check).shown(committed)


def mirror(store: str, check: Callable[[Path], object]) -> Mirror:
    """The mirror of a store in this process. Raises `StoreError` for an address that is none."""
    with _LOCK:
        if store not in _MIRRORS:
            opened = open_store(store)
            _MIRRORS[store] = Mirror(opened, check)
        return _MIRRORS[store]


def _own_folder() -> Path:
    """A folder that lasts as long as this process; those that killed ones have left are removed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LIVES}"):
        with suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Held until the process ends, however it ends.
    _LOCKS.append((root / _LIVES).open("wb"))
    fcntl.flock(_LOCKS[-1], fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


_PREFIX, _LIVES = "ucbench-site-", "lives"
_LOCKS: list[IO[bytes]] = []
_MIRRORS: dict[str, Mirror] = {}
_LOCK = threading.Lock()


def look_again() -> None:
    """Something was published just now: do not wait for the next look."""
    found = _MIRRORS.get(address() or "")
    if found is not None:
        found.latest.get(due=True)
