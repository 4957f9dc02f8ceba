"""Tracks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.tracks.base import Track
from ucbench.tracks.sources import Sources, option


@dataclass(frozen=True, slots=True)
class Row:
    """A track that can be loaded.

    `make` reads no data; `takes` names the fields of `Sources` that it uses. `needs_data` says that its
    pictures come from files or the Hub: then `version` and `samples` look for them, and only they do.
    """

    make: Callable[[Sources], Track]
    summary: str
    takes: frozenset[str] = frozenset()
    needs_data: bool = True


def _pictograms(_sources: Sources) -> Track:
    from ucbench.tracks.pictograms import Pictograms

    return Pictograms()


_TRACKS: dict[str, Row] = {
    "pictograms": Row(_pictograms, "abstract emblems, drawn here", needs_data=False),
}


def names() -> list[str]:
    """The known tracks, in the order they are shown."""
    return list(_TRACKS)


def row(name: str) -> Row:
    """What is known of a track without loading it. Raises `UnknownNameError`."""
    try:
        return _TRACKS[name]
    except KeyError:
        raise UnknownNameError(f"unknown track {name!r}; known tracks: {', '.join(names())}") from None


def load(name: str, sources: Sources | None = None) -> Track:
    """The track of that name over the given data.

    Nothing is opened yet, and `id`, `splits`, `concepts`, `categories` and `subsets` never need the data:
    stored answers can be judged and scored without it. Raises `UnknownNameError`, or `UcbenchError` for a
    source that the track has no use for.
    """
    known = row(name)
    sources = sources or Sources()
    unused = [field for field in sources.given() if field not in known.takes]
    if unused:
        takes = ", ".join(option(field) for field in sorted(known.takes)) or "no such option"
        raise UcbenchError(
            f"track {name} has no use for {option(unused[0])}; leave it out (it takes {takes})"
        )
    return known.make(sources)
