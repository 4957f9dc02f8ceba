"""Figures as SVG files that stand alone: title, legend, what they are of and from when, on a light ground.

The same data as the figures on the pages, drawn anew by pure functions, since those are laid out by the
browser. Sizes are pixels. Every outside text is escaped here; what is long is wrapped or cut and kept whole
in a `<title>`, which viewers show when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ucbench import __version__
from ucbench.format import MISSING, count, escape, fraction, interval
from ucbench.metrics.keys import KEYS
from ucbench.site.figures.charts import IMAGE_AND_TEXT, Dumbbell, End, Reading, touching
from ucbench.site.figures.heat import HeatModel, HeatSection, Scale, full_tint
from ucbench.site.figures.score_table import APART, NOT_APART, Pair, widest
from ucbench.site.leaderboard.seen_charts import FILE, NAMED, Axes, Mark, Spot, drawn, name_lines, placed
from ucbench.site.theme import WORDMARK_COLOURS

if TYPE_CHECKING:
    from ucbench.site.data.board import LoadedBoard

WIDTH = 960.0
_INK, _IMAGE, _TEXT = WORDMARK_COLOURS["light"]
_GREY, _LINE, _GROUND = "#5F636B", "#D9D6CF", "#FFFFFF"
_COLOURS = {"image": _IMAGE, "text": _TEXT, "ink": _INK}
_EDGE = 24.0
#: The height of a title with its room, and of the foot.
_HEAD, _FOOT = 58.0, 48.0
_FONT = "'Source Sans 3', 'Source Sans Pro', Helvetica, Arial, sans-serif"
#: The width of an average letter as a share of its size.
_LETTER = 0.52


def n_of(n: int, what: str) -> str:
    """`1 model`, `1,000 models`."""
    return f"{count(n)} {what}{'' if n == 1 else 's'}"


def foot(board: LoadedBoard, words: Sequence[str]) -> str:
    """What a figure is of and from when: `words`, the version of the board and the day of its results."""
    told: Mapping[str, object] = board.manifest
    as_of = str(told.get("as_of") or "")[:10]
    version = told.get("board_version")
    parts = [
        *words,
        f"board version {version}" if version else "",
        f"results as of {as_of}" if as_of else "",
        f"ucbench {__version__}",
    ]
    return " · ".join(part for part in parts if part)


# --- pieces ---


def text(
    x: float, y: float, words: str, *, size: float = 14, colour: str = _INK, anchor: str = "start",
    weight: int = 400, longest: float | None = None, italic: bool = False,
) -> str:  # fmt: skip
    """A line of text with its baseline at y, cut to `longest` pixels."""
    short = words if longest is None else _cut(words, int(longest / (_LETTER * size)))
    whole = f"<title>{escape(words)}</title>" if short != words else ""
    style = (f' font-weight="{weight}"' if weight != 400 else "") + (' font-style="italic"' if italic else "")
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}"{place}{style}>{escape(short)}'
        f"{whole}</text>"
    )


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else words[: max(1, letters - 1)].rstrip() + "…"


def wrapped(words: str, letters: int, *, most: int) -> list[str]:
    """`words` in lines of so many letters, broken where a word or a part of a name ends; the last is cut."""
    lines: list[str] = []
    rest = words
    while len(rest) > letters and len(lines) + 1 < most:
        end = max(rest.rfind(" ", 0, letters + 1), *(rest.rfind(mark, 0, letters) + 1 for mark in "/:@-_"))
        end = end if end >= letters // 3 else letters
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, _cut(rest, letters)]


def _block(
    x: float, y: float, words: str, lines: Sequence[str], *, size: float, leading: float,
    colour: str = _INK, italic: bool = False,
) -> str:  # fmt: skip
    """`words` in `lines`, the first with its baseline at y; whole in a title where they are not one line."""
    drawn = "".join(
        text(x, y + leading * n, line, size=size, colour=colour, italic=italic)
        for n, line in enumerate(lines)
    )
    return drawn if [words] == list(lines) else f"<g><title>{escape(words)}</title>{drawn}</g>"


def _line(x1: float, y1: float, x2: float, y2: float, *, colour: str = _LINE, width: float = 1.0) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width:g}"/>'
    )


def _bar(x1: float, x2: float, y: float, colour: str, *, opacity: float = 0.3) -> str:
    return (
        f'<rect x="{x1:.1f}" y="{y - 4:.1f}" width="{max(0.0, x2 - x1):.1f}" height="8" rx="4" '
        f'fill="{colour}" fill-opacity="{opacity:g}"/>'
    )


def _dot(x: float, y: float, end: End) -> str:
    colour = _COLOURS[end.about]
    fill = _GROUND if end.hollow else colour
    look = f'fill="{fill}" stroke="{colour if end.hollow else _GROUND}" stroke-width="2"'
    if end.about == "text":
        return f'<rect x="{x - 6.5:.1f}" y="{y - 6.5:.1f}" width="13" height="13" rx="2" {look}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" {look}/>'


def sheet(title: str, body: Iterable[str], *, height: float, foot: str, width: float = WIDTH) -> str:
    """A whole file: the title on top, the body from y = 0 below it, the foot; `height` is the body's."""
    whole = _HEAD + height + _FOOT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{whole:g}" '
        f'viewBox="0 0 {width:g} {whole:g}" font-family="{_FONT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(foot)}</desc>"
        f'<rect width="{width:g}" height="{whole:g}" fill="{_GROUND}"/>'
        + text(_EDGE, 36, title, size=20, weight=600, longest=width - 2 * _EDGE)
        + f'<g transform="translate(0 {_HEAD:g})">{"".join(body)}</g>'
        + text(_EDGE, whole - 18, foot, size=12, colour=_GREY, longest=width - 2 * _EDGE)
        + "</svg>\n"
    )


# --- dumbbells ---

_NAMES, _GAPS = 270.0, 56.0
#: The sizes of a name and of what stands below it.
_NAME, _NOTE = 14.0, 11.5
#: The height of a line, and of one whose marks stand one above the other.
_STEP, _ROOM = 52.0, 68.0


def dumbbells(
    lines: Sequence[Dumbbell],
    *,
    title: str,
    axis: str,
    foot: str,
    ends: Sequence[End] = IMAGE_AND_TEXT,
    between: str = "gap",
) -> str:
    """A dumbbell a line, as `ucbench.site.figures.charts.dumbbells` draws them, with the legend above."""
    left, right, top = _EDGE + _NAMES, WIDTH - _EDGE - _GAPS - 16, 40.0
    names = [wrapped(line.name, _letters(_NAME), most=2) for line in lines]
    notes = [wrapped(line.note, _letters(_NOTE), most=3) if line.note else [] for line in lines]
    steps = [
        max(_ROOM if touching(line) else _STEP, 14 + 17.0 * len(name) + 14 * len(note))
        for line, name, note in zip(lines, names, notes, strict=True)
    ]
    axes = wrapped(axis, int((WIDTH - _EDGE - left) / (_LETTER * 12)), most=3)
    bottom = top + sum(steps)
    height = bottom + 28 + 16 * len(axes)

    def x(share: float) -> float:
        return left + (right - left) * min(1.0, max(0.0, share))

    out = [_legend(ends, left)]
    if any(line.gap is not None for line in lines):
        out.append(text(WIDTH - _EDGE, 14, between, size=12, colour=_GREY, anchor="end"))
    for share, name in ((0.0, "0"), (0.25, ".25"), (0.5, ".50"), (0.75, ".75"), (1.0, "1")):
        out += [
            _line(x(share), top - 8, x(share), bottom),
            text(x(share), bottom + 16, name, size=12, colour=_GREY, anchor="middle"),
        ]
    out.append(_block(left, bottom + 34, axis, axes, size=12, leading=16, colour=_GREY))
    below = top
    for line, named, note_lines, step in zip(lines, names, notes, steps, strict=True):
        y = below + step / 2
        below += step
        first = y + 5 - (17 * (len(named) - 1) + 14 * len(note_lines)) / 2
        out.append(_block(_EDGE, first, line.name, named, size=_NAME, leading=17, italic=line.reported))
        if note_lines:
            under = first + 17 * len(named) - 2
            out.append(_block(_EDGE, under, line.note, note_lines, size=_NOTE, leading=14, colour=_GREY))
        out += [_line(left, y, right, y), *_marks(line, ends, x, y)]
        if line.gap is not None:
            said = fraction(line.gap, signed=True)
            out.append(text(WIDTH - _EDGE, y + 5, said, size=13, colour=_GREY, anchor="end"))
    return sheet(title, out, height=height, foot=foot)


def _letters(size: float) -> int:
    """How many letters of a size fit beside the chart."""
    return int((_NAMES - 20) / (_LETTER * size))


def _legend(ends: Sequence[End], x: float) -> str:
    out = []
    for end in ends:
        out += [_dot(x + 7, 10, end), text(x + 20, 14, end.words, size=13)]
        x += 44 + _LETTER * 13 * len(end.words)
    return "".join(out)


def _marks(line: Dumbbell, ends: Sequence[End], x: Callable[[float], float], y: float) -> list[str]:
    bars: list[str] = []
    dots: list[str] = []
    numbers: list[str] = []
    first, second = line.first, line.second
    if line.gap is not None and first.value is not None and second.value is not None:
        bars.append(_line(x(first.value), y, x(second.value), y, colour="#A4A5A7", width=3))
    close = first.exists and second.exists and abs(_middle(first) - _middle(second)) < 0.1
    # Marks that would hide one another stand one above the other, as on the page.
    aside = 7.0 if touching(line) else 0.0
    for place, (end, mark) in enumerate(zip(ends, (first, second), strict=False)):
        if not mark.exists:
            continue
        colour = _COLOURS[end.about]
        if mark.low is not None and mark.high is not None:
            bars.append(_bar(x(mark.low), x(mark.high), y, colour, opacity=0.45 if mark.is_range else 0.3))
        if mark.value is not None:
            dots.append(_dot(x(mark.value), y + (aside if place else -aside), end))
        said = interval(mark.low, mark.high) if mark.is_range else fraction(mark.value)
        at = y + 24 + aside if close and place else y - 13 - aside
        numbers.append(text(x(_middle(mark)), at, said, size=13, weight=600, colour=colour, anchor="middle"))
    return [*bars, *dots, *numbers]


def _middle(mark: Reading) -> float:
    return mark.value if mark.value is not None else ((mark.low or 0) + (mark.high or 0)) / 2


# --- two scores against each other ---


def scatter(marks: Sequence[Mark], axes: Axes, *, title: str, foot: str) -> str:
    """A mark a model, as `ucbench.site.leaderboard.seen_charts` draws them; hollow ones are not ranked."""
    shown = drawn(marks)
    left, top, (width, height) = _EDGE + 40, 34.0, FILE
    out = [text(_EDGE, 12, axes.y.title, size=13, colour=_GREY)]
    if axes.usual:
        out.append(
            f'<rect x="{left + width / 2:.1f}" y="{top + height / 2:.1f}" width="{width / 2:.1f}" '
            f'height="{height / 2:.1f}" fill="#F1F0EE"/>'
        )
        out.append(
            text(left + width / 2 + 8, top + height - 10, "Sees it, calls it safe", size=13, weight=600)
        )
    for at, name in axes.x.ticks():
        out += [
            _line(left + width * at, top, left + width * at, top + height),
            text(left + width * at, top + height + 18, name, size=12, colour=_GREY, anchor="middle"),
        ]
    for at, name in axes.y.ticks():
        y = top + height * (1 - at)
        out += [
            _line(left, y, left + width, y),
            text(left - 8, y + 4, name, size=12, colour=_GREY, anchor="end"),
        ]
    for mark in shown:
        x, y = axes.at(mark)
        fill, stroke = ("none", _GREY) if mark.quiet else (_INK, _INK)
        whole = escape(mark.whole_name)
        out.append(
            f'<circle cx="{left + width * x:.1f}" cy="{top + height * (1 - y):.1f}" r="5" fill="{fill}" '
            f'fill-opacity=".35" stroke="{stroke}" stroke-width="1.5"><title>{whole}</title>'
            "</circle>"
        )
    for place, spot in placed(shown[:NAMED], "file", axes).items():
        out.append(_named(name_lines(shown[place], "file"), spot, left, top, width, height))
    out.append(text(left + width, top + height + 40, axes.x.title, size=13, colour=_GREY, anchor="end"))
    out.append(text(left, top + height + 40, "filled: ranked; hollow: not ranked", size=12, colour=_GREY))
    return sheet(title, out, height=top + height + 56, foot=foot)


def _named(lines: Sequence[str], spot: Spot, left: float, top: float, width: float, height: float) -> str:
    aside = {"right": (10.0, "start"), "left": (-10.0, "end"), "middle": (0.0, "middle")}[spot.side]
    x, y = left + width * spot.x + aside[0], top + height * (1 - spot.y) - spot.up - 4
    last = len(lines) - 1
    return "".join(
        text(x, y - 16 * (last - n), line, size=12, anchor=aside[1]) for n, line in enumerate(lines)
    )


# --- concept by model ---


def heat_map(
    sections: Sequence[HeatSection],
    models: Sequence[HeatModel],
    *,
    scale: Scale,
    title: str,
    unit: str,
    foot: str,
) -> str:
    """The map of `ucbench.site.figures.heat`: a row a concept, a column a model by its number."""
    cell, step, names = 52.0, 22.0, 300.0
    width = max(760.0, 2 * _EDGE + names + cell * len(models))
    left, y = _EDGE + names, 0.0
    out = [text(_EDGE, 10, unit, size=12, colour=_GREY, longest=width - 2 * _EDGE)]
    ends = ("−1: images are judged more strictly", "+1: words are") if scale == "gap" else ("0", "1")
    low = -10 if scale == "gap" else 0
    x = _EDGE + _LETTER * 12 * len(ends[0]) + 8
    out.append(text(_EDGE, 34, ends[0], size=12, colour=_GREY))
    for n in range(low, 11):
        out.append(
            f'<rect x="{x:.1f}" y="23" width="12" height="14" fill="{tint(n / 10, scale)}" stroke="{_LINE}" '
            'stroke-width=".5"/>'
        )
        x += 12
    out.append(text(x + 8, 34, f"{ends[1]}    {MISSING} no figure", size=12, colour=_GREY))
    y = 58.0
    for model in models:
        out.append(text(_EDGE, y, f"{model.number}  {model.name}", size=13, longest=width - 2 * _EDGE))
        y += 18
    for section in sections:
        y += 26
        out.append(text(_EDGE, y, section.name, size=13, weight=600, longest=names - 12))
        out += [
            text(left + cell * (n + 0.5), y, str(model.number), size=12, colour=_GREY, anchor="middle")
            for n, model in enumerate(models)
        ]
        y += 7
        lines = [(row.name, row.values) for row in section.rows]
        for name, values in (*lines, (f"All of {section.name}", section.values)):
            out.append(text(_EDGE, y + 15, name, size=12.5, longest=names - 12))
            for n, value in enumerate(values):
                at = left + cell * n
                out.append(
                    f'<rect x="{at + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2:g}" height="{step - 2:g}" '
                    f'fill="{tint(value, scale)}"/>'
                )
                said = MISSING if value is None else fraction(value, signed=scale == "gap")
                out.append(text(at + cell / 2, y + 15.5, said, size=12, anchor="middle"))
            y += step
    return sheet(title, out, height=y + 12, foot=foot, width=width)


def tint(value: float | None, scale: Scale) -> str:
    """The colour of a cell on white, as #rrggbb."""
    if value is None:
        return _GROUND
    name = scale if scale != "gap" else ("text" if value > 0 else "image")
    share = min(1.0, abs(value)) * full_tint(name) / 100
    ink = _COLOURS[name]
    mixed = [round(255 + (int(ink[at : at + 2], 16) - 255) * share) for at in (1, 3, 5)]
    return "#" + "".join(f"{part:02X}" for part in mixed)


# --- differences ---


def differences(
    pairs: Sequence[Pair], *, heads: tuple[str, str, str], title: str, legend: Sequence[str], foot: str
) -> str:
    """A line a difference with its interval around zero; a filled mark is separable from zero.

    `legend` are lines that say whose letters the heads are.
    """
    end, step = widest(pairs), 34.0
    told = [
        text(_EDGE, 12 + 18 * n, line, size=13, longest=WIDTH - 2 * _EDGE) for n, line in enumerate(legend)
    ]
    above = 18.0 * len(legend) + 12
    left, right, middle = 430.0, 700.0, 565.0

    def x(value: float) -> float:
        return middle + (right - middle) * min(1.0, max(-1.0, value / end))

    shown = [(pair, pair.group) for pair in pairs]
    height = 44 + step * (len(pairs) + sum(bool(group) for _, group in shown)) + 30
    out = [text(_EDGE, 14, heads[0], size=12, colour=_GREY)]
    for at, head in ((330.0, heads[1]), (395.0, heads[2]), (790.0, "95% interval")):
        out.append(text(at, 14, head, size=12, colour=_GREY, anchor="end"))
    out.append(text(middle, 14, "difference", size=12, colour=_GREY, anchor="middle"))
    y = 30.0
    for pair, group in shown:
        if group:
            out.append(text(_EDGE, y + 22, group, size=13, weight=600))
            y += step
        out += [
            *_difference(pair, x, y + step / 2, left, right),
            _line(_EDGE, y + step, WIDTH - _EDGE, y + step),
        ]
        y += step
    out.append(_line(middle, 24, middle, y, colour=_GREY))
    for value in (-end, 0.0, end):
        said = "0" if value == 0 else f"{value:+g}".replace("-", "−").replace("0.", ".")
        out.append(text(x(value), y + 16, said, size=12, colour=_GREY, anchor="middle"))
    out.append(text(_EDGE, y + 16, "filled: separable, hollow: not", size=12, colour=_GREY))
    moved = f'<g transform="translate(0 {above:g})">{"".join(out)}</g>'
    return sheet(title, [*told, moved], height=above + height, foot=foot)


def _difference(pair: Pair, x: Callable[[float], float], y: float, left: float, right: float) -> list[str]:
    out = [text(_EDGE, y + 5, pair.name, size=13.5, longest=240), _line(left, y, right, y)]
    signed = pair.signed or (bool(pair.key) and KEYS[pair.key].signed)
    for at, one in ((330.0, pair.reference), (395.0, pair.other)):
        said = interval(one.low, one.high) if one.is_range else fraction(one.value, signed=signed)
        out.append(text(at, y + 5, said, size=13.5, anchor="end"))
    if pair.contrast is None:
        return out
    found = pair.contrast.difference
    if found.low is not None and found.high is not None:
        out.append(_bar(x(found.low), x(found.high), y, _INK))
        between = interval(found.low, found.high, signed=True)
        out.append(text(790, y + 5, between, size=12, colour=_GREY, anchor="end"))
    out.append(_dot(x(found.value), y, End("ink", "", hollow=not pair.apart)))
    said = fraction(found.value, signed=True)
    out.append(text(x(found.value), y - 10, said, size=11, weight=600, anchor="middle"))
    if pair.apart is not None:
        word = f"{APART}: {pair.better}" if pair.apart and pair.better else APART if pair.apart else NOT_APART
        out.append(text(WIDTH - _EDGE, y + 5, word, size=12, anchor="end", longest=140))
    return out
