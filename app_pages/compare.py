"""Two to four models side by side: where they differ, and whether that can be told from chance."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ucbench.format import count
from ucbench.metrics.keys import KEYS
from ucbench.site import downloads, links, paging, unknown, url
from ucbench.site.compare import pairs
from ucbench.site.compare import view as compare_view
from ucbench.site.component import figure
from ucbench.site.figures import charts, tables
from ucbench.site.leaderboard import parts as leaderboard_parts
from ucbench.site.markdown import plain
from ucbench.site.serving import head
from ucbench.site.shared import board_or_note, choose_track, done, track_name, track_note
from ucbench.site.url import linked, linked_many

PER_PAGE = 15

st.title("Do they differ?", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Two scores that look different may not be. Here models are set against each other on the "
        "questions that all of them were asked, and each difference says whether it is more than chance."
    )

board = board_or_note()
if board is None:
    done()

told = st.query_params.get("runs")
named = compare_view.wanted(told)
asked = [run_id for run_id in named if board.row(run_id) is not None]
unknown.say("runs", [run_id for run_id in named if run_id not in asked], "run")
state = st.session_state
came = told != state.get("url:runs") or state.get("page:track") != state.get(url.PAGE)
if came and asked and "track" not in st.query_params and (known := board.row(asked[0])) is not None:
    # The address of a comparison need not say the track: its models do.
    st.query_params["track"] = pairs.split_mark(known)
with st.container(key="scope_choices", horizontal=True, vertical_alignment="bottom", gap="small"):
    track = choose_track(board)
    category = leaderboard_parts.choose_category(board, track)
track_note(track)
choices = compare_view.choices(board, track)
if not choices:
    st.info("No model has been evaluated on this track yet.", icon=":material/hourglass_empty:")
    done()

fitting = [run_id for run_id in asked if run_id in choices]
if len(fitting) > compare_view.MOST:
    st.query_params["runs"] = ",".join(fitting[: compare_view.MOST])
if left_out := len(asked) - len(fitting[: compare_view.MOST]):
    verb = "is" if left_out == 1 else "are"
    st.caption(
        f"{count(left_out)} of the models in the address {verb} left out: at most {compare_view.MOST} can be "
        f"compared, all of them on {track_name(track)}."
    )
chosen = linked_many(
    st.multiselect, "Models", list(choices), key="runs", format_func=choices.__getitem__, what="",
    max_selections=compare_view.MOST, placeholder="Find models by their names", select_all=False,
)  # fmt: skip
rows = compare_view.rows(board, track, category, chosen)
scored = {str(row["run_id"]) for row in rows}
if without := [choices[run_id] for run_id in chosen if run_id not in scored]:
    has, verb = ("has", "is") if len(without) == 1 else ("have", "are")
    st.caption(plain(f"{', '.join(without)} {has} no scores by category and {verb} left out."))
if len(rows) < compare_view.FEWEST:
    first_two = list(choices)[: compare_view.FEWEST]
    if len(chosen) >= compare_view.FEWEST:
        missing = "Choose models that have scores by category, or all categories."
    else:
        missing = "Choose another model to set against this one." if chosen else "Choose two models or more."
    st.info(missing, icon=":material/balance:")
    if len(first_two) == compare_view.FEWEST and not chosen:
        runs = ",".join(first_two)
        start = links.link(
            "Begin with the first two of the board", "compare", runs=runs, track=track, category=category
        )
        figure(f"<p>{start}</p>", key="begin")
    done()

names = {str(row["run_id"]): choices[str(row["run_id"])] for row in rows}
head.entitle(" and ".join(tables.name(row) for row in rows[:2]), "Compare")


def set_against(what: str) -> None:
    """Another model becomes the first."""
    action, _, run_id = what.partition(":")
    if action == "first" and run_id in chosen:
        st.session_state["runs"] = [run_id, *(other for other in chosen if other != run_id)]


table = compare_view.table_of(rows, category)
figure(compare_view.legend(rows, names), key="legend", on_choose=set_against)
if said := compare_view.sentence(table, names):
    figure(said, key="finding")
else:
    st.info(" ".join(dict.fromkeys(other.told.problem for other in table.others)), icon=":material/balance:")

st.header("Score by score", anchor=False)
figure(compare_view.scores(table, names), key="scores")
if said:
    told = "".join(charts.note(text) for text in compare_view.what_was_compared(table))
    figure(f'<div class="told">{told}</div>', key="compared")

keys = compare_view.within(table)
if keys:
    st.header("Where do they differ most?", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        default = "image_alignment" if "image_alignment" in keys else keys[0]
        key = linked(
            st.segmented_control, "Score", keys, key="score", default=default, required=True, wrap=True,
            format_func=lambda key: KEYS[key].title,
        ) or default  # fmt: skip
        letters = [other.letter for other in table.others if compare_view.n_concepts(other, key)]
        letter = letters[0] if letters else ""
        if len(letters) > 1:
            letter = linked(
                st.segmented_control, "Beside A", letters, key="beside", default=letters[0], required=True,
                what="model",
            ) or letters[0]  # fmt: skip
    other = next((other for other in table.others if other.letter == letter), None)
    if other is not None:
        total = compare_view.n_concepts(other, key)
        page = paging.current(total, PER_PAGE, key="page", scope=(*chosen, category, key, letter))
        figure(compare_view.concepts(table, other, key, page.slice), key="concepts")
        paging.pager(page, "Concepts", key="concepts")
        figure(
            charts.note(
                "Within a concept its images are resampled; named in words, a concept is known exactly. A "
                "filled mark: the interval leaves zero out, as chance alone would have it for one in twenty "
                f"of these {count(total)} concepts. No interval where a concept has fewer than five images."
            ),
            key="concepts_note",
        )

downloads.buttons(
    lambda: compare_view.rows_of(table, names),
    "ucbench-comparison" + (f"-{category}" if category else ""),
    svg=partial(compare_view.picture, board, table, names) if said else None,
)
