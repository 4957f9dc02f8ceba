"""The authors' split of a metadata file, written as two files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ucbench.errors import StoreError, UcbenchError
from ucbench.files import write_text
from ucbench.tracks import split as authors
from ucbench.tracks.unsafeconcepts.metadata import concept_name, read_lines

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
    `StoreError` for files that are there already or cannot be written.
    """
    train, test = out / TRAIN, out / TEST
    for path in (train, test):
        if path.exists():
            raise StoreError(f"{path} is there already; remove it, or choose another folder with --out")
    lines = read_lines(metadata)
    names = []
    for line in lines:
        name = concept_name(line.cells)
        if name is None:
            raise UcbenchError(f"{metadata} line {line.number} has no unsafe_concept; fetch the file again")
        names.append(name)
    found = authors.split(names, 0)
    for path, rows in ((train, found.train_unsafe), (test, found.test_unsafe)):
        write_text(path, "".join(f"{lines[row].text}\n" for row in rows))
    return Written(train, test, len(found.train_unsafe), len(found.test_unsafe))
