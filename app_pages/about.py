"""What is measured and how, what the stand-ins are, how to cite and run."""

from __future__ import annotations

import streamlit as st

from ucbench import __version__, taxonomy
from ucbench.metrics.keys import KEYS
from ucbench.site import tables
from ucbench.site.component import figure
from ucbench.tracks import questions
from ucbench.tracks.about import ABOUT

st.title("About", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "ucbench measures whether vision-language models recognise unsafe content, and whether they judge it "
        "the same :blue[as an image] and :orange[in words]."
    )

with st.container(key="prose_measure"):
    st.subheader("What is measured", anchor=False)
    st.markdown(
        f"""
There are {len(taxonomy.concepts())} unsafe concepts in {len(taxonomy.categories())} categories. Each is
put to a model on two axes.

- **Perception.** The model is shown an image and four options, and asked which one it shows.
- **Alignment.** The model is asked five questions about safety, once about :blue[an image] of the
  concept and once about the concept named :orange[in words]. A safe model says no.

The difference between the two alignments is the **modality gap**. A model that recognises a concept,
objects to it in words, and still calls its image safe has learned the words and not the picture.

Harmless images are asked about as well. A model that says no to everything reaches an image alignment
of 1.00 and over-refuses everything, so the board is ordered by balanced accuracy, which counts both
kinds of mistake.
"""
    )
    with st.expander("The questions, word for word"):
        st.markdown(
            "**Perception**\n\n" + questions.PERCEPTION.split("\n", 1)[0].strip()
            + "\n\n**Image alignment**\n\n"
            + "\n".join(f"- {text}" for text in questions.IMAGE_ALIGNMENT)
            + "\n\n**Text alignment**\n\n"
            + "\n".join(f"- {text.format(concept='[unsafe concept]')}" for text in questions.TEXT_ALIGNMENT)
        )  # fmt: skip

    st.subheader("What the stand-ins are", anchor=False)
    st.markdown(
        """
The paper's 1,567 pictures are gated, and for good reason. What you see here runs on the track
*Pictograms*: an abstract emblem for each concept, drawn by a program, showing nothing. The embedded
model *tiny-vlm* was trained on such emblems, and trained to show the gap in miniature.

**Scores on pictograms say nothing about real models or real pictures.** They show that the benchmark
works from end to end. Results on the real pictures need access to the gated data and a GPU; figures
from the paper are shown as *reported*, in italics and outside the ranking.
"""
    )

st.subheader("Tracks", anchor=False)
figure(
    tables.facts((told.name, f"{told.asks} {told.access} {told.means}") for told in ABOUT.values()),
    key="tracks",
)

st.subheader("Scores", anchor=False)
figure(tables.facts((key.title, key.definition) for key in KEYS.values()), key="definitions")

with st.container(key="prose_judges"):
    st.subheader("Judges", anchor=False)
    st.markdown(
        """
Models answer in free text. A judge maps each answer to a label: *safe*, *unsafe*, an option A to D, or
*no answer*. The `rules` judge reads wording, negation, options and refusals; the `classifier` judge is
a RoBERTa of the same shape as the paper's. Answers are stored, so another judge can read them again,
and every published score can be recomputed from the answers up.

Three kinds of non-answer are kept apart: the model gives no verdict, a provider refuses, the system
fails. Coverage is the share of questions that got a label. In *strict* scores no answer counts as
wrong.

*Guard* models answer no questions: asked in their own format, they give one verdict on a picture, which
stands for all safety questions about it. *Imported* answers were given elsewhere, and are read and scored
here like any others. The details of a run say what became of every question, how far other judges and
people agree with the one that read the answers, and whether the fast way of asking changed any.
"""
    )
    st.subheader("Intervals and ranks", anchor=False)
    st.markdown(
        """
Every score has a 95% interval. Overall, whole concepts are resampled, since answers about one concept
are alike. Within a category the concepts are fixed and their images resampled; within a concept the
interval is Wilson's.

Ranks are intervals too. Two models are told apart when their difference, recomputed on the same
resampled concepts, differs from zero after Holm's correction; a rank of 2–3 says that one model is
surely better and at most two are. A run is shown without a rank when it is incomplete, answered fewer
than half of the questions, asked no safe images, or was answered elsewhere. Tracks without both safe and
unsafe images have no ranking. Aligned models are ranked on the test split, among the answers of others to
the same pictures.
"""
    )
    st.subheader("Figures reported in the paper", anchor=False)
    st.markdown(
        "None of them was measured by this project. Those in the last four lines are for LLaVA-1.5-7B."
    )
    figure(
        tables.facts(
            (
                ("Perception, five of eight models", ".90–.97"),
                ("Perception, the other three", ".45–.61"),
                ("Image alignment, eight models", ".14–.70"),
                ("Text alignment, eight models", ".81–.95"),
                ("Alignment accuracy", "before .736, SFT .977, DPO .648, PPO .903"),
                ("General ability", "before .708, SFT .558, DPO .656, PPO .687"),
                ("Answer diversity", "SFT .076, PPO .221"),
                ("Out of domain, PPO", "SMID .718, NSFW .996"),
            ),
            style="reported",
        ),
        key="reported",
    )
    st.subheader("Content note", anchor=False)
    st.markdown(
        """
Concept names and answers speak of violence, hate, abuse, self-harm and sexual content. No unsafe
picture is shown, drawn or shipped. Emblems avoid the shapes of real symbols. A picture that you upload
on *Try a model* is kept in memory for your answers, is sent nowhere, and is dropped.
"""
    )
    st.subheader("Run it yourself", anchor=False)
    st.code(
        "make demo                          # all of it, from nothing\n"
        "ucbench evaluate path/to/model     # a checkpoint of yours\n"
        "ucbench board verify results       # every figure, again",
        language="sh",
    )
    st.markdown("The board is served as JSON at `/api/board`, the schema of a record at `/api/schema`.")
    st.subheader("Citation", anchor=False)
    st.markdown("Concepts, questions and scores follow this paper:")
    st.code(
        """@inproceedings{qu2025bridging,
  title     = {Bridging the Gap in Vision Language Models in Identifying Unsafe Concepts Across Modalities},
  author    = {Qu, Yiting and Backes, Michael and Zhang, Yang},
  booktitle = {USENIX Security Symposium},
  year      = {2025},
  note      = {arXiv:2507.11155}
}""",
        language="bibtex",
        wrap_lines=True,
    )
    st.caption(f"ucbench {__version__}, Apache-2.0.")
