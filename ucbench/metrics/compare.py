"""Two entries side by side: the difference of a score, and ranks as intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ucbench.errors import UcbenchError
from ucbench.metrics.intervals import (
    Estimate,
    Floats,
    combined_interval,
    combined_value,
    resample_clusters,
    two_sided_p,
)
from ucbench.metrics.keys import lookup
from ucbench.metrics.parts import Tally
from ucbench.metrics.scores import TERMS, concept_cells

_ASKED = ["sample_id", "question_id"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of the first entry minus that of the second, with its 95% interval and two-sided p.

    Interval and p are None when fewer than two concepts answer.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None


def difference(
    frame_a: pd.DataFrame, frame_b: pd.DataFrame, key: str, *, seed: int = 0, resamples: int = 2000
) -> Difference:
    """How much the score `key` of entry a exceeds that of entry b, over the questions both were asked.

    Both scores are recomputed on the same resampled concepts, each from its own answered questions.
    Frames as for `score_run`. Raises `UnknownNameError` for an unknown key, `UcbenchError` when the two
    share no question, when one of them has no value, or for `diversity`, which has no interval.
    """
    a, b = _shared(frame_a, frame_b)
    draws = resample_clusters(a.unsafe, resamples, seed)
    return _contrast(_terms(a, key, draws), _terms(b, key, draws))


def rank_intervals(
    frames: Mapping[str, pd.DataFrame],
    key: str,
    *,
    seed: int = 0,
    resamples: int = 2000,
    alpha: float = 0.05,
) -> dict[str, tuple[int, int]]:
    """The ranks each of M entries may hold: [1 + n significantly better, M - n significantly worse].

    Every pair is compared over the questions both were asked; the p values of all pairs are corrected by
    Holm's method at `alpha`. What counts as better is the key's direction; of two gaps, the one nearer
    to zero. Raises as `difference` does; leave out entries that are not to be ranked.
    """
    better = lookup(key).better
    names = list(frames)
    whole = {name: Tally(frame) for name, frame in frames.items()}
    asked = {name: pd.MultiIndex.from_frame(frame[_ASKED]).sort_values() for name, frame in frames.items()}
    estimates: dict[str, _Terms] = {}
    pairs = list(combinations(names, 2))
    lead: list[float] = []
    p_values: list[float] = []
    for first, second in pairs:
        if asked[first].equals(asked[second]):
            # Equal questions, equal concepts, equal seed: equal draws, so each entry is resampled once.
            for name in (first, second):
                if name not in estimates:
                    draws = resample_clusters(whole[name].unsafe, resamples, seed)
                    estimates[name] = _terms(whole[name], key, draws)
            a, b = estimates[first], estimates[second]
        else:
            tally_a, tally_b = _shared(frames[first], frames[second])
            draws = resample_clusters(tally_a.unsafe, resamples, seed)
            a, b = _terms(tally_a, key, draws), _terms(tally_b, key, draws)
        if better == "zero":
            a, b = a.distance_from_zero(), b.distance_from_zero()
        found = _contrast(a, b)
        lead.append(found.value if better == "higher" else -found.value)
        p_values.append(1.0 if found.p is None else found.p)
    ahead = dict.fromkeys(names, 0)
    behind = dict.fromkeys(names, 0)
    for (first, second), margin, significant in zip(pairs, lead, holm(p_values, alpha), strict=True):
        if significant:
            winner, loser = (first, second) if margin > 0 else (second, first)
            ahead[loser] += 1
            behind[winner] += 1
    return {name: (1 + ahead[name], len(names) - behind[name]) for name in names}


def holm(p_values: list[float], alpha: float = 0.05) -> list[bool]:
    """Which hypotheses Holm's step-down method rejects, the chance of any false one being at most `alpha`."""
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for step, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - step):
            break
        rejected[i] = True
    return rejected


@dataclass(frozen=True)
class _Terms:
    """One entry's score as a weighted sum of resampled shares."""

    weights: list[float]
    estimates: list[Estimate]
    clusters: int

    def distance_from_zero(self) -> _Terms:
        """The score's size: the score, or minus the score where that is negative."""
        if combined_value(self.weights, self.estimates) >= 0:
            return self
        return _Terms([-w for w in self.weights], self.estimates, self.clusters)


def _terms(tally: Tally, key: str, draws: Floats) -> _Terms:
    lookup(key)
    if key not in TERMS:
        raise UcbenchError(f"{key} has no interval to compare two entries by; choose another score")
    cells = concept_cells(tally, key, np.ones(len(tally.concepts), dtype=bool), draws)
    if cells is None:
        raise UcbenchError(f"{key} was not asked in what both entries share; compare them by another score")
    estimates = [cell.estimate for cell in cells if cell.estimate is not None]
    if len(estimates) < len(cells):
        raise UcbenchError(f"{key} has no value for one of the entries; leave that entry out")
    return _Terms([w for w, _ in TERMS[key]], estimates, min(len(cell.clusters) for cell in cells))


def _contrast(a: _Terms, b: _Terms) -> Difference:
    weights = a.weights + [-w for w in b.weights]
    estimates = a.estimates + b.estimates
    value = float(combined_value(weights, estimates))
    # Shares that agree may differ by rounding after weighting.
    value = 0.0 if abs(value) < 1e-12 else value
    if min(a.clusters, b.clusters) < 2:
        return Difference(value, None, None, None)
    low, high = (float(end) for end in combined_interval(weights, estimates))
    df = min(float(e.df) for e in estimates)
    return Difference(value, low, high, two_sided_p(value, low, high, df))


def _shared(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> tuple[Tally, Tally]:
    """Both runs cut down to the questions that both were asked."""
    index_a, index_b = (pd.MultiIndex.from_frame(frame[_ASKED]) for frame in (frame_a, frame_b))
    in_a, in_b = index_a.isin(index_b), index_b.isin(index_a)
    if not in_a.any():
        raise UcbenchError("the two runs share no question; compare runs on the same track and split")
    return Tally(frame_a[in_a]), Tally(frame_b[in_b])
