"""Every answer behind the scores: by model, concept, question and verdict."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.format import escape
from ucbench.restricted import MARK
from ucbench.site import downloads, links, paging, unknown, url
from ucbench.site.answers import data as answers_data
from ucbench.site.answers import view as answers_view
from ucbench.site.answers.data import KINDS, OUTCOMES
from ucbench.site.component import figure
from ucbench.site.data import loading
from ucbench.site.shared import board_or_note, choose_track, done, track_name
from ucbench.site.url import linked, linked_many, linked_text

A_PAGE = 25
EVERY = "all"

st.title("Answers", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Every answer behind the scores, word for word: what was asked, what the model said, and what the "
        "judge read in it."
    )
st.caption(
    "Content note: questions name unsafe concepts, and answers are shown as the models gave them. No unsafe "
    "picture is shown; a text that was taken down is withheld."
)

board = board_or_note()
if board is None:
    done()

state, told = st.session_state, st.query_params.get("run")
# A run says which track it is on, when it comes with an address; later the choice of track counts.
came = told != state.get("url:run") or state.get("page:track") != state.get(url.PAGE)
no_such_run = False
if told and came:
    its_track = answers_data.track_of(board, told)
    no_such_run = its_track is None
    if its_track and told not in answers_data.sources(board, st.query_params.get("track", "")):
        st.query_params["track"] = its_track
track = choose_track(board)
found = answers_data.sources(board, track)
here = answers_data.here(found)
runs = here if told is None or told in here or told not in found else [*here, told]
if not runs:
    st.info(
        f"No answers on {track_name(track)} are in this place: its rows are figures from a paper, or nobody "
        "has been measured on it yet.",
        icon=":material/inventory_2:",
    )
    done()
if no_such_run:
    st.warning(
        "The address names a run that is not on this board; here is another.", icon=":material/link_off:"
    )

by_run = answers_data.names(board, track, tuple(runs))
if named := st.query_params.get("model"):
    # Other pages know models by their names, this one by their runs.
    unknown.say("model", [named], "run", by_run[told if told in runs else runs[0]])
    url.tell("model", None)
choices = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
with choices:
    run_id = linked(
        st.selectbox, "Model", runs, key="run", default=runs[0], width=380, what="",
        format_func=by_run.__getitem__,
    ) or runs[0]  # fmt: skip
source = found[run_id]
try:
    sheet = answers_data.sheet(board, source)
except UcbenchError as error:
    st.warning(loading.told(error), icon=":material/broken_image:")
    done()
if sheet is None:
    reported = source.row["provenance"] == "reported"
    st.info(
        "This row is a figure taken from a paper: nobody here has its answers."
        if reported
        else "The answers of this run are not in this place.",
        icon=":material/inventory_2:",
    )
    done()
with choices:
    about = answers_view.concept_names(track, tuple(sheet.concepts))
    concept = linked(
        st.selectbox, "Concept", [EVERY, *about], key="concept", default=EVERY, width=300,
        format_func=lambda id_: "All concepts" if id_ == EVERY else about[id_],
    )  # fmt: skip
    kind = linked(
        st.selectbox, "Question", [EVERY, *sheet.kinds], key="kind", default=EVERY, width=300,
        format_func=lambda id_: "All kinds of questions" if id_ == EVERY else KINDS[id_],
    )  # fmt: skip
    search = linked_text(
        "Find in questions and answers", key="q", type="search", placeholder="all of these words", live=True,
        width=380, max_chars=100,
    )  # fmt: skip
outcomes = linked_many(
    partial(st.pills, selection_mode="multi", format_func=OUTCOMES.get), "Verdict",
    [name for name in OUTCOMES if name in sheet.outcomes], key="verdict", label_visibility="collapsed",
)  # fmt: skip
concept, kind = (None if choice in (None, EVERY) else choice for choice in (concept, kind))
places = sheet.select(concept=concept or "", kind=kind or "", outcomes=outcomes, search=search)
if sheet.unread:
    st.caption(f"The verdicts of another judge on this run are damaged and left out ({len(sheet.unread)}).")

model = answers_view.link_to_model(by_run[run_id], str(source.row["run_id"]))
figure(
    answers_view.summary(model, sheet.judge, len(sheet), sheet.tally(places), len(places)),
    key="answers_tally",
)
if not len(places):
    st.info("No answer of this model fits these choices.", icon=":material/filter_alt_off:")
    done()

scope = (run_id, concept, kind, tuple(outcomes), search)
page = paging.current(len(places), A_PAGE, key="page", scope=scope)
in_taxonomy = answers_view.unsafe_concepts()
figure(
    answers_view.answers(
        [sheet.at(place) for place in places[page.slice].tolist()],
        about,
        search=search,
        picture=partial(answers_view.emblem, track) if answers_data.of_emblems(source.row) else lambda _: "",
        concept_link=lambda id_, name: (
            links.link(name, "concepts", concept=id_, track=track) if id_ in in_taxonomy else escape(name)
        ),
    ),
    key="answers",
)
paging.pager(page, "Answers", key="page", to_top=True)
name = f"ucbench-answers-{track.replace(MARK, '-')}-{run_id.replace(MARK, '-')}"
downloads.buttons(partial(sheet.rows, places), name, label=f"Download these {len(places):,} answers")
