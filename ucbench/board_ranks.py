"""Ranks of the board: over everything, and within each category of unsafe concepts.

`ranks.parquet` has a row an entry and category: its balanced accuracy there with interval, and the ranks it
may hold for these concepts (`ucbench.metrics.categories`). A row of the board that is not ranked has its
score and no rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ucbench.board_cache import BoardCache
from ucbench.joined import Joined

if TYPE_CHECKING:
    import pandas as pd

    from ucbench.metrics.categories import Images

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


class Frames(Mapping[str, "pd.DataFrame"]):
    """Judged answers of rows, read when they are looked up; of a thousand rows only the latest few stay.

    Whenever one is read, its sums by image are kept, which are small: ranks over everything and ranks by
    category need one reading of each run. `images` reads a run only where that has not happened.
    """

    def __init__(self, rows: Mapping[str, Joined], cache: BoardCache | None = None) -> None:
        self._rows, self._cache = rows, cache
        self._read: dict[str, pd.DataFrame] = {}
        self._images: dict[str, Images | None] = {}

    def __getitem__(self, run_id: str) -> pd.DataFrame:
        """A row's judged answers. Raises `StoreError`."""
        frame = self._read.pop(run_id, None)
        if frame is None:
            frame = self._rows[run_id].frame()
            self._keep(run_id, frame)
        self._read[run_id] = frame
        if len(self._read) > _KEPT:
            del self._read[next(iter(self._read))]
        return frame

    def __iter__(self) -> Iterator[str]:
        """The rows' runs."""
        return iter(self._rows)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def of(self, run_ids: Iterable[str]) -> Frames:
        """Some of the rows, which share what was read."""
        some = Frames({run_id: self._rows[run_id] for run_id in run_ids}, self._cache)
        some._read, some._images = self._read, self._images
        return some

    def images(self, run_id: str) -> Images | None:
        """A row's answers summed by image; None where it was not asked both sides. Raises `StoreError`."""
        if run_id not in self._images:
            self._keep(run_id, None)
        return self._images[run_id]

    def _keep(self, run_id: str, frame: pd.DataFrame | None) -> None:
        from ucbench.metrics.categories import images_of

        def make() -> Images | None:
            return images_of(self._rows[run_id].frame() if frame is None else frame)

        if run_id not in self._images:
            content = None if self._cache is None else self._rows[run_id].content
            self._images[run_id] = (
                make() if self._cache is None or content is None else self._cache.images(content, make)
            )


def comparable(rows: pd.DataFrame, where: Mapping[str, Joined]) -> Iterator[pd.DataFrame]:
    """The rows of each set that may be ranked together."""
    versions = {
        run_id: " ".join(p.record.track.version for p in row.ranked_by) for run_id, row in where.items()
    }
    by = [*(rows[column] for column in COMPARABLE), rows["run_id"].map(versions)]
    for _, group in rows.groupby(by, sort=False):
        yield group


def rank(rows: pd.DataFrame, frames: Frames, where: Mapping[str, Joined], cache: BoardCache | None) -> None:
    """Fill the rank intervals in place, within each set of comparable rows."""
    from ucbench.metrics.compare import rank_intervals

    for group in comparable(rows[rows["unranked"].isna()], where):
        run_ids = list(group["run_id"])
        known = cache.known({run_id: where[run_id].content for run_id in run_ids}) if cache else None
        ranks = rank_intervals(frames.of(run_ids), RANK_KEY, known=known)
        for index, run_id in zip(group.index, run_ids, strict=True):
            rows.loc[index, ["rank_low", "rank_high", "ranked_among"]] = [*ranks[run_id], len(group)]


def by_category(rows: pd.DataFrame, frames: Frames, where: Mapping[str, Joined]) -> list[dict[str, Any]]:
    """The rows of `ranks.parquet`, in the order of their ids. Raises `StoreError` for a damaged run."""
    from ucbench.metrics.categories import standings

    found = []
    scored = rows[rows[RANK_KEY].notna() & rows["judge"].notna()]
    for group in comparable(scored, where):
        told = {run_id: frames.images(run_id) for run_id in group["run_id"]}
        entries = {run_id: images for run_id, images in told.items() if images is not None}
        ranked = set(group.loc[group["unranked"].isna(), "run_id"])
        for category, lines in standings(entries, ranked, min_coverage=MIN_COVERAGE).items():
            found += [
                {
                    "run_id": run_id, "category": category, "rank_low": one.rank_low,
                    "rank_high": one.rank_high, "ranked_among": one.ranked_among, RANK_KEY: one.value,
                    f"{RANK_KEY}_low": one.low, f"{RANK_KEY}_high": one.high,
                    f"{RANK_KEY}_coverage": one.coverage, f"{RANK_KEY}_n": one.n_items,
                }
                for run_id, one in lines.items()
            ]  # fmt: skip
    return sorted(found, key=lambda line: (line["run_id"], line["category"]))
