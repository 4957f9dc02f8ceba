"""Where the queue and the published results live: one contract with two homes.

A store is a tree of files under a head. A commit changes many files at once or none, and only if the head
is still the one that the caller has read: whoever comes second reads again. Paths are relative, with `/`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ucbench.errors import AccessError, StoreError

#: What becomes of a path: its content, a file that holds it, or None to delete it.
Changes = Mapping[str, bytes | Path | None]

#: The address of a dataset repository of the Hub begins so; anything else is a local folder.
HUB = "hf://datasets/"


class ConflictError(StoreError):
    """The head is no longer the expected one; nothing was changed."""


class MissingError(StoreError):
    """There is no such file at that head."""


class ForbiddenError(AccessError):
    """The store can be read, but this identity may not write to it."""


class OfflineError(AccessError):
    """The store cannot be reached at the moment."""


class Store(Protocol):
    """A tree of files with a head.

    All methods raise `OfflineError` when the store cannot be reached, `AccessError` when the identity may
    not, `StoreError` when it is damaged.
    """

    @property
    def address(self) -> str:
        """How people name it: a folder's path, or `hf://datasets/OWNER/NAME`."""

    def head(self) -> str:
        """The current head; it changes with every commit."""

    def paths(self, prefix: str = "", *, head: str | None = None) -> list[str]:
        """All paths that begin with `prefix`, sorted, at `head` (the current one by default)."""

    def versions(self, prefix: str = "", *, head: str | None = None) -> dict[str, str]:
        """The paths of `paths`, each with a text that changes whenever the file's content does.

        For those who keep copies: what has the version they know need not be read again.
        """

    def read(self, path: str, *, head: str | None = None) -> bytes:
        """A file's content. Raises `MissingError`, and `ConflictError` for a head that is no longer kept."""

    def read_all(self, prefix: str, *, head: str | None = None) -> dict[str, bytes]:
        """The contents of all files whose path begins with `prefix`, as of one head."""

    def commit(self, changes: Changes, *, expected: str, message: str) -> str:
        """Change these files, all or none, and return the new head.

        Raises `ConflictError` when the head is not `expected`, `MissingError` for deleting what is not there,
        `ForbiddenError` when this identity may not write. Changes that change nothing may leave the head as
        it is. When the outcome of an attempt is unknown (a cut connection, a server error after landing), the
        store itself finds out before it tries again: on return the commit has landed exactly once. Only after
        an `OfflineError` it may have landed unknown to the caller.
        """

    def whoami(self) -> str:
        """The identity that commits: the account of the token, or `local`."""

    def time(self) -> datetime | None:
        """What time it is by the clock of its home; None where that is not told."""


def change(
    store: Store,
    prepare: Callable[[str], Changes | None],
    *,
    message: str,
    attempts: int = 30,
    pause: Callable[[float], object] = time.sleep,
) -> str:
    """Read, prepare, commit; again from the new head whenever somebody else came first.

    `prepare` gets the head to read from and returns the changes, none to leave the store as it is.
    Returns the head afterwards. Raises `ConflictError` after `attempts`, and what else `prepare` raises.
    """
    for attempt in range(attempts):
        head = store.head()
        try:
            changes = prepare(head)  # what it reads at that head may be gone by then
            if not changes:
                return head
            return store.commit(changes, expected=head, message=message)
        except ConflictError:
            # Full jitter: those who collided spread out.
            pause(random.uniform(0, min(10.0, 0.05 * 2**attempt)))
    raise ConflictError(f"{store.address} is changed by others all the time; try again in a minute")


def check_path(path: str) -> str:
    """The path, if it names a file inside a store. Raises `StoreError`.

    Hidden files and folders are none of the content: the homes keep their own things there.
    """
    parts = path.split("/")
    tricks = any(part in ("", ".", "..") or part.startswith(".") for part in parts) or "\\" in path
    if tricks or any(ord(c) < 32 or ord(c) == 127 or "\ud800" <= c <= "\udfff" for c in path):
        raise StoreError(
            f"{path!r} is no path of a store; give a relative one with `/` and no hidden or empty parts"
        )
    if len(path.encode()) > 1000 or any(len(part.encode()) > 250 for part in parts):
        raise StoreError(f"the path {path[:60]!r}... is too long for a store")
    return path


def not_there(address: str) -> bool:
    """Whether this is a local store that nobody has written to, perhaps because its name is misspelt."""
    return "://" not in address and not Path(address).exists()


def open_store(address: str) -> Store:
    """The store at `hf://datasets/OWNER/NAME`, or in a local folder (made when it is first written to).

    Raises `StoreError` for an address that is neither.
    """
    if not address.strip():
        raise StoreError(f"no store is named; give a folder or {HUB}OWNER/NAME")
    if address.startswith(HUB):
        from ucbench.hub.dataset import DatasetStore

        return DatasetStore(address.removeprefix(HUB))
    if "://" in address:
        raise StoreError(f"{address!r} is no store; give a folder or {HUB}OWNER/NAME")
    from ucbench.hub.folder import FolderStore

    if Path(address).is_file():
        raise StoreError(f"{address} is a file, and a store is a folder or {HUB}OWNER/NAME; name another")
    return FolderStore(Path(address))
