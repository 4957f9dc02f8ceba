"""The page of a model: which row an address means, its head, what was found, models to choose from.

Pure functions of rows. Every outside text is escaped here or in what these functions call. Scores are in
`model_scores`, the runs beside it in `model_runs`, what lies behind it in `model_evidence` and
`model_record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ucbench.board import NO_RANKING
from ucbench.format import MISSING, absent, count, escape, fraction, rank
from ucbench.restricted import is_restricted
from ucbench.site.columns import Row
from ucbench.site.data.board import LoadedBoard, joined_runs
from ucbench.site.figures import tables
from ucbench.site.links import link
from ucbench.site.track_views import View, told, view
from ucbench.tracks.about import about


def find(board: LoadedBoard, run_id: str | None) -> Row | None:
    """The row of an address: that of the run, or of the row that the run joined."""
    if not run_id:
        return None
    row = board.row(run_id)
    if row is not None:
        return row
    return next((row for row in board.rows if run_id in joined_runs(row).values()), None)


# --- the head ---


def heading(row: Row) -> str:
    """The model's name as the title of the page, what tells this run from others, its rank."""
    when = day(row.get("measured_at"))
    parts = [tables.identity(row), "" if absent(row.get("guard")) else "guard model", when]
    meta = " · ".join(escape(part) for part in parts if part)
    tag = f'<span class="tag">{escape(row["provenance"])}</span>'
    return (
        f'<div class="about-model"><h1>{escape(tables.name(row))}</h1>'
        f'<p class="meta">{tag}{meta}</p><p class="rank">{_rank(row)}</p></div>'
    )


def _rank(row: Row) -> str:
    track = escape(about(str(row["track"])).name)
    place = rank(row.get("rank_low"), row.get("rank_high"))
    if place != MISSING:
        tied = int(row["rank_low"]) != int(row["rank_high"])
        aside = "; models that share a rank cannot be told apart" if tied else ""
        return (
            f"Rank <b>{place}</b> of {count(row.get('ranked_among'))} on {track}"
            f'<span class="quiet"> by balanced accuracy{aside}</span>'
        )
    why = row.get("unranked")
    reason = "" if absent(why) or why == NO_RANKING else f": {escape(why)}"
    if why == NO_RANKING:
        return f'On {track}<span class="quiet">, which has no ranking</span>'
    return f'On {track}<span class="quiet">, not ranked{reason}</span>'


def day(when: Any) -> str:
    """`21 Nov 2026`; empty for what is no date."""
    return f"{when.day} {when:%b %Y}" if isinstance(when, datetime) and when == when else ""


def sentence(row: Row) -> str:
    """What was found, in a sentence, as HTML; empty where the row has too little to say one."""
    shown: View = view(str(row["track"]))
    if shown.finding:
        return told(shown.finding, [row])
    image, text = (_value(row, key) for key in ("image_alignment", "text_alignment"))
    seen, spared = _value(row, "perception"), _value(row, "over_refusal")
    said = []
    if seen is not None:
        said.append(f"names <b>{fraction(seen)}</b> of the concepts it is shown")
    if image is not None:
        said.append(f'calls <b class="is-image">{fraction(1 - image)}</b> of the unsafe images safe')
    if not said and text is None:
        return ""
    first = " and ".join(said)
    words = ""
    if text is not None:
        words = (
            f'{"; said" if said else "told"} in words, it objects to <b class="is-text">{fraction(text)}</b>'
        )
        words += "" if said else " of the concepts"
    rest = ""
    if spared is not None:
        rest = f" It calls <b>{fraction(spared)}</b> of the safe images unsafe."
    text_ = f"{first}{words}."
    return f'<p class="finding">{text_[:1].upper()}{text_[1:]}{rest}</p>'


def _value(row: Row, key: str) -> float | None:
    return None if absent(row.get(key)) else float(row[key])


# --- looking for a model ---


def search(board: LoadedBoard, words: str) -> list[Row]:
    """Rows whose name holds every word, whatever their track; cut-down copies of a run are left out."""
    wanted = words.casefold().split()
    found = []
    for row in board.rows:
        if is_restricted(str(row["run_id"])):
            continue
        text = f"{row['model']} {'' if absent(row.get('adapter')) else row['adapter']}".casefold()
        if all(word in text for word in wanted):
            found.append(row)
    return found


def listed(rows: Sequence[Row]) -> str:
    """Models to choose from: a link each, with what tells them apart."""
    lines = "".join(
        f"<li>{link(tables.name(row), 'model', run=str(row['run_id']))} "
        f'<span class="quiet">{escape(_apart(row))}</span></li>'
        for row in rows
    )
    return f'<ul class="listed">{lines}</ul>'


def _apart(row: Row) -> str:
    parts = [about(str(row["track"])).name, tables.identity(row)]
    if row["provenance"] != "measured":
        parts.append(str(row["provenance"]))
    return " · ".join(part for part in parts if part)
