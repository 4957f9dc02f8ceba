"""A store in a local folder, for one machine or a shared disk with working locks.

The files lie where their paths say, so that anything can read them; what the store needs besides is in the
hidden folder `.ucbench`:

    lock, turn        taken shared by readers, alone by who commits; the turn to take the lock (flock)
    head              the head, "<number>-<random>"; without it the head is "0"
    commits/<number>/ note.json: the head it makes and what it changes; new/: contents on their way to their
                      places; old/: the contents that they replace

A commit writes its new contents, then its note, then moves the contents to their places, then writes the
head; each is synced before the next. The note is the commit point: a process that dies before it leaves
nothing, one that dies after it leaves what the next who opens the store brings to its end. The contents that
the last `KEPT` commits replaced stay, so that what was read at a head can be read on while others commit.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ucbench.errors import AccessError, StoreError
from ucbench.files import sync_folder, write_text
from ucbench.hub.store import Changes, ConflictError, ForbiddenError, MissingError, check_path

#: So many commits back a head can still be read.
KEPT = 64

#: The hidden folder inside a store.
INSIDE = ".ucbench"

_EMPTY = "0"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Step:
    """One path of a commit; `new` and `old` are names in its folders, None where there is no file."""

    path: str
    new: str | None
    old: str | None


@dataclass(frozen=True, slots=True)
class _Note:
    head: str
    before: str
    steps: tuple[_Step, ...]


class FolderStore:
    """A store in the folder `root`, which is made with the first commit.

    A folder that already holds results is a store as it is. Files that are written into it by other means do
    not move the head. Safe between threads and processes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        inside = root / INSIDE
        self._inside, self._head = inside, inside / "head"
        self._lock, self._turn = inside / "lock", inside / "turn"
        self._commits = inside / "commits"

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self._root)

    def head(self) -> str:
        """The current head, "0" before the first commit."""
        return self._reading(lambda head: head)

    def paths(self, prefix: str = "", *, head: str | None = None) -> list[str]:
        """All paths that begin with `prefix`, sorted; no hidden files and no links."""
        return self._reading(lambda current: sorted(self._files(prefix, head, current)))

    def versions(self, prefix: str = "", *, head: str | None = None) -> dict[str, str]:
        """The paths, each with what the file system knows of the file's last change."""

        def versions(current: str) -> dict[str, str]:
            files = self._files(prefix, head, current)
            return {path: _version(files[path]) for path in sorted(files)}

        return self._reading(versions)

    def read(self, path: str, *, head: str | None = None) -> bytes:
        """A file's content; at an earlier head while it is kept. Raises `MissingError`, `ConflictError`."""
        check_path(path)

        def read(current: str) -> bytes:
            replaced = self._replaced(head, current)
            place = replaced[path] if path in replaced else self._place(path)
            if place is None or not place.is_file():
                raise MissingError(f"there is no {path} in {self.address}")
            return place.read_bytes()

        return self._reading(read)

    def read_all(self, prefix: str, *, head: str | None = None) -> dict[str, bytes]:
        """The contents of all files whose path begins with `prefix`, as of one head."""

        def read(current: str) -> dict[str, bytes]:
            files = self._files(prefix, head, current)
            return {path: files[path].read_bytes() for path in sorted(files)}

        return self._reading(read)

    def commit(self, changes: Changes, *, expected: str, message: str) -> str:
        """Change these files, all or none, and return the new head.

        Raises `ConflictError`, `MissingError`, `ForbiddenError`, and `StoreError` for a path that is none.
        """
        for path in changes:
            check_path(path)
        with self._alone() as handle:
            self._enter(handle, fcntl.LOCK_EX)
            self._roll_forward()
            before = self._current()
            if before != expected:
                raise ConflictError(f"{self.address} has changed: its head is {before}, not {expected}")
            if not changes:
                return before
            self._check(changes)
            note = self._prepare(changes, before, message)
            self._apply(note)
            shutil.rmtree(self._commits / str(_number(note.head) - KEPT), ignore_errors=True)
            return note.head

    def whoami(self) -> str:
        """`local`: whoever can write to the folder."""
        return "local"

    def time(self) -> datetime | None:
        """By the clock of whatever keeps the folder, which may be another machine's disk."""
        with self._alone() as handle:
            os.utime(handle)  # without a time: the file system's own
            return datetime.fromtimestamp(os.fstat(handle).st_mtime, UTC)

    # Reading

    def _reading(self, work: Callable[[str], T]) -> T:
        """Do `work` on the current head while nobody commits."""
        while True:
            try:
                handle = os.open(self._lock, os.O_RDONLY)
            except FileNotFoundError:
                found = self._first(work)
                if found is not None:
                    return found[0]
                continue
            except OSError as error:
                raise self._unreadable(error) from error
            try:
                self._enter(handle, fcntl.LOCK_SH)
                if not self._unfinished():
                    return work(self._current())
            except OSError as error:
                raise self._unreadable(error) from error
            finally:
                os.close(handle)
            with self._alone() as handle:
                self._enter(handle, fcntl.LOCK_EX)
                self._roll_forward()

    def _first(self, work: Callable[[str], T]) -> tuple[T] | None:
        """What `work` finds where nobody has committed yet; None if somebody did meanwhile."""
        try:
            found = work(_EMPTY)
        except OSError as error:
            if self._lock.exists():
                return None
            raise self._unreadable(error) from error
        except StoreError:
            if self._lock.exists():
                return None
            raise
        return None if self._lock.exists() else (found,)

    def _unreadable(self, error: OSError) -> StoreError | AccessError:
        kind = AccessError if error.errno in (errno.EACCES, errno.EPERM) else StoreError
        return kind(f"cannot read the store {self.address}: {error.strerror} ({error.filename})")

    def _current(self) -> str:
        try:
            head = self._head.read_text(encoding="ascii").strip()
            _number(head)
        except FileNotFoundError:
            return _EMPTY
        except ValueError as error:
            raise StoreError(f"{self._head} is damaged; restore it from a copy of the store") from error
        return head

    def _place(self, path: str) -> Path | None:
        """Where the file of a path lies; None behind a link or a file, where no content can be."""
        place = self._root
        for part in path.split("/"):
            place = place / part
            if place.is_symlink():
                return None
        return place

    def _files(self, prefix: str, head: str | None, current: str) -> dict[str, Path]:
        """The files whose path begins with `prefix` at a head, and where their contents lie."""
        folder = prefix.rpartition("/")[0]
        start = None if folder else self._root
        if folder:
            with suppress(StoreError):
                start = self._place(check_path(folder))
        replaced = self._replaced(head, current)
        files = dict(_walk(start, folder)) if start else {}
        for path, place in replaced.items():
            if place is None:
                files.pop(path, None)
            else:
                files[path] = place
        return {path: place for path, place in files.items() if path.startswith(prefix)}

    def _replaced(self, head: str | None, current: str) -> dict[str, Path | None]:
        """What lies elsewhere, or not at all, when one looks at an earlier head."""
        found: dict[str, Path | None] = {}
        if head is None or head == current:
            return found
        with suppress(ValueError, FileNotFoundError):
            wanted = _number(head)
            note = None
            for number in range(_number(current), wanted, -1):
                note = self._note(number)
                old = self._commits / str(number) / "old"
                found |= {step.path: old / step.old if step.old else None for step in note.steps}
            if note and note.before == head:
                return found
        raise ConflictError(f"{self.address} no longer keeps its head {head}; read again at {current}")

    # Committing

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """A handle of the lock, which is made if need be; refusals of the system in words."""
        try:
            self._commits.mkdir(parents=True, exist_ok=True)
            ignore = self._inside / ".gitignore"
            if not ignore.exists():
                write_text(ignore, "*\n")
            for each in (self._turn, self._lock):
                handle = os.open(each, os.O_RDWR | os.O_CREAT, 0o666)
                os.close(handle)
            handle = os.open(self._lock, os.O_RDWR)
            try:
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            where = f"{self.address}: {error.strerror} ({error.filename})"
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise ForbiddenError(f"this user may not write to the store {where}") from error
            raise StoreError(f"cannot write to the store {where}") from error

    def _enter(self, handle: int, how: int) -> None:
        """Take the lock, one after the other: else readers that come and go keep writers out for ever."""
        turn = os.open(self._turn, os.O_RDONLY)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(handle, how)
        finally:
            os.close(turn)

    def _unfinished(self) -> Path | None:
        """The note of a commit that has not come to its end."""
        note = self._commits / str(_number(self._current()) + 1) / "note.json"
        return note if note.exists() else None

    def _roll_forward(self) -> None:
        if note := self._unfinished():
            self._apply(self._note(int(note.parent.name)))

    def _note(self, number: int) -> _Note:
        path = self._commits / str(number) / "note.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            steps = tuple(_Step(check_path(path), new, old) for path, new, old in content["steps"])
            return _Note(content["head"], content["before"], steps)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged; restore it from a copy of the store") from error

    def _check(self, changes: Changes) -> None:
        """Refuse what the folder cannot become. Raises `MissingError`, `StoreError`."""
        deleted = {path for path, content in changes.items() if content is None}
        for path, content in changes.items():
            place = self._place(path)
            if place is None:
                raise StoreError(
                    f"{path} in {self.address} lies behind a link; a store does not follow links"
                )
            if content is None:
                if not place.is_file():
                    raise MissingError(f"there is no {path} in {self.address} to delete")
                continue
            if isinstance(content, Path) and not content.is_file():
                raise StoreError(f"{content}, to be stored as {path}, is no file")
            for above in _above(path):
                if above in deleted:
                    continue
                if (self._root / above).is_file() or above in changes:
                    raise StoreError(f"{path} cannot be stored in {self.address}: {above} is a file")
            if place.is_dir() and not {below for below, _ in _walk(place, path)} <= deleted:
                raise StoreError(f"{path} cannot be stored in {self.address}: it is a folder")

    def _prepare(self, changes: Changes, before: str, message: str) -> _Note:
        """Write everything but the places of the files; with the note on disk the commit has happened."""
        number = _number(before) + 1
        folder = self._commits / str(number)
        shutil.rmtree(folder, ignore_errors=True)  # of one who died before its note
        new, old = folder / "new", folder / "old"
        new.mkdir(parents=True)
        old.mkdir()
        steps = []
        for index, (path, content) in enumerate(changes.items()):
            name, place = str(index), self._root / path
            if content is not None:
                _store(content, new / name)
            there = place.is_file()
            if there:
                _keep(place, old / name)
            steps.append(_Step(path, name if content is not None else None, name if there else None))
        for each in (new, old, folder, self._commits, self._inside, self._root):
            sync_folder(each)
        note = _Note(f"{number}-{secrets.token_hex(4)}", before, tuple(steps))
        told = {
            "head": note.head,
            "before": before,
            "message": message,
            "time": datetime.now(UTC).isoformat(),
            "steps": [[step.path, step.new, step.old] for step in steps],
        }
        write_text(folder / "note.json", json.dumps(told))
        return note

    def _apply(self, note: _Note) -> None:
        """Bring a commit whose note is written to its end; doing it again changes nothing."""
        new, touched = self._commits / str(_number(note.head)) / "new", {self._root}
        for step in note.steps:
            if step.new is None:
                place = self._root / step.path
                # Done before, the path may by now be a folder, or lie under what has become a file.
                with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                    place.unlink()
                for above in _above(step.path):
                    touched.add(self._root / above)
                    with suppress(OSError):  # not empty
                        (self._root / above).rmdir()
        for step in note.steps:
            if step.new is not None:
                place = self._root / step.path
                if (new / step.new).exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    (new / step.new).replace(place)
                touched |= {self._root / above for above in _above(step.path)}
        for folder in touched:
            if folder.is_dir():
                sync_folder(folder)
        write_text(self._head, note.head + "\n")


def _number(head: str) -> int:
    """The number in a head. Raises `ValueError`."""
    return int(head.partition("-")[0])


def _above(path: str) -> list[str]:
    """The folders of a path, the innermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(len(parts), 0, -1)]


def _walk(folder: Path, name: str) -> Iterable[tuple[str, Path]]:
    """The files under a folder that is called `name`; hidden things and links are no content."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        path = f"{name}/{entry.name}" if name else entry.name
        if entry.is_dir():
            yield from _walk(Path(entry.path), path)
        elif entry.is_file():
            yield path, Path(entry.path)


def _version(place: Path) -> str:
    known = place.stat()
    return f"{known.st_ino:x}-{known.st_size:x}-{known.st_mtime_ns:x}"


def _store(content: bytes | Path, target: Path) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, target)
    else:
        target.write_bytes(content)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())


def _keep(place: Path, target: Path) -> None:
    """A second name for a content that is about to be replaced."""
    try:
        target.hardlink_to(place)
    except OSError:  # a file system without links
        shutil.copy2(place, target)
