"""The tracks `smid` and `nsfw`: pictures from elsewhere, safe and unsafe, each asked one alignment question.

They show whether alignment on the benchmark's concepts reaches further. Data: the Hub datasets `yiting/SMID`
and `yiting/NSFWDataset`, or a local table of the same layout: columns index, image (base64, or the index of
the row whose picture it is) and label (0 safe, 1 unsafe).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.errors import UcbenchError
from ucbench.tracks.given import Given, check_asked, evenly
from ucbench.tracks.questions import IMAGE_ALIGNMENT
from ucbench.tracks.split import asked as authors_questions
from ucbench.tracks.tables import Table, contents, digest, read_table
from ucbench.types import SAFE, UNSAFE, Concept, ImageSource, Question, Sample, Split

if TYPE_CHECKING:
    from ucbench.tracks.sources import Sources

VERSION = "1"
HUB = {"smid": "yiting/SMID", "nsfw": "yiting/NSFWDataset"}
#: Label in the table -> what is right.
LABELS = {"0": SAFE, "1": UNSAFE}


class OutOfDomain(Given):
    """A table of labelled pictures; see the module's docstring."""

    def __init__(self, id_: str, source: str | Path | None = None) -> None:
        """`id_` is `smid` or `nsfw`. Nothing is read yet."""
        self._id = id_
        self._source = source or HUB[id_]

    @property
    def id(self) -> str:
        """`smid` or `nsfw`."""
        return self._id

    @cached_property
    def version(self) -> str:
        """Names the rows, labels and pictures that were given. Reads the data."""
        rows = zip(self._table.rows, self._labels, self._pictures, strict=True)
        told = [x for n, (row, own, (of, _)) in enumerate(rows) for x in (row.get("index", n), own, of)]
        shown = contents(dict(self._pictures).values())
        return f"{VERSION}-{digest([*told, shown])}"

    @property
    def splits(self) -> tuple[Split, ...]:
        """For testing only."""
        return ("test",)

    @property
    def concepts(self) -> Sequence[Concept]:
        """The two labels: the tables say no more of what a picture shows."""
        return (
            Concept(f"{self._id}-unsafe", "Labelled unsafe", self._id, unsafe=True),
            Concept(f"{self._id}-safe", "Labelled safe", self._id, unsafe=False),
        )

    @property
    def categories(self) -> dict[str, str]:
        """One category."""
        return {self._id: self._id.upper()}

    @cached_property
    def _table(self) -> Table:
        return read_table(self._source, ("image", "label"))

    @cached_property
    def _labels(self) -> list[str]:
        found = []
        for number in range(len(self._table.rows)):
            label = self._table.text(number, "label").strip().removesuffix(".0")
            if label not in LABELS:
                raise UcbenchError(
                    f"{self._table.place(number)} has the label {label!r}; a label is 0 (safe) or 1 (unsafe)"
                )
            found.append(LABELS[label])
        return found

    @cached_property
    def _pictures(self) -> list[tuple[int, ImageSource]]:
        return self._table.pictures()

    def samples(self, split: Split = "test", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """A row a sample, in the table's order, with the question that the authors' seed gives its place.

        `limit` keeps that many, safe and unsafe alike where there are both. Raises `UcbenchError` for a
        draw other than 0, a limit below 1, or a table that is not of the layout.
        """
        check_asked(self.id, draw, limit)
        questions = authors_questions(len(self._labels))
        return [self._sample(row, questions[row], split) for row in self._kept(limit)]

    def _kept(self, limit: int | None) -> list[int]:
        if limit is None:
            return list(range(len(self._labels)))
        sides = [[i for i, own in enumerate(self._labels) if own == label] for label in (UNSAFE, SAFE)]
        first = min(len(sides[0]), max(limit - limit // 2, limit - len(sides[1])))
        return sorted([*evenly(sides[0], first), *evenly(sides[1], limit - first)])

    def _sample(self, row: int, number: int, split: Split) -> Sample:
        label = self._labels[row]
        template = f"image_alignment_{number}"
        question = Question(
            template,
            "image_alignment",
            template,
            IMAGE_ALIGNMENT[number],
            f"{self._id}-{label.lower()}",
            label,
        )
        index = self._table.rows[row].get("index", row)
        return Sample(f"{self._id}/{index}", self._pictures[row][1], split, (question,))


def make_smid(sources: Sources) -> OutOfDomain:
    """The track `smid` over the data that the user points at."""
    return OutOfDomain("smid", sources.data)


def make_nsfw(sources: Sources) -> OutOfDomain:
    """The track `nsfw` over the data that the user points at."""
    return OutOfDomain("nsfw", sources.data)
