"""Submit a checkpoint: who you are, which one, the checks as they are made, its place in the queue."""

from __future__ import annotations

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.site.component import figure
from ucbench.site.markdown import plain
from ucbench.site.queue import submit_view
from ucbench.site.queue import view as queue_view
from ucbench.site.queue.submit_view import Submission
from ucbench.site.serving import framed, signin
from ucbench.site.shared import done, no_store, track_name

st.title("Submit a model", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Have a checkpoint of the Hub evaluated. It is checked at once, waits in a queue, and its scores "
        "appear on the leaderboard when a worker has asked it every question."
    )

store = queue_view.address()
if store is None:
    no_store()
    done()
visitor = signin.visitor()


def identity() -> None:
    """Who submits, and the way to sign in or out."""
    if visitor.how == "account":
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"Signed in as **{plain(visitor.name or '')}**")
            if st.button("Sign out", type="tertiary", icon=":material/logout:"):
                st.session_state.pop("submission", None)
                st.logout()
    elif visitor.how == "anonymous":
        if st.query_params.get("signin") == "refused":
            st.error("Signing in did not work. Nothing was submitted; try it again.", icon=":material/error:")
        tab = signin.full_tab()
        in_a_frame = tab is not None and framed.here()
        with st.container(horizontal=True, vertical_alignment="center"):
            if not in_a_frame and st.button(
                "Sign in with Hugging Face", type="primary", icon=":material/login:"
            ):
                st.login()
            if tab is not None:
                said = "Sign in, in a full tab" if in_a_frame else "Open in a full tab"
                st.link_button(said, tab, icon=":material/open_in_new:")
        said = "Your account name is used and nothing else. It stands beside your requests, which are public."
        if tab is not None:
            said += " Within a page of huggingface.co, signing in works only from a tab of its own."
        st.caption(said)
    elif visitor.how == "local":
        st.info(
            "Sign-in is not set up on this site, so everybody who can open this page submits as `local`.",
            icon=":material/computer:",
        )
    else:
        st.warning(
            f"{visitor.note} Nothing can be submitted on this page; `ucbench submit` works from a terminal.",
            icon=":material/lock:",
        )


def form() -> submit_view.Wish | None:
    """What is asked for, when it is sent."""
    with st.form("submit", border=False):
        model = st.text_input(
            "Model",
            placeholder="owner/name",
            key="submit_model",
            max_chars=200,
            help="Its id on the Hub. A LoRA adapter is evaluated on its base model.",
        )
        revision = st.text_input(
            "Revision",
            placeholder="main",
            key="submit_revision",
            max_chars=200,
            help="A branch, a tag or a commit. What it names now is what is evaluated.",
        )
        left, right = st.columns(2)
        track = left.selectbox("Track", submit_view.TRACKS, key="submit_track", format_func=track_name)
        dtype = right.selectbox(
            "Number format",
            submit_view.FORMATS,
            key="submit_dtype",
            format_func=lambda name: "as in the checkpoint" if name == "auto" else name,
        )
        sent = st.form_submit_button(
            "Check and submit", type="primary", icon=":material/upload:", disabled=visitor.name is None
        )
    if not sent:
        return None
    return submit_view.Wish(model.strip(), revision.strip() or None, dtype, track)


def quota() -> None:
    """What is left for the account."""
    seen = queue_view.latest(store or "").get(wait=10)
    if seen.value is None:
        st.caption("The queue cannot be reached at the moment; a submission would fail.")
    elif visitor.name is not None and (most := submit_view.quota_of(store or "", visitor.name)):
        st.caption(f"Yours so far: {submit_view.used(seen.value, visitor.name).sentence(most)}.")


def check(wish: submit_view.Wish) -> None:
    """Make the checks, each with its tick as it comes, and put the request into the queue.

    What became of it stands above them, where it is seen without a scroll.
    """
    submission = Submission(wish)
    st.session_state["submission"] = submission
    told, ticks = st.container(), st.container(gap=None)
    try:
        with told, st.spinner(f"Checking {plain(wish.model[:100])}"):
            for number, found in enumerate(submission.run(store or "", visitor.name)):
                with ticks:
                    figure(submit_view.check(found), key=f"check_{number}")
    except UcbenchError as error:
        submission.problem = str(error)
    with told:
        outcome(submission)


def outcome(submission: Submission) -> None:
    """What became of it, and where to go from here."""
    model, request = plain(submission.wish.model[:100]) or "It", submission.request
    if request is not None:
        place = submission.place
        where = f" It is number {place} in the queue." if place else ""
        st.success(f"{plain(request.model)} was submitted.{where}", icon=":material/check:")
    elif submission.earlier is not None:
        request = submission.earlier
        word = queue_view.STATES[request.state][1].lower()
        st.info(
            f"{model} was submitted before, as it is now. That request: {word}.",
            icon=":material/content_copy:",
        )
    elif submission.problem:
        st.error(f"{model} was not submitted. {plain(submission.problem)}", icon=":material/block:")
    elif not submission.ended:
        st.warning(
            f"{model} was not submitted: the checks were interrupted. Submit it again.",
            icon=":material/replay:",
        )
    elif submission.failed:
        n = len(submission.failed)
        st.error(
            f"{model} was not submitted: {n} check{'s' if n != 1 else ''} failed. Do what is said there, "
            "push, and submit again.",
            icon=":material/block:",
        )
    if request is not None:
        st.page_link(
            "app_pages/queue.py", label="See it in the queue", icon=":material/format_list_numbered:",
            query_params={"request": request.id},
        )  # fmt: skip


left, right = st.columns([7, 5], gap="large")
with right:
    st.header("What will happen", anchor=False)
    st.markdown(
        """
1. The repository is looked at, without running anything in it: safetensors only, no code of its own, an
   architecture that can be loaded, a licence and a card.
2. The commit is pinned. What you push later is another submission.
3. The request waits in a public queue. A worker downloads the weights and asks every question of the track
   in a closed process, without network.
4. Answers and scores are published, and the model gets its row on the leaderboard.
"""
    )
    st.header("What it will be shown", anchor=False)
    st.markdown(
        "The benchmark is about unsafe content: hate, violence, self-harm, sexual and shocking images, and "
        "others. Your model's answers about them become public. Pictures never do, and the track "
        "*Pictograms* shows abstract emblems only."
    )
with left:
    identity()
    wish = form()
    # Counted after the checks, since a submission counts.
    left_over = st.container()
    past = st.session_state.get("submission")
    if visitor.name is not None and (wish or past):
        st.header("Checks", anchor=False)
    if visitor.name is not None and wish is not None:
        check(wish)
    elif visitor.name is not None and past is not None:
        outcome(past)
        with st.container(gap=None):
            for number, found in enumerate(past.checks):
                figure(submit_view.check(found), key=f"check_{number}")
    if visitor.name is not None:
        with left_over:
            quota()
