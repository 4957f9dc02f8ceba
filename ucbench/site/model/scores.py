"""The scores of one model: overall, by category, concept by concept.

Pure functions of rows and the board. Every outside text is escaped in what these functions call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ucbench import taxonomy
from ucbench.format import absent, concept_title, fraction
from ucbench.metrics.keys import KEYS
from ucbench.site.columns import Row, columns_of
from ucbench.site.compare import pairs
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import score_table
from ucbench.site.figures.charts import Dumbbell, Reading, reading
from ucbench.site.links import link
from ucbench.site.track_views import view


def score_lines(row: Row, keys: Sequence[str] = tuple(KEYS)) -> list[score_table.Line]:
    """The scores that a row has, in the order of `keys`."""
    found = []
    for key in keys:
        one = reading_of(row, key)
        if one.exists:
            n: Any = row.get(f"{key}_n")
            coverage: Any = row.get(f"{key}_coverage")
            found.append(
                score_table.Line(
                    key, one, None if absent(n) else int(n), None if absent(coverage) else float(coverage)
                )
            )
    return found


def own_and_other(row: Row) -> tuple[list[score_table.Line], list[score_table.Line]]:
    """The scores that the track is about, and all others that were computed."""
    own = [column.key for column in columns_of(str(row["track"]))]
    return score_lines(row, own), score_lines(row, [key for key in KEYS if key not in own])


def reading_of(row: Row, key: str) -> Reading:
    """A score of a board row."""
    return reading(*(row.get(f"{key}{part}") for part in ("", "_low", "_high")))


def by_category(board: LoadedBoard, row: Row) -> list[list[Dumbbell]]:
    """For each chart of the track, a line a category with both its scores; no lines where none is known."""
    found = []
    for chart in view(str(row["track"])).charts:
        told = [board.scores(row["run_id"], "category", key) for key in chart.keys]
        lines = []
        for category in taxonomy.categories():
            ends = [scores.get(category.id, Reading()) for scores in told]
            if any(one.exists for one in ends):
                lines.append(Dumbbell(category.name, ends[0], ends[1] if len(ends) > 1 else Reading()))
        found.append(lines)
    return found


@dataclass(frozen=True, slots=True)
class ByConcept:
    """A concept and the model's scores on it, in the order of the track's heat map."""

    id: str
    name: str
    category: str
    scores: tuple[Reading, ...]


def by_concept(board: LoadedBoard, row: Row) -> list[ByConcept]:
    """The unsafe concepts that the model was scored on, in the paper's order."""
    keys = view(str(row["track"])).heat
    told = [board.scores(row["run_id"], "concept", key) for key in keys]
    categories = {category.id: category.name for category in taxonomy.categories()}
    found = []
    for concept in taxonomy.concepts():
        readings = tuple(scores.get(concept.id, Reading()) for scores in told)
        if any(one.exists for one in readings):
            found.append(
                ByConcept(concept.id, concept_title(concept.name), categories[concept.category], readings)
            )
    return found


def hardest_first(concepts: Sequence[ByConcept], place: int, key: str) -> list[ByConcept]:
    """The worst of one score first: the lowest share, or the widest gap; unknown ones last."""
    gap = KEYS[key].signed

    def worse(one: ByConcept) -> tuple[bool, float]:
        value = one.scores[place].value
        return value is None, 0.0 if value is None else -abs(value) if gap else value

    return sorted(concepts, key=worse)  # stable: ties stay in the paper's order


def concept_table(row: Row, concepts: Sequence[ByConcept]) -> str:
    """A line a concept, with links to the concept's page and to this model's answers about it."""
    shown = view(str(row["track"]))
    first, second = shown.charts[0].keys
    more = [key for key in shown.heat if key not in (first, second)]
    place = {key: n for n, key in enumerate(shown.heat)}
    lines = [
        score_table.Concept(
            link(one.name, "concepts", concept=one.id, track=pairs.track_query(row)),
            one.category,
            one.scores[place[first]],
            one.scores[place[second]],
            tuple(fraction(one.scores[place[key]].value, signed=KEYS[key].signed) for key in more),
            link("answers", "answers", run=str(row["run_id"]), concept=one.id,
                 title=f"What it answered about {one.name}"),
        )
        for one in concepts
    ]  # fmt: skip
    heads = (
        "Concept",
        "",
        KEYS[first].title,
        KEYS[second].title,
        *(KEYS[key].title for key in more),
        "Answers",
    )
    return score_table.concepts(
        lines, heads=heads, ends=("image", "text"), caption="Scores of this model by concept"
    )


def concept_rows(row: Row, concepts: Sequence[ByConcept]) -> list[dict[str, Any]]:
    """The scores by concept as a table to take home."""
    keys = view(str(row["track"])).heat
    return [
        {"run_id": row["run_id"], "concept": one.id, "category": one.category}
        | {
            f"{key}{part}": value
            for key, score in zip(keys, one.scores, strict=True)
            for part, value in (("", score.value), ("_low", score.low), ("_high", score.high))
        }
        for one in concepts
    ]
