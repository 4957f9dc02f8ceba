"""What the pages read: the board, the run folders behind it, and the drawings of a track.

Folders come from the environment (`UCBENCH_RESULTS`, `UCBENCH_RUNS`), by default `results/` and `runs/`
beside `app.py`. Nothing here is specific to a visitor, so all of it is cached for everybody.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench.errors import StoreError, UnknownNameError
from ucbench.runs import Run
from ucbench.site.charts import Reading, reading
from ucbench.site.columns import Row

if TYPE_CHECKING:
    import pandas as pd

    from ucbench.tracks.base import Track
    from ucbench.types import ImageSource

_ROOT = Path(__file__).resolve().parents[2]

#: Columns without which a table is not a board of ours.
_NEEDED = {"run_id", "model", "entry", "track", "provenance", "rank_low", "rank_high", "unranked", "judge"}


@dataclass(frozen=True, slots=True)
class Stores:
    """Published results, and the visitor's own runs on top of them."""

    results: Path
    runs: Path

    @property
    def board_folder(self) -> Path:
        """The board in `runs` joins both stores, so it wins where there is one."""
        return self.runs if (self.runs / boards.MANIFEST).is_file() else self.results

    def run(self, entry: str, run_id: str) -> Run | None:
        """A run's folder, looked for in `runs` first; None when only its row was published."""
        for store in (self.runs, self.results):
            run = Run(store / entry / run_id)
            # Names come from the table: they must not lead out of the store.
            if run.folder.resolve().is_relative_to(store.resolve()) and run.exists():
                return run
        return None


def stores() -> Stores:
    """The two folders, as the environment says."""
    return Stores(
        Path(os.environ.get("UCBENCH_RESULTS") or _ROOT / "results"),
        Path(os.environ.get("UCBENCH_RUNS") or _ROOT / "runs"),
    )


@dataclass(frozen=True, slots=True)
class LoadedBoard:
    """A board in the shape the pages use. Treat it as read-only: visitors share it."""

    rows: tuple[Row, ...]
    breakdowns: pd.DataFrame
    manifest: dict[str, Any]
    digest: str

    def of_track(self, track: str) -> list[Row]:
        """The rows of one track, in the board's order."""
        return [row for row in self.rows if row["track"] == track]

    def tracks(self) -> list[str]:
        """Tracks that have a row."""
        return sorted({row["track"] for row in self.rows})

    def row(self, run_id: str) -> Row | None:
        """A run's row."""
        return next((row for row in self.rows if row["run_id"] == run_id), None)

    def scores(self, run_id: str, group: str, key: str) -> dict[str, Reading]:
        """A score of a run within each category, concept, question or subset."""
        table = self.breakdowns
        found = table[(table["run_id"] == run_id) & (table["group"] == group) & (table["key"] == key)]
        return {
            str(line["group_id"]): reading(line["value"], line["low"], line["high"])
            for line in found.to_dict("records")
        }

    def has_breakdown(self, run_id: str) -> bool:
        """Whether the run's scores by concept are known; those of reported rows are not."""
        table = self.breakdowns
        return bool(((table["run_id"] == run_id) & (table["group"] == "concept")).any())


def board() -> LoadedBoard:
    """The board that the site shows. Raises `StoreError` when there is none or it is damaged."""
    folder = stores().board_folder
    return _load(folder, _digest(folder / boards.MANIFEST))


def _digest(manifest: Path) -> str:
    try:
        return hashlib.sha256(manifest.read_bytes()).hexdigest()
    except OSError as error:
        raise StoreError(
            f"There is no board in {manifest.parent.name}/ yet; make one with `ucbench demo` or "
            "`ucbench board build`."
        ) from error


@lru_cache(maxsize=2)
def _load(folder: Path, digest: str) -> LoadedBoard:
    """Keyed by the manifest's digest: a board that was built anew is read anew."""
    damaged = f"The board in {folder.name}/ is damaged; make it anew with `ucbench board build`."
    try:
        found = boards.load(folder)
    except StoreError as error:
        raise StoreError(damaged) from error
    if not _NEEDED <= set(found.rows.columns) or not isinstance(found.manifest, dict):
        raise StoreError(damaged)
    rows = found.rows.astype(object).where(found.rows.notna(), None)
    return LoadedBoard(tuple(rows.to_dict("records")), found.breakdowns, found.manifest, digest)


def frame(run: Run, judge_id: str) -> pd.DataFrame:
    """A run's answers beside a judge's verdicts. Raises `StoreError`."""
    return _frame(run, judge_id, (run.folder / "record.json").stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _frame(run: Run, judge_id: str, _written: int) -> pd.DataFrame:
    return run.frame(judge_id)


@lru_cache(maxsize=4)
def track(name: str) -> Track | None:
    """A track that can be drawn here; None for one whose data is elsewhere."""
    from ucbench.tracks import registry

    try:
        return registry.load(name)
    except UnknownNameError:
        return None


@lru_cache(maxsize=2)
def pictures(name: str) -> dict[str, ImageSource]:
    """Sample id -> picture of a track's test split. Nothing is drawn before it is loaded."""
    known = track(name)
    return {} if known is None else {sample.id: sample.image for sample in known.samples("test")}


def public_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: dates as text."""
    return [
        {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}
        for row in rows
    ]
