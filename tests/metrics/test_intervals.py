"""Intervals: their parts against known formulas, and their coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ucbench.metrics import intervals
from ucbench.taxonomy import official_image_counts

OFFICIAL = np.array(list(official_image_counts().values()))
CHUNK = 500


def draw_runs(
    rng: np.random.Generator, share: float, runs: int, *, concentration: float, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Right and total answers [75 concepts, runs]: concepts and images differ, five questions agree in part.

    Concept rates are beta with mean `share` (the lower the concentration, the further apart), image rates
    beta around the concept's (concentration 3: two questions on an image correlate by 1/4).
    """
    rate = rng.beta(share * concentration, (1 - share) * concentration, size=counts.shape)
    rate = np.clip(rate, 1e-9, 1 - 1e-9)
    right = np.zeros(counts.shape)
    for k in range(int(counts.max())):
        asked = counts > k
        own = rng.beta(3 * rate[asked], 3 * (1 - rate[asked]))
        right[asked] += rng.binomial(5, own)
    assert right.shape[1] == runs
    return right, 5.0 * counts


def covered(share: float, runs: int, *, concentration: float, random_counts: bool, seed: int) -> float:
    """Share of simulated runs whose overall interval holds the true share."""
    rng = np.random.default_rng(seed)
    hits = 0
    for chunk in range(runs // CHUNK):
        shape = (len(OFFICIAL), CHUNK)
        counts = rng.choice(OFFICIAL, shape) if random_counts else np.tile(OFFICIAL[:, None], CHUNK)
        right, total = draw_runs(rng, share, CHUNK, concentration=concentration, counts=counts)
        draws = intervals.resample_clusters(np.zeros(len(OFFICIAL)), 2000, seed + chunk)
        low, high = intervals.share_interval(intervals.estimate(right, total, draws))
        hits += int(((low <= share) & (share <= high)).sum())
    return hits / runs


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_overall_interval_covers_the_true_share_in_93_to_97_percent(share: float) -> None:
    # 3,000 runs: a standard error of .004.
    found = covered(share, 3000, concentration=2.0, random_counts=False, seed=11)
    assert 0.93 <= found <= 0.97, found


@pytest.mark.slow
@pytest.mark.parametrize("random_counts", [False, True])
@pytest.mark.parametrize("concentration", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_coverage_holds_from_mild_to_extreme_differences_between_concepts(
    share: float, concentration: float, random_counts: bool
) -> None:
    found = covered(share, 20000, concentration=concentration, random_counts=random_counts, seed=5)
    print(f"share {share} concentration {concentration} random counts {random_counts}: {found:.4f}")
    assert 0.93 <= found <= 0.97, found


def test_interval_of_a_paired_gap_covers() -> None:
    # Text and image rates of a concept rise and fall together, so that pairing matters.
    rng = np.random.default_rng(3)
    runs, hits, widths, unpaired = 3000, 0, 0.0, 0.0
    for chunk in range(runs // CHUNK):
        counts = np.tile(OFFICIAL[:, None], CHUNK)
        image = rng.beta(0.8, 1.2, size=counts.shape)
        text = np.clip(0.45 + 0.5 * image, 0, 1)  # mean .65
        right, total = rng.binomial(5 * counts, image).astype(float), 5.0 * counts
        text_right, text_total = rng.binomial(5, text).astype(float), np.full(counts.shape, 5.0)
        draws = intervals.resample_clusters(np.zeros(len(OFFICIAL)), 1000, chunk)
        parts = [intervals.estimate(text_right, text_total, draws), intervals.estimate(right, total, draws)]
        low, high = intervals.combined_interval([1.0, -1.0], parts)
        hits += int(((low <= 0.25) & (high >= 0.25)).sum())
        widths += float((high - low).mean())
        ends = [intervals.share_interval(part) for part in parts]
        unpaired += float(np.sqrt(sum((b - a) ** 2 for a, b in ends)).mean())
    assert 0.93 <= hits / runs <= 0.97, hits / runs
    assert widths < 0.95 * unpaired


def test_interval_of_a_mean_of_two_strata_covers() -> None:
    rng = np.random.default_rng(8)
    strata = np.repeat([True, False], 75)
    runs, hits = 3000, 0
    for chunk in range(runs // CHUNK):
        unsafe = rng.binomial(30, rng.beta(0.8, 1.2, size=(75, CHUNK))).astype(float)
        safe = rng.binomial(30, rng.beta(4.5, 0.5, size=(75, CHUNK))).astype(float)
        draws = intervals.resample_clusters(strata, 1000, chunk)
        total = np.full((75, CHUNK), 30.0)
        parts = [
            intervals.estimate(unsafe, total, draws[:, strata]),
            intervals.estimate(safe, total, draws[:, ~strata]),
        ]
        low, high = intervals.combined_interval([0.5, 0.5], parts)
        hits += int(((low <= 0.65) & (high >= 0.65)).sum())
    assert 0.93 <= hits / runs <= 0.97, hits / runs


def test_strata_are_resampled_apart() -> None:
    strata = np.array([True, False, True, False, False])
    draws = intervals.resample_clusters(strata, 200, 0)
    assert (draws[:, strata].sum(axis=1) == 2).all()
    assert (draws[:, ~strata].sum(axis=1) == 3).all()
    assert len(np.unique(draws, axis=0)) > 10


def test_bootstrap_variance_is_that_of_a_mean_for_equal_clusters() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(0, 11, 40).astype(float)
    draws = intervals.resample_clusters(np.zeros(40), 20000, 1)
    found = intervals.estimate(right, np.full(40, 10.0), draws)
    assert found.variance == pytest.approx(np.var(right / 10, ddof=1) / 40, rel=0.05)


def test_rescaled_draws_keep_each_stratum_and_have_unbiased_variance() -> None:
    strata = np.array([0, 0, 1, 1, 1, 2])
    weights = intervals.rescaled_draws(strata, 40000, 0)
    assert weights[:, :2].sum(axis=1) == pytest.approx(2.0)
    assert weights[:, 2:5].sum(axis=1) == pytest.approx(3.0)
    assert (weights[:, 5] == 1.0).all()
    x = np.array([0.0, 1.0, 2.0, 5.0, 3.0, 9.0])
    by_formula = sum(n * np.var(x[strata == s], ddof=1) for s, n in ((0, 2), (1, 3)))
    assert np.var(weights @ x) == pytest.approx(by_formula, rel=0.05)


@pytest.mark.parametrize("df", [5, 10, 30, 74, 500])
def test_t_quantile_agrees_with_scipy(df: int) -> None:
    assert float(intervals.t_quantile(df)) == pytest.approx(stats.t.ppf(0.975, df), abs=0.01)


@pytest.mark.parametrize(("value", "n"), [(0.0, 20), (1.0, 20), (0.3, 10), (0.5, 400), (0.97, 33)])
def test_wilson_agrees_with_scipy(value: float, n: int) -> None:
    expected = stats.binomtest(round(value * n), n).proportion_ci(0.95, "wilson")
    low, high = intervals.wilson(round(value * n) / n, n)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_share_at_the_end_gets_wilson_on_the_effective_number(value: float) -> None:
    total = np.array([5.0, 5.0, 20.0, 10.0])
    draws = intervals.resample_clusters(np.zeros(4), 500, 0)
    low, high = intervals.share_interval(intervals.estimate(value * total, total, draws))
    effective = 40**2 / (25 + 25 + 400 + 100)
    expected = intervals.wilson(value, effective)
    assert (float(low), float(high)) == pytest.approx(tuple(map(float, expected)))
    assert high - low > 0.3


def test_variance_is_never_below_that_of_independent_answers() -> None:
    # Every cluster has the same rate by chance: resampling sees no variance at all.
    draws = intervals.resample_clusters(np.zeros(10), 500, 0)
    found = intervals.estimate(np.full(10, 2.0), np.full(10, 4.0), draws)
    assert found.variance == 0
    low, high = intervals.share_interval(found)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 40), rel=0.2)


def test_wilson_with_design_effect_lies_between_images_and_answers() -> None:
    total = np.full(8, 5.0)
    # Two images wholly right, six wholly wrong: an image's answers are one answer.
    together = intervals.wilson_clustered(np.array([5.0, 5, 0, 0, 0, 0, 0, 0]), total)
    assert together == pytest.approx(tuple(map(float, intervals.wilson(0.25, 8))))
    # Each image at the same rate: no more alike than independent answers.
    apart = intervals.wilson_clustered(np.full(8, 1.0), total)
    assert apart == pytest.approx(tuple(map(float, intervals.wilson(0.2, 40))))
    # One answer an image: plain Wilson.
    plain = intervals.wilson_clustered(np.array([1.0, 1, 1, 0]), np.ones(4))
    assert plain == pytest.approx(tuple(map(float, intervals.wilson(0.75, 4))))


def test_wilson_with_design_effect_by_hand() -> None:
    right, total = np.array([5.0, 4, 1, 0]), np.full(4, 5.0)
    # p = 1/2; deviations 2.5, 1.5, -1.5, -2.5; variance 4/3 * 17 / 400; answers worth .25 / .0567 = 4.41.
    expected = intervals.wilson(0.5, 0.25 / (4 / 3 * 17 / 400))
    assert intervals.wilson_clustered(right, total) == pytest.approx(tuple(map(float, expected)))


def test_p_is_below_5_percent_exactly_when_zero_is_outside() -> None:
    assert intervals.two_sided_p(0.2, 0.0, 0.4, 74) == pytest.approx(0.05)
    assert intervals.two_sided_p(-0.2, -0.4, 0.0, 20) == pytest.approx(0.05)
    assert intervals.two_sided_p(0.2, 0.01, 0.4, 74) < 0.05 < intervals.two_sided_p(0.2, -0.01, 0.4, 74)
    assert intervals.two_sided_p(0.0, -0.1, 0.1, 74) == 1.0
    # Two standard errors more, against the t distribution itself.
    t = 2 * stats.t.ppf(0.975, 30)
    assert intervals.two_sided_p(0.4, 0.2, 0.6, 30) == pytest.approx(2 * stats.t.sf(t, 30), rel=0.05)


clusters = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=12
)


@given(clusters)
def test_interval_holds_the_value_and_stays_in_range(cells: list[tuple[int, int]]) -> None:
    right, total = np.array(cells, dtype=float).T
    draws = intervals.resample_clusters(np.zeros(len(cells)), 200, 0)
    found = intervals.estimate(right, total, draws)
    for low, high in (intervals.share_interval(found), intervals.wilson_clustered(right, total)):
        assert 0 <= low <= found.value + 1e-12
        assert found.value - 1e-12 <= high <= 1
        assert high - low > 0


@given(clusters, st.integers(0, 2**31))
def test_interval_of_a_gap_holds_the_value(cells: list[tuple[int, int]], seed: int) -> None:
    right, total = np.array(cells, dtype=float).T
    other = np.random.default_rng(seed).permutation(right / total)
    draws = intervals.resample_clusters(np.zeros(len(cells)), 200, 0)
    parts = [intervals.estimate(right, total, draws), intervals.estimate(other, np.ones(len(cells)), draws)]
    low, high = intervals.combined_interval([1.0, -1.0], parts)
    value = intervals.combined_value([1.0, -1.0], parts)
    assert low <= value <= high


def test_equal_shares_on_equal_draws_differ_by_nothing() -> None:
    draws = intervals.resample_clusters(np.zeros(6), 300, 0)
    found = intervals.estimate(np.array([1.0, 2, 3, 4, 5, 5]), np.full(6, 5.0), draws)
    low, high = intervals.combined_interval([1.0, -1.0], [found, found])
    assert high - low < 1e-6
