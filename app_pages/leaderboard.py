"""The board: what was found, image against text by model, and every score with its interval."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from ucbench.site import downloads, paging
from ucbench.site.component import figure
from ucbench.site.figures import tables
from ucbench.site.leaderboard import charts as leaderboard_charts
from ucbench.site.leaderboard import own_weights, ticked
from ucbench.site.leaderboard import parts as leaderboard_parts
from ucbench.site.leaderboard import view as views
from ucbench.site.shared import board_or_note, choose_track, done, track_note

st.title(leaderboard_parts.TITLE, anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(leaderboard_parts.LEDE)

board = board_or_note()
if board is None:
    done()

with st.container(key="scope_choices", horizontal=True, vertical_alignment="bottom", gap="small"):
    track = choose_track(board)
    category = leaderboard_parts.choose_category(board, track)
    strict = leaderboard_parts.choose_scoring(track)
track_note(track)
shown = views.table(board, views.Scope(track, category, strict))
if not shown.rows:
    st.info("No model has been evaluated on this track yet.", icon=":material/hourglass_empty:")
    done()
leaderboard_parts.scope_note(board, shown)

leaderboard_charts.finding(shown)
leaderboard_charts.charts(board, shown)

st.header("All scores", anchor=False)
weights = own_weights.panel(shown)
yours = own_weights.scores(shown, weights) if weights else None
sort, reverse, filters, columns, facts = leaderboard_parts.controls(shown, yours is not None)
mine = leaderboard_parts.chosen(board, track)
order = shown.order(sort, reverse=reverse, yours=yours)
on_top, order = leaderboard_parts.arranged(shown, order, shown.select(filters), mine)
scope = (shown.scope, mine if mine.keep else filters, sort, reverse)
page = paging.current(len(order), leaderboard_parts.PAGE, key="page", scope=scope)
if len(on_top) + len(order):
    here = np.concatenate([on_top, order[page.slice]])
    html = leaderboard_parts.rows(
        shown,
        here,
        columns,
        facts,
        sort,
        reverse=reverse,
        yours=yours,
        mine=mine,
        on_top=len(on_top),
        fitting=len(on_top) + len(order),
    )
    known = views.run_ids(board, track)
    figure(html, key="board", on_choose=leaderboard_parts.pressed(shown, sort, known, reverse=reverse))
    paging.pager(page, "Models", key="board", to_top=False)
else:
    st.info("No model fits this search and these filters.", icon=":material/filter_alt_off:")
    if mine.runs:
        bar = ticked.bar(mine.runs, mine.names, track, mine.keep, category)
        figure(bar, key="board_bar", on_choose=partial(ticked.press, known=views.run_ids(board, track)))
downloads.buttons(
    lambda: views.seen(shown, [*on_top.tolist(), *order.tolist()], columns, yours),
    f"ucbench-{leaderboard_charts.file_name(shown)}",
)
leaderboard_parts.legend(shown, weights)
with st.expander("What the columns mean"):
    told = [(one.head, one.help) for one in columns] + [(one.head, one.help) for one in facts]
    figure(tables.facts(told), key="column_help")
