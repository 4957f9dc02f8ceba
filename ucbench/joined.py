"""The runs of one entry on the tracks of one suite, joined: what a row of the board is made of.

A score is that of the first track in the suite that has it. Scores that need two tracks are computed here:
balanced accuracy and accuracy from the answers of both, with intervals that resample both sides; general
ability as the mean of its two parts. What a missing track would give stays empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ucbench.board_cache import BoardCache, content, digest_of
from ucbench.record import RunRecord, Score, ScoreMap
from ucbench.runs import Run
from ucbench.tracks.scoring import scoring
from ucbench.tracks.suites import Suite, suite_of

if TYPE_CHECKING:
    import pandas as pd

#: Scores over unsafe and safe images together: key -> the tracks whose answers they need.
OVER_BOTH = ("balanced_accuracy", "accuracy")
SIDES = ("unsafeconcepts", "safe")
#: General ability: the keys whose mean it is.
ABILITY, ABILITIES = "general_ability", ("mme", "llavabench")
#: What these tracks tell of a score that needs another track too: half of it.
_HALVES = {"safe": OVER_BOTH, "mme": (ABILITY,)}


@dataclass(frozen=True)
class Part:
    """A finished run and its record."""

    run: Run
    record: RunRecord

    @property
    def track(self) -> str:
        """The id of its track."""
        return self.record.track.id


@dataclass(frozen=True)
class Joined:
    """One entry on one suite. `parts` has a run a track at most, in the suite's order; the first leads."""

    suite: Suite
    parts: tuple[Part, ...]
    cache: BoardCache | None = field(default=None, compare=False, repr=False)

    @property
    def lead(self) -> Part:
        """The run that gives the row its identity."""
        return self.parts[0]

    @property
    def ranked_by(self) -> tuple[Part, ...]:
        """The runs that balanced accuracy comes from."""
        if len(self.suite.tracks) == 1 or _own(self.lead):
            return (self.lead,)
        return tuple(part for part in self.parts if part.track in SIDES)

    @cached_property
    def scores(self) -> ScoreMap:
        """Overall scores of the row."""
        if len(self.suite.tracks) == 1:
            return self.lead.record.scores.overall
        found: ScoreMap = {}
        for part in self.parts:
            overall, half = part.record.scores.overall, _HALVES.get(part.track, ())
            found |= {key: overall[key] for key in overall if key not in found and key not in half}
            # All its pictures are safe, so what it tells of accuracy is that of safe images.
            if part.track == SIDES[1] and "accuracy" in overall and "accuracy_safe" not in found:
                found["accuracy_safe"] = overall["accuracy"]
        return self._over_both() | self._ability(found) | found

    def _over_both(self) -> ScoreMap:
        from ucbench.metrics.scores import joint_score

        if _own(self.lead) or {part.track for part in self.ranked_by} != set(SIDES):
            return {}

        def resampled() -> ScoreMap:
            frame = self.frame()
            found = {key: joint_score(frame, key) for key in OVER_BOTH}
            return {key: score for key, score in found.items() if score is not None}

        return self.cache.scores(self.content, resampled) if self.cache else resampled()

    def _ability(self, scores: ScoreMap) -> ScoreMap:
        """The mean of the two parts of general ability, whose questions were sampled apart."""
        halves = [scores[key] for key in ABILITIES if key in scores]
        values = [score.value for score in halves if score.value is not None]
        if len(values) < len(ABILITIES):
            return {}
        value = sum(values) / len(values)
        asked = {part.track: part.record.track.n_questions for part in self.parts}
        shares = [(score.coverage or 0.0, asked[key]) for key, score in zip(ABILITIES, halves, strict=True)]
        low = _joint_end(value, [(score.value, score.low) for score in halves], -1)
        return {
            ABILITY: Score(
                value=round(value, 9),
                low=None if low is None else max(low, 0.0),
                high=_joint_end(value, [(score.value, score.high) for score in halves], 1),
                n_items=sum(score.n_items for score in halves),
                n_clusters=sum(score.n_clusters for score in halves),
                coverage=round(sum(c * n for c, n in shares) / max(sum(n for _, n in shares), 1), 9),
            )
        }

    def frame(self) -> pd.DataFrame:
        """The judged answers that balanced accuracy, and so the rank, comes from."""
        import pandas as pd

        frames = [frame_of(part) for part in self.ranked_by]
        if len(frames) == 1:
            return frames[0]
        for part, frame in zip(self.ranked_by, frames, strict=True):
            frame["sample_id"] = f"{part.track}/" + frame["sample_id"]  # two tracks may name pictures alike
        return pd.concat(frames, ignore_index=True)

    @property
    def content(self) -> str:
        """A digest of the files that `frame` is made from. Raises `StoreError`."""
        return digest_of(
            *(
                f"{part.track} {content(*part.run.frame_files(part.record.judge.id))}"
                for part in self.ranked_by
                if part.record.judge is not None
            )
        )

    @property
    def note(self) -> str | None:
        """The runs that joined the leading one, as `track=run id`."""
        return ", ".join(f"{part.track}={part.record.run_id}" for part in self.parts[1:]) or None

    @property
    def asked(self) -> str | None:
        """What the runs that joined were asked, as JSON: track -> [version, split, draw, judge]."""
        told = {}
        for part in self.parts[1:]:
            track, judge = part.record.track, part.record.judge
            told[part.track] = [track.version, track.split, track.draw, judge.id if judge else None]
        return json.dumps(told) if told else None


def join(entries: Iterable[tuple[Run, RunRecord]], cache: BoardCache | None = None) -> Iterator[Joined]:
    """Every run in the row it leads or in those it joins; in the order of the leading runs.

    Runs of one entry join when they are whole, on the board's own images and of one provenance. The two
    sides of balanced accuracy also have to be of one split and one judge. Of several runs that could join,
    the latest does. A run that joins none is a row of its own.
    """
    alone: list[Part] = []
    groups: dict[tuple[str, str, str], list[Part]] = {}
    order: dict[str, int] = {}
    for place, (run, record) in enumerate(entries):
        part = Part(run, record)
        order[record.run_id] = place
        suite = suite_of(part.track)
        if len(suite.tracks) == 1 or record.status == "partial" or record.track.draw:
            alone.append(part)
        else:
            key = (suite.id, record.entry.model_dump_json(), record.provenance)
            groups.setdefault(key, []).append(part)
    rows = [Joined(suite_of(part.track), (part,), cache) for part in alone]
    for parts in groups.values():
        rows += _rows(suite_of(parts[0].track), parts, cache)
    return iter(sorted(rows, key=lambda row: order[row.lead.record.run_id]))


def _rows(suite: Suite, parts: list[Part], cache: BoardCache | None) -> Iterator[Joined]:
    used: set[str] = set()
    for n, track in enumerate(suite.tracks):
        for lead in parts:
            if lead.track != track or lead.record.run_id in used:
                continue
            members = [lead]
            for other in suite.tracks[n + 1 :]:
                fitting = [part for part in parts if part.track == other and _fits(part, lead)]
                if fitting:
                    members.append(max(fitting, key=_when))
            used |= {member.record.run_id for member in members}
            yield Joined(suite, tuple(members), cache)


def _fits(part: Part, lead: Part) -> bool:
    if part.track not in SIDES or lead.track not in SIDES:
        return True
    if _own(lead):
        return False  # it has safe images of its own
    same_judge = part.record.judge is not None and part.record.judge == lead.record.judge
    return same_judge and part.record.track.split == lead.record.track.split


def _own(part: Part) -> bool:
    """Whether a run of the unsafe side was given safe images as well."""
    return part.track == SIDES[0] and OVER_BOTH[0] in part.record.scores.overall


def _when(part: Part) -> tuple[str, str]:
    started = part.record.started_at
    return (started.isoformat() if started else "", part.record.run_id)


def frame_of(part: Part) -> pd.DataFrame:
    """The judged answers of a run with a judge, its images as concepts where images are what is resampled."""
    from ucbench.metrics.scores import by_image

    assert part.record.judge is not None  # a run without a judge has no score to rank by
    frame = part.run.frame(part.record.judge.id)
    return by_image(frame) if scoring(part.track).clusters == "images" else frame


def _joint_end(value: float, halves: list[tuple[float | None, float | None]], sign: int) -> float | None:
    """The end of the mean's interval: independent half widths add up as squares do."""
    if any(own is None or end is None for own, end in halves):
        return None
    reach = math.hypot(*(end - own for own, end in halves if own is not None and end is not None))
    return round(value + sign * reach / len(halves), 9)
