"""The paper's own figures as records of provenance `reported` (data and source in `reported.yaml`)."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ucbench import __version__
from ucbench.record import Entry, RunRecord, Score, Scores, TrackRef, run_id
from ucbench.runs import Run


def _score(figure: float | list[float]) -> Score:
    if isinstance(figure, list):
        low, high = figure
        return Score(value=None, low=low, high=high)
    return Score(value=figure)


def records() -> list[RunRecord]:
    """One record a row of the paper's tables, on track `unsafeconcepts`."""
    text = files("ucbench").joinpath("reported.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    track = TrackRef(id=data["track"], version="paper")
    found = []
    for row in data["rows"]:
        entry = Entry(model=row["model"], adapter=row.get("adapter"))
        found.append(
            RunRecord(
                run_id=run_id(entry, track, "reported"),
                entry=entry,
                track=track,
                judge=None,
                code_version=__version__,
                provenance="reported",
                source=f"{data['source']}: {row['note']}",
                scores=Scores(overall={key: _score(figure) for key, figure in row["scores"].items()}),
            )
        )
    return found


def write(store: Path) -> list[Run]:
    """Write the reported records into a store, replacing what was there of them."""
    written = []
    for record in records():
        run = Run(store / record.entry.slug / record.run_id)
        run.write_record(record)
        written.append(run)
    return written
