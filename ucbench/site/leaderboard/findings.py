"""What a board says in one or two sentences, and its rows as lines of a figure."""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.board import NO_RANKING
from ucbench.format import absent, escape, fraction, interval
from ucbench.site import links
from ucbench.site.columns import Row
from ucbench.site.figures.charts import Dumbbell, Reading, reading
from ucbench.site.figures.tables import identity, name
from ucbench.site.track_views import Chart, View, told


def sentence(rows: Sequence[Row], view: View, board: str = "the board") -> str:
    """The finding of a track as HTML, from the rows themselves; what was measured speaks first.

    What was measured in part, on other images or with too few answers has no say. `board` is what is led.
    """
    if not view.finding:
        return gap_sentence(rows, board)
    return told(
        view.finding, [row for row in rows if row["provenance"] != "reported" and not _set_aside(row)]
    )


def gap_sentence(rows: Sequence[Row], board: str = "the board") -> str:
    """The gap between image and text as HTML; measured rows speak before reported ones.

    Empty when no row that may speak has both alignments.
    """
    both = [row for row in rows if _has(row, "image_alignment") and _has(row, "text_alignment")]
    measured = speaking(both)
    if not measured:
        return _reported([row for row in rows if row["provenance"] == "reported"])
    if len(measured) == 1:
        row = measured[0]
        perceives = (
            f"names {_b(row, 'perception')} of the concepts it is shown" if _has(row, "perception") else ""
        )
        return (
            f'<p class="finding">{_who(row, both)} {perceives}'
            f"{', and ' if perceives else ''}judges {_b(row, 'text_alignment', 'is-text')} of them unsafe "
            f'<span class="is-text">in words</span>, but {_b(row, "image_alignment", "is-image")} '
            f'<span class="is-image">as an image</span>.</p>'
        )
    stricter = [row for row in measured if float(row["text_alignment"]) > float(row["image_alignment"])]
    widest = max(measured, key=lambda row: float(row["text_alignment"]) - float(row["image_alignment"]))
    number = "Both models" if len(measured) == 2 else f"All {len(measured)} models"
    who = number if len(stricter) == len(measured) else f"{len(stricter)} of {len(measured)} models"
    if not stricter:
        who = f"None of {len(measured)} models"
    text = (
        f"{who} {'judge' if stricter else 'judges'} unsafe concepts more strictly "
        '<span class="is-text">in words</span> than <span class="is-image">as an image</span>'
    )
    if stricter:
        text += (
            f"; {_who(widest, both)} goes from "
            f"{_b(widest, 'text_alignment', 'is-text')} to {_b(widest, 'image_alignment', 'is-image')}"
        )
    best = [row for row in measured if not absent(row.get("rank_low")) and int(row["rank_low"]) == 1]
    lead = ""
    if len(best) == 1:
        lead = f"{_who(best[0], both)} leads {escape(board)}."
    elif best:
        lead = f"{len(best)} models share the lead: their scores cannot be told apart."
    return f'<p class="finding">{text}. {lead}</p>'


def speaking(rows: Sequence[Row]) -> list[Row]:
    """The rows that stand for their models: one each, the first in the order of `rows`.

    Other decodings of a model are not other models; what is reported or set aside stands for none.
    """
    first: dict[str, Row] = {}
    for row in rows:
        if row["provenance"] != "reported" and not _set_aside(row):
            first.setdefault(name(row), row)
    return list(first.values())


def apart(rows: Sequence[Row]) -> list[str]:
    """For each row what tells it from others of its name; nothing where its name stands only once.

    Of the second line of a table only what those others do not share; where that is nothing, how it
    answered, and where even that is the same, its run.
    """
    of_name: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of_name.setdefault(name(row), []).append(place)
    found = [""] * len(rows)
    for places in of_name.values():
        if len(places) < 2:
            continue
        parts = [note(rows[place]).split(" · ") for place in places]
        shared = set.intersection(*map(set, parts))
        told = [
            " · ".join(part for part in own if part and part not in shared) or _decoding(own) for own in parts
        ]
        for place, words in zip(places, told, strict=True):
            run = f"run {str(rows[place]['run_id'])[:7]}"
            found[place] = words if told.count(words) == 1 else f"{words} · {run}" if words else run
    return found


def _decoding(parts: Sequence[str]) -> str:
    return next((part for part in parts if part == "greedy" or part.startswith("temperature ")), "")


def _who(row: Row, rows: Sequence[Row]) -> str:
    """A row's name as HTML, with which of its model's runs it is where `rows` have several."""
    own = [one for one in rows if one["provenance"] != "reported"]
    told = next(words for one, words in zip(own, apart(own), strict=True) if one is row)
    return f'<span class="name">{escape(name(row))}{f" ({escape(told)})" if told else ""}</span>'


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
    """Whether a row was measured here, but not so that it could be ranked where its track is."""
    unranked = row.get("unranked")
    return row["provenance"] == "measured" and not absent(unranked) and unranked != NO_RANKING


def _in_part(row: Row) -> bool:
    return row.get("status") in ("partial", "incomplete")


def _b(row: Row, key: str, style: str = "") -> str:
    return f'<b class="{style}">{fraction(row[key])}</b>'


def _has(row: Row, key: str) -> bool:
    return not absent(row.get(key))


def readings(row: Row, key: str) -> Reading:
    """A score of a board row."""
    return reading(row.get(key), row.get(f"{key}_low"), row.get(f"{key}_high"))


def lines(rows: Sequence[Row], chart: Chart) -> list[Dumbbell]:
    """The rows that have a score of the chart; rows with the same reported ranges share one line.

    Runs that asked or answered only a part are left out beside a complete one. Whatever is not ranked
    though it was measured says why in its note, as a guard and imported answers say what they are.
    """
    own = [row for row in rows if row["provenance"] != "reported" and _drawn(row, chart)]
    complete = any(not _in_part(row) for row in own)
    found: list[Dumbbell] = []
    shared: dict[tuple[Reading, Reading], list[str]] = {}
    places: dict[tuple[Reading, Reading], int] = {}
    for row in rows:
        if not _drawn(row, chart) or (complete and _in_part(row)):
            continue
        first, second = _ends(row, chart)
        if first.is_range and second.is_range:
            shared.setdefault((first, second), []).append(name(row))
            if (first, second) in places:
                continue
            places[first, second] = len(found)
        link = links.link(name(row), "model", run=str(row["run_id"]))
        found.append(Dumbbell(name(row), first, second, note(row), row["provenance"] == "reported", link))
    for key, names in shared.items():
        if len(names) > 1:
            line = found[places[key]]
            one = "reported as one range for all of them"
            found[places[key]] = Dumbbell(f"{len(names)} models", line.first, line.second, one, line.reported)
    return found


def note(row: Row) -> str:
    """What is said below a name in a figure."""
    if row["provenance"] == "reported":
        return "reported"
    parts = [
        "" if absent(row.get("guard")) else "guard",
        "" if row["provenance"] == "measured" else str(row["provenance"]),
        identity(row),
        str(row["unranked"]) if _set_aside(row) else "",
    ]
    return " · ".join(part for part in parts if part)


def _ends(row: Row, chart: Chart) -> tuple[Reading, Reading]:
    first, *rest = (readings(row, key) for key in chart.keys)
    return first, rest[0] if rest else Reading()


def _drawn(row: Row, chart: Chart) -> bool:
    return any(reading.exists for reading in _ends(row, chart))


def bars(drawn: Sequence[Dumbbell]) -> str:
    """What the broad bars of these lines stand for."""
    if any(line.first.is_range or line.second.is_range for line in drawn):
        return "broad bars are ranges reported for several models"
    return "bars around a mark are 95% intervals"
