"""The other runs of a model: what differs between them, and the row that an aligned one was made from.

Pure functions of rows and the board. Every outside text is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ucbench.format import absent, escape, fraction, interval, short_revision
from ucbench.metrics.keys import KEYS
from ucbench.site.columns import Row, columns_of, filled
from ucbench.site.compare import pairs
from ucbench.site.data.board import LoadedBoard
from ucbench.site.figures import tables
from ucbench.site.links import link
from ucbench.site.model.scores import reading_of
from ucbench.site.model.view import day

#: What can differ between two runs of one model, and how it is called.
_DIFFERS = {
    "revision": "revision", "adapter": "adapter", "dtype": "number format", "temperature": "temperature",
    "top_p": "top-p", "max_new_tokens": "token limit", "seed": "seed", "system_prompt": "system prompt",
    "guard": "guard", "track_version": "version of the track", "split": "split", "draw": "draw",
    "judge": "judge", "provenance": "provenance", "status": "completeness",
}  # fmt: skip
#: So many of them are told; a model with more is looked up on the leaderboard.
MOST_RUNS = 30


def other_runs(board: LoadedBoard, row: Row) -> list[Row]:
    """Other rows of the same model on the same track, the latest first; also those with an adapter."""
    found = [
        other
        for other in board.of_track(pairs.split_mark(row))
        if other["model"] == row["model"] and other["run_id"] != row["run_id"]
    ]
    return sorted(found, key=lambda other: (_instant(other), str(other["run_id"])), reverse=True)


def _instant(row: Row) -> str:
    when: Any = row.get("measured_at")
    return when.isoformat() if isinstance(when, datetime) and when == when else ""


def what_differs(row: Row, other: Row) -> str:
    """In words, what of the other run is not as in this one."""
    told = []
    for field, name in _DIFFERS.items():
        mine, theirs = row.get(field), other.get(field)
        if absent(mine) and absent(theirs):
            continue
        if absent(mine) != absent(theirs) or mine != theirs:
            told.append(_told(field, name, theirs))
    return "; ".join(told) or "run again"


def _told(field: str, name: str, value: Any) -> str:
    if field == "system_prompt":
        return "without a system prompt" if absent(value) else "with another system prompt"
    if absent(value):
        return f"no {name}"
    if field == "adapter":
        return f"adapter {tables.name({'model': '', 'adapter': value, 'provenance': ''}).removeprefix(' + ')}"
    if field == "revision":
        return f"revision {short_revision(value)}"
    if field == "temperature":
        return "greedy" if float(value) == 0 else f"temperature {float(value):g}"
    if isinstance(value, float):
        return f"{name} {value:g}"
    return f"{name} {value}"


def runs_table(row: Row, others: Sequence[Row]) -> str:
    """This run and the others of its model, the latest first."""
    shown = sorted([row, *others[:MOST_RUNS]], key=_instant, reverse=True)
    keys = [column.key for column in filled(columns_of(str(row["track"])), shown)][:4]
    head = "".join(
        f'<th scope="col" role="columnheader">{escape(text)}</th>'
        for text in ("Run", "What differs", *(KEYS[key].title for key in keys))
    )
    lines = []
    for one in shown:
        mine = one is row
        when = day(one.get("measured_at")) or f"undated, {str(one['run_id'])[:6]}"
        name = (
            f'<span class="here">{escape(when)}</span>'
            if mine
            else link(when, "model", run=str(one["run_id"]), title="This run's page")
        )
        cells = [("what", "this run" if mine else what_differs(row, one))]
        cells += [("", _figure(one, key)) for key in keys]
        heads = ("What differs", *(KEYS[key].title for key in keys))
        lines.append(
            f'<tr role="row"><th scope="row" role="rowheader">{name}</th>'
            + "".join(
                f'<td role="cell" class="{style}"><span class="label">{escape(label)}</span>'
                f"{escape(text)}</td>"
                for label, (style, text) in zip(heads, cells, strict=True)
            )
            + "</tr>"
        )
    return (
        '<table class="grid cards runs" role="table"><caption class="hidden">Runs of this model</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(lines)}</tbody></table>'
    )


def _figure(row: Row, key: str) -> str:
    one = reading_of(row, key)
    signed = KEYS[key].signed
    return interval(one.low, one.high, signed=signed) if one.is_range else fraction(one.value, signed=signed)


def parent(board: LoadedBoard, row: Row) -> Row | None:
    """The row of the model that an adapter was put on, asked the same way; None where there is none.

    Of several the one on the same split, of the same revision, without a system prompt of its own.
    """
    if absent(row.get("adapter")):
        return None
    found = [
        other
        for other in board.rows
        if other["track"] == row["track"]
        and other["model"] == row["model"]
        and absent(other.get("adapter"))
        and (other["provenance"] == "reported") == (row["provenance"] == "reported")
    ]
    alike = ("split", "revision", "judge", "track_version", "system_prompt", "temperature", "max_new_tokens",
             "top_p", "seed", "dtype")  # fmt: skip

    def fits(other: Row) -> tuple[int, str]:
        differing = sum(
            1
            for field in alike
            if absent(other.get(field)) != absent(row.get(field))
            or (not absent(other.get(field)) and other.get(field) != row.get(field))
        )
        return differing, str(other["run_id"])

    return min(found, key=fits, default=None)
