"""Two scores against each other, a mark a model; usually who sees a concept and calls it safe all the same.

HTML by a pure function, as the other charts are. A mark is a link that says its name when it is pointed at
or focused; a thousand of them are plain elements without script. The first ones carry their names where
there is room. Every outside text is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ucbench.format import escape, fraction, interval
from ucbench.metrics.keys import KEYS
from ucbench.site import links
from ucbench.site.figures.charts import Reading

#: So many marks carry a name, where it fits.
NAMED = 14
#: More marks are a crowd and drawn small.
CROWD = 150
#: Widths and heights that names are placed for, in CSS pixels: a desk and a phone (static/leaderboard.css).
_SIZES = {"wide": (960.0, 416.0), "narrow": (310.0, 320.0)}
#: The field of a file (`ucbench.site.figures.svg.scatter`).
FILE = (852.0, 440.0)
#: Type of the names: an average letter, a line.
_LETTER, _LINE = 6.4, 16.0
_LONGEST = {"wide": 34, "narrow": 20, "file": 34}
#: The scores that are set against each other where nobody has chosen others.
USUAL = ("perception", "image_alignment")

#: Where the words of the regions stand: left, bottom, right, top as shares of the field.
_REGIONS = (
    ("seen safe", "Sees it, calls it safe", (0.5, 0.0, 1.0, 0.5)),
    ("seen", "Sees it, calls it unsafe", (0.5, 0.5, 1.0, 1.0)),
    ("", "Does not name it, calls it safe", (0.0, 0.0, 0.5, 0.5)),
    ("", "Does not name it, calls it unsafe", (0.0, 0.5, 0.5, 1.0)),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """A score as an axis from `low` to `high`, and what it is called."""

    key: str
    title: str
    low: float = 0.0
    high: float = 1.0

    @property
    def signed(self) -> bool:
        """Whether figures on it show their sign."""
        return self.low < 0

    def place(self, value: float) -> float:
        """Where a figure stands, as a share of the axis; beyond the ends is at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self) -> list[tuple[float, str]]:
        """Places of the ticks as shares of the axis, and their figures."""
        values = [self.low + (self.high - self.low) * n / 4 for n in range(5)]
        return [(n / 4, _tick(value, signed=self.signed)) for n, value in enumerate(values)]


def _tick(value: float, *, signed: bool) -> str:
    if value == int(value):
        return f"{value:+.0f}".replace("-", "−") if signed and value else f"{value:.0f}"
    return fraction(value, signed=signed)


def axis(key: str, title: str, values: Sequence[Reading]) -> Axis:
    """The axis of a score: shares from 0 to 1, gaps around zero, ratios as far as they go."""
    if KEYS[key].signed:
        return Axis(key, title, -1.0, 1.0)
    most = max((one.value for one in values if one.value is not None), default=1.0)
    return Axis(key, title, 0.0, max(1.0, -(-most // 0.5) * 0.5))


@dataclass(frozen=True, slots=True)
class Mark:
    """A run and its two scores. `quiet` ones are not ranked.

    `tell` is what tells it from other runs of its model, where there are any; `speaks` whether it stands for
    its model where models are counted.
    """

    name: str
    run_id: str
    x: Reading
    y: Reading
    quiet: bool = False
    tell: str = ""
    speaks: bool = True

    @property
    def whole_name(self) -> str:
        """The model, and which of its runs where there are several."""
        return f"{self.name} · {self.tell}" if self.tell else self.name


@dataclass(frozen=True, slots=True)
class Axes:
    """What goes across and what goes up."""

    x: Axis
    y: Axis

    @property
    def usual(self) -> bool:
        """Whether they are the two whose regions have a name."""
        return (self.x.key, self.y.key) == USUAL

    def at(self, mark: Mark) -> tuple[float, float]:
        """Where a mark stands, as shares of the field from the lower left."""
        return self.x.place(mark.x.value or 0.0), self.y.place(mark.y.value or 0.0)


SEEN_JUDGED = Axes(
    Axis("perception", "Perception: share of images whose concept is named"),
    Axis("image_alignment", "Image alignment: share of images judged unsafe"),
)

Box = tuple[float, float, float, float]


def drawn(marks: Sequence[Mark]) -> list[Mark]:
    """Those that have both figures."""
    return [mark for mark in marks if mark.x.value is not None and mark.y.value is not None]


def perceived(marks: Sequence[Mark], *, label: str, axes: Axes = SEEN_JUDGED) -> str:
    """The chart; the first marks are named where there is room. Marks without both figures are left out."""
    shown = drawn(marks)
    names = {size: placed(shown[:NAMED], size, axes) for size in _SIZES}
    named = {place for found in names.values() for place in found}
    ticks = "".join(
        f'<i class="v" style="left:{at * 100:g}%"></i>'
        f'<span class="x" style="left:{at * 100:g}%">{text}</span>'
        for at, text in axes.x.ticks()
    ) + "".join(
        f'<i class="h" style="bottom:{at * 100:g}%"></i>'
        f'<span class="y" style="bottom:{at * 100:g}%">{text}</span>'
        for at, text in axes.y.ticks()
    )
    regions = "".join(
        f'<div class="region {style}" style="left:{box[0] * 100:g}%;bottom:{box[1] * 100:g}%">'
        f"<span>{words}</span></div>"
        for style, words, box in (_REGIONS if axes.usual else ())
    )
    points = "".join(_point(mark, axes, place in named) for place, mark in enumerate(shown))
    texts = "".join(
        f'<span class="name {size}" aria-hidden="true" style="{_css(spot)}">'
        f"{'<br>'.join(map(escape, name_lines(shown[place], size)))}</span>"
        for size, found in names.items()
        for place, spot in found.items()
    )
    crowd = " crowd" if len(shown) > CROWD else ""
    return (
        f'<figure class="perceived{crowd}" role="group" aria-label="{escape(label)}">'
        f'<div class="y-title">{escape(axes.y.title)}</div>'
        f'<div class="field">{regions}{ticks}{points}{texts}</div>'
        f"<figcaption>{escape(axes.x.title)}</figcaption></figure>"
    )


def sentence(marks: Sequence[Mark], axes: Axes = SEEN_JUDGED) -> str:
    """How many models see most concepts and call most of the images safe; how the marks are read."""
    shown = drawn(marks)
    if not shown:
        return ""
    speaking = counted(shown)
    models = f"{len(speaking):,} models" if len(speaking) > 1 else "one model"
    said = f"{models[:1].upper()}{models[1:]} with both scores."
    if axes.usual:
        blind = sum((mark.x.value or 0) >= 0.5 and (mark.y.value or 0) < 0.5 for mark in speaking)
        said = (
            f"{blind:,} of {models} named the concept in at least half of the images, and called fewer than "
            "half of them unsafe."
        )
    if len(speaking) < len(shown):
        said += f" The {len(shown):,} marks are runs; a model counts once, by the first on the board."
    return f"{said} Point at a mark, or move to it by Tab, for its name and figures; press it for the model."


def counted(shown: Sequence[Mark]) -> list[Mark]:
    """One mark a model: those that stand for theirs, and where none does, the first of each."""
    first: dict[str, Mark] = {}
    for mark in [one for one in shown if one.speaks] or shown:
        first.setdefault(mark.name, mark)
    return list(first.values())


def _point(mark: Mark, axes: Axes, named: bool) -> str:
    x, y = axes.at(mark)
    told = ", ".join(
        f"{KEYS[one.key].title.lower()} {_said(reading, one)}"
        for one, reading in ((axes.x, mark.x), (axes.y, mark.y))
    )
    spoken = f"{mark.whole_name}: {told}{', not ranked' if mark.quiet else ''}"
    style = ("quiet " if mark.quiet else "") + ("named " if named else "")
    style += "left" if x > 0.55 else "right"
    where = escape(links.address("model", run=mark.run_id))
    # A thousand stops would bury what comes after: the table has every model by keyboard.
    stop = "" if named else ' tabindex="-1"'
    return (
        f'<a class="point {style}" style="left:{x * 100:.2f}%;bottom:{y * 100:.2f}%" href="{where}" '
        f'data-go="{where}" aria-label="{escape(spoken)}"{stop}></a>'
    )


def _said(reading: Reading, one: Axis) -> str:
    between = interval(reading.low, reading.high, signed=one.signed)
    return fraction(reading.value, signed=one.signed) + (f" ({between})" if between else "")


def _short(name: str, size: str) -> str:
    longest = _LONGEST[size]
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def name_lines(mark: Mark, size: str) -> list[str]:
    """The lines that name a mark: its model, and which of its runs."""
    return [_short(line, size) for line in (mark.name, mark.tell) if line]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a name stands: beside its mark at (x, y), shares of the field, `side` of it, `up` in pixels.

    `up` is how far its lower edge is above the mark.
    """

    x: float
    y: float
    side: Literal["right", "left", "middle"]
    up: float


def _css(spot: Spot) -> str:
    """Offsets in pixels from the mark hold at any width."""
    across = {
        "right": f"left:calc({spot.x * 100:.2f}% + 10px)",
        "left": f"right:calc({100 - spot.x * 100:.2f}% + 10px);text-align:right",
        "middle": f"left:{spot.x * 100:.2f}%;transform:translateX(-50%);text-align:center",
    }[spot.side]
    return f"{across};bottom:calc({spot.y * 100:.2f}% + {spot.up:.0f}px)"


def placed(marks: Sequence[Mark], size: str, axes: Axes = SEEN_JUDGED) -> dict[int, Spot]:
    """Place of a mark -> where its name stands, for those whose name hides no other name and no mark."""
    width, height = FILE if size == "file" else _SIZES[size]
    at = [(x * width, y * height) for x, y in map(axes.at, marks)]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    for _, words, (left, bottom, _right, top) in _REGIONS if axes.usual else ():
        edge = height if top == 1.0 else bottom * height + _LINE + 10
        taken.append((left * width, edge - _LINE - 10, left * width + 8 + _LETTER * len(words), edge))
    found: dict[int, Spot] = {}
    for place, (x, y) in enumerate(at):
        lines = name_lines(marks[place], size)
        long, high = _LETTER * max(map(len, lines)) + 2, _LINE * len(lines)
        # Right of the mark, left of it, above and below, in pixels from the lower left.
        tries: list[tuple[float, float, Literal["right", "left", "middle"]]] = [
            (x + 10, y - high / 2, "right"),
            (x - 10 - long, y - high / 2, "left"),
            (x - long / 2, y + 9, "middle"),
            (x - long / 2, y - 9 - high, "middle"),
        ]
        # Marks that lie on one another, or so near that one's name takes the other's place, have their names
        # one above the other, as far off as it takes.
        near = [other for n, other in enumerate(at) if n != place and abs(x - other[0]) < 11]
        if any(abs(y - other[1]) < 2 * high for other in near):
            for off in range(5):
                for bottom in (y + high / 2 + 1 + off * _LINE, y - high * 1.5 - 1 - off * _LINE):
                    tries += [(x + 10, bottom, "right"), (x - 10 - long, bottom, "left")]
        for left, bottom, side in tries:
            box = (left, bottom, left + long, bottom + high)
            inside = box[0] >= 0 and box[1] >= -4 and box[2] <= width and box[3] <= height + 14
            own = taken[place]
            if inside and not any(_meet(box, other) for other in taken if other is not own):
                taken.append(box)
                found[place] = Spot(x / width, y / height, side, bottom - y)
                break
    return found


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
