"""Tracks by name."""

from __future__ import annotations

from collections.abc import Callable

from ucbench.errors import UnknownNameError
from ucbench.tracks.base import Track


def _pictograms() -> Track:
    from ucbench.tracks.pictograms import Pictograms

    return Pictograms()


_TRACKS: dict[str, Callable[[], Track]] = {"pictograms": _pictograms}


def names() -> list[str]:
    """The known tracks, in the order they are shown."""
    return list(_TRACKS)


def load(name: str) -> Track:
    """The track of that name. Raises `UnknownNameError`."""
    try:
        return _TRACKS[name]()
    except KeyError:
        raise UnknownNameError(f"unknown track {name!r}; known tracks: {', '.join(names())}") from None
