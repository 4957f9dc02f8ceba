"""Figures as HTML, built by pure functions: dumbbells, and what figures of lines share.

They are laid out in CSS (`static/figure.css`) and not drawn on a canvas: text keeps its size on a phone,
follows light and dark, and can be read by a screen reader. Every outside text is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ucbench.format import absent, escape, fraction, interval


@dataclass(frozen=True, slots=True)
class Reading:
    """A score with its interval, or with `value` None and a range that a source reports."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def is_range(self) -> bool:
        """Whether only a range is known."""
        return self.value is None and self.low is not None and self.high is not None

    @property
    def exists(self) -> bool:
        """Whether there is anything to draw."""
        return self.value is not None or self.is_range


def reading(value: object, low: object, high: object) -> Reading:
    """A reading from table cells, which may be NaN."""
    return Reading(*(None if absent(cell) else float(cell) for cell in (value, low, high)))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class End:
    """What stands at one end of a line: whether it is about image or text (or neither), and its words.

    Of two ends of one colour one is hollow.
    """

    about: Literal["image", "text", "ink"]
    words: str
    hollow: bool = False

    @property
    def style(self) -> str:
        """The classes of its mark."""
        return f"{self.about} hollow" if self.hollow else self.about


#: The ends that the whole site is about.
IMAGE_AND_TEXT = (End("image", "as image"), End("text", "in words"))


@dataclass(frozen=True, slots=True)
class Dumbbell:
    """One line of the chart: a model and its scores at the ends; `second` is nothing where there is one.

    `link` is the name as HTML where it leads somewhere, `more` what stands below the note, HTML too.
    """

    name: str
    first: Reading
    second: Reading = Reading()
    note: str = ""
    reported: bool = False
    link: str = ""
    more: str = ""

    @property
    def gap(self) -> float | None:
        """Second minus first, when both are figures."""
        if self.first.value is None or self.second.value is None:
            return None
        return self.second.value - self.first.value


def dumbbells(
    lines: Sequence[Dumbbell],
    *,
    axis: str,
    label: str,
    ends: Sequence[End] = IMAGE_AND_TEXT,
    between: str = "gap",
) -> str:
    """A dumbbell a line, both ends on one axis from 0 to 1, their difference as the bar between them.

    The first line carries the words for the marks, so that no legend is needed. `between` names the
    difference. With one end there is none.
    """
    named = next((i for i, line in enumerate(lines) if line.first.exists and line.second.exists), None)
    if named is None:
        named = next((i for i, line in enumerate(lines) if line.first.exists or line.second.exists), 0)
    out = [
        f'<div class="dumbbells" role="group" aria-label="{escape(label)}">'
        '<span class="pad"></span><span class="pad"></span>'
        f'<span class="head gap">{between if any(line.gap is not None for line in lines) else ""}</span>'
    ]
    for index, line in enumerate(lines):
        quiet = f'<span class="quiet">{escape(line.note)}</span>' if line.note else ""
        style = " reported" if line.reported else ""
        gap = "" if line.gap is None else fraction(line.gap, signed=True)
        out.append(
            f'<div class="who{style}">{line.link or escape(line.name)}{quiet}{line.more}</div>'
            f'<div class="plot{style}" role="img" aria-label="{escape(_spoken(line, ends))}">'
            f"{RAIL}{_marks(line, ends, named=index == named)}</div>"
            f'<div class="gap" aria-hidden="true">{gap and f"<i>{between}</i> {gap}"}</div>'
        )
    return "".join(out) + share_axis(axis) + "</div>"


#: Where the axis of shares has its ticks, in per cent of its width, and what they say.
_TICKS = ((0, "0"), (25, ".25"), (50, ".50"), (75, ".75"), (100, "1"))

#: What lies behind the marks of a line.
RAIL = "".join(f'<i class="tick" style="left:{at}%"></i>' for at, _ in _TICKS) + '<i class="rail"></i>'


def share_axis(title: str) -> str:
    """The last two rows of a figure of lines: the axis from 0 to 1, and its title."""
    numbers = "".join(f'<span style="left:{at}%">{name}</span>' for at, name in _TICKS)
    return (
        f'<span class="pad"></span><div class="axis" aria-hidden="true">{numbers}</div>'
        '<span class="pad"></span><span class="pad"></span>'
        f'<div class="axis-title">{escape(title)}</div><span class="pad"></span>'
    )


def percent(share: float) -> str:
    """A place on the axis as a CSS length; beyond the ends is at the end."""
    return f"{min(1.0, max(0.0, share)) * 100:.2f}%"


def span(low: float, high: float) -> str:
    """The style of a mark from one place on the axis to another."""
    low, high = min(1.0, max(0.0, low)), min(1.0, max(0.0, high))
    return f"left:{low * 100:.2f}%;width:{(high - low) * 100:.2f}%"


def _spoken(line: Dumbbell, ends: Sequence[End]) -> str:
    def said(reading: Reading) -> str:
        if reading.is_range:
            return f"between {interval(reading.low, reading.high)} (a reported range)"
        between = interval(reading.low, reading.high)
        return fraction(reading.value) + (f" ({between})" if between else "")

    readings = (line.first, line.second)
    parts = [f"{end.words} {said(mark)}" for end, mark in zip(ends, readings, strict=False) if mark.exists]
    return f"{line.name}: {', '.join(parts) or 'nothing measured'}"


def _marks(line: Dumbbell, ends: Sequence[End], *, named: bool) -> str:
    first, second = line.first, line.second
    # In this order, so that no bar lies over a mark.
    bars: list[str] = []
    dots: list[str] = []
    numbers: list[str] = []
    if line.gap is not None and first.value is not None and second.value is not None:
        left, right = sorted((first.value, second.value))
        bars.append(f'<i class="join" style="{span(left, right)}"></i>')
    both = first.exists and second.exists
    aside = sides(_middle(second) - _middle(first), named=named) if both else ""
    # Marks that would hide one another stand one above the other.
    touch = touching(line)
    for place, (end, mark) in enumerate(zip(ends, (first, second), strict=False)):
        if not mark.exists:
            continue
        below = aside if place == 1 else ""
        if mark.is_range:
            bars.append(f'<i class="range {end.about}" style="{span(mark.low or 0, mark.high or 0)}"></i>')
            figure = interval(mark.low, mark.high)
        else:
            if mark.low is not None and mark.high is not None:
                bars.append(f'<i class="whisker {end.about}" style="{span(mark.low, mark.high)}"></i>')
            style = f"dot {end.style}" + (f" touching {('first', 'second')[place]}" if touch else "")
            dots.append(f'<i class="{style}" style="left:{percent(mark.value or 0)}"></i>')
            figure = fraction(mark.value)
        at = _middle(mark)
        edge = 0.14 if named or mark.is_range else 0.03
        side = " at-end" if at > 1 - edge else " at-start" if at < edge else ""
        numbers.append(
            f'<span class="number {end.about}{below}{side}" style="left:{percent(at)}">'
            f"{end.words + ' ' if named else ''}<b>{figure}</b></span>"
        )
    return "".join((*bars, *dots, *numbers))


def sides(apart: float, *, named: bool) -> str:
    """The class of the second of two labels: those that would touch go to either side of the line.

    `apart` is how far their marks are from one another, as a share of the axis; a phone's is half as long.
    `named`: the labels are words with the numbers.
    """
    wide, narrow = (0.26, 0.34) if named else (0.08, 0.16)
    return " below" if abs(apart) < wide else " below-narrow" if abs(apart) < narrow else ""


def touching(line: Dumbbell) -> bool:
    """Whether the marks at its ends would hide one another."""
    return line.gap is not None and abs(line.gap) < 0.015


def _middle(mark: Reading) -> float:
    if mark.value is not None:
        return mark.value
    return ((mark.low or 0) + (mark.high or 0)) / 2


def note(text: str) -> str:
    """A small grey line of outside text."""
    return f'<p class="quiet">{escape(text)}</p>'
