"""Ranks of the board: what is read for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ucbench import board
from ucbench.joined import Joined

if TYPE_CHECKING:
    import pandas as pd


def test_each_run_is_read_once_for_all_ranks(scripted_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    frame = Joined.frame

    def counted(row: Joined) -> pd.DataFrame:
        read[row.lead.record.run_id] += 1
        return frame(row)

    monkeypatch.setattr(Joined, "frame", counted)
    made = board.assemble([scripted_store])
    assert made.ranks is not None
    assert set(read) == set(made.ranks["run_id"])
    assert set(read.values()) == {1}
    assert made.rows["rank_low"].notna().any()
    assert made.ranks["rank_low"].notna().any()
