"""Figures of the page Alignment as HTML and inline SVG, built by pure functions.

Positions are percentages, so that marks move with the width while text keeps its size. Blue and orange stay
what they are everywhere, image and text; methods are told apart by their names. Every outside text is
escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ucbench.format import MISSING, absent, escape, fraction, interval
from ucbench.site.figures.charts import RAIL, Reading, percent, share_axis, sides, span

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of the table; `signed` for gaps, `text` for what is no fraction."""

    reading: Reading
    signed: bool = False
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """A column: what it says, whether it is about image or text, and the group it stands in."""

    name: str
    group: str
    about: Literal["image", "text"] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A method's row."""

    name: str
    note: str
    cells: tuple[Cell, ...]
    untrained: bool = False


def table(heads: Sequence[Head], lines: Sequence[Line], *, caption: str) -> str:
    """Methods by scores: the value, its interval below; on a phone a card a method."""
    groups: list[tuple[str, int]] = []
    for head in heads:
        if groups and groups[-1][0] == head.group:
            groups[-1] = (head.group, groups[-1][1] + 1)
        else:
            groups.append((head.group, 1))
    top = "".join(
        f'<th scope="colgroup" colspan="{n}"><span>{escape(name)}</span></th>' for name, n in groups
    )
    first = [i for i, head in enumerate(heads) if i == 0 or heads[i - 1].group != head.group]
    names = "".join(
        f'<th scope="col"{_opens(i, first)}>{_mark(head)}{escape(head.name)}</th>'
        for i, head in enumerate(heads)
    )
    out = [
        f'<table class="methods" role="table"><caption class="hidden">{escape(caption)}</caption><thead>'
        f'<tr><td class="corner"></td>{top}</tr><tr><th scope="col" class="left">Method</th>{names}</tr>'
        "</thead><tbody>"
    ]
    for index, line in enumerate(lines):
        rule = index + 1 < len(lines) and line.untrained and not lines[index + 1].untrained
        note = f'<span class="meta">{escape(line.note)}</span>' if line.note else ""
        cells = "".join(
            _cell(cell, head, _opens(i, first))
            for i, (cell, head) in enumerate(zip(line.cells, heads, strict=True))
        )
        out.append(
            f'<tr role="row" class="{"split" if rule else ""}"><th scope="row" role="rowheader">'
            f"{escape(line.name)}{note}</th>{cells}</tr>"
        )
    return "".join(out) + "</tbody></table>"


def _opens(index: int, first: Sequence[int]) -> str:
    return ' class="opens"' if index in first and index else ""


def _mark(head: Head) -> str:
    return f'<i class="mark {head.about}"></i>' if head.about else ""


def _cell(cell: Cell, head: Head, style: str) -> str:
    value, low, high = cell.reading.value, cell.reading.low, cell.reading.high
    figure = cell.text if cell.text is not None else fraction(value, signed=cell.signed)
    between = interval(low, high, signed=cell.signed)
    beside = f'<span class="between" title="95% interval">{between}</span>' if between else ""
    label = f"{escape(head.group)}: {_mark(head)}{escape(head.name)}"
    return (
        f'<td role="cell"{style}><span class="label">{label}</span>'
        f'<span class="value">{escape(figure)}</span>{beside}</td>'
    )


@dataclass(frozen=True, slots=True)
class Change:
    """A score before and after, on one line."""

    name: str
    before: Reading
    after: Reading


def changes(lines: Sequence[Change], *, axis: str, label: str, about: Literal["image", "text"]) -> str:
    """A line each: a hollow mark before, a filled one after, the way between them as a bar.

    The first line that has both carries the words for the two marks.
    """
    named = next((i for i, line in enumerate(lines) if line.before.exists and line.after.exists), 0)
    out = [
        f'<div class="dumbbells changes" role="group" aria-label="{escape(label)}">'
        '<span class="pad"></span><span class="pad"></span><span class="head gap">change</span>'
    ]
    for index, line in enumerate(lines):
        step = _difference(line)
        out.append(
            f'<div class="who">{escape(line.name)}</div>'
            f'<div class="plot" role="img" aria-label="{escape(_spoken(line))}">{RAIL}'
            f"{_marks(line, about, named=index == named)}</div>"
            f'<div class="gap" aria-hidden="true">{step and f"<i>change</i> {step}"}</div>'
        )
    return "".join(out) + share_axis(axis) + "</div>"


def _difference(line: Change) -> str:
    if line.before.value is None or line.after.value is None:
        return ""
    return fraction(line.after.value - line.before.value, signed=True)


def _spoken(line: Change) -> str:
    def said(reading: Reading) -> str:
        between = interval(reading.low, reading.high)
        return fraction(reading.value) + (f" ({between})" if between else "")

    return f"{line.name}: before {said(line.before)}, after {said(line.after)}"


def _marks(line: Change, about: str, *, named: bool) -> str:
    before, after = line.before.value, line.after.value
    out = []
    if before is not None and after is not None:
        out.append(f'<i class="join" style="{span(*sorted((before, after)))}"></i>')
    aside = sides(after - before, named=named) if before is not None and after is not None else ""
    for moment, value in (("before", before), ("after", after)):
        if value is None:
            continue
        reading = line.before if moment == "before" else line.after
        if moment == "after" and reading.low is not None and reading.high is not None:
            out.append(f'<i class="whisker {about}" style="{span(reading.low, reading.high)}"></i>')
        if moment == "before" and not named and fraction(before) == fraction(after):
            out.append(f'<i class="dot {about} hollow" style="left:{percent(value)}"></i>')
            continue  # one number says both
        edge = 0.12 if named else 0.03
        side = " at-end" if value > 1 - edge else " at-start" if value < edge else ""
        below = aside if moment == "before" else ""
        hollow = " hollow" if moment == "before" else ""
        out.append(
            f'<i class="dot {about}{hollow}" style="left:{percent(value)}"></i>'
            f'<span class="number {about} {moment}{below}{side}" style="left:{percent(value)}">'
            f"{moment + ' ' if named else ''}<b>{fraction(value)}</b></span>"
        )
    return "".join(out)


@dataclass(frozen=True, slots=True)
class Spot:
    """A method in the trade-off: accuracy, ability, diversity."""

    name: str
    x: float
    y: float
    size: float | None = None
    plain: bool = False
    """Not trained: drawn in grey."""


#: Radius in pixels of a mark of diversity 1; the area goes with the diversity.
_FULL_RADIUS = 26.0
#: Share of the width where the axes end; right of it is room for names.
_FIELD = 64.0
#: The smallest field, on a phone, in pixels: names that have room there have room everywhere.
_WIDTH, _LETTER, _LINE = 326.0, 7.2, 19.0
_HEIGHT = 352.0


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle in pixels of the smallest field."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        """Whether the two overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def begin(values: Sequence[float], at_most: float = 0.5) -> float:
    """Where an axis to 1 begins: at a tenth, with room below the least value."""
    return max(0.0, min([at_most, *(math.floor(value * 10 - 0.5) / 10 for value in values)]))


def scatter(
    spots: Sequence[Spot], *, label: str, x_begin: float, y_begin: float, reported: bool = False
) -> str:
    """Alignment accuracy against general ability, both axes up to 1; each mark has its name beside it.

    Where marks crowd, names stand in a column to the right, joined by hairlines. Reported marks are hollow,
    their names italic. A cross stands where the size is not known.
    """
    height = _HEIGHT
    places = {id(spot): (_at(spot.x, x_begin) * _FIELD, 100 - _at(spot.y, y_begin) * 100) for spot in spots}
    joins, marks, names = [], [], []
    boxes = {id(spot): _around(places[id(spot)], _radius(spot), height) for spot in spots}
    taken: list[_Box] = []
    # From the right: there the names have room, and there the marks crowd.
    for spot in sorted(spots, key=lambda s: (-s.x, -s.y, s.name)):
        others = [box for key, box in boxes.items() if key != id(spot)] + taken
        place, box = _name_place(spot, places[id(spot)], others, height)
        taken.append(box)
        if place.joined:
            joins.append(_segment("leader", places[id(spot)], (place.left - 1, place.top)))
        marks.append(_spot(places[id(spot)], spot, reported))
        size = "" if spot.size is None else f' <tspan class="quiet">{fraction(spot.size)}</tspan>'
        names.append(
            f'<text class="name" x="{place.left:.2f}%" y="{place.top:.2f}%" dx="{place.right:.1f}" '
            f'dy="{place.down + 4.5:.1f}" text-anchor="{place.anchor}">{escape(spot.name)}{size}</text>'
        )
    spoken = "; ".join(_spoken_spot(spot, reported) for spot in spots)
    style = " reported" if reported else ""
    label = escape(f"{label}: {spoken}")
    return (
        f'<figure class="scatter{style}"><figcaption class="axis-title">general ability, share of right '
        f'answers</figcaption><div class="field"><svg role="img" aria-label="{label}">'
        f"{_grid(x_begin, y_begin)}{''.join(marks)}{''.join(joins)}{''.join(names)}</svg></div>"
        '<div class="axis-title below">alignment accuracy, share of right answers</div></figure>'
    )


def _radius(spot: Spot) -> float:
    return 5.0 if spot.size is None else max(3.0, _FULL_RADIUS * spot.size**0.5)


def _around(place: tuple[float, float], radius: float, height: float) -> _Box:
    x, y = place[0] / 100 * _WIDTH, place[1] / 100 * height
    return _Box(x - radius, y - radius, x + radius, y + radius)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a name goes: per cent of the field, moved by pixels; whether a line joins it to its mark."""

    left: float
    top: float
    right: float
    down: float
    anchor: str
    joined: bool = False


def _name_place(
    spot: Spot, mark: tuple[float, float], others: Sequence[_Box], height: float
) -> tuple[_Place, _Box]:
    """The first free place beside the mark, else in the column; with the box it takes on a phone."""
    width = _LETTER * len(spot.name + ("" if spot.size is None else " .00"))
    aside, below = _radius(spot) + 6, _radius(spot) + _LINE / 2
    wishes = [
        _Place(*mark, aside, 0, "start"), _Place(*mark, -aside, 0, "end"),
        _Place(*mark, 0, below, "middle"), _Place(*mark, 0, -below, "middle"),
        _Place(*mark, 0, below + 9, "middle"), _Place(*mark, 0, -below - 9, "middle"),
    ]  # fmt: skip
    line = _LINE / height * 100
    for step in sorted(range(-20, 21), key=abs):
        if 0 <= (top := mark[1] + step * line) <= 100:
            wishes.append(_Place(_FIELD + 6, top, 0, 0, "start", joined=True))
    for place in wishes:
        start = place.left / 100 * _WIDTH + place.right - width * _ANCHORS[place.anchor]
        middle = place.top / 100 * height + place.down
        box = _Box(start, middle - _LINE / 2, start + width, middle + _LINE / 2)
        inside = place.joined or (start >= 0 and box.right <= _WIDTH)
        if inside and not any(box.meets(other) for other in others):
            break
    return place, box


_ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}


def _at(value: float, begin: float) -> float:
    return min(1.0, max(0.0, (value - begin) / (1.0 - begin)))


def _grid(x_begin: float, y_begin: float) -> str:
    out = []
    for tick in _ticks(x_begin):
        left = _at(tick, x_begin) * _FIELD
        out.append(
            _segment("rule", (left, 0), (left, 100))
            + f'<text class="tick" x="{left:.2f}%" y="100%" dy="1.4em" text-anchor="middle">'
            f"{_tick(tick)}</text>"
        )
    for tick in _ticks(y_begin):
        top = 100 - _at(tick, y_begin) * 100
        out.append(
            _segment("rule", (0, top), (_FIELD, top))
            + f'<text class="tick" x="0" y="{top:.2f}%" dx="-.5em" dy=".32em" text-anchor="end">'
            f"{_tick(tick)}</text>"
        )
    return "".join(out)


def _segment(style: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{style}" x1="{x1:.2f}%" y1="{y1:.2f}%" x2="{x2:.2f}%" y2="{y2:.2f}%"/>'


def _ticks(begin: float) -> list[float]:
    step = 0.1 if begin >= 0.5 else 0.25
    first = 1.0 - int((1.0 - begin) / step + 1e-9) * step
    return [round(first + i * step, 4) for i in range(int((1.0 - first) / step + 1e-9) + 1)]


def _tick(value: float) -> str:
    return "1" if value == 1 else "0" if value == 0 else f"{value:.2g}".removeprefix("0")


def _spot(place: tuple[float, float], spot: Spot, reported: bool) -> str:
    left, top = place
    if spot.size is None:
        cross = '<path class="spot" d="M-5 0H5M0-5V5"/>'
        return f'<svg x="{left:.2f}%" y="{top:.2f}%" overflow="visible">{cross}</svg>'
    style = "spot hollow" if reported else "spot plain" if spot.plain else "spot"
    return f'<circle class="{style}" cx="{left:.2f}%" cy="{top:.2f}%" r="{_radius(spot):.1f}"/>'


def _spoken_spot(spot: Spot, reported: bool) -> str:
    what = "diversity" if reported else "diversity of sampled answers"
    size = "" if spot.size is None else f", {what} {fraction(spot.size)}"
    return f"{spot.name}: accuracy {fraction(spot.x)}, general ability {fraction(spot.y)}{size}"


def spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Sorted places moved as little as needed to stand `apart` from each other within [low, high].

    Where there is no room for that, they share what there is evenly.
    """
    n = len(places)
    if n < 2:
        return [min(high, max(low, place)) for place in places]
    apart = min(apart, (high - low) / (n - 1))
    # Least squares under an order: pool neighbours whose wishes clash, at their mean.
    blocks: list[list[float]] = []  # [sum of wishes less own offset, count]
    for index, place in enumerate(places):
        blocks.append([place - index * apart, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    flat = [total / count for total, count in blocks for _ in range(int(count))]
    last = high - (n - 1) * apart
    return [min(last, max(low, place)) + index * apart for index, place in enumerate(flat)]


@dataclass(frozen=True, slots=True)
class Trace:
    """One line of a panel: (step, value) points; `about` colours it, `faint` sets it back."""

    name: str
    points: Points
    about: Literal["image", "text", "ink"] = "ink"
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A small multiple; `share` fixes its axis to 0 and 1."""

    title: str
    unit: str
    traces: tuple[Trace, ...]
    share: bool = False


def panels(charts: Sequence[Panel], *, x_title: str) -> str:
    """Small multiples by step. Each states its unit, its range, and the last value of its first line."""
    return '<div class="panels">' + "".join(_panel(panel, x_title) for panel in charts) + "</div>"


def _panel(panel: Panel, x_title: str) -> str:
    values = [y for trace in panel.traces for _, y in trace.points]
    steps = [x for trace in panel.traces for x, _ in trace.points]
    low, high = (0.0, 1.0) if panel.share else (min(0.0, *values), max(0.0, *values))
    high = high if high > low else low + 1.0
    last = max(steps)
    lines = "".join(_polyline(trace, last, low, high) for trace in panel.traces)
    spoken = "; ".join(
        f"{trace.name} from {_number(trace.points[0][1])} to {_number(trace.points[-1][1])}"
        for trace in panel.traces
    )
    zero = ""
    if low < 0 < high:
        top = 100 + low / (high - low) * 100
        zero = f'<line class="rule" x1="0" x2="100" y1="{top:.2f}" y2="{top:.2f}"/>'
    ends = _ends(panel, low, high)
    title, unit, label = escape(panel.title), escape(panel.unit), escape(f"{panel.title}: {spoken}")
    return (
        f'<figure class="panel"><figcaption><b>{title}</b> <span class="quiet">{unit}</span></figcaption>'
        f'<div class="box"><span class="y top">{_number(high)}</span>'
        f'<span class="y bottom">{_number(low)}</span>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{zero}{lines}</svg>{ends}</div>"
        f'<div class="steps"><span>0</span><span>{escape(x_title)}</span><span>{last:.0f}</span></div>'
        "</figure>"
    )


def _polyline(trace: Trace, last: float, low: float, high: float) -> str:
    places = (f"{x / last * 100:.2f},{100 - (y - low) / (high - low) * 100:.2f}" for x, y in trace.points)
    style = f"trace {trace.about}{' faint' if trace.faint else ''}"
    return f'<polyline class="{style}" points="{" ".join(places)}"/>'


def _ends(panel: Panel, low: float, high: float) -> str:
    """The last value of each full line, beside its end."""
    shown = sorted(
        ((100 - (t.points[-1][1] - low) / (high - low) * 100, t) for t in panel.traces if not t.faint),
        key=lambda end: end[0],
    )
    tops = spread([top for top, _ in shown], 13.0, 4.0, 96.0)
    return "".join(
        f'<span class="end {trace.about}" style="top:{top:.2f}%">'
        f"{escape(trace.name) + ' ' if len(shown) > 1 else ''}{_number(trace.points[-1][1])}</span>"
        for top, (_, trace) in zip(tops, shown, strict=True)
    )


def _number(value: float) -> str:
    """Two decimals below 10, fewer above; as short as it can be."""
    if absent(value):
        return MISSING
    digits = f"{abs(value):.2f}" if abs(value) < 10 else f"{abs(value):.0f}"
    text = digits.removeprefix("0") if digits not in ("0.00",) else "0"
    text = "1" if text == "1.00" else text
    return ("−" if value < 0 and text != "0" else "") + text


def answers(rows: Sequence[Mapping[str, str]]) -> str:
    """Questions with the answer before and after; verdicts come as HTML of `tables.verdict`."""
    out = [
        '<div class="qa pairs"><div class="top">Question</div><div class="top">Before</div>'
        '<div class="top">After</div>'
    ]
    for row in rows:
        out.append(
            f'<div class="asked"><b>{escape(row["concept"])}</b><br>{escape(row["prompt"])}</div>'
            + "".join(
                f'<div class="said"><span class="moment">{moment}</span>{_said(row[moment])}'
                f"<div>{row[moment + '_verdict']}</div></div>"
                for moment in ("before", "after")
            )
        )
    return "".join(out) + "</div>"


def _said(text: str) -> str:
    return f"“{escape(text)}”" if text else '<span class="quiet">no text</span>'
