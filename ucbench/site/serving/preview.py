"""The picture that stands for the site where a link to it is shared: image against text, model by model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ucbench.errors import StoreError
from ucbench.format import absent, fraction
from ucbench.site.leaderboard.parts import TITLE
from ucbench.site.theme import WORDMARK_COLOURS

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

SIZE = (1200, 630)
#: So many models are shown, and so many letters of a name.
MOST, LETTERS = 4, 34
_LEFT, _RIGHT, _TOP, _STEP = 520, 1120, 300, 74


@dataclass(frozen=True, slots=True)
class Line:
    """A model, and its image and text alignment."""

    name: str
    image: float
    text: float


def draw(lines: Sequence[Line]) -> bytes:
    """A PNG of 1200 x 630 pixels."""
    from PIL import Image, ImageDraw, ImageFont

    ink, image, text = WORDMARK_COLOURS["light"]
    grey, rule = "#5C626D", "#E2E0DB"
    picture = Image.new("RGB", SIZE, "#FFFFFF")
    pen = ImageDraw.Draw(picture)

    def write(place: tuple[float, float], words: str, size: int, colour: str, anchor: str = "lm") -> None:
        pen.text(place, words, fill=colour, font=ImageFont.load_default(size), anchor=anchor)

    def marks(y: float, left: float, right: float, size: int) -> None:
        pen.line((left, y, right, y), fill=grey, width=max(4, size // 4))
        for x, colour, shape in ((left, image, pen.ellipse), (right, text, pen.rectangle)):
            shape((x - size, y - size, x + size, y + size), fill=colour)

    marks(96, 100, 160, 17)
    write((204, 96), "ucbench", 52, ink)
    write((80, 196), TITLE, 54, ink)
    for place, line in enumerate(lines[:MOST]):
        y = _TOP + place * _STEP
        name = line.name if len(line.name) <= LETTERS else f"{line.name[: LETTERS - 1]}…"
        write((80, y), name, 26, ink)
        pen.line((_LEFT, y, _RIGHT, y), fill=rule, width=2)
        left, right = (_LEFT + value * (_RIGHT - _LEFT) for value in (line.image, line.text))
        marks(y, left, right, 11)
        write((left, y - 28), fraction(line.image), 22, image, "mm")
        # Beside one another where there is room, else the second one below.
        away = -28 if abs(right - left) > 60 else 28
        write((right, y + away), fraction(line.text), 22, text, "mm")
    write((80, 592), "Vision-language models on 75 unsafe concepts:", 24, grey)
    write((620, 592), "as an image", 24, image)
    write((760, 592), "and", 24, grey)
    write((816, 592), "in words", 24, text)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


@lru_cache(maxsize=2)
def _of_board(_digest: str) -> bytes:
    """Keyed by the board's digest."""
    from ucbench.site.columns import ordered
    from ucbench.site.data import loading
    from ucbench.site.figures.tables import name
    from ucbench.site.shared import ALWAYS

    keys = ("image_alignment", "text_alignment")
    # The first row of a model speaks for it.
    lines: dict[str, Line] = {}
    for row in ordered(loading.board().of_track(ALWAYS[0]), "balanced_accuracy"):
        if not any(absent(row.get(key)) for key in keys):
            lines.setdefault(name(row), Line(name(row), *(float(row[key]) for key in keys)))
        if len(lines) == MOST:
            break
    return draw(list(lines.values()))


def preview(_: Request) -> Response:
    """`GET /preview.png`; the name and the question alone where there is no board."""
    from starlette.responses import Response

    from ucbench.site.data import loading

    try:
        png = _of_board(loading.board().digest)
    except StoreError:
        png = draw(())
    return Response(png, media_type="image/png", headers={"Cache-Control": "public, max-age=3600"})
