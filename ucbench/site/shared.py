"""Small parts that several pages show the same way."""

from __future__ import annotations

from typing import NoReturn

import streamlit as st

from ucbench.errors import StoreError
from ucbench.record import Provenance
from ucbench.restricted import MARK
from ucbench.site import unknown
from ucbench.site.data import loading
from ucbench.site.data.board import LoadedBoard
from ucbench.site.data.published import Published
from ucbench.site.url import linked
from ucbench.tracks.about import ABOUT, TEST_SPLIT, about

PROVENANCES: tuple[Provenance, ...] = ("measured", "self-reported", "imported", "reported")

#: Tracks that can always be chosen, though nobody has been measured on them yet.
ALWAYS = ("pictograms", "unsafeconcepts")
#: So many choices still stand side by side; more are a list to open.
SIDE_BY_SIDE = 3


class PageDone(Exception):  # noqa: N818
    """A page has said all there is to say; what stands around it goes on. `app.py` lets it pass."""


def done() -> NoReturn:
    """End the page here, as `st.stop` would, but leave the footer to come."""
    raise PageDone


def board_or_note(title: str = "") -> LoadedBoard | None:
    """The board, or one sentence on the page about why there is none or why runs are missing from it.

    `title` is the heading above that sentence on a page whose own heading comes from the board.
    """
    try:
        board = loading.board()
    except StoreError as error:
        if title:
            st.title(title, anchor=False)
        st.warning(loading.told(error), icon=":material/inventory_2:")
        return None
    if board.note:
        st.warning(board.note, icon=":material/broken_image:")
    if board.source is not None:
        # A snapshot makes room soon; who reads results is left in peace.
        st.fragment(where_from, run_every=5 if board.source.snapshot else 60)(board.source)
    unknown.place()
    return board


def where_from(shown: Published) -> None:
    """Which revision of the results store this is, and a way to a newer one: nothing moves by itself."""
    now = loading.source() or shown
    if shown.snapshot and not now.snapshot:
        st.rerun()
    if shown.snapshot:
        st.info(now.note(), icon=":material/inventory_2:")
    elif now.folder == shown.folder:
        st.caption(now.as_of())
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(shown.as_of())
            if st.button("Show newer results", icon=":material/refresh:", type="tertiary"):
                st.rerun()


def no_store() -> None:
    """What a page of the queue says where no queue is set up."""
    st.info(
        "No queue is set up on this site, so no model can be submitted here. You can evaluate one yourself: "
        "`ucbench evaluate path/to/model`. Whoever runs this site sets up a queue in a folder, or in a "
        "dataset repository of the Hub: `UCBENCH_STORE=queue ucbench site`.",
        icon=":material/inbox:",
    )


def known_tracks(board: LoadedBoard) -> list[str]:
    """Tracks that can be chosen: two of ours and all that have a row, in the order of the descriptions."""
    order = list(ABOUT)
    found = {*ALWAYS, *board.tracks()}

    def place(track: str) -> tuple[int, str]:
        name = track.partition(MARK)[0]
        return (order.index(name) if name in ABOUT else len(order)), track

    return sorted(found, key=place)


def track_name(track: str) -> str:
    """A track's name for people."""
    name, mark, split = track.partition(MARK)
    return f"{about(name).name}, {split} split only" if mark else about(name).name


def choose_track(board: LoadedBoard) -> str:
    """The track chosen in the URL or by the visitor; the same choice on every page."""
    known = known_tracks(board)
    if len(known) > SIDE_BY_SIDE:
        chosen = linked(
            st.selectbox, "Track", known, key="track", default=known[0], everywhere=True,
            format_func=track_name, width=340,
        )  # fmt: skip
    else:
        chosen = linked(
            st.segmented_control, "Track", known, key="track", default=known[0], everywhere=True,
            required=True, format_func=track_name, label_visibility="collapsed",
        )  # fmt: skip
    return chosen or known[0]


def track_words(track: str) -> str:
    """What must be known before reading a figure of this track: what is asked, of what, what it means."""
    name, mark, _ = track.partition(MARK)
    told = about(name)
    sentences = [told.asks, told.access, told.means, TEST_SPLIT if mark else ""]
    return " ".join(sentence for sentence in sentences if sentence)


def track_note(track: str) -> None:
    """The same on the page."""
    if note := track_words(track):
        with st.container(key="prose_track"):
            st.caption(note)
