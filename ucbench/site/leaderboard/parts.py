"""The parts of the leaderboard's page: its choices, all of them in the address, and what they show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import streamlit as st

from ucbench import taxonomy
from ucbench.format import absent, count
from ucbench.restricted import MARK
from ucbench.site import unknown
from ucbench.site.columns import Column, Fact
from ucbench.site.compare import view as compare_view
from ucbench.site.component import figure
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import charts as drawings
from ucbench.site.figures import tables
from ucbench.site.leaderboard import own_weights, ticked
from ucbench.site.leaderboard.view import (
    SIZES,
    UNKNOWN,
    WEIGHTS,
    YOURS,
    Filters,
    Scope,
    Table,
    categories,
    run_ids,
)
from ucbench.site.shared import PROVENANCES, track_name
from ucbench.site.url import linked, linked_flag, linked_many, linked_share, linked_text, tell
from ucbench.tracks.about import about

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TITLE = "Unsafe in words, safe as an image?"
#: What this is, in Streamlit's Markdown.
LEDE = (
    "Vision-language models object when an unsafe concept is named :orange[in words]. "
    "ucbench measures whether they still object when they are shown it :blue[as an image], "
    "for 75 concepts. A model to rely on says no to both."
)
#: Rows on a page of the table.
PAGE = 50
_ALL = "all"
#: Scores that are known both ways.
_BOTH_WAYS = ("perception", "image_alignment", "text_alignment")


def choose_category(board: LoadedBoard, track: str) -> str | None:
    """One category whose scores and ranks are wanted; None for all of them."""
    known = categories(board, track)
    if not known:
        if told := st.query_params.get("category"):
            unknown.say("category", [told], "category")
            tell("category", None)
        return None
    chosen = linked(
        st.selectbox, "Category", [_ALL, *known], key="category", default=_ALL, width=240,
        format_func=lambda key: "All categories" if key == _ALL else known[key],
    )  # fmt: skip
    return None if chosen in (None, _ALL) else chosen


def both_ways(track: str) -> bool:
    """Whether a track has scores that are known both ways, the paper's and strictly."""
    return bool(set(_BOTH_WAYS) & set(about(track.partition(MARK)[0]).scores))


def choose_scoring(track: str) -> bool:
    """Whether a question without an answer counts as wrong, where that can be chosen."""
    if not both_ways(track):
        return False
    chosen = linked(
        st.segmented_control, "Scoring", ["paper", "strict"], key="scoring", default="paper", required=True,
        format_func=str.capitalize,
    )  # fmt: skip
    return chosen == "strict"


def scope_words(board: LoadedBoard, shown: Table) -> str:
    """Which version of what this is, what the scoring means, for which concepts the figures hold, as HTML."""
    scope = shown.scope
    versions = [row for row, group in zip(shown.rows, shown.group, strict=True) if not group]
    version = next((row["track_version"] for row in versions if not absent(row.get("track_version"))), "")
    as_of = str(board.manifest.get("as_of") or "")[:10]
    said = [
        f"Track {track_name(scope.track)}" + (f", version {version}" if version else ""),
        f"benchmark {suites}" if (suites := _suite(board, scope)) else "",
        f"results as of {as_of}" if as_of else "",
    ]
    notes = [f"{' · '.join(part for part in said if part)}.", _scoring_note(shown)]
    notes.append(_category_note(board, shown))
    return drawings.note(" ".join(note for note in notes if note))


def scope_note(board: LoadedBoard, shown: Table) -> None:
    """The same on the page."""
    with st.container(key="prose_scope"):
        figure(scope_words(board, shown), key="scope")


def _suite(board: LoadedBoard, scope: Scope) -> str:
    from ucbench.tracks.suites import suite_of

    suite = suite_of(scope.name)
    told = board.manifest.get("suites", {}).get(suite.id)
    return f"{suite.id} {told}" if told else ""


def _scoring_note(shown: Table) -> str:
    if not set(_BOTH_WAYS) & {column.key for column in shown.columns}:
        return ""
    said = (
        "Strict scoring: in perception, both alignments and their gap a question without an answer counts as "
        "wrong; other shares are of what was answered."
        if shown.scope.strict
        else "The paper's scoring: a question without an answer is dropped; strictly it counts as wrong."
    )
    ranked = " Ranks go by balanced accuracy, which is strict either way." if shown.has_ranks else ""
    return said + ranked


def _category_note(board: LoadedBoard, shown: Table) -> str:
    if shown.scope.category is None:
        return ""
    here = taxonomy.category(shown.scope.category)
    said = (
        f"All figures are for these concepts, the {len(here.concepts)} of {here.name}, and intervals for "
        "other images of them."
    )
    if shown.has_ranks:
        said += " Balanced accuracy sets their images against all safe ones."
        if board.ranks is None:
            said += (
                " This board was built before there were ranks by category; the command ucbench board build "
                "makes them."
            )
    if shown.left_out:
        one = shown.left_out == 1
        said += (
            f" {count(shown.left_out)} {'row has' if one else 'rows have'} no scores by category and "
            f"{'is' if one else 'are'} left out."
        )
    return said


def controls(shown: Table, own: bool) -> tuple[str, bool, Filters, list[Column], list[Fact]]:
    """Order, filters and columns as they are chosen; `own`: whether there is a score of one's own."""
    keys = ([YOURS] if own else []) + list(shown.by_key)
    usual = YOURS if own else shown.columns[0].key
    heads = {key: column.head for key, column in shown.by_key.items()} | {YOURS: "Your score"}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        search = linked_text(
            "Find a model", key="q", type="search", placeholder="part of a name", live=True, width=260,
            max_chars=100,
        )  # fmt: skip
        sort = linked(
            st.selectbox, "Sort by", keys, key="sort", default=usual, width=240, what="column",
            format_func=heads.__getitem__,
        ) or usual  # fmt: skip
        with st.popover("Filter", icon=":material/tune:"):
            reverse = linked_flag(st.toggle, "Worst first", key="worst_first")
            provenance = _many("Provenance", "provenance", shown.options("provenance", PROVENANCES), {})
            families = _many("Family", "family", shown.families(), {UNKNOWN: "not known"})
            sizes = _many(
                "Size", "size", shown.options("sizes", list(SIZES)),
                {key: words for key, (words, _) in SIZES.items()},
            )  # fmt: skip
            weights = _many("Weights", "access", shown.options("weights", list(WEIGHTS)), WEIGHTS)
            coverage = linked_share(
                st.slider, "Minimum coverage", key="coverage", step=0.05, help=shown.by_key["coverage"].help
            )
        with st.popover("Columns", icon=":material/view_column:"):
            chosen = linked_many(
                st.pills, "Columns", list(shown.by_key), key="columns", default=shown.default, what="column",
                selection_mode="multi", format_func=heads.__getitem__,
            )  # fmt: skip
    filters = Filters(search, tuple(provenance), tuple(families), tuple(sizes), tuple(weights), coverage)
    columns, facts = shown.chosen(chosen)
    return sort, reverse, filters, columns, facts


_HELP = {
    "provenance": "Measured: answered and judged by this project. Self-reported: measured elsewhere, by "
    "whoever published it. Imported: answered elsewhere, judged here. Reported: a figure taken from a paper.",
    "family": "The architecture, as the checkpoint or the list of known models tells it.",
    "access": "Whether anybody can have the weights, as the list of known models tells it.",
}  # fmt: skip


def _many(label: str, key: str, options: Sequence[str], names: Mapping[str, str]) -> list[str]:
    return linked_many(
        st.pills, label, options, key=key, selection_mode="multi", help=_HELP.get(key),
        what="kind of weights" if key == "access" else None,
        format_func=lambda option: names.get(option, option),
    )  # fmt: skip


def pressed(shown: Table, sort: str, known: Collection[str], *, reverse: bool) -> Callable[[str], None]:
    """What a press in the table does: a column head sorts by it, pressed again the other way round.

    Ticks and the bar below choose among the runs `known`.
    """

    def choose(what: str) -> None:
        action, _, key = what.partition(":")
        if action == "sort" and (key in shown.by_key or key == YOURS):
            st.session_state["worst_first"] = key == sort and not reverse
            st.session_state["sort"] = key
        else:
            ticked.press(what, known)

    return choose


@dataclass(frozen=True, slots=True)
class Chosen:
    """The runs that are ticked, where their rows stand, and what they are called."""

    runs: tuple[str, ...] = ()
    keep: ticked.Keep = ""
    names: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)


def chosen(board: LoadedBoard, track: str) -> Chosen:
    """What is ticked, as the address says."""
    runs, keep = ticked.ticked(run_ids(board, track))
    rows = [row for row in map(board.row, runs) if row is not None]
    return Chosen(tuple(runs), keep, compare_view.labels(rows))


def arranged(
    shown: Table, order: NDArray[np.intp], kept: NDArray[np.bool_], mine: Chosen
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows that stand on top of every page, and those that are turned, of an order and a filter.

    Rows that are to be kept in sight are so whatever the filter says.
    """
    import numpy as np

    places = [shown.places[run_id] for run_id in mine.runs if run_id in shown.places]
    ticks = np.isin(order, places)
    if mine.keep == "only":
        return order[:0], order[ticks]
    if mine.keep == "top":
        return order[ticks], order[kept[order] & ~ticks]
    return order[:0], order[kept[order]]


def rows(
    shown: Table,
    here: NDArray[np.intp],
    columns: Sequence[Column],
    facts: Sequence[Fact],
    sort: str,
    *,
    reverse: bool,
    yours: NDArray[np.float64] | None,
    mine: Chosen | None = None,
    on_top: int = 0,
    fitting: int | None = None,
) -> str:
    """The rows of a page of the table as HTML; what many ask for is written once.

    `mine` puts a tick before each row, and the bar below them; the first `on_top` are kept there. `fitting`
    is how many rows the page is of, all of them unless given.
    """
    own = None if yours is None else tuple(yours[here].tolist())
    told = len(shown) if fitting is None else fitting
    return _written(
        shown, tuple(here.tolist()), tuple(columns), tuple(facts), sort, reverse, own, mine, on_top, told
    )


@lru_cache(maxsize=64)
def _written(
    shown: Table,
    here: tuple[int, ...],
    columns: tuple[Column, ...],
    facts: tuple[Fact, ...],
    sort: str,
    reverse: bool,
    yours: tuple[float, ...] | None,
    mine: Chosen | None,
    on_top: int,
    fitting: int,
) -> str:
    named = shown.by_key[sort].head if sort in shown.by_key else "your score"
    found = [shown.rows[place] for place in here]
    drawn = tables.Drawn(
        sort=sort,
        reverse=reverse,
        caption=_caption(len(here), fitting, len(shown), named),
        ranks=shown.has_ranks,
        facts=facts,
        heads=_heads(shown, here, on_top),
        yours=yours,
        ticks={}
        if mine is None
        else {
            run_id: ticked.box(run_id, tables.name(row), mine.runs)
            for run_id, row in ((str(row["run_id"]), row) for row in found)
        },
    )
    html = tables.board(found, columns, drawn)
    if mine is None:
        return html
    scope = shown.scope
    return html + ticked.bar(mine.runs, mine.names, scope.track, mine.keep, scope.category)


def _caption(here: int, fitting: int, every: int, named: str) -> str:
    """How many rows stand on a page, of how many that fit, by what."""
    fit = "row that fits" if fitting == 1 else "rows that fit"
    among = f"{fit}, of {count(every)}" if fitting < every else "rows"
    return f"{count(here)} of {count(fitting)} {among}, sorted by {named}"


def _heads(shown: Table, here: Sequence[int], on_top: int) -> dict[int, str]:
    """Sentences above rows, by their place: what is kept on top, and what was asked otherwise."""
    groups = [int(shown.group[place]) for place in here]
    heads = {}
    if on_top:
        apart = any(shown.groups[group] for group in groups[:on_top]) and len(shown.groups) > 1
        heads[0] = "Chosen by you" + (", of whom some were asked otherwise: not comparable" if apart else "")
        heads[on_top] = "The others"
    for n in range(on_top, len(groups)):
        # Where all rows were asked the same there is nothing to tell apart.
        told = shown.groups[groups[n]]
        if told and len(shown.groups) > 1 and (n == on_top or groups[n] != groups[n - 1]):
            heads[n] = told
    return {n: told for n, told in heads.items() if n < len(groups)}


def legend(shown: Table, weights: Mapping[str, float]) -> None:
    """How the table is read."""
    said = "Grey: 95% interval. Rows without a mark were measured here. "
    if not shown.has_ranks:
        said += "Models are not ranked on this track."
    else:
        said += (
            "A rank is an interval as well: models that cannot be told apart share it, and the best such "
            "group is bold. Ranked by balanced accuracy"
            + (", for the concepts of this category" if shown.scope.category else "")
            + "."
        )
    if weights:
        said += f" Your score is the weighted mean {own_weights.told(shown, weights)}; it gives no rank."
    st.caption(said + " Press a model for all about it.")
