"""The VLM protocol: what the evaluation asks of a model, wherever that model runs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ucbench.record import Entry, Usage
from ucbench.types import Answer, Question, Sample


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that are asked together, and written together.

    `items` pairs each sample with one of its questions. Batches of one `group` share image work, so
    one process takes a whole group. The plan depends on samples, questions and batch size alone:
    a resumed run and a run on more processes meet the same batches.
    """

    index: int
    group: int
    items: tuple[tuple[Sample, Question], ...]


class OutOfMemoryError(Exception):
    """A batch did not fit; the caller halves it."""


class VLM(Protocol):
    """A model that answers questions about images."""

    @property
    def entry(self) -> Entry:
        """Model, revision, dtype and decoding: the identity of its answers."""
        ...

    @property
    def engine_path(self) -> str:
        """Which path answers: shared_prefix, shared_vision, batched, one_at_a_time, endpoint or saved."""
        ...

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        """Cut the questions of all samples into batches of at most `batch_size`."""
        ...

    def answer(self, batch: Batch) -> list[Answer]:
        """Answer a batch, in its order. Raises `OutOfMemoryError`; a bad image is a typed answer."""
        ...


@runtime_checkable
class StreamingVLM(VLM, Protocol):
    """A model that answers many questions at a time, each when it is done: one that others serve.

    The evaluation takes its answers as they come, so that a slow one holds up no other.
    """

    @property
    def notes(self) -> tuple[str, ...]:
        """How it was asked, for the record; no secrets."""
        ...

    def answer_stream(self, items: Sequence[tuple[Sample, Question]]) -> Generator[list[Answer], None, None]:
        """Yield the answers that have come since, in any order, until every question has its one.

        Closing it stops what is under way. Raises `UcbenchError` when nothing more can be asked.
        """
        ...

    def usage(self, input_tokens: int, output_tokens: int, thinking_tokens: int) -> Usage:
        """The tokens of all answers of a run with what they cost."""
        ...
