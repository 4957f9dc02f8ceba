"""The board in the shape that pages use: rows as dictionaries, scores by concept and the like as columns.

A board of 1,000 models holds more than a million scores by concept, category, question and subset. They stay
numbers in arrays: nothing of them is read before a page asks for the first one, and a page gets the array of
one score over the runs it names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ucbench import board as boards
from ucbench.restricted import MARK, is_restricted
from ucbench.site.columns import Row
from ucbench.site.data.published import Published
from ucbench.site.figures.charts import Reading, reading
from ucbench.site.figures.tables import on_test_split

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_WORDS = ("run_id", "group", "group_id", "key")
_NUMBERS = ("value", "low", "high")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The columns of the breakdowns that pages use.
LINE = (*_WORDS, *_NUMBERS)


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """One score of several runs within groups: `value`, `low`, `high` are [runs x ids], NaN where absent."""

    run_ids: tuple[str, ...]
    ids: tuple[str, ...]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def reading(self, run: int, place: int) -> Reading:
        """One score by its row and column."""
        return reading(self.value[run, place], self.low[run, place], self.high[run, place])


@dataclass(frozen=True, slots=True, eq=False)
class _Cube:
    """One score within one kind of group, of all runs. `told` says where there is a line at all."""

    ids: NDArray[np.int32]
    numbers: NDArray[np.float64]  # [value, low, high] x runs x ids
    told: NDArray[np.bool_]  # runs x ids


class _Index:
    """The lines of the long table, found by kind of group and score."""

    def __init__(self, table: pa.Table) -> None:
        import numpy as np

        self._words: dict[str, list[str]] = {}
        codes: dict[str, NDArray[np.int32]] = {}
        for name in _WORDS:
            self._words[name], codes[name] = _encoded(table.column(name))
        self._numbers = [table.column(name).to_numpy() for name in _NUMBERS]
        self._run, self._id = codes["run_id"], codes["group_id"]
        self.runs = {run_id: place for place, run_id in enumerate(self._words["run_id"])}
        pair = codes["group"] * len(self._words["key"]) + codes["key"]
        # 16 bits are sorted in linear time; kinds of groups times scores are never so many.
        self._order = np.argsort(pair.astype(np.uint16), kind="stable")
        pairs = len(self._words["group"]) * len(self._words["key"])
        self._starts = np.searchsorted(pair[self._order], np.arange(pairs + 1))
        self._cubes: dict[tuple[str, str], _Cube] = {}
        by_concept = codes["group"] == _place(self._words["group"], "concept")
        self.with_concepts = {self._words["run_id"][code] for code in np.unique(self._run[by_concept])}

    def id_names(self, codes: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._words["group_id"][code] for code in codes)

    def keys(self, group: str) -> list[str]:
        place, keys = _place(self._words["group"], group), self._words["key"]
        if place < 0:
            return []
        first = place * len(keys)
        return [key for n, key in enumerate(keys, start=first) if self._starts[n + 1] > self._starts[n]]

    def cube(self, group: str, key: str) -> _Cube:
        if (group, key) not in self._cubes:
            self._cubes[group, key] = self._made(group, key)
        return self._cubes[group, key]

    def _made(self, group: str, key: str) -> _Cube:
        import numpy as np

        places = _place(self._words["group"], group), _place(self._words["key"], key)
        start = end = 0
        if min(places) >= 0:
            pair = places[0] * len(self._words["key"]) + places[1]
            start, end = self._starts[pair], self._starts[pair + 1]
        lines = self._order[start:end]
        run, id_ = self._run[lines], self._id[lines]
        known, first = np.unique(id_, return_index=True)
        ids = known[np.argsort(first)]  # in the order in which runs tell them
        column = np.zeros(len(self._words["group_id"]), np.intp)
        column[ids] = np.arange(len(ids))
        numbers = np.full((len(_NUMBERS), len(self.runs), len(ids)), np.nan)
        told = np.zeros((len(self.runs), len(ids)), bool)
        where = run, column[id_]
        for place, every in enumerate(self._numbers):
            numbers[place][where] = every[lines]
        told[where] = True
        return _Cube(ids, numbers, told)


def _encoded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The words of a column and the place of each line's word among them."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    return whole.dictionary.to_pylist(), whole.indices.to_numpy().astype(np.int32)


def _place(words: Sequence[str], word: str) -> int:
    return words.index(word) if word in words else -1


class Breakdowns:
    """The long table of scores by category, concept, question and subset; read when it is first asked.

    `read` gives the columns `LINE` and may raise `StoreError`, as then all methods do.
    """

    def __init__(self, read: Callable[[], pa.Table]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._found: _Index | None = None

    def _index(self) -> _Index:
        with self._lock:  # many visitors ask at once
            if self._found is None:
                self._found = _Index(self._read())
            return self._found

    def load(self) -> None:
        """Read them now."""
        self._index()

    def runs_by_concept(self) -> set[str]:
        """The runs whose scores by concept are known."""
        return self._index().with_concepts

    def keys(self, group: str) -> list[str]:
        """The scores that at least one run has within a kind of group (`category`, `concept`, ...)."""
        return self._index().keys(group)

    def matrix(self, group: str, key: str, run_ids: Sequence[str]) -> Matrix:
        """One score of the runs named, in their order. The ids are those that at least one of them tells."""
        import numpy as np

        index = self._index()
        cube = index.cube(group, key)
        rows = np.array([index.runs.get(run_id, -1) for run_id in run_ids], np.intp)
        known = rows >= 0
        told = cube.told[rows[known]].any(axis=0)
        numbers = np.full((len(_NUMBERS), len(rows), int(told.sum())), np.nan)
        numbers[:, known] = cube.numbers[:, rows[known]][:, :, told]
        return Matrix(tuple(run_ids), index.id_names(cube.ids[told].tolist()), *numbers)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBoard:
    """A board in the shape the pages use. Treat it as read-only: visitors share it.

    Boards of the same rows are equal and can be a key: `functools.lru_cache` on a function of a board keeps
    what does not depend on the visitor until there is another board.
    """

    rows: tuple[Row, ...]
    breakdowns: Breakdowns
    manifest: dict[str, Any]
    digest: str
    #: Ranks within categories (`ucbench.board_ranks`); None of a board that was built without them.
    ranks: pa.Table | None = None
    #: A sentence for visitors when something that should be in the board is not.
    note: str = ""
    #: The revision of a results store that it is from.
    source: Published | None = None

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same ones."""
        return isinstance(other, LoadedBoard) and self.rows is other.rows and self.digest == other.digest

    def __hash__(self) -> int:
        """By the digest."""
        return hash(self.digest)

    def of_track(self, track: str) -> list[Row]:
        """The rows of one track, in the board's order; also those led by another that its runs joined.

        `<track>@test` stands for its test split: aligned models, and others on the same items.
        """
        return list(_of_track(self, track))

    def tracks(self) -> list[str]:
        """Tracks that have a row, and the test splits that aligned models were asked."""
        return list(_tracks(self))

    def row(self, run_id: str) -> Row | None:
        """A run's row."""
        return _by_id(self).get(run_id)

    def matrix(self, group: str, key: str, run_ids: Sequence[str]) -> Matrix:
        """A score of several runs within each category, concept, question or subset, as arrays."""
        return self.breakdowns.matrix(group, key, run_ids)

    def scores(self, run_id: str, group: str, key: str) -> Mapping[str, Reading]:
        """A score of one run within each category, concept, question or subset."""
        found = self.breakdowns.matrix(group, key, [run_id])
        return {id_: found.reading(0, place) for place, id_ in enumerate(found.ids)}

    def has_breakdown(self, run_id: str) -> bool:
        """Whether the run's scores by concept are known; those of reported rows are not."""
        return run_id in self.breakdowns.runs_by_concept()


@lru_cache(maxsize=64)
def _of_track(board: LoadedBoard, track: str) -> tuple[Row, ...]:
    name, mark, split = track.partition(MARK)
    rows = [row for row in board.rows if row["track"] == name or name in joined_runs(row)]
    if mark:
        return tuple(row for row in rows if row["split"] == split and row["provenance"] != "reported")
    return tuple(row for row in rows if not is_restricted(row["run_id"]))


@lru_cache(maxsize=4)
def _tracks(board: LoadedBoard) -> tuple[str, ...]:
    found = {track for row in board.rows for track in (row["track"], *joined_runs(row))}
    beside = {f"{row['track']}{MARK}{row['split']}" for row in board.rows if on_test_split(row)}
    return tuple(sorted(found | beside))


@lru_cache(maxsize=4)
def _by_id(board: LoadedBoard) -> dict[str, Row]:
    return {row["run_id"]: row for row in board.rows}


def joined_runs(row: Row) -> dict[str, str]:
    """Track -> run id of the runs that joined the one that leads a row."""
    note = row.get(boards.JOINED)
    if not isinstance(note, str):
        return {}
    return dict(part.split("=", 1) for part in note.split(", ") if "=" in part)


def shaped(tables: boards.Tables, digest: str) -> LoadedBoard:
    """A board's tables as pages use them."""
    columns = [cells_of(column) for column in tables.rows.columns]
    names = tables.rows.column_names
    rows = tuple(dict(zip(names, line, strict=True)) for line in zip(*columns, strict=True))
    read = Breakdowns(lambda: tables.breakdowns(LINE))
    return LoadedBoard(rows, read, tables.manifest, digest, tables.ranks)


def cells_of(column: pa.ChunkedArray) -> list[Any]:
    """The cells of a column as Python has them, None where there is none.

    Not `to_pylist`: it imports pandas, which takes as long as all else that the first page needs.
    """
    import pyarrow as pa

    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_timestamp(column.type):
        whole = cells_of(column.cast(pa.int64()))
        return [None if cell is None else _EPOCH + timedelta(microseconds=cell) for cell in whole]
    return [cell.as_py() for cell in column]
