"""Fleiss' kappa against the published example, a plain second reading of the formula, and its laws."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.compile.kappa import Kappa, fleiss

#: Ten subjects, fourteen raters, five labels: the worked example of Fleiss' kappa in the literature, 0.210.
EXAMPLE = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def by_hand(votes: list[list[int]]) -> float | None:
    """Fleiss (1971) with exact fractions, from the single votes: every pair of raters is compared."""
    sheets = [[label for label, n in enumerate(row) for _ in range(n)] for row in votes]
    raters = len(sheets[0])
    pairs = [(i, j) for i in range(raters) for j in range(raters) if i != j]
    observed = Fraction(sum(s[i] == s[j] for s in sheets for i, j in pairs), len(sheets) * len(pairs))
    flat = [label for sheet in sheets for label in sheet]
    chance = sum(Fraction(flat.count(label), len(flat)) ** 2 for label in set(flat))
    return None if chance == 1 else float((observed - chance) / (1 - chance))


def test_the_published_example() -> None:
    found = fleiss(EXAMPLE)
    assert found.value == pytest.approx(0.20993070442195524, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.items == 10


@given(st.integers(2, 5).flatmap(lambda raters: st.lists(st.integers(0, raters), min_size=1, max_size=12).map(
    lambda yes: [[y, raters - y] for y in yes])))  # fmt: skip
def test_equal_numbers_of_votes_give_fleiss_formula(votes: list[list[int]]) -> None:
    expected, found = by_hand(votes), fleiss(votes)
    if expected is None:
        assert (found.value, found.low, found.high) == (None, None, None)
    else:
        assert found.value == pytest.approx(expected, abs=1e-9)
        assert found.low is None or found.low <= found.value + 1e-9


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=15))
def test_labels_and_pictures_have_no_order(votes: list[tuple[int, int]]) -> None:
    def value(rows: list[tuple[int, int]]) -> float | None:
        return fleiss(rows).value

    swapped, turned = value([(b, a) for a, b in votes]), value(votes[::-1])
    expected = value(votes)
    for other in (swapped, turned):
        assert other == (expected if expected is None else pytest.approx(expected, abs=1e-9))


def test_pictures_with_fewer_than_two_votes_say_nothing() -> None:
    votes = [[3, 0], [2, 1], [0, 3]]
    assert fleiss([*votes, [1, 0], [0, 0]]) == fleiss(votes)
    assert fleiss([[1, 0], [0, 1]]) == Kappa(None, None, None, 0)
    assert fleiss([[0, 0]]) == Kappa(None, None, None, 0)


def test_one_label_alone_has_no_kappa_and_full_agreement_has_a_lower_end() -> None:
    assert fleiss([[3, 0]] * 5) == Kappa(None, None, None, 5)
    found = fleiss([[3, 0], [0, 3]] * 10)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low is not None
    assert 0.5 < found.low < 1.0
    fewer = fleiss([[3, 0], [0, 3]] * 3)
    assert fewer.low is not None
    assert fewer.low < found.low


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Pictures drawn from a known mixture of clear and less clear ones; the truth follows from it."""
    rng = np.random.default_rng(5)
    chances, weights = np.array([0.1, 0.85]), np.array([0.6, 0.4])
    agreement = float(weights @ (chances**2 + (1 - chances) ** 2))
    share = float(weights @ chances)
    by_chance = share**2 + (1 - share) ** 2
    truth = (agreement - by_chance) / (1 - by_chance)

    def sample(n: int) -> np.ndarray:
        yes = rng.binomial(3, rng.choice(chances, size=n, p=weights))
        return np.stack([yes, 3 - yes], axis=1)

    found = [fleiss(sample(60), seed=i) for i in range(120)]
    covered = np.mean([k.low <= truth <= k.high for k in found])  # type: ignore[operator]
    assert 0.88 <= covered <= 0.995


def test_strata_are_resampled_on_their_own() -> None:
    votes, strata = [[3, 0], [3, 0], [2, 1], [0, 3], [1, 2], [0, 3]] * 4, ["a", "b"] * 12
    assert fleiss(votes, strata).value == fleiss(votes).value
    assert fleiss(votes, strata, seed=1) == fleiss(votes, strata, seed=1)
