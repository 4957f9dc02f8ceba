"""Fleiss' kappa: how much annotators agree beyond chance.

Source: Fleiss (1971). Pictures may have different numbers of votes, at least two: agreement is then averaged
over pictures and the shares of labels too, which for equal numbers is Fleiss' own formula (Gwet 2014, ch. 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ucbench.metrics.intervals import Floats, resample_clusters, wilson

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Kappa:
    """`value` is None where it is not defined: no picture with two votes, or all votes the same.

    `low` and `high` are the ends of a 95% interval, `items` the pictures with at least two votes.
    """

    value: float | None
    low: float | None
    high: float | None
    items: int


def fleiss(counts: npt.ArrayLike, strata: Sequence[str] | None = None, *, seed: int = 0) -> Kappa:
    """Kappa of votes [pictures, labels].

    The interval resamples pictures, within their `strata` (concepts) when given: it is about other pictures
    of these concepts, judged by these annotators. Where everybody agrees on everything resampling shows no
    variance; there the lower end is that of Wilson's interval of the share of agreement.
    """
    votes = np.asarray(counts, dtype=float)
    number = votes.sum(axis=1)
    kept = number >= 2
    votes, number = votes[kept], number[kept]
    n = len(votes)
    if n == 0:
        return Kappa(None, None, None, 0)
    agreement = (votes * (votes - 1)).sum(axis=1) / (number * (number - 1))
    shares = votes / number[:, None]
    value = float(_kappa(agreement.mean(), shares.mean(axis=0)))
    if np.isnan(value):
        return Kappa(None, None, None, n)
    if np.all(agreement == 1.0):
        least = float(wilson(1.0, n)[0])
        return Kappa(value, float(_kappa(least, shares.mean(axis=0))), value, n)
    labels = np.zeros(n, int) if strata is None else np.asarray(strata)[kept]
    # In blocks, so that memory does not grow with the number of pictures.
    block = min(RESAMPLES, max(1, 4_000_000 // n))
    spread = np.concatenate(
        [_resampled(agreement, shares, labels, block, seed + i) for i in range(-(-RESAMPLES // block))]
    )
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return Kappa(value, float(low), float(high), n)


def _resampled(agreement: Floats, shares: Floats, labels: npt.ArrayLike, resamples: int, seed: int) -> Floats:
    draws = resample_clusters(labels, resamples, seed)
    return _kappa(draws @ agreement / len(agreement), draws @ shares / len(agreement))


def _kappa(agreement: npt.ArrayLike, shares: Floats) -> Floats:
    """(observed - by chance) / (1 - by chance); NaN when chance alone agrees fully."""
    chance = (shares**2).sum(axis=-1)
    beyond = np.asarray(agreement - chance)
    room = np.asarray(1.0 - chance)
    return np.asarray(np.divide(beyond, room, out=np.full(beyond.shape, np.nan), where=room > 1e-12))
