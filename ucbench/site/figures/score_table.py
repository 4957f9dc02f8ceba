"""Scores as lines with their intervals drawn, for a page about one model and one about several.

Pure functions; every outside text is escaped here. Links come from `ucbench.site.links`, which escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ucbench.format import MISSING, count, escape, fraction, interval
from ucbench.metrics.keys import KEYS
from ucbench.metrics.paired import Contrast
from ucbench.site.columns import ABOUT_WHAT
from ucbench.site.figures.charts import RAIL, Reading, percent, span

#: How a difference reads that is more than chance, and one that may be none.
APART, NOT_APART = "separable", "cannot be told apart"
#: How one reads that has no interval where others have.
NOT_TESTED = "not tested"


@dataclass(frozen=True, slots=True)
class Line:
    """A score of one model: the answers behind it, and the share of questions that got one."""

    key: str
    reading: Reading
    n: int | None = None
    coverage: float | None = None


def scores(lines: Sequence[Line], *, caption: str) -> str:
    """A line a score: its value on an axis from 0 to 1 with the 95% interval, and the figures beside it."""
    titles = ("Value", "95% interval", "Answers", "Coverage")
    told = [_told(line) for line in lines]
    used = [place for place in range(len(titles)) if place == 0 or any(cells[place][1] for cells in told)]
    out = [_top("scores", ("Score", "", *(titles[place] for place in used)), caption)]
    for line, cells in zip(lines, told, strict=True):
        out.append(
            f'<tr role="row"><th scope="row" role="rowheader" title="{escape(KEYS[line.key].definition)}">'
            f'{mark(line.key)}{escape(KEYS[line.key].title)}</th><td role="cell" class="drawn">'
            f"{_drawn(line)}</td>"
            + "".join(
                f'<td role="cell" class="{style}{"" if text else " absent"}">'
                f'<span class="label">{titles[place]}</span>{escape(text)}</td>'
                for place, (style, text) in ((place, cells[place]) for place in used)
            )
            + "</tr>"
        )
    return "".join(out) + "</tbody></table>"


def _told(line: Line) -> tuple[tuple[str, str], ...]:
    """The cells of a line: their style and text."""
    signed = KEYS[line.key].signed
    value, between = line.reading.value, interval(line.reading.low, line.reading.high, signed=signed)
    figure = fraction(value, signed=signed)
    if line.reading.is_range:
        figure, between = between, "range over several models"
    return (
        ("value", figure),
        ("between", between),
        ("n", count(line.n) if line.n else ""),
        ("n", "" if line.coverage is None else fraction(line.coverage)),
    )


def mark(key: str) -> str:
    """The colour of image or text beside the name of a score about it."""
    about = ABOUT_WHAT.get(key)
    return f'<i class="mark {about}"></i>' if about else ""


def _top(style: str, heads: Sequence[str], caption: str) -> str:
    cells = "".join(
        f'<th scope="col" role="columnheader">{escape(head)}</th>' if head else '<td role="cell"></td>'
        for head in heads
    )
    return (
        f'<table class="{style}" role="table"><caption class="hidden">{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{cells}</tr></thead><tbody role="rowgroup">'
    )


def _drawn(line: Line) -> str:
    """The value on a rail; gaps and ratios have no place on an axis of shares."""
    reading = line.reading
    if KEYS[line.key].signed or not reading.exists or max(reading.value or 0, reading.high or 0) > 1:
        return ""
    about = ABOUT_WHAT.get(line.key, "ink")
    bar = ""
    if reading.low is not None and reading.high is not None:
        kind = "range" if reading.is_range else "whisker"
        bar = f'<i class="{kind} {about}" style="{span(reading.low, reading.high)}"></i>'
    dot = (
        "" if reading.value is None else f'<i class="dot {about}" style="left:{percent(reading.value)}"></i>'
    )
    return f'<div class="plot small" aria-hidden="true">{RAIL}{bar}{dot}</div>'


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of differences: a name (of the score, or of the other model), and what was found there.

    `reference` and `other` are the scores themselves, of which one side may be missing; `apart` says whether
    they are separable, None where nothing can be said, and `better` in whose favour; `untested` stands there
    in place of a verdict. `key` is the score, whose colour stands beside the name where it is `named` after
    it; a `group` begins a part of the table under that name. `link` and `aside` are HTML of ours, in place of
    the name and behind the verdict.
    """

    name: str
    reference: Reading
    other: Reading
    contrast: Contrast | None = None
    apart: bool | None = None
    key: str = ""
    aside: str = ""
    link: str = ""
    group: str = ""
    better: str = ""
    named: bool = True
    signed: bool = False
    untested: str = ""


def side_by_side(
    lines: Sequence[tuple[str, Sequence[Reading]]], *, heads: Sequence[str], caption: str
) -> str:
    """A line a score (by its key), a column a model, each value with its own interval: no comparison."""

    def cell(one: Reading, signed: bool) -> str:
        between = interval(one.low, one.high, signed=signed)
        if one.is_range:
            return f'{escape(between)} <span class="quiet">range</span>'
        aside = f' <span class="quiet">{escape(between)}</span>' if between else ""
        return f"{MISSING if one.value is None else fraction(one.value, signed=signed)}{aside}"

    out = [_top("differences beside", ("Score", *heads), caption)]
    for key, readings in lines:
        cells = "".join(
            f'<td role="cell" class="value"><span class="label">{escape(head)}</span>'
            f"{cell(one, KEYS[key].signed)}</td>"
            for head, one in zip(heads, readings, strict=True)
        )
        title = f"{mark(key)}{escape(KEYS[key].title)}"
        out.append(f'<tr role="row" class="level"><th scope="row" role="rowheader">{title}</th>{cells}</tr>')
    return "".join(out) + "</tbody></table>"


def widest(pairs: Sequence[Pair]) -> float:
    """Where the axis of differences ends: the first of some round numbers that holds all of them."""
    ends = [
        abs(end)
        for pair in pairs
        if pair.contrast is not None
        for end in (
            pair.contrast.difference.value,
            pair.contrast.difference.low,
            pair.contrast.difference.high,
        )
        if end is not None
    ]
    reach = max(ends, default=1.0)
    return next((end for end in (0.1, 0.25, 0.5, 1.0) if reach <= end), 2.0)


def differences(
    pairs: Sequence[Pair],
    *,
    heads: tuple[str, str, str],
    caption: str,
    end: float,
    last: str = "Verdict",
) -> str:
    """A line a difference, drawn with its interval around zero.

    `heads`: first column, reference, other. `last` heads the column of verdicts, or of what stands there.
    """
    titles = (*heads, f"Difference, −{_end(end)} to +{_end(end)}", "95% interval", last)
    out = [_top("differences", titles, caption)]
    for pair in pairs:
        if pair.group:
            out.append(
                f'<tr role="row" class="group"><th scope="rowgroup" role="rowheader" colspan="6">'
                f"{mark(pair.key)}{escape(pair.group)}</th></tr>"
            )
        out.append(_pair(pair, titles, end))
    return "".join(out) + "</tbody></table>"


def _end(end: float) -> str:
    return fraction(end).removesuffix("0").rstrip(".") if end < 1 else f"{end:g}"


def _pair(pair: Pair, titles: Sequence[str], end: float) -> str:
    signed = pair.signed or (bool(pair.key) and KEYS[pair.key].signed)
    found = None if pair.contrast is None else pair.contrast.difference
    value = "" if found is None else fraction(found.value, signed=True)
    between = "" if found is None else interval(found.low, found.high, signed=True)
    word = pair.untested if pair.apart is None else APART if pair.apart else NOT_APART
    if pair.apart and pair.better:
        word = f"{APART}: {escape(pair.better)}"
    style = "apart" if _marked(pair) else "level"
    name = pair.link or f"{mark(pair.key) if pair.named else ''}{escape(pair.name)}"
    figures = "".join(
        f'<td role="cell" class="value"><span class="label">{escape(title)}</span>{_figure(one, signed)}</td>'
        for title, one in zip(titles[1:3], (pair.reference, pair.other), strict=True)
    )
    drawn = f"<div>{_around_zero(pair, end)}<b>{value}</b></div>"
    return (
        f'<tr role="row" class="{style}"><th scope="row" role="rowheader">{name}</th>{figures}'
        f'<td role="cell" class="drawn{"" if found else " absent"}">{drawn}</td>'
        f'<td role="cell" class="between{"" if between else " absent"}">{between}</td>'
        f'<td role="cell" class="verdict-word">{word}{pair.aside}</td></tr>'
    )


def _marked(pair: Pair) -> bool:
    """Whether a mark is filled: separable or, where no verdict is given, an interval that leaves zero out."""
    if pair.apart is not None or pair.contrast is None:
        return bool(pair.apart)
    low, high = pair.contrast.difference.low, pair.contrast.difference.high
    return low is not None and high is not None and not low <= 0.0 <= high


def _figure(one: Reading, signed: bool) -> str:
    if one.is_range:
        return escape(interval(one.low, one.high, signed=signed))
    return MISSING if one.value is None else fraction(one.value, signed=signed)


def _around_zero(pair: Pair, end: float) -> str:
    if pair.contrast is None:
        return ""
    found = pair.contrast.difference

    def place(value: float) -> float:
        return (value / end + 1.0) / 2.0

    bar = ""
    if found.low is not None and found.high is not None:
        bar = f'<i class="whisker ink" style="{span(place(found.low), place(found.high))}"></i>'
    hollow = "" if _marked(pair) else " hollow"
    return (
        '<div class="plot small" aria-hidden="true"><i class="rail"></i><i class="zero"></i>'
        f'{bar}<i class="dot ink{hollow}" style="left:{percent(place(found.value))}"></i></div>'
    )


@dataclass(frozen=True, slots=True)
class Concept:
    """One concept of a model: its link, its category, two scores to set against each other, further ones."""

    link: str
    note: str
    first: Reading
    second: Reading
    more: tuple[str, ...] = ()
    aside: str = ""


def concepts(
    lines: Sequence[Concept],
    *,
    heads: Sequence[str],
    ends: tuple[Literal["image", "text"], Literal["image", "text"]],
    caption: str,
) -> str:
    """A line a concept: both scores as marks on one rail, and in figures. `heads` names every column."""
    out = [_top("by-concept", heads, caption)]
    for line in lines:
        join = dots = ""
        if line.first.value is not None and line.second.value is not None:
            left, right = sorted((line.first.value, line.second.value))
            join = f'<i class="join" style="{span(left, right)}"></i>'
        for end, one in zip(ends, (line.first, line.second), strict=True):
            if one.value is not None:
                dots += f'<i class="dot {end}" style="left:{percent(one.value)}"></i>'
        cells = (
            (fraction(line.first.value), interval(line.first.low, line.first.high), f"is-{ends[0]}"),
            (fraction(line.second.value), interval(line.second.low, line.second.high), f"is-{ends[1]}"),
            *((text, "", "") for text in line.more),
        )
        figures = "".join(
            f'<td role="cell" class="value"><span class="label">{escape(head)}</span>'
            f'<span class="{style}">{escape(text)}</span>'
            + (f' <span class="quiet">{escape(between)}</span>' if between else "")
            + "</td>"
            for head, (text, between, style) in zip(heads[2:], cells, strict=False)
        )
        out.append(
            f'<tr role="row"><th scope="row" role="rowheader">{line.link}'
            f'<span class="quiet">{escape(line.note)}</span></th><td role="cell" class="drawn">'
            f'<div class="plot small" aria-hidden="true">{RAIL}{join}{dots}</div></td>{figures}'
            f'<td role="cell" class="aside">{line.aside}</td></tr>'
        )
    return "".join(out) + "</tbody></table>"
