"""Suites: the named sets of tracks that a row of the board is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suite:
    """Tracks whose runs of one entry make one row; the first leads it.

    `version` changes whenever the tracks do, or how their runs are joined.
    """

    id: str
    version: str
    tracks: tuple[str, ...]


SUITES = (
    Suite("official", "1", ("unsafeconcepts", "safe", "mme", "llavabench")),
    Suite("pictograms", "1", ("pictograms",)),
)


def suite_of(track: str) -> Suite:
    """The suite that a track belongs to; a track of no suite is one by itself."""
    return next((suite for suite in SUITES if track in suite.tracks), Suite(track, "1", (track,)))
