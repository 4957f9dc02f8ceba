"""What this is in ten seconds, what it is not, how to get at the data, cite and run it, what changed."""

from __future__ import annotations

import streamlit as st

from ucbench import taxonomy
from ucbench.site import changes, footer, links
from ucbench.site.component import figure
from ucbench.site.figures import tables
from ucbench.site.serving import server
from ucbench.tracks.about import ABOUT

st.title("About", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "ucbench measures whether vision-language models recognise unsafe content, and whether they judge it "
        "the same :blue[as an image] and :orange[in words]."
    )

with st.container(key="prose_measure"):
    st.markdown(
        f"""
There are {len(taxonomy.concepts())} unsafe concepts in {len(taxonomy.categories())} categories. A model is
shown an image of each and asked what it shows (*perception*) and whether it is safe (*image alignment*);
and it is asked whether the same concept, named in words, is safe (*text alignment*). A model that
recognises a concept, objects to it in words, and still calls its image safe has learned the words and not
the picture: that is the **modality gap**.

Harmless images are asked about as well. A model that says no to everything reaches an image alignment of
1.00 and over-refuses everything, so the board is ordered by balanced accuracy, which counts both kinds of
mistake.
"""
    )
    st.page_link(
        links.PAGES["method"], label="Every score, interval and rank, worked out", icon=":material/functions:"
    )

    st.header("What the stand-ins are", anchor="stand-ins")
    st.markdown(
        """
The paper's 1,567 pictures are gated, and for good reason. What is measured here by default runs on the
track *Pictograms*: an abstract emblem for each concept, drawn by a program, showing nothing. The embedded
model *tiny-vlm* was trained on such emblems, and trained to show the gap in miniature.

**Scores on pictograms say nothing about real models or real pictures.** They show that the benchmark
works from end to end. Results on the real pictures need access to the gated data and a GPU; figures
from the paper are shown as *reported*, in italics and outside the ranking.
"""
    )

    st.header("Content note", anchor="content")
    st.markdown(
        """
Concept names and answers speak of violence, hate, abuse, self-harm and sexual content. No unsafe picture
is shown, drawn or shipped. Emblems avoid the shapes of real symbols. A picture that you upload on *Try a
model* is kept in memory for your answers and dropped; it goes to a provider only after you say so on
that page.
"""
    )

    st.header("Figures reported in the paper", anchor="reported")
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

with st.container(key="prose_run"):
    st.header("Access to the data", anchor="data")
    figure(tables.facts((told.name, told.access) for told in ABOUT.values()), key="access")

    st.header("Run it yourself", anchor="run")
    st.code(
        "make demo                          # all of it, from nothing\n"
        "ucbench evaluate path/to/model     # a checkpoint of yours\n"
        "ucbench board verify results       # every figure, again",
        language=None,
        wrap_lines=True,
    )
    st.header("Citation", anchor="cite")
    st.markdown("Concepts, questions and scores follow this paper:")
    st.code(
        """@inproceedings{qu2025bridging,
  title     = {Bridging the Gap in Vision Language Models in Identifying Unsafe Concepts Across Modalities},
  author    = {Qu, Yiting and Backes, Michael and Zhang, Yang},
  booktitle = {USENIX Security Symposium},
  year      = {2025},
  note      = {arXiv:2507.11155}
}""",
        language=None,
        wrap_lines=True,
    )

    if server.served():
        st.header("Data and feeds", anchor="feeds")
        figure(
            footer.listed(
                (
                    ('<a href="api/v1/board.json">api/v1/board.json</a>', "The board as JSON, with an ETag."),
                    ('<a href="api/schema">api/schema</a>', "The JSON schema of a run's record."),
                    ('<a href="feed.xml">feed.xml</a>', "New results, as RSS."),
                    ('<a href="feed.json">feed.json</a>', "New results, as a JSON feed."),
                )
            ),
            key="feeds",
        )

    told = changes.releases()
    if told:
        st.header("What changed", anchor="changes")
        for place, (name, body) in enumerate(told):
            with st.expander(name, expanded=place == 0):
                st.markdown(body)
