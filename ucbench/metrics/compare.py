"""Two entries side by side: the difference of a score, and ranks as intervals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Protocol

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
from ucbench.metrics.keys import Better, lookup
from ucbench.metrics.pairwise import Spread, against
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
    a, b = shared(frame_a, frame_b)
    draws = resample_clusters(a.unsafe, resamples, seed)
    return _contrast(terms_of(a, key, draws), terms_of(b, key, draws))


class Known(Protocol):
    """What earlier comparisons of the same entries found, kept so that it is computed once."""

    def profile(self, name: str, make: Callable[[], Profile]) -> Profile:
        """The entry's profile, by `make` where it is not known yet."""

    def pair(self, first: str, second: str, make: Callable[[], Margin]) -> Margin:
        """What the comparison of two entries found, by `make` where it is not known yet."""


class Unknown:
    """Nothing is known, everything is computed."""

    def profile(self, _name: str, make: Callable[[], Profile]) -> Profile:
        """By `make`."""
        return make()

    def pair(self, _first: str, _second: str, make: Callable[[], Margin]) -> Margin:
        """By `make`."""
        return make()


@dataclass(frozen=True, slots=True)
class Margin:
    """How far the first of two entries leads (below zero: lags), and the p of that difference."""

    lead: float
    p: float


def rank_intervals(
    frames: Mapping[str, pd.DataFrame],
    key: str,
    *,
    seed: int = 0,
    resamples: int = 2000,
    alpha: float = 0.05,
    known: Known | None = None,
) -> dict[str, tuple[int, int]]:
    """The ranks each of M entries may hold: [1 + n significantly better, M - n significantly worse].

    Every pair is compared over the questions both were asked; the p values of all pairs are corrected by
    Holm's method at `alpha`. What counts as better is the key's direction; of two gaps, the one nearer
    to zero. `known` remembers profiles, and pairs that were not asked the same; a frame is looked up only
    where something about it is not known. Raises as `difference` does; leave out entries that are not to be
    ranked.
    """
    better = lookup(key).better
    known = known or Unknown()
    names = list(frames)
    found: dict[str, Profile] = {}

    def profiled(name: str) -> Profile:
        if name not in found:
            found[name] = known.profile(name, lambda: profile(frames[name], key, seed, resamples))
        return found[name]

    def compared(first: str, second: str) -> Margin:
        if profiled(first).asked == profiled(second).asked:
            # Equal questions, equal concepts, equal seed: equal draws, so each entry is resampled once.
            a, b = profiled(first).terms, profiled(second).terms
        else:
            tally_a, tally_b = shared(frames[first], frames[second])
            draws = resample_clusters(tally_a.unsafe, resamples, seed)
            a, b = terms_of(tally_a, key, draws), terms_of(tally_b, key, draws)
        if better == "zero":
            a, b = a.distance_from_zero(), b.distance_from_zero()
        difference = _contrast(a, b)
        lead = difference.value if better == "higher" else -difference.value
        return Margin(lead, 1.0 if difference.p is None else difference.p)

    pairs = list(combinations(names, 2))
    together = {} if better == "zero" else _all_margins({n: profiled(n) for n in names}, better)
    margins = [together.get(pair) or known.pair(*pair, partial(compared, *pair)) for pair in pairs]
    ahead = dict.fromkeys(names, 0)
    behind = dict.fromkeys(names, 0)
    for (first, second), margin, significant in zip(
        pairs, margins, holm([margin.p for margin in margins], alpha), strict=True
    ):
        if significant:
            winner, loser = (first, second) if margin.lead > 0 else (second, first)
            ahead[loser] += 1
            behind[winner] += 1
    return {name: (1 + ahead[name], len(names) - behind[name]) for name in names}


def _all_margins(profiles: Mapping[str, Profile], better: Better) -> dict[tuple[str, str], Margin]:
    """The margins of all pairs that were asked the same questions, computed at once."""
    groups: dict[tuple[str, tuple[float, ...]], list[str]] = {}
    for name, one in profiles.items():
        if all(e.spread is not None for e in one.terms.estimates):
            groups.setdefault((one.asked, tuple(one.terms.weights)), []).append(name)
    found = {}
    for (_, weights), names in groups.items():
        stacked = [
            Estimate.stack([profiles[name].terms.estimates[n] for name in names]) for n in range(len(weights))
        ]
        spread = Spread.of(weights, stacked)
        enough = np.array([profiles[name].terms.clusters > 1 for name in names])
        spread = replace(spread, df=np.where(enough, spread.df, 0.0))
        lead, p = against(spread, spread)
        lead = lead if better == "higher" else -lead
        for i, j in combinations(range(len(names)), 2):
            found[names[i], names[j]] = Margin(float(lead[i, j]), float(p[i, j]))
    return found


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
class Terms:
    """One entry's score as a weighted sum of resampled shares."""

    weights: list[float]
    estimates: list[Estimate]
    clusters: int

    def distance_from_zero(self) -> Terms:
        """The score's size: the score, or minus the score where that is negative."""
        if combined_value(self.weights, self.estimates) >= 0:
            return self
        return Terms([-w for w in self.weights], self.estimates, self.clusters)


@dataclass(frozen=True, slots=True)
class Profile:
    """One entry's score over everything it was asked; `asked` tells which questions those were."""

    asked: str
    terms: Terms


def profile(frame: pd.DataFrame, key: str, seed: int = 0, resamples: int = 2000) -> Profile:
    """Resample one entry's score. Raises as `difference` does."""
    tally = Tally(frame)
    questions = sorted(zip(*(frame[column].astype(str) for column in _ASKED), strict=True))
    asked = hashlib.sha256(json.dumps(questions).encode()).hexdigest()
    return Profile(asked, terms_of(tally, key, resample_clusters(tally.unsafe, resamples, seed)))


def terms_of(tally: Tally, key: str, draws: Floats) -> Terms:
    """The shares that the score `key` is made of, resampled by `draws`. Raises as `difference` does."""
    lookup(key)
    if key not in TERMS:
        raise UcbenchError(f"{key} has no interval to compare two entries by; choose another score")
    cells = concept_cells(tally, key, np.ones(len(tally.concepts), dtype=bool), draws)
    if cells is None:
        raise UcbenchError(f"{key} was not asked in what both entries share; compare them by another score")
    estimates = [cell.estimate for cell in cells if cell.estimate is not None]
    if len(estimates) < len(cells):
        raise UcbenchError(f"{key} has no value for one of the entries; leave that entry out")
    return Terms([w for w, _ in TERMS[key]], estimates, min(len(cell.clusters) for cell in cells))


def _contrast(a: Terms, b: Terms) -> Difference:
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


def shared(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> tuple[Tally, Tally]:
    """Both runs cut down to the questions that both were asked."""
    index_a, index_b = (pd.MultiIndex.from_frame(frame[_ASKED]) for frame in (frame_a, frame_b))
    in_a, in_b = index_a.isin(index_b), index_b.isin(index_a)
    if not in_a.any():
        raise UcbenchError("the two runs share no question; compare runs on the same track and split")
    return Tally(frame_a[in_a]), Tally(frame_b[in_b])
