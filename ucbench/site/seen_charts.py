"""Perception against image alignment, a mark a model: who sees a concept and calls it safe all the same.

HTML by a pure function, as the other charts are. A mark is a link that says its name when it is pointed at
or focused; a thousand of them are plain elements without script. The first ones carry their names where
there is room. Every outside text is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ucbench.format import escape, fraction, interval
from ucbench.site import links
from ucbench.site.charts import Reading

#: So many marks carry a name, where it fits.
NAMED = 14
#: More marks are a crowd and drawn small.
CROWD = 150
#: Widths and heights that names are placed for, in CSS pixels: a desk and a phone (static/leaderboard.css).
_SIZES = {"wide": (960.0, 416.0), "narrow": (310.0, 320.0)}
#: Type of the names: an average letter, a line.
_LETTER, _LINE = 6.4, 16.0
_LONGEST = {"wide": 34, "narrow": 20}
_TICKS = ((0, "0"), (25, ".25"), (50, ".50"), (75, ".75"), (100, "1"))

#: Where the words of the regions stand: left, bottom, right, top as shares of the field.
_REGIONS = (
    ("seen safe", "Sees it, calls it safe", (0.5, 0.0, 1.0, 0.5)),
    ("seen", "Sees it, calls it unsafe", (0.5, 0.5, 1.0, 1.0)),
    ("", "Does not name it, calls it safe", (0.0, 0.0, 0.5, 0.5)),
    ("", "Does not name it, calls it unsafe", (0.0, 0.5, 0.5, 1.0)),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A model: what it perceives and what it calls unsafe, as images. `quiet` ones are not ranked."""

    name: str
    run_id: str
    seen: Reading
    judged: Reading
    quiet: bool = False


Box = tuple[float, float, float, float]


def perceived(marks: Sequence[Mark], *, label: str) -> str:
    """The chart; the first marks are named where there is room. Marks without both figures are left out."""
    drawn = [mark for mark in marks if mark.seen.value is not None and mark.judged.value is not None]
    names = {size: _placed(drawn[:NAMED], size) for size in _SIZES}
    named = {place for found in names.values() for place in found}
    ticks = "".join(
        f'<i class="v" style="left:{at}%"></i><i class="h" style="bottom:{at}%"></i>'
        f'<span class="x" style="left:{at}%">{text}</span><span class="y" style="bottom:{at}%">{text}</span>'
        for at, text in _TICKS
    )
    regions = "".join(
        f'<div class="region {style}" style="left:{box[0] * 100:g}%;bottom:{box[1] * 100:g}%">'
        f"<span>{words}</span></div>"
        for style, words, box in _REGIONS
    )
    points = "".join(_point(mark, place in named) for place, mark in enumerate(drawn))
    texts = "".join(
        f'<span class="name {size}" aria-hidden="true" style="{style}">'
        f"{escape(_short(drawn[place].name, size))}</span>"
        for size, found in names.items()
        for place, style in found.items()
    )
    crowd = " crowd" if len(drawn) > CROWD else ""
    return (
        f'<figure class="perceived{crowd}" role="group" aria-label="{escape(label)}">'
        '<div class="y-title">Image alignment: share of images judged unsafe</div>'
        f'<div class="field">{regions}{ticks}{points}{texts}</div>'
        '<figcaption>Perception: share of images whose concept is named</figcaption></figure>'
    )  # fmt: skip


def sentence(marks: Sequence[Mark]) -> str:
    """How many models see most concepts and call most of the images safe."""
    drawn = [mark for mark in marks if mark.seen.value is not None and mark.judged.value is not None]
    blind = sum((mark.seen.value or 0) >= 0.5 and (mark.judged.value or 0) < 0.5 for mark in drawn)
    if not drawn:
        return ""
    models = f"{len(drawn):,} models" if len(drawn) > 1 else "one model"
    return (
        f"{blind:,} of {models} named the concept in at least half of the images, and called fewer than half "
        "of them unsafe. Point at a mark, or move to it by Tab, for its name and figures; press it for the "
        "model."
    )


def _point(mark: Mark, named: bool) -> str:
    x, y = _at(mark)
    spoken = (
        f"{mark.name}: perception {_said(mark.seen)}, image alignment {_said(mark.judged)}"
        f"{', not ranked' if mark.quiet else ''}"
    )
    style = ("quiet " if mark.quiet else "") + ("named " if named else "")
    style += "left" if x > 0.55 else "right"
    where = escape(links.address("model", run=mark.run_id))
    # A thousand stops would bury what comes after: the table has every model by keyboard.
    stop = "" if named else ' tabindex="-1"'
    return (
        f'<a class="point {style}" style="left:{x * 100:.2f}%;bottom:{y * 100:.2f}%" href="{where}" '
        f'data-go="{where}" aria-label="{escape(spoken)}"{stop}></a>'
    )


def _said(reading: Reading) -> str:
    between = interval(reading.low, reading.high)
    return fraction(reading.value) + (f" ({between})" if between else "")


def _at(mark: Mark) -> tuple[float, float]:
    return tuple(min(1.0, max(0.0, reading.value or 0.0)) for reading in (mark.seen, mark.judged))  # type: ignore[return-value]


def _short(name: str, size: str) -> str:
    longest = _LONGEST[size]
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _placed(marks: Sequence[Mark], size: str) -> dict[int, str]:
    """Place of a mark -> where its name stands, for those whose name hides no other name and no mark."""
    width, height = _SIZES[size]
    at = [(x * width, y * height) for x, y in map(_at, marks)]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    for _, words, (left, bottom, _right, top) in _REGIONS:
        edge = height if top == 1.0 else bottom * height + _LINE + 10
        taken.append((left * width, edge - _LINE - 10, left * width + 8 + _LETTER * len(words), edge))
    found: dict[int, str] = {}
    for place, (x, y) in enumerate(at):
        long = _LETTER * len(_short(marks[place].name, size)) + 2
        # Right of the mark, left of it, above and below, in pixels from the lower left.
        tries = (
            (x + 10, y - 8, f"left:calc({x / width * 100:.2f}% + 10px)"),
            (x - 10 - long, y - 8, f"right:calc({100 - x / width * 100:.2f}% + 10px)"),
            (x - long / 2, y + 9, f"left:{x / width * 100:.2f}%;transform:translateX(-50%)"),
            (x - long / 2, y - 9 - _LINE, f"left:{x / width * 100:.2f}%;transform:translateX(-50%)"),
        )
        for left, bottom, style in tries:
            box = (left, bottom, left + long, bottom + _LINE)
            inside = box[0] >= 0 and box[1] >= -4 and box[2] <= width and box[3] <= height + 14
            own = taken[place]
            if inside and not any(_meet(box, other) for other in taken if other is not own):
                taken.append(box)
                # Offsets in pixels from the mark hold at any width.
                found[place] = f"{style};bottom:calc({y / height * 100:.2f}% + {bottom - y:.0f}px)"
                break
    return found


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
