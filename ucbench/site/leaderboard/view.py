"""What the leaderboard shows of a track: rows in arrays, so that a thousand sort and filter in no time.

A `Table` is the rows of one track under one way of scoring; it is made once for everybody. What a visitor
chooses of it is a mask and an order. Nothing here draws; `ucbench.site.figures.tables` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from ucbench.board import RANK_KEY
from ucbench.format import absent, model_name
from ucbench.metrics.keys import KEYS
from ucbench.restricted import MARK
from ucbench.site.columns import (
    BY_KEY,
    GAP,
    GAP_OF,
    Column,
    Fact,
    Row,
    columns_of,
    covered_by,
    facts_of,
    filled,
    set_apart,
    strict_key,
    without_ranks,
)
from ucbench.site.data.board import LoadedBoard, cells_of, joined_runs
from ucbench.site.figures.tables import on_test_split
from ucbench.site.leaderboard.groups import groups
from ucbench.site.track_views import view
from ucbench.taxonomy import categories as taxonomy
from ucbench.tracks.about import about

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN = "unknown"
#: Bands of size: id -> name, and the billions of parameters below which it ends.
SIZES: dict[str, tuple[str, float]] = {
    "tiny": ("under 1 B", 1.0), "small": ("1 to 4 B", 4.0), "medium": ("4 to 10 B", 10.0),
    "large": ("10 to 40 B", 40.0), "huge": ("40 B and more", float("inf")), UNKNOWN: ("not known", 0.0),
}  # fmt: skip
#: How the weights of a model can be had.
WEIGHTS = {
    "open": "open weights", "gated": "open after terms", "closed": "closed, a service", UNKNOWN: "not known",
}  # fmt: skip
#: Scores that stand beside those of one category though they are over all safe images, which have none.
_OVERALL = ("over_refusal", "text_over_refusal")
#: Columns that are shown when nobody has chosen others: these scores come only when asked for.
_ON_DEMAND = ("general_ability", "diversity")
YOURS = "yours"
_PARTS = ("", "_low", "_high", "_coverage", "_n")

FEW_HERE = "fewer than half of the questions of this category were answered"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is scored: a track (`<track>` or `<track>@test`), one category of it or all, strictly or not."""

    track: str
    category: str | None = None
    strict: bool = False

    @property
    def name(self) -> str:
        """The track's id."""
        return self.track.partition(MARK)[0]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows are wanted; an empty choice wants all of them."""

    search: str = ""
    provenance: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    coverage: float = 0.0


class Table:
    """The rows of a scope. `groups` are the sets of rows that were asked the same, the main one first.

    `group` has the place of each row's group; a group's name is a sentence, empty for the main one. Arrays
    are read-only: visitors share them.
    """

    def __init__(
        self, scope: Scope, rows: Sequence[Row], columns: Sequence[Column], left_out: int = 0
    ) -> None:
        self.scope, self.rows, self.columns = scope, tuple(rows), tuple(columns)
        #: Rows of the track that have no score in this category.
        self.left_out = left_out
        self.ranked = any(not absent(row.get("rank_low")) for row in rows)
        self.has_ranks = RANK_KEY in about(scope.name).scores
        in_category = scope.category is not None and self.has_ranks
        self.facts = facts_of(
            RANK_KEY if in_category else covered_by(self.columns or columns_of(scope.track))
        )
        self.groups, self.group = groups(self.rows, scope.name)
        self._orders: dict[tuple[str, bool], NDArray[np.intp]] = {}
        self._numbers: dict[str, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        """How many rows."""
        return len(self.rows)

    @cached_property
    def by_key(self) -> dict[str, Column | Fact]:
        """Everything that can be a column, by its key."""
        scores: dict[str, Column | Fact] = {column.key: column for column in self.columns}
        return scores | {fact.key: fact for fact in self.facts}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Run -> the place of its row."""
        return {str(row["run_id"]): place for place, row in enumerate(self.rows)}

    @cached_property
    def default(self) -> tuple[str, ...]:
        """The columns that are shown where nobody has chosen others."""
        scores = [column.key for column in self.columns if column.key not in _ON_DEMAND]
        return (*(scores or [column.key for column in self.columns]), *(fact.key for fact in self.facts))

    def chosen(self, keys: Sequence[str]) -> tuple[list[Column], list[Fact]]:
        """Those columns, in the order of display; the usual ones where none is named."""
        wanted = set(keys) & self.by_key.keys() or set(self.default)
        return (
            [column for column in self.columns if column.key in wanted],
            [fact for fact in self.facts if fact.key in wanted],
        )

    def numbers(self, key: str) -> NDArray[np.float64]:
        """A score or the like of every row, NaN where it has none."""
        import numpy as np

        if key not in self._numbers:
            fact = self.by_key.get(key)
            read: Callable[[Row], Any] = fact.number if isinstance(fact, Fact) else lambda row: row.get(key)
            told = [read(row) for row in self.rows]
            self._numbers[key] = np.array([np.nan if absent(n) else float(n) for n in told], float)
        return self._numbers[key]

    @cached_property
    def _unranked(self) -> NDArray[np.bool_]:
        import numpy as np

        return np.array([absent(row.get("rank_low")) for row in self.rows], bool)

    @cached_property
    def _by_name(self) -> NDArray[np.intp]:
        """The place of each row by its name."""
        import numpy as np

        names = [(str(row["model"]).casefold(), str(row["run_id"])) for row in self.rows]
        place = np.empty(len(names), np.intp)
        place[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return place

    def order(
        self, key: str, *, reverse: bool = False, yours: NDArray[np.float64] | None = None
    ) -> NDArray[np.intp]:
        """Rows by a score, the better first; by a fact, the larger first; `reverse` the other way round.

        Groups stay together and ranked rows on top. A row without the score comes last; one with a reported
        range before those, by its middle. `yours` are the numbers of the column "your score".
        """
        if key == YOURS and yours is not None:
            return self._order(yours, reverse=reverse, ranges=None, better="higher")
        if (key, reverse) not in self._orders:
            column = self.by_key.get(key)
            score = isinstance(column, Column)
            middle = (self.numbers(f"{key}_low") + self.numbers(f"{key}_high")) / 2 if score else None
            better = column.better if isinstance(column, Column) else "higher"
            self._orders[key, reverse] = self._order(
                self.numbers(key), reverse=reverse, ranges=middle, better=better
            )
        return self._orders[key, reverse]

    def _order(
        self, numbers: NDArray[np.float64], *, reverse: bool, ranges: NDArray[np.float64] | None, better: str
    ) -> NDArray[np.intp]:
        import numpy as np

        missing = np.isnan(numbers)
        kind = np.where(missing, 2, 0)
        if ranges is not None:
            within = missing & ~np.isnan(ranges)
            kind, numbers = np.where(within, 1, kind), np.where(within, ranges, numbers)
        if better == "zero":
            numbers = np.abs(numbers)
        signed = numbers if (better == "higher") == reverse else -numbers
        return np.lexsort((self._by_name, np.nan_to_num(signed), kind, self._unranked, self.group))

    @cached_property
    def _folded(self) -> list[str]:
        found = []
        for row in self.rows:
            adapter, family = row.get("adapter"), row.get("family")
            # As it is shown, and in full.
            known = [model_name(row["model"], adapter), adapter, family]
            found.append(" ".join(str(word) for word in known if not absent(word)).casefold())
        return found

    def families(self) -> list[str]:
        """The families of the rows, the commonest first; the unknown last."""
        return self._told["families"]

    @cached_property
    def _words(self) -> dict[str, NDArray[np.object_]]:
        import numpy as np

        def told(key: str) -> NDArray[np.object_]:
            cells = [row.get(key) for row in self.rows]
            return np.array([UNKNOWN if absent(cell) else str(cell) for cell in cells], object)

        return {
            "provenance": told("provenance"), "families": told("family"), "weights": told("weights"),
            "sizes": np.array([band(row.get("parameters")) for row in self.rows], object),
        }  # fmt: skip

    @cached_property
    def _told(self) -> dict[str, list[str]]:
        found = {}
        for key, cells in self._words.items():
            counted = Counter(cells.tolist())
            found[key] = sorted(counted, key=lambda word: (word == UNKNOWN, -counted[word], word))
        return found

    def options(self, key: str, known: Sequence[str]) -> list[str]:
        """Those of the known words that any row has, in their order."""
        return [word for word in known if word in self._told[key]]

    def select(self, filters: Filters) -> NDArray[np.bool_]:
        """Which rows are wanted. One that states no coverage is kept when none is demanded."""
        import numpy as np

        kept = np.ones(len(self.rows), bool)
        words = filters.search.casefold().split()
        if words:
            kept &= np.array([all(word in name for word in words) for name in self._folded], bool)
        for key in ("provenance", "families", "sizes", "weights"):
            if wanted := getattr(filters, key):
                kept &= np.isin(self._words[key].astype(str), list(wanted))
        if filters.coverage > 0:
            with np.errstate(invalid="ignore"):
                kept &= self.numbers("coverage") >= filters.coverage
        return kept


def band(parameters: Any) -> str:
    """The band of size of a model."""
    if absent(parameters):
        return UNKNOWN
    return next(name for name, (_, end) in SIZES.items() if float(parameters) < end)


@lru_cache(maxsize=16)
def run_ids(board: LoadedBoard, track: str) -> frozenset[str]:
    """The runs of a track's rows, however they are scored."""
    return frozenset(str(row["run_id"]) for row in _rows(board, Scope(track)))


@lru_cache(maxsize=64)
def table(board: LoadedBoard, scope: Scope) -> Table:
    """The rows of a scope, scored its way."""
    rows = _rows(board, scope)
    left_out = 0
    if scope.category is not None:
        scored = _within(board, rows, scope)
        rows, left_out = scored, len(rows) - len(scored)
    elif scope.strict:
        rows = [_strictly(row) for row in rows]
    columns = [
        Column(key, BY_KEY[key].about, scope.strict, scope.category is not None and key in _OVERALL)
        for key in (column.key for column in columns_of(scope.track))
        if scope.category is None or key in _OVERALL or key in _keys_by_category(board)
    ]
    return Table(scope, rows, filled(columns, rows) or columns[:1], left_out)


def _rows(board: LoadedBoard, scope: Scope) -> list[Row]:
    """The rows of the track, each run of it once, with the ranks that hold there."""
    rows: list[Row] = []
    seen: set[str | None] = set()
    for row in board.of_track(scope.track):
        # A run may have joined several that lead a row; here it is one.
        run_id = str(row["run_id"]) if row["track"] == scope.name else joined_runs(row).get(scope.name)
        if run_id not in seen:
            seen.add(run_id)
            rows.append(row)
    if RANK_KEY not in about(scope.name).scores:
        return without_ranks(rows)
    return rows if MARK in scope.track else set_apart(rows, on_test_split)


def categories(board: LoadedBoard, track: str) -> dict[str, str]:
    """The categories that rows of a track have scores in: id -> name, in the order of the taxonomy."""
    return dict(_categories(board, track))


@lru_cache(maxsize=64)
def _categories(board: LoadedBoard, track: str) -> tuple[tuple[str, str], ...]:
    heat = view(track).heat
    if not heat:
        return ()
    run_ids = [str(row["run_id"]) for row in board.of_track(track)]
    asked = _ranked_in(board, run_ids)
    if not asked:
        # Safe concepts have categories of their own, in which unsafe ones have no share.
        keys = [key for key in heat if key != "perception"]
        asked = {id_ for key in keys for id_ in board.matrix("category", key, run_ids).ids}
    return tuple((one.id, one.name) for one in taxonomy() if one.id in asked)


def _ranked_in(board: LoadedBoard, run_ids: Sequence[str]) -> set[str]:
    """The categories in which one of the runs stands in the table of ranks, which is a small one."""
    if board.ranks is None:
        return set()
    known, places = set(run_ids), (cells_of(board.ranks.column(name)) for name in ("run_id", "category"))
    return {category for run_id, category in zip(*places, strict=True) if run_id in known}


def _keys_by_category(board: LoadedBoard) -> set[str]:
    return {*board.breakdowns.keys("category"), RANK_KEY}


def _strictly(row: Row) -> Row:
    """The row with its strict scores in place of the others."""
    changed = {
        f"{key}{part}": row.get(f"{strict_key(key)}{part}")
        for key in KEYS
        if strict_key(key) != key
        for part in _PARTS
    }
    changed |= _strict_gap(changed)
    return {**row, **changed}


def _strict_gap(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The gap of two strict alignments. How they vary together the board does not say: no interval."""
    text, image = (scores.get(key) for key in GAP_OF)
    known = not absent(text) and not absent(image)
    gap = float(text) - float(image) if known else None  # type: ignore[arg-type]
    coverage = [scores.get(f"{key}_coverage") for key in GAP_OF]
    least = None if any(absent(one) for one in coverage) else min(coverage)  # type: ignore[type-var]
    return {GAP: gap, f"{GAP}_low": None, f"{GAP}_high": None, f"{GAP}_coverage": least}


def _within(board: LoadedBoard, rows: Sequence[Row], scope: Scope) -> list[Row]:
    """The rows that have a score in a category, with their scores and ranks there."""
    run_ids = [str(row["run_id"]) for row in rows]
    changes: list[dict[str, Any]] = [{} for _ in rows]
    for key in columns_of(scope.track):
        told = strict_key(key.key) if scope.strict else key.key
        if key.key == RANK_KEY or key.key in _OVERALL:
            continue
        found = board.matrix("category", told, run_ids)
        at = found.ids.index(scope.category) if scope.category in found.ids else None
        for place, change in enumerate(changes):
            numbers = [None] * 3 if at is None else [
                None if n != n else float(n)
                for n in (found.value[place, at], found.low[place, at], found.high[place, at])
            ]  # fmt: skip
            change |= zip((key.key, f"{key.key}_low", f"{key.key}_high"), numbers, strict=True)
        if scope.strict and key.key == GAP:
            for change in changes:
                change |= {
                    name: value for name, value in _strict_gap(change).items() if name != f"{GAP}_coverage"
                }
    standing = _standings(board, scope.category or "")
    kept: list[Row] = []
    for row, change in zip(rows, changes, strict=True):
        here = standing.get(str(row["run_id"]))
        if here is None and all(value is None for value in change.values()):
            continue
        change |= here or {f"{RANK_KEY}{part}": None for part in _PARTS}
        ranked = not absent(row.get("rank_low"))
        if here is None or not ranked:
            change |= {"rank_low": None, "rank_high": None, "ranked_among": None}
        if ranked and here is not None and absent(here["rank_low"]):
            change["unranked"] = FEW_HERE
        kept.append({**row, **change})
    return kept


@lru_cache(maxsize=32)
def _standings(board: LoadedBoard, category: str) -> Mapping[str, dict[str, Any]]:
    """Run -> its rank and balanced accuracy in a category; nothing of a board that was built without."""
    if board.ranks is None:
        return {}
    lines = board.ranks.filter([told == category for told in board.ranks.column("category").to_pylist()])
    return {line.pop("run_id"): line for line in lines.drop_columns(["category"]).to_pylist()}


#: What of a row goes into a file beside its scores.
_KEPT = (
    "run_id", "model", "adapter", "revision", "dtype", "template", "system_prompt", "temperature",
    "provenance", "track", "track_version", "split", "judge", "family", "parameters", "weights", "rank_low",
    "rank_high", "ranked_among", "unranked", "measured_at",
)  # fmt: skip


def seen(
    shown: Table,
    order: Sequence[int],
    columns: Sequence[Column],
    yours: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """The rows in that order as plain dictionaries, under the keys of their scores, for a file."""
    found = []
    for place in order:
        row = shown.rows[place]
        line: dict[str, Any] = {key: row.get(key) for key in _KEPT}
        line |= {"category": shown.scope.category, "scoring": "strict" if shown.scope.strict else "paper"}
        for column in columns:
            line |= {f"{column.told}{part}": row.get(f"{column.key}{part}") for part in ("", "_low", "_high")}
        line["coverage"] = _or_none(shown.numbers("coverage")[place])
        if yours is not None:
            line["your_score"] = _or_none(yours[place])
        found.append(line)
    return found


def _or_none(number: float) -> float | None:
    return None if number != number else float(number)
