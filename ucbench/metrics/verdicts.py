"""Answers of guards: one verdict may stand for several questions, and is one answer all the same."""

from __future__ import annotations

from typing import Any

import pandas as pd

#: What a verdict is about; all questions of a kind about it share the verdict.
_ABOUT = ["sample_id", "concept_id", "kind"]


def by_guard(frame: pd.DataFrame) -> pd.Series[Any]:
    """Whether a row is a guard's verdict (column `guard`, which other runs lack)."""
    if "guard" not in frame:
        return pd.Series(False, index=frame.index)
    return frame["guard"].notna() & (frame["guard"] != "")


def counted_once(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the first row of each verdict of a guard; all rows of other models."""
    again = by_guard(frame) & frame.duplicated(_ABOUT)
    return frame[~again] if again.any() else frame


def n_verdicts(frame: pd.DataFrame) -> int | None:
    """How many verdicts of a guard there are; None for a model that is none."""
    mine = by_guard(frame)
    return len(counted_once(frame[mine])) if mine.any() else None
