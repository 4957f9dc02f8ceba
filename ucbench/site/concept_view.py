"""The parts of the concepts page: the heat map of a track, and one concept in detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from ucbench import taxonomy
from ucbench.errors import UcbenchError
from ucbench.format import absent, concept_title, fraction
from ucbench.metrics.keys import KEYS
from ucbench.metrics.parts import TEXT_KINDS
from ucbench.restricted import is_restricted
from ucbench.site import charts, loading, tables
from ucbench.site.board_data import LoadedBoard
from ucbench.site.charts import Dumbbell, HeatRow, HeatSection, Reading, Scale
from ucbench.site.columns import ABOUT_WHAT, Row
from ucbench.site.component import figure
from ucbench.site.track_views import Chart, view


def scale(key: str) -> Scale:
    """The colours that a score is drawn in on the heat map."""
    return "gap" if KEYS[key].signed else ABOUT_WHAT.get(key, "ink")


def scale_name(key: str) -> str:
    """The score's name for people."""
    return KEYS[key].title


@dataclass(frozen=True, slots=True)
class ConceptCard:
    """A concept as the page shows it."""

    id: str
    title: str
    category: str
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The unsafe concepts of a track, by category in the paper's order."""

    concepts: tuple[ConceptCard, ...]
    categories: dict[str, str]
    by_id: dict[str, ConceptCard] = field(default_factory=dict)


def catalogue(board: LoadedBoard, track_id: str, rows: Sequence[Row]) -> Catalogue:
    """The unsafe concepts that at least one of the rows was scored on."""
    scored: set[str] = set()
    for row in rows:
        for key in view(track_id).heat:
            scored |= board.scores(row["run_id"], "concept", key).keys()
    known = loading.track(track_id)
    held_out = frozenset() if known is None else known.subsets.get("held_out", frozenset())
    cards = tuple(
        ConceptCard(concept.id, concept_title(concept.name), concept.category, concept.id in held_out)
        for concept in taxonomy.concepts()
        if concept.id in scored
    )
    names = {category.id: category.name for category in taxonomy.categories()}
    present = {card.category for card in cards}
    return Catalogue(
        cards, {id: name for id, name in names.items() if id in present}, {card.id: card for card in cards}
    )


def heat_map(
    board: LoadedBoard, every: Catalogue, rows: Sequence[Row], key: str, category: str, chosen: str | None
) -> str:
    """The heat map of one score, of one category or of all."""
    by_concept = [board.scores(row["run_id"], "concept", key) for row in rows]
    by_category = [board.scores(row["run_id"], "category", key) for row in rows]
    nothing = Reading()
    sections = [
        HeatSection(
            title,
            tuple(
                HeatRow(
                    card.id,
                    card.title,
                    tuple(scores.get(card.id, nothing).value for scores in by_concept),
                    card.held_out,
                )
                for card in every.concepts
                if card.category == id
            ),
            tuple(scores.get(id, nothing).value for scores in by_category),
        )
        for id, title in every.categories.items()
        if category in ("all", id)
    ]
    return charts.heat_map(
        sections,
        list(_labels(rows).values()),
        scale=scale(key),
        title=KEYS[key].title,
        chosen=chosen,
    )


def show(board: LoadedBoard, track_id: str, card: ConceptCard, rows: Sequence[Row]) -> None:
    """One concept: emblem, image against words by model, and the answers of one model."""
    st.subheader(card.title, anchor=False)
    left, right = st.columns([1, 4], gap="medium", vertical_alignment="top")
    with left:
        _emblem(card, any(_of_emblems(row) for row in rows))
    with right:
        for place, chart in enumerate(view(track_id).charts):
            if len(view(track_id).charts) > 1:
                st.caption(chart.title)
            figure(
                charts.dumbbells(
                    [_line(board, card, row, rows, chart) for row in rows],
                    axis=f"{chart.axis}; bars around a mark are 95% intervals",
                    label=f"{chart.title} {card.title}, by model",
                    ends=chart.ends,
                    between=chart.between,
                ),
                key=f"concept_dumbbells_{place}" if place else "concept_dumbbells",
            )
    _answers(track_id, card, rows)


def _line(board: LoadedBoard, card: ConceptCard, row: Row, rows: Sequence[Row], chart: Chart) -> Dumbbell:
    read = [board.scores(row["run_id"], "concept", key).get(card.id, Reading()) for key in chart.keys]
    seen = board.scores(row["run_id"], "concept", "perception").get(card.id, Reading()).value
    parts = [
        "" if absent(row.get("guard")) else "guard",
        "" if seen is None else f"recognised in {fraction(seen)} of the images",
    ]
    note = " · ".join(part for part in parts if part)
    return Dumbbell(_labels(rows)[row["run_id"]], read[0], read[1] if len(read) > 1 else Reading(), note)


def _of_emblems(row: Row) -> bool:
    """Whether a run was about emblems, by the version of its track."""
    return row["track"] == "pictograms" or "-pictograms-" in str(row.get("track_version"))


def _emblem(card: ConceptCard, drawn: bool) -> None:
    """The emblem where the track's pictures are emblems, and what is known of the concept."""
    if drawn:
        with st.container(key="emblem"):
            st.image(
                loading.emblem(card.id), width=176, alt=f"The abstract emblem that stands for {card.title}"
            )
    category = next(c.name for c in taxonomy.categories() if c.id == card.category)
    st.caption(f"Category: {category}")
    if card.held_out:
        st.caption(
            "Held out: alignment training never sees this concept.", help="Its scores are also given apart."
        )


def _answers(track_id: str, card: ConceptCard, rows: Sequence[Row]) -> None:
    """The questions about a concept, with a model's answers and the judge's verdicts."""
    readable = {row["run_id"]: row for row in rows if not absent(row.get("judge"))}
    if not readable:
        return
    st.markdown("##### What was asked and answered")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        run_id = st.selectbox(
            "Model", list(readable), key="answers_of", width=320,
            format_func=lambda key: _labels(list(readable.values()))[key],
        )  # fmt: skip
        row = readable[run_id]
        run = loading.stores().run(str(row["entry"]), run_id)
        try:
            if run is not None and is_restricted(run_id):
                run = loading.cut_down(run, run.record())
            frame = None if run is None else loading.frame(run, str(row["judge"]))
        except UcbenchError as error:
            st.warning(str(error), icon=":material/broken_image:")
            return
        if frame is None:
            st.info("The answers of this run are not in this place.", icon=":material/inventory_2:")
            return
        mine = frame[frame["concept_id"] == card.id]
        about_words = mine["kind"].isin(TEXT_KINDS)
        samples = list(dict.fromkeys(mine.loc[~about_words, "sample_id"]))
        number = 1
        if len(samples) > 1:
            number = st.segmented_control(
                "Picture", range(1, len(samples) + 1), default=1, required=True, key="picture"
            ) or 1  # fmt: skip
    if samples:
        sample_id = samples[min(number, len(samples)) - 1]
        source = loading.pictures(track_id).get(sample_id)
        small, wide = st.columns([1, 6], gap="medium", vertical_alignment="top")
        if source is not None:
            enlarged = getattr(source, "enlarged", None)
            small.image(
                source.load() if enlarged is None else enlarged(192),
                caption=f":blue[as image], {number} of {len(samples)}",
                width=128,
                alt=f"Picture {number} as the model was asked about it",
            )
        else:
            small.caption(f":blue[as image], {number} of {len(samples)}; the picture is not shown")
        with wide:
            pictured = mine[(mine["sample_id"] == sample_id) & (mine["kind"] != "general")]
            figure(tables.answers(_asked(pictured, track_id)), key="answers_image")
    in_words = mine[about_words]
    if len(in_words):
        small, wide = st.columns([1, 6], gap="medium", vertical_alignment="top")
        small.caption(":orange[in words], over a blank image")
        with wide:
            figure(tables.answers(_asked(in_words, track_id)), key="answers_text")


def _labels(rows: Sequence[Row]) -> dict[str, str]:
    """A name a run; runs of one model are told apart by their identity."""
    names = [tables.name(row) for row in rows]
    full = [f"{text} ({tables.identity(row)})" for row, text in zip(rows, names, strict=True)]
    labels = {}
    for row, text, longer in zip(rows, names, full, strict=True):
        unique = text if names.count(text) == 1 else longer
        labels[row["run_id"]] = f"{unique}, {row['run_id'][:6]}" if full.count(unique) > 1 else unique
    return labels


def _asked(frame: Any, track_id: str) -> list[tables.Asked]:
    """Rows of a run as the table shows them. Options of other tracks may quote harmful terms: left out."""
    return [
        tables.Asked(
            kind=row["kind"],
            prompt=row["prompt"].split("\n", 1)[0].strip() if row["kind"] == "perception" else row["prompt"],
            text=row["text"] or "",
            label=None if absent(row["label"]) else row["label"],
            expected=row["expected"],
            options=tuple(row["options"]) if track_id == "pictograms" and row["kind"] == "perception" else (),
            error=None if absent(row["error"]) else row["error"],
        )
        for row in frame.to_dict("records")
    ]
