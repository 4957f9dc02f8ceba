"""The files of a run that a visitor may take home: its record, and published answers with what judges read.

Answers leave from the published results alone: what lies in a folder of one's own was published by nobody.
Texts that were taken down are withheld here as well, though the store may not have been built anew since.
Pictures are no part of a run.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ucbench import runs, withheld
from ucbench.runs import Run
from ucbench.site.data import loading
from ucbench.site.data.run import Part

_JSON, _PARQUET = "application/json", "application/vnd.apache.parquet"


@dataclass(frozen=True, slots=True)
class File:
    """A file to take home; `make` reads it when somebody presses for it."""

    label: str
    name: str
    mime: str
    make: Callable[[], bytes]


def files_of(part: Part) -> list[File]:
    """What there is of a run, its record first."""
    found = [
        File(
            runs.RECORD, f"{part.record.run_id}.json", _JSON,
            lambda: part.record.to_json().encode(),
        )
    ]  # fmt: skip
    results = loading.stores().results
    published = Run(results / part.run.folder.parent.name / part.run.run_id)
    if not published.exists() or not (published.folder / runs.ANSWERS).is_file():
        return found
    found.append(
        File(
            runs.ANSWERS, f"{published.run_id}-answers.parquet", _PARQUET,
            lambda: answers(published, results / "takedown.json"),
        )
    )  # fmt: skip
    for judge_id in published.judge_ids():
        path = published.judgements_path(judge_id)
        found.append(
            File(f"verdicts of {judge_id}", f"{published.run_id}-{judge_id}.parquet", _PARQUET,
                 path.read_bytes)
        )  # fmt: skip
    return found


def answers(run: Run, takedown: Path) -> bytes:
    """`answers.parquet` of a run without the texts on a list of what was taken down. Raises `StoreError`."""
    path, listed = run.folder / runs.ANSWERS, withheld.read(takedown)
    if not any(item.run_id in (None, run.run_id) for item in listed.items):
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Run(Path(folder) / run.run_id)
        copy.folder.mkdir()
        shutil.copyfile(path, copy.folder / runs.ANSWERS)
        withheld.withhold(copy, lambda row: listed.covers(run.run_id, row))
        return (copy.folder / runs.ANSWERS).read_bytes()
