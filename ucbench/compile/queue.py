"""What an annotator is shown next, and how much is left."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from ucbench.compile.annotations import Annotations, Decision, Key
from ucbench.compile.candidates import Candidate, Compilation
from ucbench.tracks.stream import IntStream

#: Longer than that, an annotator was away from the desk.
LONGEST_LOOK = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an annotator stands; seconds are None before anything was decided."""

    candidate: Candidate | None
    done: int
    total: int
    concept_done: int
    concept_total: int
    seconds_left: float | None


def order(compilation: Compilation, annotator: str) -> list[Candidate]:
    """All candidates, concept by concept, within a concept in an order of this annotator's own.

    By rank, the first pictures would fit and the last would not, and decisions lean on what to expect.
    """
    by_concept: dict[str, list[Candidate]] = {concept.id: [] for concept in compilation.concepts}
    for candidate in compilation.candidates:
        by_concept[candidate.concept_id].append(candidate)
    return [
        candidate
        for concept_id, members in by_concept.items()
        for candidate in IntStream(f"annotate/{annotator.casefold()}/{concept_id}").shuffled(members)
    ]


def key(candidate: Candidate) -> Key:
    """What a decision is about."""
    return candidate.concept_id, candidate.sha256


def place(
    queue: Iterable[Candidate], annotations: Annotations, withheld: frozenset[str] = frozenset()
) -> Place:
    """The next undecided candidate. Categories left out and pictures withheld by anybody are not counted."""
    wanted = [
        candidate
        for candidate in queue
        if candidate.category not in annotations.leave_out
        and (candidate.sha256 not in withheld or key(candidate) in annotations.votes)
    ]
    left = [candidate for candidate in wanted if key(candidate) not in annotations.votes]
    following = left[0] if left else None
    same = [c for c in wanted if following is not None and c.concept_id == following.concept_id]
    times = [min(vote.seconds, LONGEST_LOOK) for vote in annotations.votes.values()]
    return Place(
        following,
        len(wanted) - len(left),
        len(wanted),
        sum(key(candidate) in annotations.votes for candidate in same),
        len(same),
        median(times) * len(left) if times else None,
    )


def tally(annotations: Annotations) -> dict[Decision, int]:
    """How often each decision was made."""
    counts: dict[Decision, int] = {"yes": 0, "no": 0, "skip": 0, "withhold": 0}
    for vote in annotations.votes.values():
        counts[vote.decision] += 1
    return counts
