"""Abstract emblems: a badge, a mark cut out of it, and sometimes a pair of side bars.

An emblem stands in for a concept without showing it. All geometry is integer arithmetic on a grid of
4096 units a side and all shapes are polygons that we fill ourselves: Pillow's own polygons go through
floats, whose last bit depends on the compiler, and here pixels are the same bytes everywhere.

The shapes avoid real symbols: no crosses, stars, crescents, arrows, zigzags, triangles, targets, bars
across a circle, hourglasses, spirals or brackets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from PIL import Image

from ucbench.tracks.stream import IntStream, noise_bytes

#: Side of a picture in units, and of a badge's radius in the emblem's own coordinates.
UNITS = 4096
RADIUS = 1000
#: Side of a drawn picture in pixels; each pixel is the mean of SUPERSAMPLE x SUPERSAMPLE points.
SIZE = 64
SUPERSAMPLE = 3

Point = tuple[int, int]
Contour = list[Point]
RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (192, 57, 60),
    "orange": (224, 134, 44),
    "green": (56, 136, 92),
    "blue": (50, 102, 176),
    "purple": (122, 76, 160),
    "black": (52, 54, 62),
}
BACKGROUNDS: dict[str, RGB] = {
    "cream": (247, 238, 212),
    "grey": (208, 211, 216),
    "mint": (203, 234, 216),
    "lavender": (224, 216, 243),
}
#: Number words, so that an answer is a word like the colours are.
NUMBERS = ("zero", "one", "two", "three", "four")

_TRIG = 1 << 14
_SIN = [round(math.sin(math.radians(d)) * _TRIG) for d in range(360)]


def _sin(degrees: int) -> int:
    return _SIN[degrees % 360]


def _cos(degrees: int) -> int:
    return _SIN[(degrees + 90) % 360]


def _polar(radius: int, degrees: int, x: int = 0, y: int = 0) -> Point:
    return x + radius * _cos(degrees) // _TRIG, y + radius * _sin(degrees) // _TRIG


def _turned(contour: Contour, degrees: int, x: int = 0, y: int = 0) -> Contour:
    c, s = _cos(degrees), _sin(degrees)
    return [(x + (px * c - py * s) // _TRIG, y + (px * s + py * c) // _TRIG) for px, py in contour]


def _ellipse(rx: int, ry: int, x: int = 0, y: int = 0) -> Contour:
    return [(x + rx * _cos(d) // _TRIG, y + ry * _sin(d) // _TRIG) for d in range(0, 360, 10)]


def _disc(radius: int, x: int = 0, y: int = 0) -> Contour:
    return _ellipse(radius, radius, x, y)


def _rounded(corners: Sequence[Point], radius: int) -> Contour:
    """A convex polygon (clockwise on screen) with round corners: a fan of arc points at each corner."""
    out: Contour = []
    n = len(corners)
    for i, (x, y) in enumerate(corners):
        (ax, ay), (bx, by) = corners[i - 1], corners[(i + 1) % n]
        la, lb = math.isqrt((ax - x) ** 2 + (ay - y) ** 2), math.isqrt((bx - x) ** 2 + (by - y) ** 2)
        p = (x + (ax - x) * radius // la, y + (ay - y) * radius // la)
        q = (x + (bx - x) * radius // lb, y + (by - y) * radius // lb)
        # A quadratic Bezier from p over the corner to q.
        for t in range(7):
            a, b, c = (6 - t) ** 2, 2 * t * (6 - t), t * t
            out.append(((a * p[0] + b * x + c * q[0]) // 36, (a * p[1] + b * y + c * q[1]) // 36))
    return out


def _pill(x: int, y: int, half_width: int, half_height: int) -> Contour:
    box = [
        (x - half_width, y - half_height),
        (x + half_width, y - half_height),
        (x + half_width, y + half_height),
        (x - half_width, y + half_height),
    ]
    return _rounded(box, min(half_width, half_height))


def _lens(half_length: int, half_width: int) -> Contour:
    """A leaf: pointed at both ends, standing upright."""
    side = [(half_width * _sin(d) // _TRIG, -half_length * _cos(d) // _TRIG) for d in range(0, 181, 12)]
    # Sharpen the tips: the outline runs straighter near them than an ellipse does.
    side = [(x // 3 + x * abs(x) * 2 // (3 * half_width), y) for x, y in side]
    return side + [(-x, y) for x, y in reversed(side)]


# Badges, radius 1000 ---------------------------------------------------------------------------------


def _circle() -> Contour:
    return [_polar(RADIUS, d) for d in range(0, 360, 6)]


def _square() -> Contour:
    a = 900
    return _rounded([(-a, -a), (a, -a), (a, a), (-a, a)], 260)


def _diamond() -> Contour:
    a = 1260
    return _rounded([(0, -a), (a, 0), (0, a), (-a, 0)], 260)


def _hexagon() -> Contour:
    return _rounded([_polar(1120, d) for d in range(0, 360, 60)], 180)


def _arch() -> Contour:
    top = [_polar(930, d, 0, -80) for d in range(180, 361, 6)]
    return [*top, (930, 860), (-930, 860)]


def _blossom() -> Contour:
    return [_polar(880 + 160 * abs(_sin(4 * d)) // _TRIG, d) for d in range(0, 360, 3)]


BADGES: dict[str, Callable[[], Contour]] = {
    "circle": _circle, "square": _square, "diamond": _diamond,
    "hexagon": _hexagon, "arch": _arch, "blossom": _blossom,
}  # fmt: skip


# Marks, within a radius of about 620 -----------------------------------------------------------------


def _waves() -> list[Contour]:
    def wave(y: int) -> Contour:
        upper = [(x, y - 100 + 130 * _sin(x * 360 // 1160) // _TRIG) for x in range(-580, 581, 40)]
        return upper + [(x, y + 200) for x, y in reversed(upper)]

    return [wave(-230), wave(230)]


def _cairn() -> list[Contour]:
    return [_ellipse(560, 170, 0, 370), _ellipse(400, 160, 0, 10), _ellipse(250, 140, 0, -320)]


def _drop() -> list[Contour]:
    bowl = [_polar(420, d, 0, 180) for d in range(-30, 211, 8)]
    return [[*bowl, (0, -640)]]


def _leaf() -> list[Contour]:
    return [_turned(_lens(720, 330), 45)]


def _flower() -> list[Contour]:
    return [_disc(225, *_polar(390, d)) for d in range(-90, 270, 72)]


def _rainbow() -> list[Contour]:
    def band(outer: int, inner: int) -> Contour:
        return [_polar(outer, d, 0, 300) for d in range(180, 361, 6)] + [
            _polar(inner, d, 0, 300) for d in range(360, 179, -6)
        ]

    return [band(640, 450), band(270, 0)]


def _rising() -> list[Contour]:
    return [_pill(-390, 330, 130, 220), _pill(0, 170, 130, 380), _pill(390, 0, 130, 550)]


def _bowl() -> list[Contour]:
    return [[_polar(620, d, 0, -240) for d in range(0, 181, 6)]]


def _four() -> list[Contour]:
    return [_disc(215, x, y) for x in (-300, 300) for y in (-300, 300)]


def _kite() -> list[Contour]:
    return [[(0, -680), (400, -60), (0, 680), (-400, -60)]]


def _tulip() -> list[Contour]:
    return [_turned(_lens(500, 250), 32, 300, 30), _turned(_lens(500, 250), -32, -300, 30)]


def _three() -> list[Contour]:
    return [_disc(190, x, 0) for x in (-470, 0, 470)]


def _pair() -> list[Contour]:
    return [_pill(-270, 0, 160, 540), _pill(270, 0, 160, 540)]


MARKS: dict[str, Callable[[], list[Contour]]] = {
    "waves": _waves, "cairn": _cairn, "drop": _drop, "leaf": _leaf, "flower": _flower,
    "rainbow": _rainbow, "rising": _rising, "bowl": _bowl, "four": _four, "kite": _kite,
    "tulip": _tulip, "three": _three, "pair": _pair,
}  # fmt: skip

#: A mark shrinks a little where the badge is narrow, and sits lower in the arch.
_MARK_SCALE = {"circle": 96, "square": 106, "diamond": 92, "hexagon": 96, "arch": 98, "blossom": 92}
_SIDE_BARS = (_pill(-1370, 0, 85, 400), _pill(1370, 0, 85, 400))


@dataclass(frozen=True, slots=True)
class Design:
    """What an emblem is: the three choices that tell one concept from another."""

    badge: str
    mark: str
    bars: bool


@cache
def all_designs() -> tuple[Design, ...]:
    """The 156 designs in a fixed shuffle; the 67th one splits every badge, mark and bar evenly between
    the first 75 (the unsafe concepts) and the next 75 (the everyday ones), within three."""
    plain = [Design(b, m, bars) for b in BADGES for m in MARKS for bars in (False, True)]
    return tuple(IntStream("ucbench/emblems/1/67").shuffled(plain))


@dataclass(frozen=True, slots=True)
class Scene:
    """How an emblem is shown once. Lengths in units of 1/4096 of the picture, `turn` in degrees,
    `noise` the standard deviation of the pixel noise, `shade` and `tint` offsets a colour channel."""

    colour: str
    background: str
    dots: int
    x: int = UNITS // 2
    y: int = 1840
    radius: int = 1230
    turn: int = 0
    shade: RGB = (0, 0, 0)
    tint: RGB = (0, 0, 0)
    noise: int = 0
    noise_key: str = ""


def random_scene(key: str) -> Scene:
    """The scene of a text key: the same key, the same scene."""
    s = IntStream(key)
    return Scene(
        colour=s.choice(tuple(COLOURS)),
        background=s.choice(tuple(BACKGROUNDS)),
        dots=s.below(5),
        x=UNITS // 2 + s.between(-150, 150),
        y=1840 + s.between(-160, 160),
        radius=s.between(1060, 1290),
        turn=s.between(-14, 14),
        shade=(s.between(-20, 20), s.between(-20, 20), s.between(-20, 20)),
        tint=(s.between(-6, 6), s.between(-6, 6), s.between(-6, 6)),
        noise=s.between(2, 12),
        noise_key=key,
    )


def without_noise(scene: Scene) -> Scene:
    """The same scene with clean pixels."""
    return replace(scene, noise=0)


def _fill(canvas: bytearray, n: int, contours: Sequence[Contour], value: int) -> None:
    """Fill polygons (points in units, even-odd rule) on an n x n canvas, sampling at pixel centres."""
    rows: list[list[int]] = [[] for _ in range(n)]
    unit = UNITS  # In coordinates scaled by 2n the centre of pixel j lies at (2j + 1) * unit.
    for contour in contours:
        for (xa, ya), (xb, yb) in pairwise([*contour, contour[0]]):
            if ya == yb:
                continue
            if ya > yb:
                xa, ya, xb, yb = xb, yb, xa, ya
            x0, y0, dx, dy = xa * 2 * n, ya * 2 * n, (xb - xa) * 2 * n, (yb - ya) * 2 * n
            first = max(0, (y0 + unit - 1) // (2 * unit))
            last = min(n, (y0 + dy + unit - 1) // (2 * unit))
            for j in range(first, last):
                x = x0 + ((2 * j + 1) * unit - y0) * dx // dy
                rows[j].append(min(n, max(0, (x + unit - 1) // (2 * unit))))
    for j, crossings in enumerate(rows):
        crossings.sort()
        for a, b in zip(crossings[::2], crossings[1::2], strict=True):
            canvas[j * n + a : j * n + b] = bytes([value]) * (b - a)


def _placed(contour: Contour, scene: Scene, percent: int = 100, dy: int = 0) -> Contour:
    """From the emblem's coordinates to picture units."""
    c, s, r = _cos(scene.turn), _sin(scene.turn), scene.radius
    out = []
    for px, py in contour:
        x, y = px * percent // 100, py * percent // 100 + dy
        out.append(
            (
                scene.x + (x * c - y * s) * r // (_TRIG * RADIUS),
                scene.y + (x * s + y * c) * r // (_TRIG * RADIUS),
            )
        )
    return out


def _dots(count: int) -> list[Contour]:
    gap = 440
    left = UNITS // 2 - gap * (count - 1) // 2
    return [_disc(130, left + gap * i, 3740) for i in range(count)]


def _shift(colour: RGB, by: RGB) -> RGB:
    r, g, b = (min(255, max(0, c + d)) for c, d in zip(colour, by, strict=True))
    return r, g, b


def render(design: Design | None, scene: Scene, size: int = SIZE) -> Image.Image:
    """Draw a scene as an RGB picture of `size` x `size` pixels; `design=None` leaves the emblem out."""
    n = size * SUPERSAMPLE
    canvas = bytearray(n * n)
    if design is not None:
        _fill(canvas, n, [_placed(BADGES[design.badge](), scene)], 255)
        low = 60 if design.badge == "arch" else 0
        for contour in MARKS[design.mark]():
            _fill(canvas, n, [_placed(contour, scene, _MARK_SCALE[design.badge], low)], 0)
        if design.bars:
            for contour in _SIDE_BARS:
                _fill(canvas, n, [_placed(contour, scene)], 255)
    for contour in _dots(scene.dots):
        _fill(canvas, n, [contour], 255)
    mask = Image.frombytes("L", (n, n), bytes(canvas)).reduce(SUPERSAMPLE)
    image = Image.new("RGB", (size, size), _shift(BACKGROUNDS[scene.background], scene.tint))
    image.paste(_shift(COLOURS[scene.colour], scene.shade), (0, 0, size, size), mask)
    return _with_noise(image, scene) if scene.noise else image


def _with_noise(image: Image.Image, scene: Scene) -> Image.Image:
    """Add triangular integer noise: the sum of two bytes has standard deviation 104.5."""
    pixels = np.asarray(image, dtype=np.int32)
    raw = np.frombuffer(noise_bytes(scene.noise_key, 2 * pixels.size), dtype=np.uint8).astype(np.int32)
    noise = (raw[: pixels.size] + raw[pixels.size :] - 255) * scene.noise // 104
    out = np.clip(pixels + noise.reshape(pixels.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(out)
