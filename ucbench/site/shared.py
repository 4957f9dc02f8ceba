"""Small parts that several pages show the same way."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from ucbench.errors import StoreError
from ucbench.record import Provenance
from ucbench.restricted import MARK
from ucbench.site import loading
from ucbench.site.columns import Row
from ucbench.site.loading import LoadedBoard
from ucbench.site.published import Published
from ucbench.site.url import linked

PROVENANCES: tuple[Provenance, ...] = ("measured", "self-reported", "imported", "reported")

#: Track -> its name for people and what a visitor must know before reading a figure.
TRACKS = {
    "pictograms": (
        "Pictograms",
        "Each concept is an abstract emblem, a stand-in that shows nothing. Scores on it say nothing about "
        "how a model sees real pictures.",
    ),
    "unsafeconcepts": (
        "UnsafeConcepts",
        "The paper's 1,567 pictures, which are gated. Rows in italics are figures reported there; this "
        "project has not measured them and does not rank them.",
    ),
}


#: What is shown of a track's test split.
BESIDE = (
    "Aligned models are measured on pictures that they were not trained on. The other models stand beside "
    "them with their scores on the same pictures."
)


def board_or_note() -> LoadedBoard | None:
    """The board, or one sentence on the page about why there is none or why runs are missing from it."""
    try:
        board = loading.board()
    except StoreError as error:
        st.warning(str(error), icon=":material/inventory_2:")
        return None
    if board.note:
        st.warning(board.note, icon=":material/broken_image:")
    if board.source is not None:
        # A snapshot makes room soon; who reads results is left in peace.
        st.fragment(where_from, run_every=5 if board.source.snapshot else 60)(board.source)
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
        "No queue is set up on this site. Whoever runs it names a folder, or a dataset repository of the "
        "Hub, in `UCBENCH_STORE`: `UCBENCH_STORE=queue ucbench site`.",
        icon=":material/inbox:",
    )


def known_tracks(board: LoadedBoard) -> list[str]:
    """Tracks that can be chosen: ours, and those of other rows."""
    return [*TRACKS, *(track for track in board.tracks() if track not in TRACKS)]


def track_name(track: str) -> str:
    """A track's name for people."""
    name, mark, split = track.partition(MARK)
    known = TRACKS[name][0] if name in TRACKS else name
    return f"{known}, {split} split" if mark else known


def choose_track(board: LoadedBoard) -> str:
    """The track chosen in the URL or by the visitor; the same choice on every page."""
    known = known_tracks(board)
    chosen = linked(
        st.segmented_control, "Track", known, key="track", default=known[0], required=True,
        format_func=track_name, label_visibility="collapsed",
    )  # fmt: skip
    return chosen or known[0]


def track_note(track: str) -> None:
    """What must be known before reading a figure of this track."""
    name, mark, _ = track.partition(MARK)
    note = TRACKS[name][1] if name in TRACKS else ""
    if mark:
        note = f"{note} {BESIDE}".strip()
    if note:
        with st.container(key="prose_track"):
            st.caption(note)


def csv(rows: Sequence[Row]) -> bytes:
    """Board rows as CSV. A leading =, +, - or @ of a text is quoted, since spreadsheets would run it."""
    import pandas as pd

    def cell(value: object) -> object:
        runs = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
        return f"'{value}" if runs else value

    frame = pd.DataFrame([{key: cell(value) for key, value in row.items()} for row in rows])
    return frame.to_csv(index=False).encode("utf-8")
