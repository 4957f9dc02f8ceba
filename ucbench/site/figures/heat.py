"""The heat map: a score by concept and model, a block a category, as HTML built by pure functions.

Each cell holds its figure, so that colour carries nothing alone. Shares go from the page's ground to the
colour of image, of text or of ink; gaps go to text's colour where words are judged more strictly, to
image's where images are: blue and orange, which the colour-blind tell apart as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ucbench.format import MISSING, escape, fraction

Scale = Literal["image", "text", "ink", "gap"]

#: A tint never passes this share of its colour, so that ink on it keeps a contrast of 4.5 to 1.
_FULL_TINT = {"image": 55, "text": 55, "ink": 40}


def full_tint(name: str) -> int:
    """The most of a colour, in per cent, that a cell is tinted with."""
    return _FULL_TINT[name]


@dataclass(frozen=True, slots=True)
class HeatRow:
    """A concept and its score by model."""

    id: str
    name: str
    values: tuple[float | None, ...]
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class HeatSection:
    """A category: its concepts, and its own score by model."""

    name: str
    rows: tuple[HeatRow, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class HeatModel:
    """A column: the number it goes by, its model's name, and the name as HTML where it leads somewhere."""

    number: int
    name: str
    link: str = ""


def tint(value: float | None, scale: Scale) -> str:
    """The background of a cell. Gaps tint towards text when text is higher, towards image when image is."""
    if value is None:
        return "--cell:transparent"
    name = scale if scale != "gap" else ("text" if value > 0 else "image")
    share = round(min(1.0, abs(value)) * _FULL_TINT[name])
    return f"--cell:color-mix(in oklab, var(--{name}) {share}%, var(--ground))"


def heat_map(
    sections: Sequence[HeatSection],
    models: Sequence[HeatModel],
    *,
    scale: Scale,
    title: str,
    unit: str,
    chosen: str | None = None,
) -> str:
    """Concept x model, a block a category. `unit` says what a figure is.

    Columns are headed by their models' numbers, which the list above explains.
    """
    names = "".join(
        f"<li><b>{model.number}</b><span>{model.link or escape(model.name)}</span></li>" for model in models
    )
    # Names need some 11rem beside the cells; the sheet fits as many blocks side by side as it can.
    room = f"--block:{11 + 2.75 * len(models):g}rem;--models:{len(models)}"
    heads = "".join(
        f'<th scope="col" role="columnheader"><span aria-hidden="true">{model.number}</span>'
        f'<span class="hidden">{escape(model.name)}</span></th>'
        for model in models
    )
    out = [
        legend(scale, title, unit),
        f'<ol class="models" aria-label="Models of the columns">{names}</ol>',
        f'<div class="heat{" wide" if scale == "gap" else ""}" style="{room}">',
    ]
    for section in sections:
        out.append(
            f'<section><table role="table"><caption class="hidden">{escape(title)}: {escape(section.name)}'
            f'</caption><thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">'
            f'{escape(section.name)}</th>{heads}</tr></thead><tbody role="rowgroup">'
        )
        out.extend(_row(row, scale, chosen) for row in section.rows)
        out.append(
            f'<tr class="mean" role="row"><th scope="row" role="rowheader">All of {escape(section.name)}</th>'
            f"{_cells(section.values, scale)}</tr></tbody></table></section>"
        )
    out.append("</div>")
    return "".join(out)


def _row(row: HeatRow, scale: Scale, chosen: str | None) -> str:
    here = ' class="chosen"' if row.id == chosen else ""
    held = ' <span class="held" title="never seen by alignment training">held out</span>'
    return (
        f'<tr{here} role="row"><th scope="row" role="rowheader"><button type="button" data-top '
        f'data-choose="{escape(row.id)}">{escape(row.name)}{held if row.held_out else ""}</button></th>'
        f"{_cells(row.values, scale)}</tr>"
    )


def _cells(values: Sequence[float | None], scale: Scale) -> str:
    return "".join(_cell(value, scale) for value in values)


def _cell(value: float | None, scale: Scale) -> str:
    if value is None:
        return f'<td role="cell"><span class="none" title="no figure">{MISSING}</span></td>'
    figure = fraction(value, signed=scale == "gap")
    return f'<td role="cell"><span style="{tint(value, scale)}">{figure}</span></td>'


def legend(scale: Scale, title: str, unit: str) -> str:
    """What a colour stands for: the scale with its ends in figures, its unit, and the sign for nothing."""
    low = -10 if scale == "gap" else 0
    steps = "".join(f'<i style="{tint(step / 10, scale)}"></i>' for step in range(low, 11))
    ends = ("−1 images are judged more strictly", "+1 words are") if scale == "gap" else ("0", "1")
    return (
        f'<p class="scale"><b>{escape(title)}</b><span class="ends"><span>{ends[0]}</span>'
        f'<span class="ramp" aria-hidden="true">{steps}</span><span>{ends[1]}</span></span>'
        f'<span class="ends"><span class="nothing" aria-hidden="true">{MISSING}</span> no figure</span>'
        f'<span class="unit">{escape(unit)}</span></p>'
    )
