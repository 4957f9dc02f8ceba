"""What annotators decided: one file an annotator, JSON lines, appended and synced one by one.

    annotations/<annotator>.jsonl
      {"annotator": "Ann", "leave_out": ["Hate"], "at": ...}
      {"concept": "red-circle", "sha256": "...", "decision": "yes", "seconds": 2.4, "at": ...}
      {"undo": true, "concept": "red-circle", "sha256": "...", "at": ...}

Later lines win. Decisions are about content (the hash), so they outlast a picture that moves. Any number of
annotators work at once, each on a file of their own; two windows of one annotator take turns by a lock.
A half-written last line, left by a kill, is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ucbench.errors import StoreError, UcbenchError

FOLDER = "annotations"
#: `skip`: cannot say. `withhold`: nobody should be shown this; it goes to nobody and into no dataset.
Decision = Literal["yes", "no", "skip", "withhold"]
LONGEST_NAME = 60

#: Concept id and the picture's hash.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Vote:
    """One decision; `seconds` from the picture's appearance to it."""

    decision: Decision
    seconds: float


@dataclass(frozen=True)
class Annotations:
    """All that one annotator's file says. `votes` is in the order of deciding."""

    annotator: str
    leave_out: tuple[str, ...] = ()
    votes: dict[Key, Vote] = field(default_factory=dict)

    @property
    def last(self) -> Key | None:
        """What undo takes back."""
        return next(reversed(self.votes), None)

    @property
    def withheld(self) -> frozenset[str]:
        """Hashes of pictures that nobody should be shown."""
        return frozenset(sha256 for (_, sha256), vote in self.votes.items() if vote.decision == "withhold")


def file_name(annotator: str) -> str:
    """The name of an annotator's file; what is lost in writing it plainly is kept as a hash.

    Capitals, blanks, hyphens and underscores make no difference. Raises `UcbenchError` for an empty, overlong
    or unprintable name.
    """
    name = unicodedata.normalize("NFKC", annotator).strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UcbenchError(
            f"--annotator takes a name of 1 to {LONGEST_NAME} printable characters, not {annotator!r:.70}"
        )
    folded = re.sub(r"[\s_-]+", "-", name.casefold()).strip("-")
    plain = re.sub(r"[^a-z0-9]+", "-", unicodedata.normalize("NFKD", folded)).strip("-")
    if plain != folded or not plain:
        digest = hashlib.blake2b(folded.encode(), digest_size=4).hexdigest()
        plain = f"{plain}-{digest}".lstrip("-")
    return f"{plain}.jsonl"


class AnnotatorFile:
    """One annotator's file in a folder of candidates."""

    def __init__(self, folder: Path, annotator: str) -> None:
        """Raises `UcbenchError` for a name that cannot be used."""
        self.annotator = unicodedata.normalize("NFKC", annotator).strip()
        self.path = folder / FOLDER / file_name(annotator)

    def read(self) -> Annotations:
        """What is in the file; nothing when there is none. Raises `StoreError`."""
        return read_file(self.path) if self.path.exists() else Annotations(self.annotator)

    def leave_out(self, categories: Sequence[str]) -> None:
        """Note which categories this annotator is not to be shown."""
        self._append({"annotator": self.annotator, "leave_out": list(categories)})

    def decide(self, key: Key, decision: Decision, seconds: float) -> None:
        """Note a decision and wait until the disk has it. Raises `StoreError`, e.g. on a full disk."""
        concept, sha256 = key
        line = {"concept": concept, "sha256": sha256, "decision": decision, "seconds": round(seconds, 2)}
        self._append(line)

    def undo(self, key: Key) -> None:
        """Take a decision back."""
        self._append({"undo": True, "concept": key[0], "sha256": key[1]})

    def _append(self, line: dict[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path) as handle:
                _drop_half_line(handle)
                lines = [{**line, "at": at}]
                if os.fstat(handle).st_size == 0 and "annotator" not in line:
                    lines.insert(0, {"annotator": self.annotator, "leave_out": [], "at": at})
                payload = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines).encode()
                while payload:
                    payload = payload[os.write(handle, payload) :]
                os.fsync(handle)
        except OSError as error:
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; what was decided before is kept, go on when "
                "that is mended"
            ) from error


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _drop_half_line(handle: int) -> None:
    size = os.fstat(handle).st_size
    # Lines are short; only the last one can be half-written.
    tail = os.pread(handle, min(size, 65_536), max(0, size - 65_536))
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(handle, size - len(tail) + tail.rfind(b"\n") + 1)


def read_all(folder: Path) -> list[Annotations]:
    """Every annotator's decisions, by file name. Raises `StoreError` for a damaged file."""
    return [read_file(path) for path in sorted((folder / FOLDER).glob("*.jsonl"))]


def read_file(path: Path) -> Annotations:
    """One file. Raises `StoreError` with the line that is damaged."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; make it readable") from error
    name, leave_out = path.stem, tuple[str, ...]()
    votes: dict[Key, Vote] = {}
    # What follows the last line break was not written to its end.
    for number, line in enumerate(lines[:-1], start=1):
        try:
            row = json.loads(line)
            if "annotator" in row:
                name, leave_out = str(row["annotator"]), tuple(map(str, row["leave_out"]))
                continue
            key = (str(row["concept"]), str(row["sha256"]))
            votes.pop(key, None)  # a new decision is the last one
            if not row.get("undo"):
                votes[key] = Vote(_decision(row["decision"]), float(row["seconds"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"{path} is damaged at line {number}; mend or remove that line") from error
    return Annotations(name, leave_out, votes)


def _decision(value: Any) -> Decision:
    if value not in get_args(Decision):
        raise ValueError(value)
    return cast("Decision", value)
