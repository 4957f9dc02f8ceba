"""The figures of the leaderboard: what was found in a sentence, image against text, score against score."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial

import streamlit as st

from ucbench import taxonomy
from ucbench.format import absent, count
from ucbench.metrics.keys import KEYS
from ucbench.site import downloads
from ucbench.site.columns import Column, Row
from ucbench.site.component import figure
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import charts as drawings
from ucbench.site.figures import svg, tables
from ucbench.site.leaderboard import findings, seen_charts
from ucbench.site.leaderboard.view import Table
from ucbench.site.shared import track_name
from ucbench.site.track_views import Chart, view
from ucbench.site.url import linked

#: Lines in a chart.
MOST_LINES = 12


def finding(shown: Table) -> None:
    """What the rows say, in a sentence or two."""
    figure(finding_of(shown), key="finding")


@lru_cache(maxsize=64)
def finding_of(shown: Table) -> str:
    """The same as HTML."""
    category = shown.scope.category
    led = "the board" if category is None else f"in {taxonomy.category(category).name}"
    return findings.sentence(_comparable(shown), view(shown.scope.track), led)


def _comparable(shown: Table) -> list[Row]:
    """The rows of the main group in the board's order, and those that a paper reports."""
    order = shown.order(shown.columns[0].key)
    return [
        row
        for row, group in ((shown.rows[place], shown.group[place]) for place in order)
        if not group or row["provenance"] == "reported"
    ]


def charts(board: LoadedBoard, shown: Table) -> None:
    """Image against text by model; any two scores against each other where the track has more than one."""
    chosen = "gap"
    scores = {column.key: column for column in shown.columns}
    if len(scores) > 1 and view(shown.scope.track).charts:
        usual = set(seen_charts.USUAL) <= scores.keys()
        told = {
            "gap": "Image against text" if usual else "Model by model",
            "seen": "Seen against judged" if usual else "Score against score",
        }
        chosen = linked(
            st.segmented_control, "Chart", list(told), key="chart", default="gap", required=True,
            format_func=told.__getitem__, label_visibility="collapsed",
        ) or "gap"  # fmt: skip
    if chosen == "seen":
        _score_against_score(board, shown, scores)
        return
    for place, (chart, html, n) in enumerate(dumbbells(shown)):
        st.header(chart.title, anchor=False)
        figure(html, key=f"dumbbells_{place}" if place else "dumbbells")
        if few := left_out(n):
            st.caption(few)
        downloads.picture(
            partial(_dumbbells_svg, board, shown, chart), f"ucbench-{file_name(shown)}-{chart.keys[0]}",
            key=f"figure_{place}",
        )  # fmt: skip


def _score_against_score(board: LoadedBoard, shown: Table, scores: Mapping[str, Column]) -> None:
    keys = list(scores)
    usual = seen_charts.USUAL if set(seen_charts.USUAL) <= scores.keys() else (keys[0], keys[1])
    title = st.container()
    x, y = usual
    with st.container(horizontal=True, gap="small", key="axes"):
        x = linked(
            st.selectbox, "Across", keys, key="x", default=x, width=240, what="score",
            format_func=lambda key: scores[key].head,
        ) or x  # fmt: skip
        y = linked(
            st.selectbox, "Up", keys, key="y", default=y, width=240, what="score",
            format_func=lambda key: scores[key].head,
        ) or y  # fmt: skip
    heading = _seen_title(shown, x, y)
    title.header(heading, anchor=False)
    html, said = _seen(shown, x, y)
    figure(html, key="perceived")
    st.caption(said)
    downloads.picture(
        partial(_seen_svg, board, shown, x, y), f"ucbench-{file_name(shown)}-{x}-{y}", key="figure_seen"
    )


def _seen_title(shown: Table, x: str, y: str) -> str:
    if (x, y) == seen_charts.USUAL:
        return "Who sees the concept, and calls it safe?"
    first, second = (shown.by_key[key].head for key in (x, y))
    return f"{first} against {second[:1].lower()}{second[1:]}"


def _lines(shown: Table, chart: Chart) -> list[drawings.Dumbbell]:
    order = shown.order(shown.columns[0].key)
    return findings.lines([shown.rows[place] for place in order], chart)


def left_out(n: int) -> str:
    """What a chart of `n` models says of those that it has no room for."""
    return f"The first {MOST_LINES} of {count(n)} models in the board's order." if n > MOST_LINES else ""


@lru_cache(maxsize=64)
def dumbbells(shown: Table) -> tuple[tuple[Chart, str, int], ...]:
    """The charts of the track that have a line: each as HTML, and of how many models it is."""
    found = []
    for chart in view(shown.scope.track).charts:
        if not (lines := _lines(shown, chart)):
            continue
        first = lines[:MOST_LINES]
        html = drawings.dumbbells(
            first,
            axis=f"{chart.axis}; {findings.bars(first)}",
            label=f"{chart.title} By model",
            ends=chart.ends,
            between=chart.between,
        )
        found.append((chart, html, len(lines)))
    return tuple(found)


def _dumbbells_svg(board: LoadedBoard, shown: Table, chart: Chart) -> str:
    lines = _lines(shown, chart)
    first = lines[:MOST_LINES]
    n = f"{count(len(first))} of {count(len(lines))} models" if len(lines) > len(first) else None
    return svg.dumbbells(
        first,
        title=chart.title,
        axis=f"{chart.axis}; {findings.bars(first)}",
        ends=chart.ends,
        between=chart.between,
        foot=svg.foot(board, [_scope_words(shown), n or svg.n_of(len(first), "model")]),
    )


def _scope_words(shown: Table) -> str:
    """What the figures of a file are of."""
    scope = shown.scope
    parts = [
        f"track {track_name(scope.track)}",
        "" if scope.category is None else taxonomy.category(scope.category).name,
    ]
    return ", ".join([part for part in parts if part] + (["strict scoring"] if scope.strict else []))


def _both(row: Row, x: str, y: str) -> bool:
    return not absent(row.get(x)) and not absent(row.get(y))


def _marks(shown: Table, x: str, y: str) -> tuple[list[seen_charts.Mark], seen_charts.Axes]:
    rows = [
        row
        for row in (shown.rows[place] for place in shown.order(shown.columns[0].key))
        if row["provenance"] != "reported" and _both(row, x, y)
    ]
    # The same rows stand for their models as in the sentence above the board.
    speaking = {
        str(row["run_id"])
        for row in findings.speaking([one for one in _comparable(shown) if _both(one, x, y)])
    }
    marks = [
        seen_charts.Mark(
            tables.name(row),
            str(row["run_id"]),
            findings.readings(row, x),
            findings.readings(row, y),
            absent(row.get("rank_low")),
            tell,
            str(row["run_id"]) in speaking,
        )
        for row, tell in zip(rows, findings.apart(rows), strict=True)
    ]
    if (x, y) == seen_charts.USUAL and not shown.scope.strict:
        return marks, seen_charts.SEEN_JUDGED
    heads = [shown.by_key[key].head for key in (x, y)]
    axes = seen_charts.Axes(
        seen_charts.axis(x, heads[0], [mark.x for mark in marks]),
        seen_charts.axis(y, heads[1], [mark.y for mark in marks]),
    )
    return marks, axes


@lru_cache(maxsize=16)
def _seen(shown: Table, x: str, y: str) -> tuple[str, str]:
    marks, axes = _marks(shown, x, y)
    label = f"{KEYS[x].title} against {KEYS[y].title.lower()} by model"
    return seen_charts.perceived(marks, label=label, axes=axes), seen_charts.sentence(marks, axes)


def _seen_svg(board: LoadedBoard, shown: Table, x: str, y: str) -> str:
    marks, axes = _marks(shown, x, y)
    drawn = seen_charts.drawn(marks)
    n = len({mark.name for mark in drawn})
    of = svg.n_of(n, "model") + (f", {svg.n_of(len(drawn), 'run')}" if len(drawn) > n else "")
    return svg.scatter(
        marks,
        axes,
        title=_seen_title(shown, x, y),
        foot=svg.foot(board, [_scope_words(shown), of]),
    )


def file_name(shown: Table) -> str:
    """What a file of the rows is called."""
    scope = shown.scope
    return "-".join(part for part in (scope.track, scope.category, "strict" if scope.strict else "") if part)
