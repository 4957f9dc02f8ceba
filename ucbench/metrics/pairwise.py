"""All pairs of many entries at once: how far each leads each other, and the p of that.

What `ucbench.metrics.compare` finds for one pair under the same draws, as matrix products: half a million
pairs of a thousand entries take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ucbench.metrics.intervals import Estimate, Floats, combined_value, reaches, t_quantile

#: Scores closer than this are equal but for rounding.
_EQUAL = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A score of several entries, ready to be set against others under the same draws.

    `value` and `df` are [entries]; `down` and `up` are [parts, entries]: how far the interval of each share
    that the score is made of reaches, weighted and as it enters the sum. `unit` has for each part its
    resampled deviations [resamples, entries] scaled to length one, turned round where it is taken away.
    """

    value: Floats
    df: Floats
    down: Floats
    up: Floats
    unit: tuple[Floats, ...]

    @staticmethod
    def of(weights: Sequence[float], sampled: Sequence[Estimate]) -> Spread:
        """From the shares of a score [entries], all of them resampled; df 0 says that nothing could be."""
        down, up = [], []
        for weight, e in zip(weights, sampled, strict=True):
            below, above = reaches(e)
            # A share that enters with a minus sign lowers the sum at its upper end.
            down.append(abs(weight) * (below if weight > 0 else above))
            up.append(abs(weight) * (above if weight > 0 else below))
        return Spread(
            combined_value(weights, sampled),
            np.min([e.df for e in sampled], axis=0),
            np.stack(down),
            np.stack(up),
            tuple(np.sign(weight) * _unit(e) for weight, e in zip(weights, sampled, strict=True)),
        )


def _unit(e: Estimate) -> Floats:
    assert e.spread is not None
    deviations = np.where(np.isnan(e.spread), 0.0, e.spread - e.value)
    deviations = deviations - deviations.mean(axis=0)
    length = np.sqrt((deviations**2).sum(axis=0))
    # A share that does not vary goes with nothing.
    return np.where(length > _EQUAL, deviations / np.where(length > _EQUAL, length, 1.0), 0.0)


def against(a: Spread, b: Spread) -> tuple[Floats, Floats]:
    """Lead of each of a's entries over each of b's, and its two-sided p: [entries of a, entries of b]."""
    low = _own(a, a.down)[:, None] + _own(b, b.up)[None, :]
    high = _own(a, a.up)[:, None] + _own(b, b.down)[None, :]
    for i, mine in enumerate(a.unit):
        for j, other in enumerate(b.unit):
            together = mine.T @ other
            # The second score is taken away: its upper reach lowers the difference.
            low -= 2.0 * together * np.outer(a.down[i], b.up[j])
            high -= 2.0 * together * np.outer(a.up[i], b.down[j])
    lead = a.value[:, None] - b.value[None, :]
    lead = np.where(np.abs(lead) < _EQUAL, 0.0, lead)
    reach = np.sqrt(np.maximum(np.where(lead > 0, low, high), 0.0))
    return lead, _p(lead, reach, np.minimum(a.df[:, None], b.df[None, :]))


def _own(one: Spread, reach: Floats) -> Floats:
    """The square of an entry's own half width, its parts joined by their correlation."""
    total = (reach**2).sum(axis=0)
    for i in range(len(one.unit)):
        for j in range(i):
            total = total + 2.0 * (one.unit[i] * one.unit[j]).sum(axis=0) * reach[i] * reach[j]
    return np.asarray(total)


def _p(lead: Floats, reach: Floats, df: Floats) -> Floats:
    """`intervals.two_sided_p` of many differences; 1 where nothing could be resampled."""
    v = np.maximum(df, 1.0)
    t = np.abs(lead) / np.where(reach > 0, reach, 1.0) * t_quantile(v)
    z = (8 * v + 1) / (8 * v + 3) * np.sqrt(v * np.log1p(t * t / v))
    p = np.asarray(np.frompyfunc(math.erfc, 1, 1)(z / math.sqrt(2.0)), dtype=np.float64)
    p = np.where(reach > 0, p, 0.0)
    return np.where((lead == 0.0) | (df <= 0), 1.0, p)
