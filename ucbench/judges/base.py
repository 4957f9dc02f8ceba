"""What a judge is: a reader of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ucbench.record import JudgeRef
from ucbench.types import Kind, Verdict


@dataclass(frozen=True, slots=True)
class Item:
    """An answer beside what was asked; what a judge needs and nothing more.

    `expected` is only looked at for `general` questions, whose right answer is an open word, and with
    `context` for `rated` ones. `guard` names the guard that the answer comes from; no judge is shown those,
    see judges/guard.py.
    """

    sample_id: str
    question_id: str
    kind: Kind
    prompt: str
    text: str
    expected: str
    options: tuple[str, ...] = ()
    context: str = ""
    guard: str = ""


class Judge(Protocol):
    """Maps free text to labels."""

    @property
    def id(self) -> str:
        """Name and version, e.g. `rules-1`; the file name of its judgements."""
        ...

    @property
    def name(self) -> str:
        """The word of `--judge`."""
        ...

    @property
    def digest(self) -> str | None:
        """Hash of the judge's weights, when it has any."""
        ...

    def judge(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict an item, in order."""
        ...


def reference(judge: Judge) -> JudgeRef:
    """How a record names a judge; with its `revision` where it came from the Hub."""
    revision: str | None = getattr(judge, "revision", None)
    return JudgeRef(id=judge.id, name=judge.name, digest=judge.digest, revision=revision)
