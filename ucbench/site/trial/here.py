"""What the page knows of its visitor: the session's picture and answers, the key, whether they are here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from ucbench.errors import StoreError
from ucbench.site.component import figure
from ucbench.site.data import loading
from ucbench.site.serving import signin, tokens
from ucbench.site.trial import models as known_models
from ucbench.site.trial import pictures, view
from ucbench.site.trial.ask import Ask
from ucbench.site.trial.jobs import Desk, Job, Wish, desk
from ucbench.site.trial.models import Choice
from ucbench.site.trial.pictures import Subject
from ucbench.site.trial.providers import Served

#: Seconds between two looks at what came.
EVERY = 0.4


def models() -> tuple[dict[str, Choice], list[str]]:
    """The models on this machine, and names that stand for none."""
    both = loading.stores()
    return known_models.choices((both.runs.parent, both.results.parent, both.results))


def translate(name: str, known: Mapping[str, Choice]) -> None:
    """Make what an address calls a model into the choices of this page; a name that is none gets a note."""
    found = known_models.asked_for(name, known)
    if found is None:
        st.session_state["trial_note"] = (
            f"No model on this machine is called “{name[:100]}”, so it cannot be tried here."
            + (" Aligned models are made with ucbench align." if "local:" in name else "")
        )
        return
    st.query_params["model"] = found.id
    if found.hub_id:
        st.query_params["id"] = found.hub_id
        if found.via:
            st.query_params["via"] = found.via


def note() -> str:
    """What is said once about an address that named no model."""
    said: str = st.session_state.pop("trial_note", "")
    return said


def run_of(model: Choice | Served) -> str | None:
    """The run of a model on the board, where it has one: its best known scores."""
    try:
        rows = loading.board().of_track("pictograms")
    except StoreError:
        return None
    for row in rows:
        adapter = str(row.get("adapter") or "").partition("@")[0]
        if model.id == (adapter or row["model"]) and row["provenance"] != "reported":
            return str(row["run_id"])
    return None


def drawing() -> int:
    """The number of the drawing of the emblem, as the address says."""
    told = st.query_params.get("drawing", "")
    if told.isdecimal() and 0 < int(told) < 1000:
        return int(told)
    if told:
        del st.query_params["drawing"]
    return 0


def draw_anew() -> None:
    """The next drawing."""
    st.query_params["drawing"] = str((drawing() + 1) % 1000)


def picture(file_id: str, name: str, content: Callable[[], bytes]) -> Subject:
    """The visitor's picture, read once. Raises `BadImageError`."""
    kept = st.session_state.get("picture")
    if kept is None or kept[0] != file_id:
        forget_picture()
        kept = st.session_state["picture"] = file_id, pictures.uploaded(content(), name)
    subject: Subject = kept[1]
    return subject


def forget_picture() -> None:
    """Let go of the picture that was taken away."""
    st.session_state.pop("picture", None)


def start(
    subject: Subject | None,
    asks: Sequence[Ask],
    models: Sequence[Choice | Served],
    *,
    judge: str,
    agreed: bool,
) -> Job:
    """Ask. Raises `UcbenchError` with a sentence when it cannot be, or must not."""
    assert subject is not None
    session = _session()
    visitor = signin.visitor()
    who = visitor.name if visitor.how == "account" and visitor.name else f"session {session}"
    wish = Wish(
        subject, asks, models, judge=judge, who=who, key=key, agreed=agreed, here=_still_here(session)
    )
    return Job(wish, shared())


def shared() -> Desk:
    """What all visitors share."""
    return desk()


def key() -> str | None:
    """The key that providers are asked with: the visitor's, or this machine's for who sits at it."""
    if (token := tokens.of_visitor()) is not None:
        return token
    return os.environ.get("HF_TOKEN") if signin.at_home() else None


def watch(job: Job) -> None:
    """Show a job while it goes on, with a way to leave it; the page runs again when it is over."""

    def look() -> None:
        if job.over:
            st.rerun()
        figure(view.status(job) or "<p></p>", key="trial_status")
        words = "Leave the line" if job.place else "Stop"
        st.button(words, icon=":material/close:", key="leave", on_click=job.leave)
        figure(view.results(job), key="trial_answers")

    st.fragment(look, run_every=EVERY)()


def _session() -> str:
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    return context.session_id if context else ""


def _still_here(session: str) -> Callable[[], bool]:
    """Whether a session's page is open, asked from any thread; always so where no server runs."""
    from streamlit import runtime

    if not runtime.exists():
        return lambda: True
    instance = runtime.get_instance()
    return lambda: instance.is_active_session(session)
