"""The queue: what waits, runs and ended, why it failed, and what its owner can do about it."""

from __future__ import annotations

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.site.component import figure
from ucbench.site.markdown import plain
from ucbench.site.queue import view as queue_view
from ucbench.site.queue.view import ALL, STATES, Listing, Viewer
from ucbench.site.serving import signin
from ucbench.site.shared import done, no_store
from ucbench.site.url import linked

st.title("Queue", anchor=False)
# The sign of a running page would flash at every refresh.
st.html("<style>[data-testid=stStatusWidget] { visibility: hidden; }</style>")
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown("Every checkpoint that was submitted: what waits, what runs, and how the others ended.")

store = queue_view.address()
if store is None:
    no_store()
    done()
visitor = signin.visitor()
if visitor.how == "anonymous":
    st.page_link("app_pages/submit.py", label="Sign in to change requests of yours", icon=":material/login:")


def press(command: str) -> None:
    """A button of a request. Who asks is known to the server alone; the queue checks that it may be."""
    action, _, request_id = command.partition(":")
    st.session_state["queue_said"] = None
    st.session_state["confirming"] = request_id if action == "ask" else None
    if action not in ("cancel", "retry"):
        return
    try:
        said = queue_view.act(store or "", command, visitor.name)
        st.session_state["queue_said"] = ("done", said)
    except UcbenchError as error:
        st.session_state["queue_said"] = ("refused", str(error))


def say() -> None:
    """What became of the button that was pressed last."""
    said = st.session_state.get("queue_said")
    if said and said[0] == "done":
        st.success(plain(said[1]), icon=":material/check:")
    elif said:
        st.error(plain(said[1]), icon=":material/block:")


@st.fragment(run_every=queue_view.EVERY)
def requests() -> None:
    """All that changes by itself."""
    watched = queue_view.latest(store or "")
    seen = watched.get()
    if seen.value is None and not seen.problem:
        with st.spinner("Reading the queue"):
            seen = watched.get(wait=30)
    if seen.value is None:
        st.error(
            "The queue cannot be reached at the moment. Nothing that was submitted is lost; this page tries "
            "again every few seconds.",
            icon=":material/cloud_off:",
        )
        if seen.problem:
            st.caption(plain(seen.problem))
        return
    if seen.stale and seen.at:
        st.warning(
            f"The queue cannot be reached at the moment. This is how it was at {seen.at:%H:%M} UTC.",
            icon=":material/cloud_off:",
        )
    show(seen.value)
    if seen.at:
        st.caption(f"As of {seen.at:%H:%M} UTC, revision {plain(seen.value.head[:7])}. Updates by itself.")


def show(listing: Listing) -> None:
    """Filters, then the requests that fit."""
    if not listing.requests:
        st.info("Nothing has been submitted yet.", icon=":material/hourglass_empty:")
        st.page_link("app_pages/submit.py", label="Submit a model", icon=":material/upload:")
        return
    mine = False
    with st.container(horizontal=True, vertical_alignment="center", key="queue_filters"):
        place = st.container()
        if visitor.name is not None:
            mine = st.toggle("Mine only", key="mine", bind="query-params")
    own = queue_view.select(listing.requests, submitter=visitor.name if mine else None)
    numbers = queue_view.counts(own)
    known = [ALL, *(name for name, _ in STATES.values())]
    with place:
        state = linked(
            st.pills, "State", known, key="state", default=ALL, required=True, wrap=True,
            format_func=lambda name: queue_view.label(name, numbers), label_visibility="collapsed",
        )  # fmt: skip
    say()
    chosen = queue_view.select(own, state=state or ALL)
    if chosen:
        viewer = Viewer(
            visitor.name,
            visitor.name is not None and visitor.name.lower() in listing.maintainers,
            st.query_params.get("request"),
            st.session_state.get("confirming"),
        )
        groups = queue_view.arranged(chosen)
        figure(queue_view.html(groups, listing, viewer, queue_view.hub()), key="queue", on_choose=press)
    else:
        st.info("No request fits this choice.", icon=":material/filter_alt_off:")
    if n := listing.damaged:
        what = "1 file of the queue is" if n == 1 else f"{n} files of the queue are"
        st.caption(f"{what} damaged and left out; `ucbench queue list` says more.")


requests()
