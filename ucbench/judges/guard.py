"""The verdicts of guards: read in each guard's own format, whatever judge reads the answers of other models.

A guard's answer is a label already. A judge that was made for sentences could only read it wrong, and rows of
guards and of other models are compared under one judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.errors import UnknownNameError
from ucbench.judges.base import Item, Judge
from ucbench.types import NA, Verdict


def judge_items(judge: Judge, items: Sequence[Item]) -> list[Verdict]:
    """One verdict an item, in order: `judge`'s, or the guard's own, whose `how` begins with `guard:`."""
    others = iter(judge.judge([item for item in items if not item.guard]))
    return [read(item, judge.id) if item.guard else next(others) for item in items]


def read(item: Item, judge_id: str) -> Verdict:
    """The verdict in a guard's answer; N/A where it is not in the guard's format."""
    from ucbench.models import guards

    try:
        label, how = guards.of_identity(item.guard).read(item.text)
    except UnknownNameError:
        label, how = NA, "unknown_guard"
    return Verdict(item.sample_id, item.question_id, label, f"guard:{how}", judge_id)
