"""The authors' split of a metadata file, written as two files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ucbench.errors import StoreError
from ucbench.files import alone, atomic_path
from ucbench.tracks import split as authors
from ucbench.tracks.unsafeconcepts.metadata import concept_name, no_concept, read_lines

TRAIN, TEST = "train.jsonl", "test.jsonl"


@dataclass(frozen=True, slots=True)
class Written:
    """The two files and their numbers of rows."""

    train: Path
    test: Path
    n_train: int
    n_test: int


def write_split(metadata: Path, out: Path) -> Written:
    """Write `train.jsonl` and `test.jsonl` to `out`: rows as they are in `metadata`, in the authors' order.

    Any concepts will do, not only those of the taxonomy. Raises `UcbenchError` for rows without a concept,
    `StoreError` for files that are there already or cannot be written, and while another process writes
    there.
    """
    train, test = out / TRAIN, out / TEST
    _check_free(train, test)
    lines = read_lines(metadata)
    names = []
    for line in lines:
        name = concept_name(line.cells)
        if name is None:
            raise no_concept(f"{metadata} line {line.number}")
        names.append(name)
    found = authors.split(names, 0)
    with _alone(out):
        _check_free(train, test)  # somebody may have been here meanwhile
        # Both are on the disk before either has its name.
        with atomic_path(train) as first, atomic_path(test) as second:
            for path, rows in ((first, found.train_unsafe), (second, found.test_unsafe)):
                path.write_text("".join(f"{lines[row].text}\n" for row in rows), encoding="utf-8")
    return Written(train, test, len(found.train_unsafe), len(found.test_unsafe))


def _check_free(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise StoreError(f"{path} is there already; remove it, or choose another folder with --out")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes that write a split out of a folder; the lock ends with this process."""
    advice = "choose another folder with --out"
    busy = f"another process is writing to {folder}; wait for it to end, or {advice}"
    with alone(folder, busy, advice, folder=True):
        yield
