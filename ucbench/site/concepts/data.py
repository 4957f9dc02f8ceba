"""What the concepts page reads off the board: models in order, concepts that were scored, their scores.

Nothing here depends on the visitor, so it is kept until there is another board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ucbench import taxonomy
from ucbench.format import absent, concept_title
from ucbench.restricted import MARK
from ucbench.site.columns import Row, ordered
from ucbench.site.concepts import hardest
from ucbench.site.data import track as track_data
from ucbench.site.data.board import LoadedBoard, Matrix
from ucbench.site.figures import tables
from ucbench.site.figures.charts import IMAGE_AND_TEXT, Reading, reading
from ucbench.site.track_views import Chart, view
from ucbench.tracks.about import about

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The rows of a track with scores by concept, in the board's order, and a name for each of them."""

    rows: Mapping[str, Row]
    labels: Mapping[str, str]
    #: Those that the track ranks; all of them where it ranks none.
    counted: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Run ids in the board's order."""
        return tuple(self.rows)

    @property
    def ranked(self) -> bool:
        """Whether those that are counted have a rank."""
        return bool(self.counted) and not absent(self.rows[self.counted[0]].get("rank_low"))


@lru_cache(maxsize=16)
def models(board: LoadedBoard, track: str) -> Models:
    """The models of a track whose scores by concept are known. Raises `StoreError`."""
    first = about(track.partition(MARK)[0]).scores[0]
    rows = [row for row in ordered(board.of_track(track), first) if board.has_breakdown(row["run_id"])]
    found = {str(row["run_id"]): row for row in rows}
    ranked = tuple(run_id for run_id, row in found.items() if not absent(row.get("rank_low")))
    return Models(found, labels(rows), ranked or tuple(found))


def labels(rows: Sequence[Row]) -> dict[str, str]:
    """A name a run; runs of one model are told apart by their identity."""
    names = [tables.name(row) for row in rows]
    full = [f"{text} ({tables.identity(row)})" for row, text in zip(rows, names, strict=True)]
    once, whole = _counted(names), _counted(full)
    found = {}
    for row, text, longer in zip(rows, names, full, strict=True):
        run_id = str(row["run_id"])
        if once[text] == 1:
            found[run_id] = text
        else:
            found[run_id] = longer if whole[longer] == 1 else f"{longer}, {run_id[:6]}"
    return found


def _counted(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return found


@dataclass(frozen=True, slots=True)
class ConceptCard:
    """A concept as the page shows it."""

    id: str
    title: str
    category: str
    held_out: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The unsafe concepts of a track, by category in the paper's order."""

    concepts: tuple[ConceptCard, ...]
    categories: dict[str, str]
    by_id: dict[str, ConceptCard] = field(default_factory=dict)

    def of(self, category: str) -> tuple[ConceptCard, ...]:
        """Those of a category, or `all` of them."""
        return tuple(card for card in self.concepts if category in ("all", card.category))


@lru_cache(maxsize=16)
def catalogue(board: LoadedBoard, track: str) -> Catalogue:
    """The unsafe concepts that at least one model of a track was scored on. Raises `StoreError`."""
    ids = models(board, track).ids
    scored: set[str] = set()
    for key in view(track).heat:
        scored |= set(board.matrix("concept", key, ids).ids)
    known = track_data.track(track)
    held_out = frozenset() if known is None else known.subsets.get("held_out", frozenset())
    cards = tuple(
        ConceptCard(concept.id, concept_title(concept.name), concept.category, concept.id in held_out)
        for concept in taxonomy.concepts()
        if concept.id in scored
    )
    present = {card.category for card in cards}
    names = {category.id: category.name for category in taxonomy.categories() if category.id in present}
    return Catalogue(cards, names, {card.id: card for card in cards})


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One score of one concept over the models of a track, in their order; NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def reading(self, place: int) -> Reading:
        """That of one model."""
        return reading(self.value[place], self.low[place], self.high[place])


@lru_cache(maxsize=128)
def column(board: LoadedBoard, track: str, key: str, concept_id: str) -> Column:
    """A score of a concept over all models of a track. Raises `StoreError`."""
    import numpy as np

    ids = models(board, track).ids
    found = board.matrix("concept", key, ids)
    if concept_id not in found.ids:
        nothing = np.full(len(ids), np.nan)
        return Column(nothing, nothing, nothing)
    place = found.ids.index(concept_id)
    return Column(*(part[:, place].copy() for part in (found.value, found.low, found.high)))


def aligned(found: Matrix, ids: Sequence[str]) -> NDArray[np.float64]:
    """The values of a matrix in the columns `ids`, NaN in those that it does not have."""
    import numpy as np

    places = {id_: place for place, id_ in enumerate(found.ids)}
    out = np.full((len(found.run_ids), len(ids)), np.nan)
    known = [(to, places[id_]) for to, id_ in enumerate(ids) if id_ in places]
    if known:
        to, from_ = (list(side) for side in zip(*known, strict=True))
        out[:, to] = found.value[:, from_]
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Hardest:
    """The concepts of a track from the hardest on, over the models that count."""

    chart: Chart
    called_safe: tuple[hardest.Hard, ...]
    #: By the difference of the chart's two ends; none where they are not image and text.
    widest: tuple[hardest.Hard, ...]


@lru_cache(maxsize=16)
def hardest_of(board: LoadedBoard, track: str) -> Hardest | None:
    """The hardest concepts of a track; None where nothing is drawn of it. Raises `StoreError`."""
    charts = view(track).charts
    if not charts:
        return None
    runs, ids = models(board, track).counted, tuple(catalogue(board, track).by_id)
    first, *second = (aligned(board.matrix("concept", key, runs), ids) for key in charts[0].keys)
    two_sides = bool(second) and charts[0].ends == IMAGE_AND_TEXT
    return Hardest(
        charts[0],
        tuple(hardest.called_safe(first, ids)),
        tuple(hardest.widest(second[0] - first, ids)) if two_sides else (),
    )
