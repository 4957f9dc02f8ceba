"""Ask a model about an emblem or a picture of your own; answers stream in, each with its verdict."""

from __future__ import annotations

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.site import loading, tables, trial
from ucbench.site.component import figure
from ucbench.site.url import linked

st.title("Try a model", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Ask the benchmark's questions yourself: the model answers as you watch, and the judge says what it "
        "read. Ask about the same concept :blue[as an image] and :orange[in words]."
    )
with st.container(key="prose_note"):
    st.caption(
        f"The model here is {trial.MODEL}, two million parameters trained on this site's emblems alone. "
        "It knows nothing else: what it says about a photograph means nothing."
    )

left, right = st.columns([4, 11], gap="large")

with left:
    st.markdown("##### 1. A picture")
    source = linked(
        st.segmented_control, "Source", ["emblem", "upload"], key="source", default="emblem", required=True,
        format_func={"emblem": "A pictogram", "upload": "Your own"}.get, label_visibility="collapsed",
    )  # fmt: skip
    subject: trial.Subject | None = None
    #: Tells this picture from others, so that no answer is shown beside a picture it is not about.
    picture: tuple[str, ...] = ()
    if source == "emblem":
        concepts = trial.concepts()
        picked = linked(
            st.selectbox, "Concept", list(concepts), key="about", default=trial.FIRST,
            format_func=trial.concept_label,
        )  # fmt: skip
        drawn = st.session_state.setdefault("drawing", 0)
        subject = trial.emblem(picked or trial.FIRST, drawn)
        picture = ("emblem", subject.concept_id, str(drawn))
        st.image(
            loading.drawing(subject.concept_id, drawn), width=240,
            alt=f"The abstract emblem that stands for {subject.name}, as drawn this time",
        )  # fmt: skip
        if st.button("Draw it anew", icon=":material/refresh:", type="tertiary"):
            st.session_state["drawing"] = drawn + 1
            st.rerun()
    else:
        upload = st.file_uploader("Picture", type=["png", "jpg", "jpeg", "webp", "gif", "bmp"], key="upload")
        st.caption("Kept in memory while you are on this page, then dropped. It is not sent to anybody else.")
        if upload is not None:
            try:
                subject = trial.uploaded(upload.getvalue(), upload.name)
                picture = ("upload", upload.file_id)
                # Twice as large as it is shown, for screens with fine pixels.
                small = trial.preview(subject.image, 480, 720)
                st.image(small, width=max(1, small.width // 2), alt="The picture you uploaded")
            except UcbenchError as error:
                st.error(str(error), icon=":material/broken_image:")

with right:
    st.markdown("##### 2. Questions")
    kinds = trial.KINDS if source == "emblem" else tuple(kind for kind in trial.KINDS if kind != "words")
    wanted = st.pills(
        "Questions", kinds, selection_mode="multi", default=kinds[: len(kinds) - 1], wrap=True,
        key=f"wanted_{source}", format_func=trial.KIND_NAMES.get, label_visibility="collapsed",
    )  # fmt: skip
    options: tuple[str, ...] = ()
    if "shows" in wanted and source == "upload":
        typed = st.multiselect(
            "Four options, one of them right", trial.concept_names(),
            key="options", max_selections=4, accept_new_options=True, placeholder="Choose or type four",
        )  # fmt: skip
        options = tuple(text[:80] for text in typed)
    own = ""
    if "own" in wanted:
        own = st.text_input(
            "Your question", key="own", max_chars=300, placeholder="What colour is the emblem?"
        )
    questions: list[trial.Ask] = []
    problem = "Give a picture first." if subject is None else None
    if subject is not None:
        try:
            questions = trial.questions(subject, wanted, options=options, own=own or "")
        except UcbenchError as error:
            problem = str(error)
        else:
            problem = None if questions else "Choose at least one question."
    asked = st.button(
        f"Ask {len(questions)} question{'s' if len(questions) != 1 else ''}" if questions else "Ask",
        type="primary", disabled=problem is not None, icon=":material/send:", key="ask",
    )  # fmt: skip
    if problem:
        st.caption(problem)

    st.markdown("##### 3. Answers")
    board = st.empty()
    if asked and subject is not None:
        st.session_state["answers"] = None
        try:
            with board.container():
                done = trial.run(questions)
        except UcbenchError as error:
            board.error(str(error), icon=":material/error:")
            st.stop()
        st.session_state["answers"] = (picture, subject.name, done)
        # What showed the answers as they grew makes room for the table.
        st.rerun()
    held = st.session_state.get("answers")
    if held and held[0] == picture:
        with board.container():
            st.caption(f"Asked about: {trial.plain(held[1])}")
            figure(tables.answers(held[2]), key="trial_answers")
    else:
        board.caption("Nothing asked yet.")
