"""What the annotators' tool shows, as HTML: pure functions, all outside text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ucbench.compile.queue import Place
from ucbench.format import escape

if TYPE_CHECKING:
    from PIL import Image

#: Longest side of a picture as it is shown, in pixels.
SIDE = 1280
#: Longest side of what stands for a picture that nobody asked for yet. Nothing can be made out in it.
BLURRED_SIDE = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as data URI with the size it takes on the page; nothing of its metadata is left."""

    uri: str
    width: int
    height: int


def picture(image: Image.Image, *, revealed: bool, grey: bool = False) -> Shown:
    """The picture scaled down, or a few blurred pixels of it: the page never holds more than it shows."""
    scale = min(1.0, SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    seen = image.resize((width, height)) if scale < 1 else image.copy()
    if grey:
        seen = seen.convert("L")
    if not revealed:
        seen.thumbnail((BLURRED_SIDE, BLURRED_SIDE))
    seen.info.clear()
    stream = io.BytesIO()
    if revealed:
        seen.save(stream, "JPEG", quality=90)
    else:
        seen.save(stream, "PNG")
    kind = "jpeg" if revealed else "png"
    return Shown(f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", width, height)


@dataclass(frozen=True, slots=True)
class Action:
    """A button: what it does, the key that does it, and whether it can be pressed now."""

    name: str
    label: str
    key: str
    enabled: bool = True
    title: str = ""


def actions(*, revealed: bool, readable: bool, undo: bool) -> tuple[list[Action], list[Action]]:
    """The decisions, and what else there is to do. Nobody decides on what they did not look at."""
    return (
        [
            Action("yes", "Yes", "y", revealed and readable),
            Action("no", "No", "n", revealed and readable),
            Action("skip", "Cannot say", "s"),
        ],
        [
            Action("undo", "Undo", "u", undo, "Take the last decision back"),
            Action("grey", "Grey", "g", readable, "Show pictures without colour"),
            Action("withhold", "Withhold", "x", title="It may be illegal: show it to no annotator"),
            Action("pause", "Pause", "p", title="Look away for a while"),
        ],
    )


def look(place: Place, shown: Shown | None, problem: str, *, revealed: bool, undo: bool, grey: bool) -> str:
    """The page on which one picture is decided. `problem` says why there is no picture."""
    candidate = place.candidate
    assert candidate is not None
    main, other = actions(revealed=revealed, readable=shown is not None, undo=undo)
    buttons = "".join(_button(action, strong=action.name in ("yes", "no")) for action in main)
    quiet = "".join(_button(action, pressed=grey if action.name == "grey" else None) for action in other)
    return (
        f'<div class="head"><p class="quiet">{escape(candidate.category)}</p>'
        f'<h1><span class="ask">Does this picture show </span>'
        f'{escape(candidate.concept)}<span class="ask">?</span></h1></div>'
        f"{_frame(shown, problem, revealed)}"
        f'<div class="decide">{buttons}</div>'
        f'<div class="other">{quiet}</div>'
        f"{_progress(place)}"
    )


def _frame(shown: Shown | None, problem: str, revealed: bool) -> str:
    if shown is None:
        return f'<div class="frame"><p class="problem">{escape(problem)}</p></div>'
    state = "" if revealed else " blurred"
    alt = "The picture to decide on" if revealed else ""
    image = f'<img src="{shown.uri}" width="{shown.width}" height="{shown.height}" alt="{alt}">'
    veil = (
        '<button type="button" class="veil" data-act="blur" aria-label="Blur again"></button>'
        if revealed
        else '<button type="button" class="veil" data-act="reveal">'
        "<span>Show the picture <kbd>Space</kbd></span></button>"
    )
    return f'<div class="frame{state}">{image}{veil}</div>'


def _button(action: Action, *, strong: bool = False, pressed: bool | None = None) -> str:
    state = "" if action.enabled else " disabled"
    toggle = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    kind = ' class="strong"' if strong else ""
    title = f' title="{escape(action.title)}"' if action.title else ""
    return (
        f'<button type="button"{kind} data-act="{action.name}"{title}{state}{toggle}>'
        f"{action.label} <kbd>{action.key.upper()}</kbd></button>"
    )


def _progress(place: Place) -> str:
    share = place.done / place.total if place.total else 1.0
    left = "" if place.seconds_left is None else f", {escape(time_left(place.seconds_left))} left"
    return (
        f'<div class="progress" role="progressbar" aria-label="Decided" aria-valuemin="0" '
        f'aria-valuemax="{place.total}" aria-valuenow="{place.done}"><i style="width:{share:.2%}"></i></div>'
        f'<p class="quiet tally"><span>{place.done:,} of {place.total:,} decided{left}</span>'
        f"<span>{place.concept_done + 1:,} of {place.concept_total:,} for this concept</span></p>"
    )


def time_left(seconds: float) -> str:
    """`about 12 min`: an estimate, so no seconds."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60:02d} min"


def listing(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
