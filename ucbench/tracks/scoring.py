"""What is particular to the scores of a track. No data is needed to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ucbench.errors import UcbenchError

if TYPE_CHECKING:
    from ucbench.judges.base import Judge


@dataclass(frozen=True, slots=True)
class Scoring:
    """`extra`: optional score keys that the track has. `clusters`: what its intervals resample.

    `judge` is the judge that reads the track's answers when the user names none. `rated` says that only a
    judge that rates answers can read them.
    """

    extra: tuple[str, ...] = ()
    clusters: Literal["concepts", "images"] = "concepts"
    judge: str = "rules"
    rated: bool = False


_BOTH_SIDES = ("accuracy", "accuracy_safe", "accuracy_unsafe")
_SCORING = {
    "safe": Scoring(extra=("accuracy",)),
    "smid": Scoring(extra=_BOTH_SIDES, clusters="images"),
    "nsfw": Scoring(extra=_BOTH_SIDES, clusters="images"),
    "mme": Scoring(extra=("mme",), clusters="images", judge="contains"),
    "llavabench": Scoring(clusters="images", judge="rating", rated=True),
}


def scoring(track: str) -> Scoring:
    """How the track of that id is scored."""
    return _SCORING.get(track, Scoring())


def check_judge(track: str, judge: Judge) -> None:
    """Raises `UcbenchError` for a judge that cannot read the track's answers."""
    if scoring(track).rated and not getattr(judge, "rates", False):
        raise UcbenchError(
            f"the answers of track {track} are rated by a model, which the judge {judge.name} is not; "
            "name one with --judge rating:MODEL@URL"
        )
