"""From decisions to a dataset's rows: majority vote, and what was left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ucbench.compile.annotations import Annotations, Decision
from ucbench.compile.candidates import Candidate, Compilation
from ucbench.compile.kappa import Kappa, fleiss
from ucbench.compile.queue import key

MIN_VOTES = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate and what each annotator decided, in the order of the annotators; None: not seen."""

    candidate: Candidate
    decisions: tuple[Decision | None, ...]

    @property
    def yes(self) -> int:
        """Votes that it shows the concept."""
        return self.decisions.count("yes")

    @property
    def no(self) -> int:
        """Votes that it does not."""
        return self.decisions.count("no")


@dataclass(frozen=True)
class Outcome:
    """What the votes say. Ties, too few votes and withheld pictures are in no dataset."""

    kept: list[Judged] = field(default_factory=list)
    rejected: list[Judged] = field(default_factory=list)
    ties: list[Judged] = field(default_factory=list)
    too_few: list[Judged] = field(default_factory=list)
    withheld: list[Judged] = field(default_factory=list)
    strangers: int = 0

    @property
    def voted(self) -> list[Judged]:
        """What agreement is measured on: every picture that was not withheld."""
        return [*self.kept, *self.rejected, *self.ties, *self.too_few]


def count(
    compilation: Compilation, annotations: Sequence[Annotations], min_votes: int = MIN_VOTES
) -> Outcome:
    """The majority's decision on each candidate, in the order of concepts and ranks.

    Yes and no are votes, skip is none. `strangers` counts decisions on what is no candidate.
    """
    withheld = frozenset[str]().union(*(a.withheld for a in annotations))
    outcome_of: dict[str, list[Judged]] = {
        name: [] for name in ("kept", "rejected", "ties", "too_few", "withheld")
    }
    seen = 0
    for candidate in compilation.candidates:
        votes = [a.votes.get(key(candidate)) for a in annotations]
        judged = Judged(candidate, tuple(vote.decision if vote else None for vote in votes))
        seen += sum(vote is not None for vote in votes)
        outcome_of[_outcome(judged, candidate.sha256 in withheld, min_votes)].append(judged)
    return Outcome(**outcome_of, strangers=sum(len(a.votes) for a in annotations) - seen)


def _outcome(judged: Judged, withheld: bool, min_votes: int) -> str:
    if withheld:
        return "withheld"
    if judged.yes + judged.no < min_votes:
        return "too_few"
    if judged.yes == judged.no:
        return "ties"
    return "kept" if judged.yes > judged.no else "rejected"


def agreement(outcome: Outcome, compilation: Compilation) -> tuple[Kappa, dict[str, Kappa]]:
    """Fleiss' kappa of all yes and no votes, and by concept id."""
    voted = outcome.voted
    overall = fleiss(_counts(voted), [judged.candidate.concept_id for judged in voted])
    by_concept = {
        concept.id: fleiss(_counts([j for j in voted if j.candidate.concept_id == concept.id]))
        for concept in compilation.concepts
    }
    return overall, by_concept


def _counts(judged: Sequence[Judged]) -> list[list[int]]:
    return [[j.yes, j.no] for j in judged] or [[0, 0]]
