"""Two runs over the questions both were asked: how their scores differ, overall and within concepts.

What is random is as in `ucbench.metrics.scores`: overall whole concepts are resampled, within a category or
a concept its images are, and the questions in words, which have one blank image a concept, are known exactly.
Both runs are resampled by the same draws, so that what makes a concept hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ucbench.metrics.compare import Difference, shared
from ucbench.metrics.intervals import (
    Estimate,
    Floats,
    combined_interval,
    combined_value,
    resample_clusters,
    rescaled_draws,
    two_sided_p,
)
from ucbench.metrics.keys import KEYS
from ucbench.metrics.parts import Flags, Ints
from ucbench.metrics.scores import MACRO, TERMS, Cell, concept_cells, image_cells

#: Below so many images an interval within a concept or category would say next to nothing.
FEWEST_IMAGES = 5


@dataclass(frozen=True, slots=True)
class Contrast:
    """A score of two runs over the same questions; `difference` is the second minus the first.

    `items` are the answers behind each score. Interval and p of the difference are None where too few
    clusters were answered to tell.
    """

    first: float
    second: float
    difference: Difference
    items: tuple[int, int]


class Paired:
    """The judged answers of two runs, cut down to the questions both were asked.

    Frames as for `score_run`. Raises `UcbenchError` when they share no question or break that contract.
    """

    def __init__(
        self, first: pd.DataFrame, second: pd.DataFrame, *, seed: int = 0, resamples: int = 2000
    ) -> None:
        self.first, self.second = shared(first, second)
        self._seed, self._resamples = seed, resamples

    @property
    def n_questions(self) -> int:
        """How many questions both were asked."""
        return len(self.first.kind)

    @property
    def n_concepts(self) -> int:
        """How many unsafe concepts they are about."""
        return int(self.first.unsafe.sum())

    @property
    def concepts(self) -> tuple[str, ...]:
        """Ids of the unsafe concepts, sorted."""
        return tuple(np.asarray(self.first.concepts, dtype=object)[self.first.unsafe])

    def overall(self, key: str) -> Contrast | None:
        """The score `key` over everything; None where one of the two has no value, or no interval at all."""
        if key not in TERMS:
            return None
        everything = np.ones(len(self.first.concepts), dtype=bool)
        return self._contrast(
            key,
            [concept_cells(tally, key, everything, self._draws) for tally in (self.first, self.second)],
            fewest=2,
        )

    def by_category(self, key: str) -> dict[str, Contrast]:
        """Category id -> the score within it, its concepts fixed."""
        category = np.asarray(self.first.category, dtype=object)
        return self._within(key, {str(name): category == name for name in np.unique(category)})

    def by_concept(self, key: str) -> dict[str, Contrast]:
        """Unsafe concept id -> the score within it; the gap by concept is left out, being the pooled one."""
        if key == MACRO:
            return {}
        places = np.arange(len(self.first.concepts))
        return self._within(
            key, {self.first.concepts[i]: places == i for i in np.flatnonzero(self.first.unsafe)}
        )

    def _within(self, key: str, groups: Mapping[str, Flags]) -> dict[str, Contrast]:
        if key not in TERMS:
            return {}
        units, weights = self._images
        found = {}
        for name, group in groups.items():
            mine = group[self.first.unit_concept[units]]
            cells = [
                image_cells(tally, key, group, units[mine], weights[:, mine])
                for tally in (self.first, self.second)
            ]
            one = self._contrast(key, cells, fewest=FEWEST_IMAGES)
            if one is not None:
                found[name] = one
        return found

    @cached_property
    def _draws(self) -> Floats:
        return resample_clusters(self.first.unsafe, self._resamples, self._seed)

    @cached_property
    def _images(self) -> tuple[Ints, Floats]:
        """The units that are sampled, and how often each is drawn within its concept."""
        units = np.flatnonzero(self.first.unit_sampled)
        return units, rescaled_draws(self.first.unit_concept[units], self._resamples, self._seed)

    @staticmethod
    def _contrast(key: str, both: list[list[Cell] | None], *, fewest: int) -> Contrast | None:
        shares: list[float] = []
        items: list[int] = []
        weights: list[float] = []
        sampled: list[Estimate] = []
        clusters: list[int] = []
        for cells, sign in zip(both, (-1.0, 1.0), strict=True):
            if cells is None:
                return None
            found = [cell.estimate for cell in cells if cell.estimate is not None]
            if len(found) < len(cells):
                return None
            own = [weight for weight, _ in TERMS[key]]
            shares.append(float(combined_value(own, found)))
            items.append(int(sum(cell.items for cell in cells)))
            for weight, cell, one in zip(own, cells, found, strict=True):
                if one.spread is not None:  # what is known exactly only moves the difference
                    weights.append(sign * weight)
                    sampled.append(one)
                    clusters.append(len(cell.clusters))
        value = shares[1] - shares[0]
        # Shares that agree may differ by rounding after weighting.
        value = 0.0 if abs(value) < 1e-12 else value
        difference = Difference(value, None, None, None)
        df = min((float(one.df) for one in sampled), default=0.0)
        if sampled and min(clusters) >= fewest and df > 0:
            exact = value - float(combined_value(weights, sampled))
            widest = 2.0 if KEYS[key].signed else 1.0
            low, high = (
                min(max(float(end) + exact, -widest), widest) for end in combined_interval(weights, sampled)
            )
            difference = Difference(value, low, high, two_sided_p(value, low, high, df))
        return Contrast(shares[0], shares[1], difference, (items[0], items[1]))
