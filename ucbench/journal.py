"""The journal of a running evaluation: answers appended as JSON lines, synced batch by batch.

Killed at any moment, a journal holds whole lines and at most one half-written last line, which the
next start drops. One process writes one journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from ucbench.errors import StoreError
from ucbench.types import Answer


@dataclass(frozen=True, slots=True)
class Line:
    """An answer and the seconds it took (its share of the batch's time)."""

    answer: Answer
    seconds: float


def _encode(entry: Line) -> str:
    return json.dumps({**asdict(entry.answer), "seconds": round(entry.seconds, 6)}, ensure_ascii=False)


_ANSWER = TypeAdapter(Answer)


def _decode(line: bytes) -> Line:
    fields = json.loads(line)
    seconds = float(fields.pop("seconds"))
    _ANSWER.validate_json(json.dumps(fields), strict=True)
    return Line(Answer(**fields), seconds)


def read(path: Path) -> tuple[list[Line], int]:
    """All whole entries of a journal and the number of bytes they take.

    Raises `StoreError` when a line before the last is damaged: that is no interrupted write.
    """
    if not path.exists():
        return [], 0
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; move it away") from error
    entries: list[Line] = []
    good = 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entries.append(_decode(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number == len(lines) - 1 and not lines[-1]:
                break  # the last line: an interrupted write that happened to end in a newline
            raise StoreError(
                f"{path} is damaged at line {number} (not an answer); move the file away to start afresh, "
                "or mend that line"
            ) from error
        good += len(line) + 1
    return entries, good


class Journal:
    """Append-only writer. Opening it drops a half-written last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries, good = read(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            os.ftruncate(self._handle, good)
            os.lseek(self._handle, good, os.SEEK_SET)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {error.strerror}; "
                "make the folder writable or choose another with --out"
            ) from error

    def append(self, entries: Iterable[Line]) -> None:
        """Write a batch and wait until the disk has it. Raises `StoreError`, e.g. on a full disk."""
        payload = "".join(_encode(entry) + "\n" for entry in entries).encode()
        try:
            while payload:
                payload = payload[os.write(self._handle, payload) :]
            os.fsync(self._handle)
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; what was answered so far is kept, "
                "start the same command again when that is mended"
            ) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)
