"""Two entries over the questions both were asked: paired differences, and which are more than chance.

An entry is the run that leads its row of the board with those that joined it (`ucbench.joined`); a single
run is an entry of one part. Every difference is the second's score minus the first's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from ucbench.errors import UcbenchError
from ucbench.format import model_name
from ucbench.joined import OVER_BOTH, SIDES, Joined, Part, frame_of
from ucbench.metrics.compare import holm
from ucbench.metrics.keys import KEYS, Better
from ucbench.metrics.paired import Contrast, Paired
from ucbench.record import RunRecord
from ucbench.tracks.scoring import scoring
from ucbench.tracks.suites import suite_of

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing two entries found.

    `versions`, `judges` and `questions` (asked of both) are by track, the leading one first; `asked` is how
    many questions of the leading track each was asked. `by_category` and `by_concept` have, for each score
    that was wanted there, the contrast by id. `notes` are sentences on what was left out.
    """

    track: str
    versions: Mapping[str, str]
    judges: Mapping[str, str]
    questions: Mapping[str, int]
    asked: tuple[int, int]
    n_concepts: int
    scores: Mapping[str, Contrast]
    by_category: Mapping[str, Mapping[str, Contrast]] = field(default_factory=dict)
    by_concept: Mapping[str, Mapping[str, Contrast]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_questions(self) -> int:
        """Questions that both were asked, over all tracks."""
        return sum(self.questions.values())


def why_not(first: RunRecord, second: RunRecord) -> str | None:
    """Why the answers of two runs cannot be set against each other, as a sentence; None when they can."""
    one, other = _name(first), _name(second)
    for record, name in ((first, one), (second, other)):
        if record.judge is None or record.provenance == "reported":
            return f"The figures of {name} were taken from a paper; there are no answers behind them here"
    assert first.judge is not None
    assert second.judge is not None
    if first.track.id != second.track.id:
        return f"{one} was asked the track {first.track.id}, {other} the track {second.track.id}"
    if not _same_questions(first.track.version, second.track.version):
        return (
            f"{one} was asked version {first.track.version} of the track {first.track.id}, {other} version "
            f"{second.track.version}: those are other questions or other pictures"
        )
    if first.track.draw != second.track.draw:
        return f"{one} was shown draw {first.track.draw} of the pictures, {other} draw {second.track.draw}"
    if first.judge.id != second.judge.id:
        return (
            f"The answers of {one} were read by the judge {first.judge.id}, those of {other} by "
            f"{second.judge.id}: a difference could be the judges' own"
        )
    return None


def _name(record: RunRecord) -> str:
    return model_name(record.entry.model, record.entry.adapter)


def _same_questions(first: str, second: str) -> bool:
    """Whether two versions ask the same; answers from elsewhere do not name the pictures they are about."""
    short, long = sorted((first, second), key=len)
    return long == short or long.startswith((f"{short}-hub-", f"{short}-files-"))


def compare(
    first: Sequence[Part],
    second: Sequence[Part],
    *,
    keys: Collection[str] = tuple(KEYS),
    within: Collection[str] = (),
) -> Comparison:
    """Set two entries against each other; the first part of each leads.

    `within` names the scores that are also wanted by category and concept. A joined track that cannot be
    compared is left out with a note. Raises `UcbenchError` where the leading runs cannot be (`why_not`),
    share no question, or are damaged.
    """
    lead = first[0].record, second[0].record
    if problem := why_not(*lead):
        raise UcbenchError(f"{problem}; compare runs of one track, version, draw and judge")
    others = {part.track: part for part in second}
    both, notes = [], []
    for part in first:
        other = others.get(part.track)
        if other is None:
            continue
        problem = why_not(part.record, other.record)
        if problem:
            notes.append(f"{problem}. Its scores are left out.")
        else:
            both.append((part, other))
    found: dict[str, Contrast] = {}
    questions: dict[str, int] = {}
    by_category: dict[str, dict[str, Contrast]] = {}
    by_concept: dict[str, dict[str, Contrast]] = {}
    n_concepts, asked = 0, (0, 0)
    for part, other in both:
        frames = frame_of(part), frame_of(other)
        if part.record is lead[0]:
            asked = len(frames[0]), len(frames[1])
        try:
            paired = Paired(*frames)
        except UcbenchError:
            if part.record is lead[0]:
                raise
            notes.append(f"The two share no question of the track {part.track}.")
            continue
        questions[part.track] = paired.n_questions
        half = OVER_BOTH if part.track == SIDES[1] and len(both) > 1 else ()
        extra = scoring(part.track).extra
        own = [key for key in keys if key not in half and (not KEYS[key].optional or key in extra)]
        found |= _told(paired, [key for key in own if key not in found])
        if part.record is lead[0] and scoring(part.track).clusters == "concepts":
            n_concepts = paired.n_concepts
            by_category = {key: paired.by_category(key) for key in within}
            by_concept = {key: paired.by_concept(key) for key in within}
    sides = {part.track for part, _ in both} >= set(SIDES) and set(SIDES) <= questions.keys()
    missing = [key for key in OVER_BOTH if key in keys and key not in found]
    if sides and missing:
        joined = [Joined(suite_of(SIDES[0]), tuple(pair[place] for pair in both)) for place in (0, 1)]
        found |= _told(Paired(joined[0].frame(), joined[1].frame()), missing)
    kept = [(part, other) for part, other in both if part.track in questions]
    return Comparison(
        track=lead[0].track.id,
        versions={part.track: part.record.track.version for part, _ in kept},
        judges={part.track: part.record.judge.id for part, _ in kept if part.record.judge},
        questions=questions,
        asked=asked,
        n_concepts=n_concepts,
        scores={key: found[key] for key in KEYS if key in found},
        by_category=by_category,
        by_concept=by_concept,
        notes=tuple(notes),
    )


def _told(paired: Paired, keys: Collection[str]) -> dict[str, Contrast]:
    contrasts = {key: paired.overall(key) for key in keys}
    return {key: contrast for key, contrast in contrasts.items() if contrast is not None}


def told_apart(contrasts: Mapping[Name, Contrast]) -> dict[Name, bool]:
    """Which of these differences are more than chance, by Holm's method over all of them at .05.

    Those without an interval are left out: nothing can be said of them.
    """
    p = {name: one.difference.p for name, one in contrasts.items() if one.difference.p is not None}
    return dict(zip(p, holm(list(p.values())), strict=True))


def ahead(key: str, contrast: Contrast) -> Literal["first", "second", "neither"]:
    """Whose score is the better one, by the direction of `key`; of two gaps the one nearer to zero."""
    better: Better = KEYS[key].better
    first, second = contrast.first, contrast.second
    if better == "zero":
        first, second = -abs(first), -abs(second)
    elif better == "lower":
        first, second = -first, -second
    if abs(first - second) < 1e-12:
        return "neither"
    return "first" if first > second else "second"


def furthest(contrasts: Mapping[str, Contrast]) -> list[tuple[str, Contrast]]:
    """The largest differences first, in either direction; ids break ties."""
    return sorted(contrasts.items(), key=lambda pair: (-abs(pair[1].difference.value), pair[0]))


def as_json(found: Comparison, first: RunRecord, second: RunRecord) -> str:
    """A comparison for scripts; differences are the second minus the first."""

    def told(contrasts: Mapping[str, Contrast]) -> dict[str, Any]:
        apart = told_apart(contrasts)
        return {
            name: {"first": one.first, "second": one.second, "difference": one.difference.value,
                   "low": one.difference.low, "high": one.difference.high, "p": one.difference.p,
                   "apart": apart.get(name)}
            for name, one in contrasts.items()
        }  # fmt: skip

    content = {
        "first": first.run_id,
        "second": second.run_id,
        "track": found.track,
        "versions": dict(found.versions),
        "judges": dict(found.judges),
        "questions": dict(found.questions),
        "asked": list(found.asked),
        "concepts": found.n_concepts,
        "scores": told(found.scores),
        "by_concept": {key: told(one) for key, one in found.by_concept.items()},
        "notes": list(found.notes),
    }
    return json.dumps(content, indent=1)
