"""The runs behind rows of the board, and what comparing two rows found; computed once for all visitors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ucbench.comparison import Comparison, compare
from ucbench.errors import UcbenchError
from ucbench.joined import Part
from ucbench.restricted import MARK, is_restricted
from ucbench.runs import Run
from ucbench.site.columns import Row, columns_of
from ucbench.site.data import loading
from ucbench.site.data import run as run_data
from ucbench.site.data.board import joined_runs
from ucbench.site.figures.tables import name
from ucbench.site.track_views import view

#: Paths with size and time of their last change: two that are equal hold the same.
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """The runs of a row that are in this place as `track, run`, the leading one first, and their state.

    `row_id` is the id of the row, which says whether its runs count in part only.
    """

    row_id: str
    runs: tuple[tuple[str, Run], ...]
    stamp: Stamp

    @property
    def leads(self) -> bool:
        """Whether the leading run is here: without it there are no answers to compare by."""
        return bool(self.runs) and self.runs[0][0] == ""


def behind(row: Row) -> Behind:
    """Find a row's runs; nothing of them is read."""
    both, found = loading.stores(), []
    for track, run_id in (("", str(row["run_id"])), *joined_runs(row).items()):
        run = both.run(str(row["entry"]), run_id)
        if run is not None:
            found.append((track, run))
    return Behind(str(row["run_id"]), tuple(found), stamp(run.folder for _, run in found))


def stamp(folders: object) -> Stamp:
    """The state of everything that lies in some folders of runs."""
    told = []
    for folder in folders:  # type: ignore[attr-defined]
        for place in (folder, folder / "judgements"):
            told += [_state(path) for path in sorted(place.glob("*.*"))]
    return tuple(told)


def _state(path: Path) -> tuple[str, int, int]:
    try:
        now = path.stat()
    except OSError:  # it went while we looked
        return str(path), 0, 0
    return str(path), now.st_size, now.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found, or the sentence that says why nothing could be."""

    found: Comparison | None = None
    problem: str = ""


def compared(first: Row, second: Row) -> Compared:
    """Compare two rows of a track: the second minus the first, by every score that the track shows."""
    one, other = behind(first), behind(second)
    for row, runs in ((first, one), (second, other)):
        if row["provenance"] == "reported":
            told = f"The scores of {name(row)} were taken from a paper"
        elif not runs.leads:
            told = f"Of {name(row)} only the scores are here"
        else:
            continue
        return Compared(problem=f"{told}: a paired comparison needs the answers behind them.")
    keys = tuple(column.key for column in columns_of(str(first["track"])))
    return _compared(one, other, keys, view(str(first["track"])).heat)


@lru_cache(maxsize=64)
def _compared(first: Behind, second: Behind, keys: Sequence[str], within: Sequence[str]) -> Compared:
    try:
        sides = [_parts(runs) for runs in (first, second)]
        return Compared(compare(sides[0], sides[1], keys=keys, within=within))
    except UcbenchError as error:
        return Compared(problem=f"{loading.told(error).rstrip('.')}.")


def _parts(runs: Behind) -> list[Part]:
    found = []
    for _, run in runs.runs:
        record = run.record()
        cut = run_data.cut_down(run, record) if is_restricted(runs.row_id) else run
        if cut is not None:
            found.append(Part(cut, record))
    return found


def split_mark(row: Row) -> str:
    """How the address of a page names the row's track: its test split by itself where the row is of that."""
    track = str(row["track"])
    return f"{track}{MARK}test" if is_restricted(str(row["run_id"])) else track


def track_query(row: Row) -> str | None:
    """The same for an address, which leaves the default out."""
    track = split_mark(row)
    return None if track == "pictograms" else track
