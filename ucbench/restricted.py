"""Runs over a whole set, cut down to the test items that entries trained on its other items were asked.

An aligned model is scored on the test split only. To set others beside it, their scores are computed again
from the answers they gave to those same questions; nobody is asked anew and no data is needed. On the board
such a row has the id `<run id>@test`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.board_cache import BoardCache, content
from ucbench.record import Entry, RunRecord
from ucbench.runs import ANSWERS, KEY, RECORD, Run

if TYPE_CHECKING:
    import pandas as pd

MARK = "@"

#: What a whole run and a test run must have in common: track, version, draw.
_Set = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class RestrictedRun(Run):
    """A run over a whole set of which only the items of another one, `tested`, count."""

    tested: Run

    def frame_files(self, judge_id: str) -> list[Path]:
        """Also the answers that say which items count."""
        return [*Run.frame_files(self, judge_id), self.tested.folder / ANSWERS]

    def frame(self, judge_id: str) -> pd.DataFrame:
        """The judged answers to the items of `tested`, in its order."""
        # Not super(): a class with slots is made anew by its decorator, which super() does not know.
        return self.tested.answers()[KEY].merge(
            Run.frame(self, judge_id), on=KEY, how="inner", validate="one_to_one"
        )


def run_id_of(row_id: str) -> str:
    """The id of the run that a row of the board was made from."""
    return row_id.partition(MARK)[0]


def is_restricted(row_id: str) -> bool:
    """Whether a row of the board is one of those made here."""
    return MARK in row_id


def restricted(
    entries: Sequence[tuple[Run, RunRecord]], cache: BoardCache | None = None
) -> list[tuple[Run, RunRecord]]:
    """Every complete run over a whole set that a trained entry was tested on, cut down to those items.

    An entry that was asked the test split by itself is left out. `cache` keeps what was computed before.
    Raises `StoreError` for a damaged run.
    """
    tested: dict[_Set, Run] = {}
    asked: set[tuple[_Set, Entry]] = set()
    for run, record in sorted(entries, key=lambda pair: pair[1].run_id):
        if record.track.split == "test" and _whole(record):
            asked.add((_set(record), record.entry))
            if record.entry.trained_on:
                tested.setdefault(_set(record), run)
    return [
        _cut(RestrictedRun(run.folder, tested[_set(record)]), record, cache)
        for run, record in entries
        if record.track.split == "all"
        and _whole(record)
        and _set(record) in tested
        and (_set(record), record.entry) not in asked
    ]


def tested_with(entries: Sequence[tuple[Run, RunRecord]], whole: RunRecord) -> Run | None:
    """The run of a trained entry whose items `whole` is cut down to; None where there is none."""
    found = [
        (record.run_id, run)
        for run, record in entries
        if record.track.split == "test" and _whole(record) and record.entry.trained_on
        and _set(record) == _set(whole)
    ]  # fmt: skip
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _cut(run: RestrictedRun, record: RunRecord, cache: BoardCache | None) -> tuple[Run, RunRecord]:
    assert record.judge is not None
    if cache is None:
        return run, _scored(run, record)
    key = content(run.folder / RECORD, *run.frame_files(record.judge.id))
    return run, cache.cut(key, lambda: _scored(run, record))


def _scored(run: RestrictedRun, record: RunRecord) -> RunRecord:
    from ucbench.metrics.scores import counts, score_run
    from ucbench.tracks import registry as tracks
    from ucbench.tracks.scoring import scoring

    assert record.judge is not None
    kept = run.frame(record.judge.id)
    track, own = tracks.load(record.track.id), scoring(record.track.id)
    asked = {"split": "test", "n_samples": int(kept["sample_id"].nunique()), "n_questions": len(kept)}
    changes = {
        "run_id": f"{record.run_id}{MARK}test",
        "track": record.track.model_copy(update=asked),
        "counts": counts(kept),
        "scores": score_run(kept, subsets=track.subsets, extra=own.extra, clusters=own.clusters),
    }
    return record.model_copy(update=changes)


def _whole(record: RunRecord) -> bool:
    return record.status == "complete" and record.judge is not None


def _set(record: RunRecord) -> _Set:
    return record.track.id, record.track.version, record.track.draw
