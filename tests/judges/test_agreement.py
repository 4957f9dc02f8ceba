from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.judges.agreement import agree

LABELS = st.sampled_from(["Safe", "Unsafe", "N/A"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=40)


def test_hand_case() -> None:
    # 20 yes-yes, 15 no-no, 5 yes-no, 10 no-yes: p_o = .7, p_e = .5 x .6 + .5 x .4 = .5, kappa = .4
    a = ["yes"] * 20 + ["no"] * 15 + ["yes"] * 5 + ["no"] * 10
    b = ["yes"] * 20 + ["no"] * 15 + ["no"] * 5 + ["yes"] * 10
    found = agree(a, b)
    assert (found.n, found.agreement) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.confusion == {"yes": {"yes": 20, "no": 5}, "no": {"yes": 10, "no": 15}}
    assert found.by_label == {"yes": pytest.approx(20 / 35), "no": pytest.approx(15 / 30)}


def test_three_labels_by_hand() -> None:
    # p_o = 3/5; shares a: 2/5 2/5 1/5, b: 2/5 1/5 2/5: p_e = (4 + 2 + 2)/25 = 8/25; kappa = (15 - 8)/(25 - 8)
    assert agree(["x", "x", "y", "y", "z"], ["x", "z", "y", "x", "z"]).kappa == pytest.approx(7 / 17)


def test_degenerate_cases() -> None:
    assert agree(["Safe"] * 4, ["Safe"] * 4).kappa is None
    assert agree(["Safe"] * 4, ["Safe"] * 4).agreement == 1
    assert agree(["Safe"] * 4, ["Unsafe"] * 4).kappa == 0
    assert agree(["Safe", "Unsafe"], ["Unsafe", "Safe"]).kappa == -1
    empty = agree([], [])
    assert empty.kappa is None
    assert math.isnan(empty.agreement)
    with pytest.raises(ValueError, match="shorter"):
        agree(["Safe"], [])


@given(PAIRS)
def test_matches_the_definition(pairs: list[tuple[str, str]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    observed = sum(x == y for x, y in pairs) / len(pairs)
    expected = sum(sum(x == y for y in b) for x in a) / len(pairs) ** 2
    found = agree(a, b)
    assert found.agreement == pytest.approx(observed)
    if found.kappa is None:
        assert expected == 1
    else:
        assert found.kappa == pytest.approx((observed - expected) / (1 - expected))


@given(PAIRS)
def test_symmetric_and_perfect_with_itself(pairs: list[tuple[str, str]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    assert agree(a, b).kappa == agree(b, a).kappa
    assert agree(a, a).kappa in (1, None)
    assert sum(sum(row.values()) for row in agree(a, b).confusion.values()) == len(pairs)
