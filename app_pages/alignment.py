"""What alignment did to a model: the finding, every method, what it cost, how training went, the answers."""

from __future__ import annotations

import streamlit as st

from ucbench.align.tables import NAMES
from ucbench.site import unknown
from ucbench.site.alignment import charts as alignment_charts
from ucbench.site.alignment import view as alignment_view
from ucbench.site.component import figure
from ucbench.site.data import loading
from ucbench.site.figures import charts
from ucbench.site.shared import done, track_note
from ucbench.site.url import linked

COMMANDS = """\
ucbench align embedded:tiny-vlm --method ppo
ucbench align-report embedded:tiny-vlm --adapter ppo=aligned/tiny-vlm-ppo-seed0
ucbench site                        # this page shows the report in runs/"""


def how_to_run() -> None:
    st.header("Run it yourself", anchor=False)
    with st.container(key="prose_run"):
        st.markdown(
            "Train with any of the methods, then set the outcome beside the original. More methods, and "
            "more seeds of one, are further options `--adapter METHOD=FOLDER`."
        )
    st.code(COMMANDS, language=None, wrap_lines=True)


st.title("Teaching it to object to what it sees", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown(
        "A model that objects :orange[in words] can be trained to object to :blue[images] as well. This page "
        "shows what each way of training brought, and what it took away."
    )

found = loading.align_report()
if found.note:
    st.warning(found.note, icon=":material/broken_image:")
report = found.report
if report is None:
    if not found.note:
        st.info(
            "No report on alignment yet. The first two commands below make one with the embedded model in "
            "minutes.",
            icon=":material/hourglass_empty:",
        )
    how_to_run()
    done()

readers = {reader.name: reader for reader in alignment_view.readers(report)}
track_note(report.track.id)
unknown.place()
sentence = st.container()
st.header("What did each method change?", anchor=False)
chosen = next(iter(readers))
if len(readers) > 1:
    chosen = linked(
        st.segmented_control, "Answers read by", list(readers), key="judge", default=chosen, required=True,
        what="judge",
    ) or chosen  # fmt: skip
reader = readers[chosen]
with sentence:
    figure(alignment_view.finding(report, reader), key="align_finding")
figure(alignment_view.table(report, reader), key="align_table")
with st.container(key="prose_table"):
    st.caption(alignment_view.table_note(report))
    for name, reason in report.absent.items():
        st.caption(f"No row {NAMES.get(name, name).lower()}: {reason}.".replace("..", "."))

st.header("What does accuracy cost?", anchor=False)
figure(alignment_view.trade_off(report, reader), key="align_trade")

st.header("Does the gap close?", anchor=False)
figure(
    charts.dumbbells(
        alignment_view.gaps(report, reader),
        axis="share of answers that judge an unsafe concept unsafe; bars around a mark are 95% intervals",
        label="Image and text alignment by method",
    ),
    key="align_gaps",
)

methods = alignment_view.trained(report)
if methods:
    st.header("One method up close", anchor=False)
    method = linked(
        st.segmented_control, "Method", list(methods), key="method",
        default="ppo" if "ppo" in methods else next(iter(methods)), required=True,
        format_func=lambda name: NAMES[name], label_visibility="collapsed",
    ) or next(iter(methods))  # fmt: skip
    outcome = methods[method]
    st.caption(alignment_view.training_facts(outcome))
    bars = f"the bar around a filled mark is a 95% interval; answers read by {report.judge.name}"

    lines = alignment_view.by_category(report, outcome, "image_alignment")
    if lines:
        st.markdown("### In which categories?")
        figure(
            alignment_charts.changes(
                lines,
                axis=f"share of answers that judge an unsafe image unsafe; {bars}",
                label="Image alignment by category, before and after",
                about="image",
            ),
            key="align_categories",
        )
    harmless = alignment_view.by_category(report, outcome, "over_refusal")
    if harmless:
        with st.expander(alignment_view.harmless(outcome)):
            figure(
                alignment_charts.changes(
                    harmless,
                    axis=f"share of answers that judge a safe image unsafe; {bars}",
                    label="Over-refusal by category, before and after",
                    about="image",
                ),
                key="align_harmless",
            )

    panels = alignment_view.curves(outcome)
    if panels:
        st.markdown("### How did training go?")
        figure(alignment_charts.panels(panels, x_title="steps"), key="align_curves")
        if len(outcome.seeds) > 1:
            st.caption(f"Full line: seed {next(iter(outcome.seeds))}. Faint lines: the other seeds.")

    if outcome.examples:
        st.markdown("### The same questions, before and after")
        st.caption(
            "Content note: the questions are about unsafe concepts, which are named. No picture is shown."
        )
        figure(alignment_view.examples(report, outcome), key="align_answers")

how_to_run()
with st.expander("Details of this report"):
    figure(alignment_view.details(report), key="align_details")
    st.download_button(
        "Download align-report.json", report.to_json(), "align-report.json", "application/json",
        icon=":material/download:", type="tertiary", on_click="ignore",
    )  # fmt: skip
