"""One concept: what it is, how models spread on it, who objects to it, why one fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.format import absent, count, escape, fraction
from ucbench.metrics.keys import KEYS
from ucbench.restricted import MARK
from ucbench.site import downloads, links, paging
from ucbench.site.answers import data as answers_data
from ucbench.site.answers import view as answers_view
from ucbench.site.answers.data import Sheet, Told
from ucbench.site.columns import Row
from ucbench.site.component import figure
from ucbench.site.concepts.data import (
    Catalogue,
    Column,
    ConceptCard,
    Models,
    catalogue,
    column,
    models,
)
from ucbench.site.concepts.spread import spread
from ucbench.site.data import loading
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import charts, dumbbell_figure, svg, tables
from ucbench.site.figures.charts import IMAGE_AND_TEXT, Dumbbell, Reading
from ucbench.site.shared import track_name
from ucbench.site.track_views import Chart, view
from ucbench.site.trial import here as trial_here
from ucbench.site.trial import tried
from ucbench.site.trial.models import Choice
from ucbench.site.url import linked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from ucbench.site.concepts.view import model_link, scale_name

#: Models of a page of the list.
LINES = 10
#: The order by the difference of the two ends, beside those by a score.
GAP = "gap"
CONTEXTS = "contexts"
#: So many models are told of in another context.
FEW = 5


def show(board: LoadedBoard, track: str, card: ConceptCard, only: Sequence[str]) -> None:
    """One concept: what it is, how models spread, each model's scores, and why one fails."""
    every, known = catalogue(board, track), models(board, track)
    st.header(card.title, anchor=False)
    left, right = st.columns([1, 4], gap="medium", vertical_alignment="top")
    drawn = any(answers_data.of_emblems(row) for row in known.rows.values())
    with left:
        figure(facts(every, card, track, drawn=drawn), key="concept_facts")
    with right:
        _spread(board, track, card)
        _models(board, track, card, only)
    _why(board, track, card, only)
    if track.partition(MARK)[0] != CONTEXTS and CONTEXTS in board.tracks():
        _in_context(board, card)


def facts(every: Catalogue, card: ConceptCard, track: str, *, drawn: bool) -> str:
    """What a concept is, and where to go from it, as HTML."""
    pictures = taxonomy.official_image_counts()
    same = len(every.of(card.category))
    parts = []
    if drawn:
        alt = f"The abstract emblem that stands for {card.title}"
        parts.append(
            f'<img src="{answers_view.emblem_of(card.id)}" alt="{escape(alt)}" width="176" height="176">'
        )
    parts += [
        f"<p>One of {same} concepts of the category {escape(every.categories[card.category])}.</p>",
        f'<p class="quiet">{count(pictures[card.id])} of the {count(sum(pictures.values()))} pictures of '
        "UnsafeConcepts show it.</p>",
    ]
    if drawn:
        parts.append('<p class="quiet">The emblem is a stand-in that shows nothing.</p>')
    if card.held_out:
        parts.append('<p class="quiet">Held out: alignment training never sees this concept.</p>')
    told = None if track == "pictograms" else track
    ways = [
        links.link("Try it on a model", "try", about=card.id),
        links.link("All answers about it", "answers", concept=card.id, track=told),
        links.link("All concepts", "concepts", track=told),
    ]
    parts.append(f'<ul class="ways">{"".join(f"<li>{way}</li>" for way in ways)}</ul>')
    return f'<div class="about">{"".join(parts)}</div>'


def _spread(board: LoadedBoard, track: str, card: ConceptCard) -> None:
    chart = view(track).charts[0]
    values = [column(board, track, key, card.id).value for key in chart.keys]
    html = spread(values, chart.ends, title="How do all models spread on it?")
    if html:
        figure(html, key="concept_spread")


def orders(track: str) -> list[str]:
    """By what the models of a concept can be ordered: a score that is drawn, or the gap."""
    charts_ = view(track).charts
    keys = list(dict.fromkeys(key for chart in charts_ for key in chart.keys))
    return [*keys, GAP] if charts_[0].ends == IMAGE_AND_TEXT and len(charts_[0].keys) > 1 else keys


def by_order(columns: dict[str, Column], keys: Sequence[str], order: str) -> NDArray[np.int64]:
    """Places of the models with at least one of the scores `keys`, best first by `order`, then as they were.

    The smallest gap is the best.
    """
    import numpy as np

    if order == GAP:
        first, second = (columns[key].value for key in keys[:2])
        by = np.abs(second - first)
    else:
        by = columns[order].value * (1 if KEYS[order].better == "lower" else -1)
    told = np.any([~np.isnan(columns[key].value) for key in keys], axis=0)
    ranked: NDArray[np.int64] = np.argsort(by, kind="stable")  # what has no figure comes last
    kept: NDArray[np.int64] = ranked[told[ranked]]
    return kept


def _models(board: LoadedBoard, track: str, card: ConceptCard, only: Sequence[str]) -> None:
    known, shown = models(board, track), view(track).charts
    keys = list(dict.fromkeys(key for chart in shown for key in chart.keys))
    columns = {key: column(board, track, key, card.id) for key in [*keys, "perception"]}
    choices = orders(track)
    st.header("Who objects to it?", anchor=False)
    order = linked(
        st.segmented_control, "Order by", choices, key="by", default=choices[0], required=True, what="order",
        format_func=lambda key: "Smallest gap" if key == GAP else scale_name(key),
    ) or choices[0]  # fmt: skip
    ids, wanted = known.ids, frozenset(only)
    places = [
        place for place in by_order(columns, keys, order).tolist() if not wanted or ids[place] in wanted
    ]
    if not places:
        st.caption("None of these models has a score on this concept.")
        return
    page = paging.current(len(places), LINES, key="page", scope=(card.id, order, tuple(only)))
    here = frozenset(answers_data.here(answers_data.sources(board, track)))
    tries = trial_here.models()[0]
    of = [
        f"track {track_name(track)}",
        f"models {count(page.start + 1)}–{count(page.stop)} of {count(page.total)}",
    ]
    for number, chart in enumerate(shown):
        if len(shown) > 1:
            st.caption(chart.title)
        lines = [_line(known, columns, chart, place, card, here, tries) for place in places[page.slice]]
        dumbbell_figure.show(
            chart,
            lines,
            bars="bars around a mark are 95% intervals",
            label=f"{chart.title} {card.title}, by model",
            title=f"{card.title}: {chart.title[:1].lower()}{chart.title[1:]}",
            foot=svg.foot(board, of),
            name=f"ucbench-{track.replace(MARK, '-')}-{card.id}-{chart.keys[0]}",
            key="concept_dumbbells",
            number=number,
        )
    paging.pager(page, "Models", key="page")
    downloads.buttons(
        lambda: _concept_rows(known, columns, places, card), f"ucbench-{track.replace(MARK, '-')}-{card.id}",
        key="concept_file",
    )  # fmt: skip


def _line(
    known: Models,
    columns: dict[str, Column],
    chart: Chart,
    place: int,
    card: ConceptCard,
    here: frozenset[str],
    tries: Mapping[str, Choice],
) -> Dumbbell:
    run_id = known.ids[place]
    row = known.rows[run_id]
    read = [columns[key].reading(place) for key in chart.keys]
    seen = columns["perception"].reading(place).value
    note = " · ".join(
        part
        for part in (
            "" if absent(row.get("guard")) else "guard",
            "" if seen is None else f"recognised in {fraction(seen)} of the images",
        )
        if part
    )
    ways = [links.link("answers", "answers", concept=card.id, run=run_id)] if run_id in here else []
    if (trying := tried.way(row, tries)).model:
        ways.append(links.link("try it", "try", about=card.id, model=trying.model) + _otherwise(row))
    more = f'<span class="quiet more">{" · ".join(ways)}</span>' if ways else ""
    return Dumbbell(
        known.labels[run_id], read[0], read[1] if len(read) > 1 else Reading(), note,
        link=model_link(known, run_id), more=more,
    )  # fmt: skip


def _otherwise(row: Row) -> str:
    """Beside a way to try a model, how it is asked there, as HTML."""
    said = tried.otherwise(row)
    return f' <span class="quiet">({escape(said)})</span>' if said else ""


def _concept_rows(
    known: Models, columns: dict[str, Column], places: Sequence[int], card: ConceptCard
) -> list[dict[str, Any]]:
    rows = []
    for place in places:
        row: dict[str, Any] = {
            "concept_id": card.id, "run_id": known.ids[place], "model": known.labels[known.ids[place]],
        }  # fmt: skip
        for key, one in columns.items():
            told = one.reading(place)
            row |= {key: told.value, f"{key}_low": told.low, f"{key}_high": told.high}
        rows.append(row)
    return rows


# --- why ---


def _why(board: LoadedBoard, track: str, card: ConceptCard, only: Sequence[str]) -> None:
    """A few answers of one model about a concept, the wrong ones first."""
    found = answers_data.sources(board, track)
    here = [run_id for run_id in answers_data.here(found) if not only or run_id in only]
    st.header("Why does a model fail on it?", anchor=False)
    if not here:
        st.info("No answers of these models are in this place.", icon=":material/inventory_2:")
        return
    names = answers_data.names(board, track, tuple(here))
    first = _worst(board, track, card, here)
    run_id = linked(
        st.selectbox, "Answers of", here, key="run", default=first, width=380, what="run",
        format_func=names.__getitem__,
    ) or first  # fmt: skip
    sheet = _sheet(board, found[run_id])
    if sheet is None:
        return
    why = answers_data.why(sheet, card.id)
    if not why.places:
        figure(charts.note(f"{names[run_id]} was not asked about it."), key="why_told")
        return
    source = found[run_id]
    trying = tried.way(source.row)
    html = (
        why_told(why, answers_view.link_to_model(names[run_id], str(source.row["run_id"])))
        + answers_view.answers(
            [sheet.at(place) for place in why.places],
            {card.id: card.title},
            picture=lambda sample: (
                answers_view.emblem(track, sample) if answers_data.of_emblems(source.row) else ""
            ),
        )
        + f'<p class="ways">{links.link("All its answers about it", "answers", concept=card.id, run=run_id)} '
        + f"{links.link('Those that are wrong', 'answers', concept=card.id, run=run_id, verdict='wrong')} "
        + (
            links.link("Try it on this model", "try", about=card.id, model=trying.model)
            + _otherwise(source.row)
            if trying.model
            else ""
        )
        + "</p>"
    )
    figure(html, key="why")


def _worst(board: LoadedBoard, track: str, card: ConceptCard, runs: Sequence[str]) -> str:
    """Of these runs the one that judges the concept worst; the board's first where none was scored on it."""
    import numpy as np

    places = {run_id: place for place, run_id in enumerate(models(board, track).ids)}
    scores = column(board, track, view(track).charts[0].keys[0], card.id).value
    mine = np.array([scores[places[run_id]] if run_id in places else np.nan for run_id in runs])
    return runs[0] if np.isnan(mine).all() else runs[int(np.nanargmin(mine))]


def _sheet(board: LoadedBoard, source: answers_data.Source) -> Sheet | None:
    try:
        sheet = answers_data.sheet(board, source)
    except UcbenchError as error:
        st.warning(loading.told(error), icon=":material/broken_image:")
        return None
    if sheet is None:
        st.info("The answers of this run are not in this place.", icon=":material/inventory_2:")
    return sheet


def why_told(why: answers_data.Why, model: str) -> str:
    """In a sentence how often a model (`model`, HTML) was wrong about a concept."""

    def wrong(told: Told) -> str:
        none = f", {count(told.none)} without an answer" if told.none else ""
        return f"<b>{count(told.wrong)}</b> of {count(told.n)} wrong{none}"

    parts = []
    if why.named.n:
        parts.append(f"asked what an image shows, {wrong(why.named)}")
    if why.image.n:
        parts.append(f'judged <span class="is-image">as an image</span>, {wrong(why.image)}')
    if why.words.n:
        parts.append(f'<span class="is-text">in words</span>, {wrong(why.words)}')
    return f'<p class="why">Answers of {model}: {"; ".join(parts)}. A few of them, wrong ones first:</p>'


# --- in context ---


def _in_context(board: LoadedBoard, card: ConceptCard) -> None:
    """How models judge uses of a concept's image, one acceptable and one not; from the track of contexts."""
    known = models(board, CONTEXTS)
    keys = view(CONTEXTS).heat
    columns = {key: column(board, CONTEXTS, key, card.id) for key in keys}
    places = by_order(columns, keys, keys[0]).tolist() if known.rows else []
    if not places:
        return
    st.header("In a context", anchor=False)
    table = tables.grid(
        [
            (known.labels[known.ids[place]], [fraction(columns[key].value[place]) for key in keys])
            for place in places[:FEW]
        ],
        heads=[KEYS[key].title for key in keys],
        caption=f"{card.title}: share of answers that judge a use rightly",
        corner="Model",
        cards=True,
    )
    more = links.link(
        f"All {count(len(places))} models" if len(places) > FEW else "More of it",
        "concepts", track=CONTEXTS, concept=card.id,
    )  # fmt: skip
    found = answers_data.sources(board, CONTEXTS)
    run_id = next((run_id for run_id in answers_data.here(found) if run_id in known.rows), None)
    sheet = _sheet(board, found[run_id]) if run_id else None
    said = ""
    if sheet is not None and run_id is not None:
        drawn = answers_data.of_emblems(found[run_id].row)
        said = f'<p class="why">Answers of {model_link(known, run_id)}:</p>' + answers_view.answers(
            [sheet.at(place) for place in answers_data.in_contexts(sheet, card.id)],
            {card.id: card.title},
            picture=lambda sample: answers_view.emblem(CONTEXTS, sample) if drawn else "",
        )
    figure(f'{table}{said}<p class="ways">{more}</p>', key="in_context")
