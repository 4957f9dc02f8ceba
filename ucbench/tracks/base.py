"""What a track is: a named, versioned set of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ucbench.types import Concept, Sample, Split


class Track(Protocol):
    """The contract every track fulfils.

    Some have more to say. `pictures_of`: the id of the track whose pictures they ask other questions about.
    `parts`: id -> version of tracks whose samples are among theirs. `notice`: a sentence that belongs on the
    record and before the user's eyes, or None.
    """

    @property
    def id(self) -> str:
        """The word of `--track` and of every record."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever a question, an image or an expected label changes."""
        ...

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits there are; the first is what an untrained entry is measured on."""
        ...

    @property
    def concepts(self) -> Sequence[Concept]:
        """All concepts that questions of this track are about, unsafe first."""
        ...

    @property
    def categories(self) -> dict[str, str]:
        """Category id -> name for people, in display order."""
        ...

    @property
    def subsets(self) -> dict[str, frozenset[str]]:
        """Named sets of concept ids that are scored apart as well, e.g. `held_out`."""
        ...

    @property
    def fresh_draws(self) -> bool:
        """Whether draws above 0 exist, each of them fresh pictures of the same kind."""
        ...

    def samples(self, split: Split = "test", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """All samples of a split in a fixed order; `limit` keeps that many, spread over the concepts."""
        ...
