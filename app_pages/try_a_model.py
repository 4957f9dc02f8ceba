"""Ask a model about an emblem or a picture of your own; answers come in, each with its verdict and why."""

from __future__ import annotations

import os

import streamlit as st

from ucbench.errors import UcbenchError
from ucbench.site import links, unknown
from ucbench.site.component import figure
from ucbench.site.data import track as track_data
from ucbench.site.markdown import plain
from ucbench.site.serving import framed, signin, tokens
from ucbench.site.trial import ask, here, jobs, models, pictures, providers, view
from ucbench.site.url import linked, linked_many, linked_text

st.title("Try a model", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "Ask the benchmark's questions yourself: the answers come in as you watch, and the judge says what "
        "it read and why. Ask about the same concept :blue[as an image] and :orange[in words]."
    )

unknown.place()
known, missing = here.models()


def choose_model() -> tuple[list[models.Choice | providers.Served], str]:
    """The models to ask, and why there is none."""
    ids = [*known, models.SERVED]
    if (told := st.query_params.get("model")) and told not in ids:
        here.translate(told, known)
    chosen = linked(
        st.selectbox, "Model", ids, key="model", default=models.DEFAULT, what="",
        format_func=lambda id_: known[id_].name if id_ in known else "Another, through a provider",
        label_visibility="collapsed",
    )  # fmt: skip
    if chosen == models.SERVED:
        return choose_served()
    choice = known[chosen or models.DEFAULT]
    if choice.note:
        st.caption(plain(choice.note))
    if len(known) == 1:
        return [choice], ""
    other = linked(
        st.selectbox, "Beside it", [id_ for id_ in known if id_ != choice.id], key="against", default=None,
        what="model", format_func=lambda id_: known[id_].name, placeholder="No other model",
        help="The same questions to a second model, such as the same one after alignment.",
    )  # fmt: skip
    return [choice, *([known[other]] if other else [])], ""


def choose_served() -> tuple[list[models.Choice | providers.Served], str]:
    """A model by its Hub id, and the provider that serves it."""
    hub_id = linked_text("Its id on the Hub", key="id", max_chars=200, placeholder="owner/name").strip()
    via = linked(
        st.selectbox, "Provider", [providers.AUTO, *providers.names()], key="via", default=providers.AUTO,
        format_func=lambda name: "Whichever Hugging Face picks" if name == providers.AUTO else name,
    )  # fmt: skip
    if not hub_id:
        return [], "Name the model to ask."
    try:
        return [providers.Served(hub_id, via or providers.AUTO)], ""
    except UcbenchError as error:
        return [], str(error)


def account() -> str:
    """For whom providers are asked, with the way to sign in; why they cannot be asked, if so."""
    visitor = signin.visitor()
    if visitor.how == "closed":
        return f"{visitor.note} So providers cannot be asked on this site."
    if visitor.how == "local":
        if not signin.at_home():
            return "Sign-in is not set up on this site, so models that others serve cannot be asked."
        if not os.environ.get("HF_TOKEN"):
            return (
                "Sign-in is not set up on this site. As it runs on your own machine, it can ask providers "
                "with your key: export HF_TOKEN and start it again."
            )
        st.caption(
            "This site runs on your own machine: providers are asked with the HF_TOKEN of its environment."
        )
        return ""
    if tokens.of_visitor():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"Asked for the account **{plain(visitor.name or '')}**")
            if st.button("Sign out", type="tertiary", icon=":material/logout:"):
                st.logout()
        return ""
    if st.query_params.get("signin") == "refused":
        st.error("Signing in did not work. Nothing was asked; try it again.", icon=":material/error:")
    tab = signin.full_tab("try")
    with st.container(horizontal=True, vertical_alignment="center"):
        in_a_frame = tab is not None and framed.here()
        if not in_a_frame and st.button("Sign in with Hugging Face", icon=":material/login:"):
            st.login(signin.INFERENCE)
        if tab is not None:
            said = "Sign in, in a full tab" if in_a_frame else "Open in a full tab"
            st.link_button(said, tab, icon=":material/open_in_new:")
    st.caption(
        "You are asked to let this site run inference for your account, which is charged for it. Your key "
        "stays in the memory of this server and is forgotten when you sign out, or after some hours."
    )
    return "Sign in to ask models that others serve."


def choose_emblem() -> pictures.Subject:
    """A concept, from a list or a gallery, and a drawing of its emblem."""
    concepts = pictures.concepts()
    about = linked(
        st.selectbox, "Concept", list(concepts), key="about", default=pictures.FIRST,
        format_func=pictures.concept_label, label_visibility="collapsed",
    ) or pictures.FIRST  # fmt: skip
    fold = st.expander(
        "Pick from the gallery", icon=":material/grid_view:", on_change="rerun", key="gallery_open"
    )
    if fold.open:
        with fold:
            gallery(about)
    drawn = here.drawing()
    subject = pictures.emblem(about, drawn)
    st.image(
        track_data.drawing(about, drawn), width=240,
        alt=f"The abstract emblem that stands for {subject.name}, as drawn this time",
    )  # fmt: skip
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key="try_links_concept"):
        st.button("Draw it anew", icon=":material/refresh:", type="tertiary", on_click=here.draw_anew)
        st.page_link(
            links.PAGES["concepts"], label="Scores on it", icon=":material/arrow_forward:",
            query_params={"concept": about},
        )  # fmt: skip
    return subject


def gallery(about: str) -> None:
    """The emblems of a category, to be picked by a press or by the keyboard."""
    names = pictures.categories()
    category = linked(
        st.selectbox, "Category", list(names), key="category", default=pictures.concepts()[about].category,
        format_func=names.get,
    )  # fmt: skip
    shown = pictures.shelf(category or pictures.concepts()[about].category)

    def picked(concept_id: str) -> None:
        if concept_id in pictures.concepts():
            st.session_state["about"] = concept_id

    figure(view.gallery(shown, about), key="gallery", on_choose=picked)


def choose_upload() -> pictures.Subject | None:
    """A visitor's own picture; None before there is one that can be used."""
    upload = st.file_uploader(
        "Picture", type=list(pictures.ENDINGS), key="upload", max_upload_size=pictures.MAX_MEGABYTES,
        label_visibility="collapsed",
    )  # fmt: skip
    st.caption(
        "Its pixels are kept in memory while you are on this site, and nothing else of the file: no place, "
        "no camera, no date."
    )
    if upload is None:
        here.forget_picture()
        return None
    try:
        subject = here.picture(upload.file_id, upload.name, upload.getvalue)
    except UcbenchError as error:
        said = str(error).rstrip(".")
        st.error(f"{plain(said[:1].upper() + said[1:])}.", icon=":material/broken_image:")
        return None
    # Twice as large as it is shown, for screens with fine pixels.
    small = pictures.preview(subject.image, 480, 720)
    st.image(small, width=max(1, small.width // 2), alt="The picture you uploaded")
    return subject


def choose_questions(subject: pictures.Subject | None) -> tuple[list[ask.Ask], str]:
    """The questions, and why there are none."""
    kinds = [kind for kind in ask.KINDS if kind != "words" or source == "emblem"]
    wanted = linked_many(
        st.pills, "Questions", kinds, key="questions", default=ask.USUAL, selection_mode="multi", wrap=True,
        what="question", format_func=ask.KIND_NAMES.get, label_visibility="collapsed",
    )  # fmt: skip
    options: tuple[str, ...] = ()
    if "shows" in wanted and source == "upload":
        typed = st.multiselect(
            "Four options, one of them right", pictures.concept_names(),
            key="options", max_selections=4, accept_new_options=True, placeholder="Choose or type four",
        )  # fmt: skip
        options = tuple(text[:80] for text in typed)
    own = ""
    if "own" in wanted:
        own = st.text_input(
            "Your question", key="own", max_chars=300, placeholder="What colour is the emblem?"
        )
    if subject is None:
        return [], "Give a picture first."
    try:
        asks = ask.questions(subject, wanted, options=options, own=own or "")
    except UcbenchError as error:
        return [], str(error)
    return asks, "" if asks else "Choose at least one question."


def agree(subject: pictures.Subject | None, served: providers.Served) -> bool:
    """Whether this picture may go to this provider; it is told who gets what."""
    if subject is None:
        return False
    if not subject.private:
        st.caption(f"The emblem and the questions are sent to {plain(served.who)}.")
        return True
    return st.checkbox(
        f"Send this picture and the questions about it to {plain(served.who)}",
        key=f"agree/{subject.key}/{served.id}",
        help="Asked for each picture and provider; nothing is sent before. What they do with it, they say.",
    )


left, right = st.columns([4, 11], gap="large")

with left:
    st.header("1. A model", anchor=False)
    wanted_models, problem = choose_model()
    served = [model for model in wanted_models if isinstance(model, providers.Served)]
    if st.session_state.get("model") == models.SERVED:
        problem = account() or problem
    if missing:
        st.caption(f"Not found here, though this site was told to offer it: {plain(', '.join(missing))}.")
    if note := here.note():
        st.warning(plain(note), icon=":material/link_off:")
    if wanted_models and (run_id := here.run_of(wanted_models[0])):
        with st.container(key="try_links_model"):
            st.page_link(
                links.PAGES["model"], label="Its scores", icon=":material/arrow_forward:",
                query_params={"run": run_id},
            )  # fmt: skip

    st.header("2. A picture", anchor=False)
    source = linked(
        st.segmented_control, "Source", ["emblem", "upload"], key="source", default="emblem", required=True,
        format_func={"emblem": "A pictogram", "upload": "Your own"}.get, label_visibility="collapsed",
    )  # fmt: skip
    subject = choose_emblem() if source == "emblem" else choose_upload()
    if source == "upload" and any(model.id == models.DEFAULT for model in wanted_models):
        st.caption(f"{models.DEFAULT} knows emblems alone: what it says about a photograph means nothing.")

with right:
    st.header("3. Questions", anchor=False)
    asks, why_not = choose_questions(subject)
    judge = linked(
        st.segmented_control, "Read by", [ask.RULES, ask.CLASSIFIER], key="judge", default=ask.RULES,
        what="judge", required=True, format_func=ask.JUDGE_NAMES.get,
    )  # fmt: skip
    problem = why_not or problem
    agreed = not served or agree(subject, served[0])
    if not problem and not agreed:
        problem = "Agree to send your picture first, or ask a model on this machine."
    job: jobs.Job | None = st.session_state.get("job")
    running = job is not None and not job.over
    n = len(asks) * len(wanted_models)
    pressed = st.button(
        f"Ask {n} question{'s' if n != 1 else ''}" if n and not problem else "Ask",
        type="primary", disabled=bool(problem) or running, icon=":material/send:", key="ask",
    )  # fmt: skip
    if pressed and not problem and not running:
        try:
            st.session_state["job"] = here.start(
                subject, asks, wanted_models, judge=judge or ask.RULES, agreed=agreed
            )
            st.rerun()
        except UcbenchError as error:
            st.error(plain(str(error)), icon=":material/block:")
    if problem:
        st.caption(plain(problem))

    st.header("Answers", anchor=False)
    if job is not None and running:
        here.watch(job)
    elif job is not None and subject is not None and job.wish.subject.key == subject.key:
        if said := view.status(job):
            figure(said, key="trial_status")
        figure(view.results(job), key="trial_answers")
    else:
        st.caption("Nothing asked yet.")
