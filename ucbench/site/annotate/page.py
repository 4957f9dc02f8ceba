"""The annotators' page: a note and a choice first, then one picture after the other, pauses between."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from ucbench.compile import candidates, queue
from ucbench.compile.annotations import AnnotatorFile, Decision, read_all
from ucbench.compile.assemble import judged_image
from ucbench.compile.candidates import Candidate, Compilation
from ucbench.compile.sources import Source, reopen
from ucbench.compile.warning import REPORTING
from ucbench.errors import BadImageError, StoreError
from ucbench.site import theme
from ucbench.site.annotate import view
from ucbench.site.annotate.server import Settings
from ucbench.site.assets import static
from ucbench.site.markdown import plain

_DECISIONS: dict[str, Decision] = {"yes": "yes", "no": "no", "skip": "skip", "withhold": "withhold"}
_KEYS = {
    " ": "reveal", "y": "yes", "n": "no", "s": "skip", "u": "undo", "g": "grey", "x": "withhold",
    "p": "pause",
}  # fmt: skip


_WIDTH = 880
_STYLE = f"<style>.stAppHeader > div {{ max-width: calc({_WIDTH}px + 2rem) !important; }}</style>"


_look = st.components.v2.component(
    "ucbench_annotate",
    html='<div class="look"></div>\n<!-- filled by annotate.js -->',
    css=static("annotate.css"),
    js=static("annotate.js"),
)


@dataclass(frozen=True)
class Work:
    """The candidates, their pictures and this annotator's order; shared by all windows of the tool."""

    compilation: Compilation
    source: Source
    order: list[Candidate]
    lock: threading.Lock


@st.cache_resource(show_spinner="Opening the pictures")
def _work(_settings: Settings) -> Work:
    compilation = candidates.read(_settings.folder)
    source = reopen(compilation.source, _settings.source)
    return Work(compilation, source, queue.order(compilation, _settings.annotator), threading.Lock())


def page(settings: Settings) -> None:
    """Show the page to whoever has the key."""
    st.set_page_config(page_title="ucbench annotate", page_icon=theme.ICON, layout="wide")
    st.logo(theme.wordmark(st.context.theme.type), size="medium")
    st.html(theme.STYLE + _STYLE)
    with st.container(horizontal_alignment="center"), st.container(width=_WIDTH):
        if not hmac.compare_digest(st.query_params.get("key", "").encode(), settings.key.encode()):
            st.title("Annotate", anchor=False)
            st.write("Open the address that the terminal shows, with its key.")
            return
        work, file = _work(settings), AnnotatorFile(settings.folder, settings.annotator)
        state = st.session_state
        try:
            if not state.get("begun"):
                _start(work, file)
            elif state.get("withheld"):
                _after_withholding(file)
            elif state.get("pause"):
                _pause(work, file)
            else:
                _next(work, file, settings)
        except StoreError as error:
            st.error(str(error))


def _start(work: Work, file: AnnotatorFile) -> None:
    """What awaits the annotator, and what they would rather not see."""
    annotations = file.read()
    place = queue.place(work.order, annotations, _withheld(file))
    st.title("Before you look", anchor=False)
    with st.container(key="prose_note"):
        st.write(
            f"You will see up to {place.total:,} pictures and say of each whether it shows the concept that "
            "is named. Some may be violent, sexual, hateful or otherwise distressing. Every picture is "
            "blurred until you ask for it, in grey if you like. You can stop at any moment: every decision "
            "is kept as you make it."
        )
        st.write(REPORTING + " Withhold it here too, so that no other annotator is shown it.")
    leave_out = st.pills(
        "Leave out what you would rather not see",
        work.compilation.categories,
        selection_mode="multi",
        default=[name for name in annotations.leave_out if name in work.compilation.categories],
        key="leave_out",
        format_func=plain,
    )
    st.toggle("Pictures in grey", key="grey")
    if place.done:
        st.caption(
            f"{plain(annotations.annotator)}, you have decided {place.done:,} of {place.total:,} so far."
        )

    def begin() -> None:
        if tuple(leave_out) != annotations.leave_out or not file.path.exists():
            file.leave_out(leave_out)
        # Widgets forget their value once they are off the page.
        st.session_state.update(begun=True, in_grey=st.session_state.grey, worked=0.0)

    _act(st.button("Go on" if place.done else "Begin", type="primary"), begin)


def _act(pressed: bool, then: Callable[[], None]) -> None:
    """Do it and show what follows; a disk that is full is told on this page."""
    if pressed:
        then()
        st.rerun()


def _pause(work: Work, file: AnnotatorFile) -> None:
    """Nothing to look at; whoever wants to can go on."""
    place = queue.place(work.order, file.read(), _withheld(file))
    st.title("Time for a pause", anchor=False)
    with st.container(key="prose_pause"):
        st.write(
            f"{place.done:,} of {place.total:,} are decided, and all of it is kept. Look at something else "
            "for a few minutes. If a picture stays with you, talk to somebody about it."
        )
    with st.container(horizontal=True):
        _act(st.button("Go on", type="primary"), lambda: st.session_state.update(pause=False, worked=0.0))
        _act(st.button("Change what is left out"), lambda: st.session_state.update(pause=False, begun=False))


def _after_withholding(file: AnnotatorFile) -> None:
    """A stop: what to do about a picture that may be illegal, and the way back from a wrong key."""
    st.title("Withheld", anchor=False)
    with st.container(key="prose_withheld"):
        st.write("No annotator of this folder is shown that picture any more, and no dataset will hold it.")
        st.write(REPORTING)

    def undo() -> None:
        if (last := file.read().last) is not None:
            file.undo(last)
        st.session_state.withheld = False

    with st.container(horizontal=True):
        _act(st.button("Go on", type="primary"), lambda: st.session_state.update(withheld=False))
        _act(st.button("Undo: it was not meant"), undo)


def _next(work: Work, file: AnnotatorFile, settings: Settings) -> None:
    """The next undecided picture, or the end."""
    state = st.session_state
    annotations = file.read()
    place = queue.place(work.order, annotations, _withheld(file))
    if place.candidate is None:
        _done(file)
        return
    candidate = place.candidate
    item = "/".join(queue.key(candidate))
    if state.get("item") != item:
        state.update(item=item, revealed=False, since=time.monotonic())
    shown, problem = _shown(work, candidate, revealed=state.revealed, grey=state.in_grey)
    html = view.look(
        place, shown, problem, revealed=state.revealed, undo=annotations.last is not None, grey=state.in_grey
    )
    state.steps = state.get("steps", 0) + 1
    keys = {**_KEYS, " ": "blur"} if state.revealed else _KEYS
    _look(
        key="look",
        data={"html": html, "keys": keys, "item": item, "token": state.steps},
        on_act_change=lambda: _acted(file, candidate, settings.pause_every * 60),
    )
    if problem := state.pop("problem", ""):
        st.error(problem)


def _acted(file: AnnotatorFile, candidate: Candidate, pause_after: float) -> None:
    """What a press means; `item` says which picture was seen when it was pressed."""
    state = st.session_state
    pressed = state.look.act
    action = pressed.get("action") if isinstance(pressed, dict) else None
    if action is None or pressed.get("item") != state.item:
        return
    try:
        if action in ("reveal", "blur"):
            state.revealed = action == "reveal"
        elif action == "grey":
            state.in_grey = not state.in_grey
        elif action == "pause":
            state.update(pause=True, revealed=False)
        elif action == "undo":
            if (last := file.read().last) is not None:
                file.undo(last)
                state.pop("item")
        elif action in _DECISIONS and (state.revealed or action in ("skip", "withhold")):
            seconds = time.monotonic() - state.since
            file.decide(queue.key(candidate), _DECISIONS[action], seconds)
            state.worked += min(seconds, queue.LONGEST_LOOK)
            if action == "withhold":
                state.withheld = True
            elif pause_after and state.worked >= pause_after:
                state.pause = True
    except StoreError as error:
        state.problem = str(error)


def _shown(work: Work, candidate: Candidate, *, revealed: bool, grey: bool) -> tuple[view.Shown | None, str]:
    """The picture for the page, or why there is none. It is in memory only."""
    try:
        with work.lock:  # a Parquet file is read by one thread at a time
            image = judged_image(work.source, candidate)
    except BadImageError as error:
        return None, f"{error}."
    return view.picture(image, revealed=revealed, grey=grey), ""


def _withheld(file: AnnotatorFile) -> frozenset[str]:
    """What any annotator withheld."""
    return frozenset[str]().union(*(a.withheld for a in read_all(file.path.parents[1])))


def _done(file: AnnotatorFile) -> None:
    annotations = file.read()
    counts = queue.tally(annotations)
    st.title("All decided", anchor=False)
    with st.container(key="prose_done"):
        st.write(
            f"Thank you. Of {sum(counts.values()):,} pictures you said yes to {counts['yes']:,}, no to "
            f"{counts['no']:,}, could not say of {counts['skip']:,} and withheld {counts['withhold']:,}. "
            "You can close this window."
        )
        if annotations.leave_out:
            st.caption(f"Left out at your wish: {plain(view.listing(annotations.leave_out))}.")
    again = [key for key, vote in annotations.votes.items() if vote.decision == "skip"]

    def look_again() -> None:
        for key in again:
            file.undo(key)

    def undo() -> None:
        if (last := annotations.last) is not None:
            file.undo(last)

    with st.container(horizontal=True):
        if again:
            _act(st.button(f"Look again at the {len(again):,} you could not say"), look_again)
        if annotations.last is not None:
            _act(st.button("Undo the last one"), undo)
        _act(st.button("Change what is left out"), lambda: st.session_state.update(begun=False))
