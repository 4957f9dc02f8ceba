"""The scores that the board shows in a column each; sorting and filtering its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ucbench.format import absent, model_name
from ucbench.metrics.keys import KEYS, Better

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A score as a column, and whether it is about image or text."""

    key: str
    about: Literal["image", "text"] | None = None

    @property
    def head(self) -> str:
        """The score's name for people."""
        return KEYS[self.key].title

    @property
    def help(self) -> str:
        """What the score says."""
        return KEYS[self.key].definition

    @property
    def better(self) -> Better:
        """Which way the score gets better."""
        return KEYS[self.key].better

    @property
    def signed(self) -> bool:
        """Whether the score is a gap and shows its sign."""
        return KEYS[self.key].signed


COLUMNS = (
    Column("balanced_accuracy"),
    Column("perception"),
    Column("image_alignment", "image"),
    Column("text_alignment", "text"),
    Column("modality_gap"),
    Column("recognised_called_safe"),
    Column("over_refusal"),
    Column("general_ability"),
    Column("diversity"),
)
BY_KEY = {column.key: column for column in COLUMNS}


def filled(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns in which at least one row has a figure or a range."""
    return tuple(
        column
        for column in COLUMNS
        if any(not absent(row.get(column.key)) or not absent(row.get(f"{column.key}_low")) for row in rows)
    )


def ordered(rows: Sequence[Row], key: str, *, reverse: bool = False) -> list[Row]:
    """Rows by a score, the better first, worse first with `reverse`; ranked rows stay on top.

    A row without the score comes last; one with a reported range comes before those, by its middle.
    Names break ties, so that the order is the same every time.
    """
    better = BY_KEY[key].better
    sign = 1.0 if (better == "higher") == reverse else -1.0

    def place(row: Row) -> tuple[bool, int, float, str, str]:
        value, low, high = (row.get(f"{key}{part}") for part in ("", "_low", "_high"))
        kind, number = 2, 0.0
        if not absent(value):
            kind, number = 0, float(value)  # type: ignore[arg-type]
        elif not absent(low) and not absent(high):
            kind, number = 1, (float(low) + float(high)) / 2  # type: ignore[arg-type]
        if better == "zero":
            number = abs(number)
        unranked = absent(row.get("rank_low"))
        return unranked, kind, sign * number, str(row["model"]).casefold(), str(row["run_id"])

    return sorted(rows, key=place)


def select(
    rows: Sequence[Row], *, search: str = "", provenance: Sequence[str] = (), min_coverage: float = 0.0
) -> list[Row]:
    """Rows whose name holds every word of `search`, of one of the provenances, with enough coverage.

    A row that states no coverage is kept only when none is demanded.
    """
    words = search.casefold().split()
    kept = []
    for row in rows:
        adapter = row.get("adapter")
        # As it is shown, and in full.
        name = f"{model_name(row['model'], adapter)} {'' if absent(adapter) else adapter}"
        coverage = row.get("image_alignment_coverage")
        if not all(word in name.casefold() for word in words):
            continue
        if provenance and row["provenance"] not in provenance:
            continue
        if min_coverage > 0 and (absent(coverage) or float(coverage) < min_coverage):  # type: ignore[arg-type]
            continue
        kept.append(row)
    return kept
