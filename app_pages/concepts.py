"""Concept by concept: the heat map over all models, and one concept with every answer given about it."""

from __future__ import annotations

import streamlit as st

from ucbench.restricted import MARK
from ucbench.site import charts, concept_view
from ucbench.site.columns import ordered
from ucbench.site.component import figure
from ucbench.site.shared import board_or_note, choose_track, track_name, track_note
from ucbench.site.tables import name
from ucbench.site.track_views import view
from ucbench.site.url import linked
from ucbench.tracks.about import about

MOST_MODELS = 6

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
    st.stop()

track_id = choose_track(board)
track_note(track_id)
heat = view(track_id).heat
if not heat:
    st.info(
        f"{track_name(track_id)} does not ask about the 75 concepts; its scores are on the leaderboard.",
        icon=":material/grid_off:",
    )
    st.stop()
rows = [
    row
    for row in ordered(board.of_track(track_id), about(track_id.partition(MARK)[0]).scores[0])
    if board.has_breakdown(row["run_id"])
]
if not rows:
    st.info(
        "No scores by concept on this track: its rows are overall figures reported in a paper."
        if board.of_track(track_id)
        else "No model has been evaluated on this track yet.",
        icon=":material/grid_off:",
    )
    st.stop()

catalogue = concept_view.catalogue(board, track_id, rows)
names = {concept.id: concept.title for concept in catalogue.concepts}


def pick(concept_id: str) -> None:
    """A concept pressed in the heat map."""
    if concept_id in names:
        st.session_state["concept"] = concept_id


with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    category = linked(
        st.selectbox, "Category", ["all", *catalogue.categories], key="category", default="all", width=260,
        format_func=lambda key: "All unsafe concepts" if key == "all" else catalogue.categories[key],
    )  # fmt: skip
    chosen = linked(
        st.selectbox, "Concept", list(names), key="concept", default=None, index=None, width=320,
        format_func=lambda key: names[key], placeholder="Pick one of them",
    )  # fmt: skip

if chosen:
    concept_view.show(board, track_id, catalogue.by_id[chosen], rows)

st.subheader("All concepts" if chosen else "Where do models object?", anchor=False)
default = "image_alignment" if "image_alignment" in heat else heat[0]
score = linked(
    st.segmented_control, "Score", heat, key="score", default=default, required=True,
    format_func=concept_view.scale_name, label_visibility="collapsed",
)  # fmt: skip
shown = rows[:MOST_MODELS]
figure(
    concept_view.heat_map(board, catalogue, shown, score or default, category or "all", chosen),
    key="heat",
    on_choose=pick,
)
if len(rows) > len(shown):
    rest = ", ".join(name(row) for row in rows[MOST_MODELS:])
    figure(charts.note(f"Not in the map, for want of room: {rest}."), key="heat_rest")
