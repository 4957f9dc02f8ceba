"""One model: what was found, every score, where it fails, and why to rely on it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ucbench.format import count, escape
from ucbench.metrics.keys import KEYS
from ucbench.reproduce import reproduction
from ucbench.site import downloads, links, paging
from ucbench.site.compare import alignment, pairs
from ucbench.site.component import figure
from ucbench.site.data import run_files
from ucbench.site.figures import charts, dumbbell_figure, score_table, svg, tables
from ucbench.site.model import behind as model_evidence
from ucbench.site.model import evidence
from ucbench.site.model import record as model_record
from ucbench.site.model import runs as model_runs
from ucbench.site.model import scores as model_scores
from ucbench.site.model import view as model_view
from ucbench.site.serving import head
from ucbench.site.shared import board_or_note, done
from ucbench.site.track_views import view
from ucbench.site.trial import tried
from ucbench.site.url import linked, linked_text
from ucbench.tracks.about import about

PER_PAGE = 25

board = board_or_note("Model")
if board is None:
    done()

asked = st.query_params.get("run")
row = model_view.find(board, asked)
if row is None:
    st.title("Find a model", anchor=False)
    if asked:
        st.info("There is no run of this id on the board. It may have been replaced by a later one.",
                icon=":material/search_off:")  # fmt: skip
    words = linked_text(
        "Find a model", key="q", type="search", placeholder="part of a name", live=True, width=320,
        max_chars=100,
    )  # fmt: skip
    found = model_view.search(board, words)
    page = paging.current(len(found), PER_PAGE, key="page", scope=words)
    if found:
        figure(model_view.listed(found[page.slice]), key="found")
        paging.pager(page, "Models", key="found", to_top=True)
    else:
        st.info("No model fits this search.", icon=":material/filter_alt_off:")
    done()

head.entitle(tables.name(row), about(str(row["track"])).name)
run_id, track = str(row["run_id"]), str(row["track"])
reported = row["provenance"] == "reported"
evidence_found = model_evidence.evidence_of(board, row)
shown = view(track)

figure(model_view.heading(row), key="head")
if said := model_view.sentence(row):
    figure(said, key="finding")
base = model_runs.parent(board, row)
steps = [links.link("Compare with another model", "compare", runs=run_id)]
if base is not None:
    both = f"{base['run_id']},{run_id}"
    changed = links.link("What changed with alignment", "compare", runs=both, track=pairs.track_query(row))
    steps += [changed, links.link("All methods of alignment", "alignment")]
if evidence_found.parts and not reported:
    steps.append(links.link("Read its answers", "answers", run=run_id))
trying = tried.way(row)
if trying.model:
    words = "Try this model, through a provider" if trying.served else "Try this model"
    steps.append(links.link(words, "try", model=trying.model))
steps.append(links.link(f"All models on {about(track).name}", "", track=pairs.track_query(row)))
other_way = f"Tried {said}." if trying.model and (said := tried.otherwise(row)) else ""
why_not = f'<p class="quiet">{escape(trying.why or other_way)}</p>' if trying.why or other_way else ""
figure(f'<nav class="steps" aria-label="From here">{"".join(steps)}</nav>{why_not}', key="steps")
if reported:
    st.info(
        "These figures were taken from a paper. There are no answers behind them here, so they have no "
        "intervals, no scores by concept and no rank.",
        icon=":material/menu_book:",
    )
for problem in evidence_found.problems:
    st.warning(problem, icon=":material/broken_image:")

st.header("Scores", anchor=False)
own, other = model_scores.own_and_other(row)
note = charts.note(model_evidence.joined_note(evidence_found.parts)) if len(evidence_found.parts) > 1 else ""
figure(score_table.scores(own, caption="Scores of this model") + note, key="scores")
if other:
    with st.expander("All other scores"):
        figure(score_table.scores(other, caption="Further scores of this model"), key="more_scores")

for place, (chart, lines) in enumerate(zip(shown.charts, model_scores.by_category(board, row), strict=True)):
    if lines:
        st.header(f"{chart.title.rstrip('?')}, by category?", anchor=False)
        dumbbell_figure.show(
            chart,
            lines,
            bars="bars around a mark are 95% intervals for these concepts",
            label=f"{chart.title} By category",
            title=f"{chart.title.rstrip('?')}, by category? {tables.name(row)}",
            foot=svg.foot(board, [f"track {about(track).name}", "1 model", f"run {run_id[:12]}"]),
            name=f"ucbench-{run_id}-{chart.keys[0]}",
            key="by_category",
            number=place,
        )

concepts = model_scores.by_concept(board, row) if shown.heat else []
if concepts:
    st.header("Concept by concept", anchor=False)
    default = next((key for key in ("image_alignment", *shown.heat) if key in shown.heat), shown.heat[0])
    sort = linked(
        st.segmented_control, "Hardest first by", shown.heat, key="sort", default=default, required=True,
        what="score", format_func=lambda key: KEYS[key].title,
    ) or default  # fmt: skip
    ordered = model_scores.hardest_first(concepts, shown.heat.index(sort), sort)
    page = paging.current(len(ordered), PER_PAGE, key="page", scope=(run_id, sort))
    figure(model_scores.concept_table(row, ordered[page.slice]), key="by_concept")
    paging.pager(page, "Concepts", key="concepts")

others = model_runs.other_runs(board, row)
if others:
    st.header("Runs of this model", anchor=False)
    figure(model_runs.runs_table(row, others), key="runs")
    if len(others) > model_runs.MOST_RUNS:
        st.caption(f"The latest {model_runs.MOST_RUNS} of {count(len(others))} other runs.")

if base is not None:
    st.header("What changed with alignment?", anchor=False)
    figure(alignment.changed(base, row), key="alignment")

if evidence_found.parts and not reported:
    st.header("What became of the questions?", anchor=False)
    figure(evidence.outcomes(evidence_found.parts), key="outcomes")
    sections = model_evidence.judges_sections(evidence_found)
    if sections:
        st.header("How well are the answers read?", anchor=False)
        for name, html in sections:
            figure(html, key=f"judge_{name}")
    if html := model_evidence.parity_section(evidence_found):
        st.header("Does the fast way of asking change answers?", anchor=False)
        figure(html, key="parity")

lead = model_evidence.lead(row, evidence_found)
st.header("On the record", anchor=False)
figure(tables.facts(model_record.facts(row, lead)), key="facts")
if lead is not None and (said_by := evidence.notes(lead.record.engine)):
    with st.expander("Notes of the engine"):
        figure(tables.listed(said_by), key="notes")

st.header("Reproduce it", anchor=False)
again = None if lead is None else reproduction(lead.record)
if reported:
    figure(charts.note(f"Read the source: {row.get('source') or 'not told'}."), key="source")
elif again is None or not again.command:
    figure(charts.note("The record of this run is not in this place, so its options are not all known."),
           key="source")  # fmt: skip
else:
    st.code(again.command, language=None, wrap_lines=True)
    figure(f'<p class="quiet">{" ".join(escape(need) for need in again.needs)}</p>', key="needs")

st.header("Take it home", anchor=False)
downloads.buttons([row], f"ucbench-{run_id}", label="This row")
if concepts:
    downloads.buttons(
        partial(model_scores.concept_rows, row, concepts), f"ucbench-{run_id}-concepts", key="concepts_file",
        label="Scores by concept",
    )  # fmt: skip
for part in evidence_found.parts:
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", key=f"files_{part.run.run_id}"
    ):
        st.caption(f"Run on {about(part.record.track.id).name}", width="content")
        for file in run_files.files_of(part):
            st.download_button(
                file.label, file.make, file.name, file.mime, key=f"file_{file.name}", type="tertiary",
                on_click="ignore", help=f"Download {file.label}",
            )  # fmt: skip
