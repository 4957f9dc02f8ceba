"""What a board says in one or two sentences, and its rows as dumbbells."""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.format import absent, escape, fraction, interval
from ucbench.site.charts import Dumbbell, Reading, reading
from ucbench.site.columns import Row
from ucbench.site.tables import identity, name


def sentence(rows: Sequence[Row]) -> str:
    """The finding as HTML, from the rows themselves; measured rows speak before reported ones.

    What was measured in part, on other images or with too few answers has no say. Empty when no row that
    may speak has both alignments.
    """
    both = [row for row in rows if _has(row, "image_alignment") and _has(row, "text_alignment")]
    # One row a model, the first in the board's order: other decodings of it are not other models.
    first: dict[str, Row] = {}
    for row in both:
        if row["provenance"] != "reported" and not _set_aside(row):
            first.setdefault(name(row), row)
    measured = list(first.values())
    if not measured:
        return _reported([row for row in rows if row["provenance"] == "reported"])
    if len(measured) == 1:
        row = measured[0]
        perceives = (
            f"names {_b(row, 'perception')} of the concepts it is shown" if _has(row, "perception") else ""
        )
        return (
            f'<p class="finding"><span class="name">{escape(name(row))}</span> {perceives}'
            f"{', and ' if perceives else ''}judges {_b(row, 'text_alignment', 'is-text')} of them unsafe "
            f'<span class="is-text">in words</span>, but {_b(row, "image_alignment", "is-image")} '
            f'<span class="is-image">as an image</span>.</p>'
        )
    stricter = [row for row in measured if float(row["text_alignment"]) > float(row["image_alignment"])]
    widest = max(measured, key=lambda row: float(row["text_alignment"]) - float(row["image_alignment"]))
    number = "Both" if len(measured) == 2 else f"All {len(measured)}"
    who = number if len(stricter) == len(measured) else f"{len(stricter)} of {len(measured)}"
    text = (
        f"{who} models judge unsafe concepts more strictly "
        '<span class="is-text">in words</span> than <span class="is-image">as an image</span>'
    )
    if stricter:
        text += (
            f'; <span class="name">{escape(name(widest))}</span> goes from '
            f"{_b(widest, 'text_alignment', 'is-text')} to {_b(widest, 'image_alignment', 'is-image')}"
        )
    best = [row for row in measured if not absent(row.get("rank_low")) and int(row["rank_low"]) == 1]
    lead = ""
    if len(best) == 1:
        lead = f'<span class="name">{escape(name(best[0]))}</span> leads the board.'
    elif best:
        lead = f"{len(best)} models share the lead: their scores cannot be told apart."
    return f'<p class="finding">{text}. {lead}</p>'


def _reported(rows: Sequence[Row]) -> str:
    image, text = _extent(rows, "image_alignment"), _extent(rows, "text_alignment")
    if image is None or text is None:
        return ""
    return (
        '<p class="finding">In the figures that the paper reports, models judge '
        f'<b class="is-text">{interval(*text)}</b> of unsafe concepts unsafe '
        f'<span class="is-text">in words</span>, and only <b class="is-image">{interval(*image)}</b> '
        '<span class="is-image">as an image</span>.</p>'
    )


def _extent(rows: Sequence[Row], key: str) -> tuple[float, float] | None:
    numbers = [
        float(row[column])
        for row in rows
        for column in (key, f"{key}_low", f"{key}_high")
        if not absent(row.get(column))
    ]
    return (min(numbers), max(numbers)) if numbers else None


def _set_aside(row: Row) -> bool:
    """Whether a row was measured here, but not so that it can be ranked."""
    return row["provenance"] == "measured" and not absent(row.get("unranked"))


def _in_part(row: Row) -> bool:
    return row.get("status") in ("partial", "incomplete")


def _b(row: Row, key: str, style: str = "") -> str:
    return f'<b class="{style}">{fraction(row[key])}</b>'


def _has(row: Row, key: str) -> bool:
    return not absent(row.get(key))


def readings(row: Row, key: str) -> Reading:
    """A score of a board row."""
    return reading(row.get(key), row.get(f"{key}_low"), row.get(f"{key}_high"))


def dumbbells(rows: Sequence[Row]) -> list[Dumbbell]:
    """The rows that have both alignments; rows with the same reported ranges share one line.

    Runs that asked or answered only a part are left out beside a complete one. Whatever is not ranked
    though it was measured says why in its note.
    """
    own = [row for row in rows if row["provenance"] != "reported" and _drawn(row)]
    complete = any(not _in_part(row) for row in own)
    lines: list[Dumbbell] = []
    shared: dict[tuple[Reading, Reading], list[str]] = {}
    places: dict[tuple[Reading, Reading], int] = {}
    for row in rows:
        image, text = readings(row, "image_alignment"), readings(row, "text_alignment")
        if not _drawn(row) or (complete and _in_part(row)):
            continue
        reported = row["provenance"] == "reported"
        if image.is_range and text.is_range:
            shared.setdefault((image, text), []).append(name(row))
            if (image, text) in places:
                continue
            places[image, text] = len(lines)
        aside = str(row["unranked"]) if _set_aside(row) else ""
        note = "reported" if reported else " · ".join(part for part in (identity(row), aside) if part)
        lines.append(Dumbbell(name(row), image, text, note, reported))
    for key, names in shared.items():
        if len(names) > 1:
            line = lines[places[key]]
            note = "reported as one range for all of them"
            lines[places[key]] = Dumbbell(f"{len(names)} models", line.image, line.text, note, line.reported)
    return lines


def _drawn(row: Row) -> bool:
    return readings(row, "image_alignment").exists and readings(row, "text_alignment").exists


def bars(lines: Sequence[Dumbbell]) -> str:
    """What the broad bars of these lines stand for."""
    if any(line.image.is_range or line.text.is_range for line in lines):
        return "broad bars are ranges reported for several models"
    return "bars around a mark are 95% intervals"
