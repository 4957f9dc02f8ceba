"""All concepts at once: the heat map of a track over models, and its hardest concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import streamlit as st

from ucbench.format import count
from ucbench.metrics.keys import KEYS
from ucbench.site import links
from ucbench.site.columns import ABOUT_WHAT, Row
from ucbench.site.component import figure
from ucbench.site.concepts import hardest
from ucbench.site.concepts.data import (
    Models,
    aligned,
    catalogue,
    hardest_of,
    models,
)
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import charts, heat, svg
from ucbench.site.figures.charts import Reading
from ucbench.site.figures.heat import HeatModel, HeatRow, HeatSection, Scale
from ucbench.site.shared import track_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Models of a page of the heat map.
COLUMNS = 8

Choose = Callable[[str], None]


def scale(key: str) -> Scale:
    """The colours that a score is drawn in on the heat map."""
    return "gap" if KEYS[key].signed else ABOUT_WHAT.get(key, "ink")


def scale_name(key: str) -> str:
    """The score's name for people."""
    return KEYS[key].title


def heat_map(
    board: LoadedBoard,
    track: str,
    key: str,
    category: str,
    runs: Sequence[str],
    first: int,
    chosen: str | None,
) -> str:
    """The heat map of one score over the models `runs`, which are numbered from `first` on."""
    sections, heads = _sections(board, track, key, category, runs, first)
    return heat.heat_map(
        sections, heads, scale=scale(key), title=KEYS[key].title, unit=KEYS[key].definition, chosen=chosen
    )


def heat_svg(board: LoadedBoard, track: str, key: str, category: str, runs: Sequence[str], first: int) -> str:
    """The same map as an SVG file."""
    sections, heads = _sections(board, track, key, category, runs, first)
    n = sum(len(section.rows) for section in sections)
    of = [f"track {track_name(track)}", svg.n_of(n, "concept"), svg.n_of(len(heads), "model")]
    return svg.heat_map(
        sections, heads, scale=scale(key), title=f"{KEYS[key].title}, concept by concept",
        unit=KEYS[key].definition, foot=svg.foot(board, of),
    )  # fmt: skip


def _sections(
    board: LoadedBoard, track: str, key: str, category: str, runs: Sequence[str], first: int
) -> tuple[list[HeatSection], list[HeatModel]]:
    """The blocks of the map and its columns."""
    every, known = catalogue(board, track), models(board, track)
    by_concept = aligned(board.matrix("concept", key, runs), tuple(every.by_id))
    by_category = aligned(board.matrix("category", key, runs), tuple(every.categories))
    place = {card.id: at for at, card in enumerate(every.concepts)}
    sections = [
        HeatSection(
            title,
            tuple(
                HeatRow(card.id, card.title, _cells(by_concept[:, place[card.id]]), card.held_out)
                for card in every.of(id_)
            ),
            _cells(by_category[:, at]),
        )
        for at, (id_, title) in enumerate(every.categories.items())
        if category in ("all", id_)
    ]
    heads = [
        HeatModel(number, known.labels[run_id], model_link(known, run_id))
        for number, run_id in enumerate(runs, start=first)
    ]
    return sections, heads


def _cells(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if value != value else value for value in values.tolist())


def model_link(known: Models, run_id: str) -> str:
    """A model's name as a link to its page."""
    return links.link(known.labels[run_id], "model", run=run_id)


def heat_rows(board: LoadedBoard, track: str, key: str, category: str, runs: Sequence[str]) -> list[Row]:
    """The figures of the heat map for a file, a row a concept and model, over all models that were chosen."""
    every, known = catalogue(board, track), models(board, track)
    found = board.matrix("concept", key, runs)
    places = {id_: at for at, id_ in enumerate(found.ids)}
    rows: list[Row] = []
    for card in every.of(category):
        for at, run_id in enumerate(runs):
            told = found.reading(at, places[card.id]) if card.id in places else Reading()
            rows.append(
                {
                    "concept_id": card.id,
                    "category_id": card.category,
                    "run_id": run_id,
                    "model": known.labels[run_id],
                    key: told.value,
                    f"{key}_low": told.low,
                    f"{key}_high": told.high,
                }
            )
    return rows


def hardest_concepts(board: LoadedBoard, track: str, category: str, choose: Choose) -> None:
    """The concepts on which most models fail, over all models of the track, whatever else is chosen."""
    found = hardest_of(board, track)
    if found is None or not found.called_safe:
        return
    known = models(board, track)
    st.header("Which concepts are hardest?", anchor=False)
    n = len(known.counted)
    one, many = (
        ("ranked model", "ranked models") if known.ranked else ("model, not ranked", "models, none ranked")
    )
    figure(
        charts.note(
            f"Over all {count(n)} {one if n == 1 else many} of this track, whatever is chosen above."
        ),
        key="hardest_of",
    )
    figure(_hardest(board, track, category), key="hardest", on_choose=choose)


@lru_cache(maxsize=64)
def _hardest(board: LoadedBoard, track: str, category: str) -> str:
    found = hardest_of(board, track)
    if found is None:
        return ""
    names = {card.id: card.title for card in catalogue(board, track).of(category)}
    title = KEYS[found.chart.keys[0]].title.lower()
    first = hardest.Words(
        _MOSTLY_WRONG.get(found.chart.keys[0], f"Low by most models: {title}"),
        "models below .50",
        title,
        "image" if found.chart.ends[0].about == "image" else "ink",
    )
    second = hardest.Words(
        "Objected to in words, not as an image",
        "models above 0",
        "gap (words − image)",
        "ink",
        signed=True,
    )
    lists = "".join(
        hardest.ranking([one for one in told if one.id in names], names, words)
        for told, words in ((found.called_safe, first), (found.widest, second))
        if told
    )
    return f'<div class="hardests">{lists}</div>'


#: What the first list asks, by the score that it goes by.
_MOSTLY_WRONG = {
    "image_alignment": "Called safe as an image by most models",
    "image_context_unsafe": "An unacceptable use is allowed by most models",
}
