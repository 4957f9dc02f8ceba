"""The board: what was found, image against text by model, and every score with its interval."""

from __future__ import annotations

import streamlit as st

from ucbench.board import RANK_KEY
from ucbench.restricted import MARK
from ucbench.site import charts, details, downloads, findings, tables
from ucbench.site.columns import (
    BY_KEY,
    columns_of,
    covered_by,
    filled,
    ordered,
    select,
    set_apart,
    without_ranks,
)
from ucbench.site.component import figure
from ucbench.site.shared import PROVENANCES, board_or_note, choose_track, done, track_note
from ucbench.site.track_views import view
from ucbench.site.url import linked
from ucbench.tracks.about import about

MOST_LINES = 12

st.title("Unsafe in words, safe as an image?", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Vision-language models object when an unsafe concept is named :orange[in words]. "
        "ucbench measures whether they still object when they are shown it :blue[as an image], "
        "for 75 concepts. A model to rely on says no to both."
    )

board = board_or_note()
if board is None:
    done()

track = choose_track(board)
everything = board.of_track(track)
ranks = RANK_KEY in about(track.partition(MARK)[0]).scores
if not ranks:
    everything = without_ranks(everything)
elif MARK not in track:
    everything = set_apart(everything, tables.on_test_split)
track_note(track)

if not everything:
    st.info("No model has been evaluated on this track yet.", icon=":material/hourglass_empty:")
    done()

shown = view(track)
columns = filled(columns_of(track), everything) or columns_of(track)[:1]
keys = [column.key for column in columns]
default_order = ordered(everything, keys[0])
figure(findings.sentence(default_order, shown), key="finding")

for place, chart in enumerate(shown.charts):
    lines = findings.lines(default_order, chart)
    if not lines:
        continue
    st.header(chart.title, anchor=False)
    figure(
        charts.dumbbells(
            lines[:MOST_LINES],
            axis=f"{chart.axis}; {findings.bars(lines[:MOST_LINES])}",
            label=f"{chart.title} By model",
            ends=chart.ends,
            between=chart.between,
        ),
        key=f"dumbbells_{place}" if place else "dumbbells",
    )
    if len(lines) > MOST_LINES:
        st.caption(f"The first {MOST_LINES} of {len(lines)} models in the board's order.")

st.header("All scores", anchor=False)


def choose(what: str) -> None:
    """A column's head sorts by it, pressed again the other way round; a model's name opens its details."""
    action, _, target = what.partition(":")
    if action == "sort" and target in BY_KEY:
        same = st.session_state.get("sort", keys[0]) == target
        st.session_state["worst_first"] = same and not st.session_state.get("worst_first", False)
        st.session_state["sort"] = target
    elif action == "open":
        st.session_state["opened"] = target


with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
    search = st.text_input(
        "Find a model", key="q", type="search", placeholder="part of a name", live=True, bind="query-params",
        width=260, max_chars=100,
    )  # fmt: skip
    sort = linked(
        st.selectbox, "Sort by", keys, key="sort", default=keys[0], width=240,
        format_func=lambda key: BY_KEY[key].head,
    ) or keys[0]  # fmt: skip
    with st.popover("Filter", icon=":material/tune:"):
        reverse = st.toggle("Worst first", key="worst_first", bind="query-params")
        provenance = st.pills(
            "Provenance", PROVENANCES, selection_mode="multi", key="provenance", bind="query-params",
            help="Measured: answered and judged by this project. Imported: answered elsewhere, judged here. "
            "Reported: a figure taken from a paper.",
        )  # fmt: skip
        coverage = st.slider(
            "Minimum coverage", 0.0, 1.0, 0.0, 0.05, key="coverage", bind="query-params",
            help="Share of the questions asked that got an answer with a verdict, where "
            f"{BY_KEY[covered_by(columns)].head.lower()} is scored.",
        )  # fmt: skip

rows = ordered(
    select(
        everything, search=search or "", provenance=provenance or (), min_coverage=coverage,
        coverage_of=covered_by(columns),
    ),
    sort,
    reverse=reverse,
)  # fmt: skip
if rows:
    caption = f"{len(rows)} of {len(everything)} rows, sorted by {BY_KEY[sort].head}"
    figure(
        tables.board(rows, columns, sort=sort, reverse=reverse, caption=caption, ranks=ranks),
        key="board",
        on_choose=choose,
    )
else:
    st.info("No model fits this search and these filters.", icon=":material/filter_alt_off:")

downloads.buttons(rows, f"ucbench-{track}")
with st.container(horizontal=True, vertical_alignment="center"):
    st.caption(
        "Grey beside a value: 95% interval. "
        + (
            "A rank is an interval as well: models that cannot be told apart share it, and the best such "
            "group is bold. Ranked by balanced accuracy. "
            if ranks
            else "Models are not ranked on this track. "
        )
        + "Press a model for details."
    )
with st.expander("What the columns mean"):
    figure(tables.facts((column.head, column.help) for column in columns), key="column_help")

opened = st.session_state.pop("opened", None)
if opened is not None and (row := board.row(opened)) is not None:
    details.show(row)
