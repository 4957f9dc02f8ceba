"""Ranks of the board: over everything, and within each category of unsafe concepts.

`ranks.parquet` has a row an entry and category: its balanced accuracy there with interval, and the ranks it
may hold for these concepts (`ucbench.metrics.categories`). A row of the board that is not ranked has its
score and no rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ucbench.board_cache import BoardCache
from ucbench.joined import Joined

if TYPE_CHECKING:
    import pandas as pd

RANKS = "ranks.parquet"
#: The default order: it needs unsafe AND safe images, so that always saying No does not win.
RANK_KEY = "balanced_accuracy"
MIN_COVERAGE = 0.5
#: Rows are comparable, and ranked together, when all of these agree, and the versions of joined tracks.
COMPARABLE = ("track", "track_version", "split", "draw", "judge")
#: Columns and types, as in `ucbench.board`.
RANK_TYPES = {
    "run_id": "t", "category": "t", "rank_low": "i", "rank_high": "i", "ranked_among": "i",
    RANK_KEY: "f", f"{RANK_KEY}_low": "f", f"{RANK_KEY}_high": "f", f"{RANK_KEY}_coverage": "f",
    f"{RANK_KEY}_n": "i",
}  # fmt: skip


#: So many runs' answers are held at once.
_KEPT = 16


class _Frames(Mapping[str, "pd.DataFrame"]):
    """Judged answers of rows, read when they are looked up; of a thousand rows only the latest few stay."""

    def __init__(self, rows: Mapping[str, Joined]) -> None:
        self._rows = rows
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, run_id: str) -> pd.DataFrame:
        frame = self._read.pop(run_id, None)
        self._read[run_id] = self._rows[run_id].frame() if frame is None else frame
        if len(self._read) > _KEPT:
            del self._read[next(iter(self._read))]
        return self._read[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def comparable(rows: pd.DataFrame, where: Mapping[str, Joined]) -> Iterator[pd.DataFrame]:
    """The rows of each set that may be ranked together."""
    versions = {
        run_id: " ".join(p.record.track.version for p in row.ranked_by) for run_id, row in where.items()
    }
    by = [*(rows[column] for column in COMPARABLE), rows["run_id"].map(versions)]
    for _, group in rows.groupby(by, sort=False):
        yield group


def rank(rows: pd.DataFrame, where: Mapping[str, Joined], cache: BoardCache | None) -> None:
    """Fill the rank intervals in place, within each set of comparable rows."""
    from ucbench.metrics.compare import rank_intervals

    for group in comparable(rows[rows["unranked"].isna()], where):
        ranked = {run_id: where[run_id] for run_id in group["run_id"]}
        known = cache.known({run_id: row.content for run_id, row in ranked.items()}) if cache else None
        ranks = rank_intervals(_Frames(ranked), RANK_KEY, known=known)
        for index, run_id in zip(group.index, group["run_id"], strict=True):
            rows.loc[index, ["rank_low", "rank_high", "ranked_among"]] = [*ranks[run_id], len(group)]


def by_category(
    rows: pd.DataFrame, where: Mapping[str, Joined], cache: BoardCache | None
) -> list[dict[str, Any]]:
    """The rows of `ranks.parquet`, in the order of their ids. Raises `StoreError` for a damaged run."""
    from ucbench.metrics.categories import images_of, standings

    found = []
    scored = rows[rows[RANK_KEY].notna() & rows["judge"].notna()]
    for group in comparable(scored, where):
        entries = {}
        for run_id in group["run_id"]:
            row = where[run_id]
            images = (
                cache.images(row.content, lambda row=row: images_of(row.frame()))  # type: ignore[misc]
                if cache
                else images_of(row.frame())
            )
            if images is not None:
                entries[run_id] = images
        ranked = set(group.loc[group["unranked"].isna(), "run_id"])
        for category, told in standings(entries, ranked, min_coverage=MIN_COVERAGE).items():
            found += [
                {
                    "run_id": run_id, "category": category, "rank_low": one.rank_low,
                    "rank_high": one.rank_high, "ranked_among": one.ranked_among, RANK_KEY: one.value,
                    f"{RANK_KEY}_low": one.low, f"{RANK_KEY}_high": one.high,
                    f"{RANK_KEY}_coverage": one.coverage, f"{RANK_KEY}_n": one.n_items,
                }
                for run_id, one in told.items()
            ]  # fmt: skip
    return sorted(found, key=lambda line: (line["run_id"], line["category"]))
