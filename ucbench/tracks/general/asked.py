"""What tracks of given questions about given pictures share: a table of questions, several a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ucbench.errors import AccessError
from ucbench.tracks.given import Given, check_asked, evenly
from ucbench.tracks.tables import contents, digest
from ucbench.types import Concept, ImageSource, Sample, Split


class Row(Protocol):
    """A question: its category, its picture, and what else a track needs."""

    @property
    def category(self) -> str: ...  # noqa: D102

    @property
    def image(self) -> ImageSource: ...  # noqa: D102


Q = TypeVar("Q", bound=Row)


class AskedOfPictures(Given, ABC, Generic[Q]):
    """A track over the questions at `source`; nothing is read before they are needed."""

    id: str
    #: As its makers write it.
    name: str
    #: Raised when what is asked, or what is right, changes for the same data.
    revision = "1"

    def __init__(self, source: str | Path | None = None) -> None:
        self._source = source

    @abstractmethod
    def read(self, source: str | Path) -> list[Q]:
        """The questions in their order. Raises `UcbenchError` for data that is not of the layout."""

    @abstractmethod
    def told(self, question: Q) -> tuple[str, ...]:
        """All words of a question, which its version names."""

    @abstractmethod
    def picture(self, question: Q) -> Hashable:
        """What tells its sample from the others: questions of one sample are asked of one picture."""

    @abstractmethod
    def concept(self, category: str) -> Concept:
        """The concept that stands for a category of the data."""

    @abstractmethod
    def sample(self, questions: Sequence[Q], split: Split) -> Sample:
        """One picture with its questions."""

    @cached_property
    def version(self) -> str:
        """Names the questions and pictures that were given. Reads the data."""
        told = [part for question in self._questions for part in self.told(question)]
        shown = contents({self.picture(question): question.image for question in self._questions}.values())
        return f"{self.revision}-{digest([*told, shown])}"

    @property
    def splits(self) -> tuple[Split, ...]:
        """For testing only."""
        return ("test",)

    @property
    def concepts(self) -> Sequence[Concept]:
        """The categories of the data, in its order. Reads the data."""
        return tuple(dict.fromkeys(self.concept(question.category) for question in self._questions))

    @cached_property
    def _questions(self) -> list[Q]:
        if self._source is None:
            raise AccessError(
                f"{self.name} is not in a place that can be downloaded from here; give its TSV or its folder "
                "with --data"
            )
        return self.read(self._source)

    def samples(self, split: Split = "test", draw: int = 0, limit: int | None = None) -> list[Sample]:
        """A picture a sample with all its questions, in the order of the data.

        `limit` keeps that many pictures at even distances. Raises `UcbenchError` for a draw other than 0, a
        limit below 1, or data that is not of the layout, `AccessError` when there is none.
        """
        check_asked(self.id, draw, limit)
        by_picture: dict[Hashable, list[Q]] = {}
        for question in self._questions:
            by_picture.setdefault(self.picture(question), []).append(question)
        groups = list(by_picture.values())
        return [self.sample(groups[i], split) for i in evenly(range(len(groups)), limit)]
