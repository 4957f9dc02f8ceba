"""95% intervals of shares whose answers come in clusters.

A share is right / total, summed over clusters (concepts, or images). Its standard error comes from
resampling whole clusters and recomputing numerator and denominator each time. The interval is then
set on the log-odds scale with Student's t on the effective number of clusters, because the plain
percentile interval is too short: with the 75 unequal concepts it covers .91 to .94, this one .93 to
.96, for shares of .3 to .9 and from mild to extreme differences between concepts. It also stays
within [0, 1]. Sums and differences of shares join the standard errors of their parts by the correlation
seen over the same resamples.

Arrays have clusters, or resamples, on axis 0; all further axes are carried along, so that one call can
treat many shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.975)


def resample_clusters(strata: npt.ArrayLike, resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn: [resamples, clusters], each stratum resampled on its own."""
    labels = np.asarray(strata)
    draws = np.zeros((resamples, len(labels)))
    rng = np.random.default_rng(seed)
    for stratum in np.unique(labels):
        members = np.flatnonzero(labels == stratum)
        draws[:, members] = _multinomial(rng, len(members), len(members), resamples)
    return draws


def rescaled_draws(strata: npt.ArrayLike, resamples: int, seed: int) -> Floats:
    """Weights of the n - 1 out of n bootstrap within each stratum (Rao and Wu 1988): [resamples, units].

    Its variance is unbiased however few units a stratum has; a lone unit always keeps weight 1.
    """
    labels = np.asarray(strata)
    weights = np.ones((resamples, len(labels)))
    rng = np.random.default_rng(seed)
    for stratum in np.unique(labels):
        members = np.flatnonzero(labels == stratum)
        n = len(members)
        if n > 1:
            weights[:, members] = _multinomial(rng, n, n - 1, resamples) * (n / (n - 1))
    return weights


def _multinomial(rng: np.random.Generator, n: int, size: int, resamples: int) -> Floats:
    # Integers and a bincount, not rng.multinomial: free of floating point, so equal on every machine.
    picks = rng.integers(0, n, size=(resamples, size)) + n * np.arange(resamples)[:, None]
    counts = np.bincount(picks.ravel(), minlength=n * resamples)
    return counts.reshape(resamples, n).astype(np.float64)


def effective_number(total: Floats) -> Floats:
    """Kish's number of equal clusters that carry as much as these unequal ones (0 when all are empty)."""
    squares = np.asarray((total**2).sum(axis=0))
    number = np.divide(total.sum(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
    return np.asarray(number)


@dataclass(frozen=True)
class Estimate:
    """A share and what resampling says about it.

    `variance` is that of the share, `spread` its resampled values [resamples, ...] (None: the share is
    known exactly), `items` the answers behind it, `effective` the effective number of clusters, `df`
    the degrees of freedom of `variance`.
    """

    value: Floats
    variance: Floats
    spread: Floats | None
    items: Floats
    effective: Floats
    df: Floats

    @staticmethod
    def exact(value: float) -> Estimate:
        """A share that nothing was sampled for."""
        zero, one = np.zeros(()), np.ones(())
        return Estimate(np.asarray(float(value)), zero, None, one, one, one)

    @staticmethod
    def stack(shares: Sequence[Estimate]) -> Estimate:
        """Several shares, resampled by the same draws, as one of arrays."""
        columns = (
            np.stack([np.asarray(getattr(e, name)) for e in shares])
            for name in ("value", "variance", "items", "effective", "df")
        )
        value, variance, items, effective, df = columns
        spreads = [e.spread for e in shares if e.spread is not None]
        spread = np.stack(spreads, axis=1) if len(spreads) == len(shares) else None
        return Estimate(value, variance, spread, items, effective, df)


def estimate(right: Floats, total: Floats, draws: Floats) -> Estimate:
    """The share right / total [clusters, ...] under `draws` [resamples, clusters] of whole clusters."""
    effective = effective_number(total)
    df = np.maximum(effective - 1.0, 1.0)
    # The bootstrap's variance is that of n, not n - 1; unequal clusters count by their effective number.
    return estimate_from(
        right.sum(axis=0) / total.sum(axis=0),
        ratio(draws @ right, draws @ total),
        items=total.sum(axis=0),
        effective=effective,
        df=df,
        inflate=(df + 1.0) / df,
    )


def estimate_from(
    value: npt.ArrayLike,
    spread: Floats,
    *,
    items: npt.ArrayLike,
    effective: npt.ArrayLike,
    df: npt.ArrayLike,
    inflate: npt.ArrayLike = 1.0,
) -> Estimate:
    """An `Estimate` from resampled values; resamples without any answer (NaN) are left out."""
    # Centred first: the sum of squares of a constant then vanishes exactly.
    centre = np.asarray(value, dtype=float)
    deviations = np.where(np.isnan(spread), 0.0, spread - centre)
    used = np.maximum((~np.isnan(spread)).sum(axis=0), 1)
    variance = (deviations**2).sum(axis=0) / used - (deviations.sum(axis=0) / used) ** 2
    return Estimate(
        centre,
        np.maximum(variance, 0.0) * np.asarray(inflate, dtype=float),
        spread,
        np.asarray(items, dtype=float),
        np.asarray(effective, dtype=float),
        np.asarray(df, dtype=float),
    )


def ratio(right: Floats, total: Floats) -> Floats:
    """right / total, NaN where nothing was answered."""
    return np.asarray(np.divide(right, total, out=np.full(np.shape(total), np.nan), where=total > 0))


def share_interval(e: Estimate) -> tuple[Floats, Floats]:
    """Ends of the 95% interval of a share.

    The variance is never taken for less than that of `items` independent answers. At exactly 0 or 1
    resampling shows no variance at all: there it is Wilson's interval on the effective number of
    clusters, as if a cluster's answers said one and the same thing.
    """
    if e.spread is None:
        return e.value, e.value
    at_end, half = _at_end(e), _half_width(e)
    value = np.where(at_end, 0.5, e.value)
    centre, reach = np.log(value / (1.0 - value)), half / (value * (1.0 - value))
    low, high = wilson(e.value, e.effective)
    return np.where(at_end, low, _expit(centre - reach)), np.where(at_end, high, _expit(centre + reach))


def combined_interval(weights: Sequence[float], estimates: Sequence[Estimate]) -> tuple[Floats, Floats]:
    """Ends of the 95% interval of a weighted sum of shares, resampled together.

    When only one share was sampled it is that share's interval, shifted. Otherwise the shares' half
    widths are joined by their correlation over the resamples, on the plain scale, where a sum of
    several is close to symmetric; a share at exactly 0 or 1 can err to one side only, by Wilson.
    """
    alone = sum(e.spread is not None for e in estimates) < 2
    below, above = [], []
    for weight, e in zip(weights, estimates, strict=True):
        down, up = reaches(e, alone=alone)
        # A share that enters with a minus sign lowers the sum at its upper end.
        below.append(abs(weight) * (down if weight > 0 else up))
        above.append(abs(weight) * (up if weight > 0 else down))
    value = combined_value(weights, estimates)
    left, right = np.zeros_like(value), np.zeros_like(value)
    for i, first in enumerate(estimates):
        for j, second in enumerate(estimates):
            sign = np.sign(weights[i]) * np.sign(weights[j])
            r = 1.0 if i == j else sign * _correlation(first, second)
            left = left + r * below[i] * below[j]
            right = right + r * above[i] * above[j]
    return value - np.sqrt(np.maximum(left, 0.0)), value + np.sqrt(np.maximum(right, 0.0))


def reaches(e: Estimate, *, alone: bool = False) -> tuple[Floats, Floats]:
    """How far a share's interval reaches down and up where it is part of a sum, or `alone` varies in it."""
    low, high = share_interval(e)
    keep = np.asarray(alone) | _at_end(e)
    return np.where(keep, e.value - low, _half_width(e)), np.where(keep, high - e.value, _half_width(e))


def _at_end(e: Estimate) -> npt.NDArray[np.bool_]:
    return (e.value <= 0.0) | (e.value >= 1.0)


def _half_width(e: Estimate) -> Floats:
    """Half the width of a symmetric 95% interval of a share, with the least variance it can have."""
    least = e.value * (1.0 - e.value) / np.maximum(e.items, 1.0)
    return np.asarray(t_quantile(np.maximum(e.df, 1.0)) * np.sqrt(np.maximum(e.variance, least)))


def combined_value(weights: Sequence[float], estimates: Sequence[Estimate]) -> Floats:
    """The weighted sum itself."""
    return np.asarray(sum(w * e.value for w, e in zip(weights, estimates, strict=True)), dtype=float)


def _correlation(first: Estimate, second: Estimate) -> Floats:
    """Over the resamples; 0 where one of them does not vary."""
    if first.spread is None or second.spread is None:
        return np.zeros(())
    both = ~(np.isnan(first.spread) | np.isnan(second.spread))
    n = np.maximum(both.sum(axis=0), 1)
    x, y = (np.where(both, e.spread - e.value, 0.0) for e in (first, second) if e.spread is not None)
    x, y = np.where(both, x - x.sum(axis=0) / n, 0.0), np.where(both, y - y.sum(axis=0) / n, 0.0)
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    flat = scale < 1e-12
    return np.where(flat, 0.0, (x * y).sum(axis=0) / np.where(flat, 1.0, scale))


def wilson(value: npt.ArrayLike, n: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Wilson's 95% score interval of a share seen in `n` independent answers (`n` need not be whole)."""
    p, number = np.asarray(value, dtype=float), np.maximum(np.asarray(n, dtype=float), 1e-9)
    shrink = 1.0 + _Z**2 / number
    centre = (p + _Z**2 / (2 * number)) / shrink
    half = _Z / shrink * np.sqrt(p * (1 - p) / number + (_Z / (2 * number)) ** 2)
    # At the ends the formula gives 0 and 1 up to rounding.
    low = np.where(p <= 0, 0.0, np.clip(centre - half, 0, p))
    return low, np.where(p >= 1, 1.0, np.clip(centre + half, p, 1))


def wilson_clustered(right: Floats, total: Floats) -> tuple[float, float]:
    """Wilson's interval of right / total over images [n], n >= 2, with the design effect seen between them.

    The effective number of answers is their number over the design effect, and lies between the number
    of (equal) images, when an image's answers all agree, and the number of answers, when they are
    independent.
    """
    answers, n = total.sum(), int((total > 0).sum())
    value = right.sum() / answers
    between = n / (n - 1) * ((right - value * total) ** 2).sum() / answers**2
    fewest = float(effective_number(total))
    number = fewest if between <= 0 and value in (0.0, 1.0) else value * (1 - value) / max(between, 1e-12)
    low, high = wilson(value, min(max(number, fewest), answers))
    return float(low), float(high)


def two_sided_p(value: float, low: float, high: float, df: float) -> float:
    """The p of a difference, read off its interval: below .05 exactly when zero lies outside.

    The end on zero's side lies `t_quantile(df)` standard errors away.
    """
    reach = value - low if value > 0 else high - value
    if value == 0.0:
        return 1.0
    if reach <= 0.0:
        return 0.0
    t = abs(value) / reach * float(t_quantile(np.asarray(df)))
    return 2.0 * _NORMAL.cdf(-_normal_from_t(t, df))


def t_quantile(df: npt.ArrayLike) -> Floats:
    """The .975 quantile of Student's t by Wallace's (1959) formula: within .01 from 5 df on."""
    v = np.asarray(df, dtype=float)
    return np.asarray(np.sqrt(v * np.expm1(((8 * v + 3) / (8 * v + 1) * _Z) ** 2 / v)))


def _normal_from_t(t: float, df: float) -> float:
    # The inverse of t_quantile's formula.
    return float((8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t * t / df)))


def _expit(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -700, 700))))
