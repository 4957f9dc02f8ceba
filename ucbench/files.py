"""Writing so that a reader never meets a half-written file: write, fsync, rename; and keeping others out."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ucbench.errors import StoreError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; when the block ends well it is synced and renamed.

    Raises `StoreError` when the folder cannot be written. The old file stays until the rename.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"cannot write {target}: a part of that path is a file, not a folder; choose another"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror}; make the folder writable or choose another with --out"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files private; what we publish is as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def alone(place: Path, busy: str, advice: str, *, folder: bool = False, wait: bool = False) -> Iterator[int]:
    """Keep others out of a file, or a `folder`, until the block ends; the lock dies with its process.

    It is made where there is none; the handle of a file, which is yielded, can read and append. Raises
    `StoreError`: `busy` when another process is in, unless it is to `wait` for that, and a sentence that ends
    with `advice` where `place` cannot be opened.
    """
    try:
        (place if folder else place.parent).mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror}; {advice}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StoreError(busy) from error
        yield handle
    finally:
        os.close(handle)


def is_taken(place: Path) -> bool:
    """Whether a process is `alone` with a file."""
    try:
        handle = os.open(place, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
