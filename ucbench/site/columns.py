"""The scores that the board shows in a column each; sorting and filtering its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ucbench.format import MISSING, absent, fraction, size
from ucbench.metrics.keys import KEYS, Better
from ucbench.restricted import MARK
from ucbench.tracks.about import about

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A score as a column, and whether it is about image or text.

    `strict` columns count no answer as wrong where the score can be had that way. `overall` ones say, beside
    scores of one category, that they are over all of them.
    """

    key: str
    about: Literal["image", "text"] | None = None
    strict: bool = False
    overall: bool = False

    @property
    def derived(self) -> bool:
        """Whether its strict form is worked out from two strict scores of the board, without an interval."""
        return self.strict and self.key == GAP

    @property
    def told(self) -> str:
        """The key of the score that it shows."""
        if self.derived:
            return f"{self.key}_strict"
        return strict_key(self.key) if self.strict else self.key

    @property
    def head(self) -> str:
        """The score's name for people."""
        if self.derived:
            return f"{KEYS[self.key].title}, strict"
        return KEYS[self.told].title + (", overall" if self.overall else "")

    @property
    def help(self) -> str:
        """What the score says."""
        if self.derived:
            return (
                "Text alignment minus image alignment, no answer counted as wrong in both. Worked out from "
                "the two, so it has no interval here."
            )
        return KEYS[self.told].definition

    @property
    def better(self) -> Better:
        """Which way the score gets better."""
        return KEYS[self.key].better

    @property
    def signed(self) -> bool:
        """Whether the score is a gap and shows its sign."""
        return KEYS[self.key].signed


#: Text alignment minus image alignment, and what it is made of.
GAP, GAP_OF = "modality_gap", ("text_alignment", "image_alignment")


def strict_key(key: str) -> str:
    """The score with no answer counted as wrong; the score itself where there is no such."""
    return f"{key}_strict" if f"{key}_strict" in KEYS else key


@dataclass(frozen=True, slots=True)
class Fact:
    """A column that is no score. `told` writes its cell, `number` is what it is sorted by, largest first."""

    key: str
    head: str
    help: str
    told: Callable[[Row], str]
    number: Callable[[Row], float | None]


def size_of(row: Row) -> str:
    """`7.1 B` parameters, `270 M`; a dash where the size is not known."""
    return size(row.get("parameters"))


def _date(row: Row) -> str:
    told = row.get("measured_at")
    return MISSING if absent_date(told) else told.strftime("%Y-%m-%d")  # type: ignore[union-attr]


def absent_date(value: Any) -> bool:
    """Whether a cell holds no date."""
    return not hasattr(value, "timestamp") or value != value


def _seconds(row: Row) -> float | None:
    told = row.get("measured_at")
    return None if absent_date(told) else told.timestamp()  # type: ignore[union-attr]


def facts_of(coverage_of: str) -> tuple[Fact, ...]:
    """The columns beside the scores; coverage is that of the score `coverage_of`."""

    def covered(row: Row) -> float | None:
        told = row.get(f"{coverage_of}_coverage")
        return None if absent(told) else float(told)  # type: ignore[arg-type]

    def parameters(row: Row) -> float | None:
        told = row.get("parameters")
        return None if absent(told) else float(told)  # type: ignore[arg-type]

    return (
        Fact(
            "coverage", "Coverage",
            f"Share of the questions behind {KEYS[coverage_of].title.lower()} that got an answer with a "
            "verdict. Questions behind other scores are not counted in it.",
            lambda row: fraction(covered(row)), covered,
        ),
        Fact("size", "Size", "Parameters in billions (B) or millions (M), where known.", size_of, parameters),
        Fact("date", "Date", "Day on which the run began, UTC.", _date, _seconds),
    )  # fmt: skip


#: Scores that are about image or about text alone, where the other one has a score of its own.
ABOUT_WHAT: dict[str, Literal["image", "text"]] = {
    **dict.fromkeys(
        (
            "image_alignment", "image_alignment_strict", "image_alignment_turned", "acquiescence",
            "pair_agreement",
            "image_context_safe", "image_context_unsafe",
        ),
        "image",
    ),
    **dict.fromkeys(
        (
            "text_alignment", "text_alignment_strict", "text_alignment_turned", "text_acquiescence",
            "text_pair_agreement",
            "text_context_safe", "text_context_unsafe",
        ),
        "text",
    ),
}  # fmt: skip
BY_KEY = {key: Column(key, ABOUT_WHAT.get(key)) for key in KEYS}


def columns_of(track: str) -> tuple[Column, ...]:
    """The columns of a choice of track (`<track>` or `<track>@test`), the first ordering its rows."""
    return tuple(BY_KEY[key] for key in about(track.partition(MARK)[0]).scores)


def filled(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Column, ...]:
    """Those columns in which at least one row has a figure or a range."""
    return tuple(
        column
        for column in columns
        if any(not absent(row.get(column.key)) or not absent(row.get(f"{column.key}_low")) for row in rows)
    )


#: Why a row of the test split has no rank among rows of the whole set.
RANKED_APART = "ranked there alone"
_NO_RANK = {"rank_low": None, "rank_high": None, "ranked_among": None}


def set_apart(rows: Sequence[Row], test_only: Callable[[Row], bool]) -> list[Row]:
    """Rows beside others that were asked more: those of the test split keep their scores without a rank."""
    apart = {**_NO_RANK, "unranked": RANKED_APART}
    return [{**row, **apart} if test_only(row) and not absent(row.get("rank_low")) else row for row in rows]


def without_ranks(rows: Sequence[Row]) -> list[Row]:
    """Rows as a track without a ranking shows them: those of joined runs have a rank for another track."""
    return [{**row, **_NO_RANK} for row in rows]


def covered_by(columns: Sequence[Column]) -> str:
    """The score whose coverage stands for a track's: that of its image questions where it has some."""
    keys = [column.key for column in columns]
    return "image_alignment" if "image_alignment" in keys else keys[0]


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
