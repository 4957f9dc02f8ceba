"""Concept by concept: the heat map over models, the hardest ones, and one concept with answers about it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ucbench.errors import StoreError
from ucbench.restricted import MARK
from ucbench.site import downloads, paging
from ucbench.site.component import figure
from ucbench.site.concepts import one_concept
from ucbench.site.concepts import view as concept_view
from ucbench.site.concepts.data import catalogue, models
from ucbench.site.data import loading
from ucbench.site.shared import board_or_note, choose_track, done, track_name, track_note
from ucbench.site.track_views import view
from ucbench.site.url import linked, linked_many

st.title("Concept by concept", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "A model may object to one concept and wave the next one through. Here is every concept "
        "with the scores of each model, and behind it the answers."
    )
st.caption(
    "Content note: this page names unsafe concepts and quotes answers about them. It shows no unsafe picture."
)

board = board_or_note()
if board is None:
    done()

track = choose_track(board)
track_note(track)
heat = view(track).heat
if not heat:
    st.info(
        f"{track_name(track)} does not ask about the 75 concepts; its scores are on the leaderboard.",
        icon=":material/grid_off:",
    )
    done()
try:
    known, every = models(board, track), catalogue(board, track)
except StoreError as error:
    st.warning(loading.told(error), icon=":material/inventory_2:")
    done()
if not known.rows:
    st.info(
        "No scores by concept on this track: its rows are overall figures reported in a paper."
        if board.of_track(track)
        else "No model has been evaluated on this track yet.",
        icon=":material/grid_off:",
    )
    done()

names = {card.id: card.title for card in every.concepts}


def pick(concept_id: str) -> None:
    """A concept pressed in a figure."""
    if concept_id in names:
        st.session_state["concept"] = concept_id


with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    category = linked(
        st.selectbox, "Category", ["all", *every.categories], key="category", default="all", width=260,
        format_func=lambda key: "All unsafe concepts" if key == "all" else every.categories[key],
    ) or "all"  # fmt: skip
    chosen = linked(
        st.selectbox, "Concept", list(names), key="concept", default=None, index=None, width=320,
        format_func=names.__getitem__, placeholder="Pick one of them",
    )  # fmt: skip
    only = linked_many(
        st.multiselect, "Models", known.ids, key="models", width=420, what="run",
        format_func=known.labels.__getitem__, select_all=False,
        placeholder=f"All {len(known.ids):,}, in the board's order",
    )  # fmt: skip

if chosen:
    one_concept.show(board, track, every.by_id[chosen], only)

st.header("All concepts" if chosen else "Where do models object?", anchor=False)
default = "image_alignment" if "image_alignment" in heat else heat[0]
score = linked(
    st.segmented_control, "Score", heat, key="score", default=default, required=True,
    format_func=concept_view.scale_name, label_visibility="collapsed",
) or default  # fmt: skip
runs = only or known.ids
columns = paging.current(len(runs), concept_view.COLUMNS, key="columns", scope=(track, tuple(only)))
figure(
    concept_view.heat_map(board, track, score, category, runs[columns.slice], columns.start + 1, chosen),
    key="heat",
    on_choose=pick,
)
paging.pager(columns, "Models", key="columns")
downloads.buttons(
    partial(concept_view.heat_rows, board, track, score, category, runs),
    f"ucbench-{track.replace(MARK, '-')}-{score}-by-concept",
    key="heat_file",
    svg=partial(concept_view.heat_svg, board, track, score, category, runs[columns.slice], columns.start + 1),
)
concept_view.hardest_concepts(board, track, category, pick)
