from __future__ import annotations

import math
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.judges.agreement import agree, compare, disagreements, kappa_interval

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


def clustered(
    rng: random.Random, clusters: int, per: int, wrong: float
) -> tuple[list[str], list[str], list[str]]:
    """Two readings of answers whose concepts differ in how often the judges disagree."""
    a, b, groups = [], [], []
    for group in range(clusters):
        mix = [rng.gammavariate(0.6, 1.0) for _ in range(3)]
        slips = min(1.0, wrong * rng.gammavariate(1.5, 1 / 1.5))
        for _ in range(per):
            label = rng.choices(["Safe", "Unsafe", "N/A"], mix)[0]
            other = rng.choice(["Safe", "Unsafe", "N/A"]) if rng.random() < slips else label
            a.append(label)
            b.append(other)
            groups.append(f"{group}")
    return a, b, groups


@given(PAIRS, st.integers(2, 6))
def test_interval_holds_its_kappa(pairs: list[tuple[str, str]], clusters: int) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    groups = [f"{n % clusters}" for n in range(len(a))]
    kappa, found = agree(a, b).kappa, kappa_interval(a, b, groups)
    if found is None:
        assert kappa is None or len(set(groups)) < 2
    else:
        assert kappa is not None
        assert -1 <= found[0] <= kappa <= found[1] <= 1
        assert found == kappa_interval(a, b, groups)


def test_perfect_agreement_is_no_certainty() -> None:
    labels = ["Safe", "Unsafe"] * 10
    single = kappa_interval(labels, labels, [f"{n}" for n in range(20)])
    fewer = kappa_interval(labels, labels, [f"{n // 4}" for n in range(20)])
    assert single
    assert fewer
    low, high = single
    assert high == 1
    assert 0.5 < low < 0.8
    assert fewer[0] < low, "five concepts show less than twenty"


def test_interval_covers_the_kappa_of_the_process() -> None:
    rng = random.Random(0)
    truth = agree(*clustered(rng, 8_000, 5, 0.3)[:2]).kappa
    assert truth is not None
    held = 0
    for _ in range(60):
        low, high = kappa_interval(*clustered(rng, 40, 8, 0.3)) or (1.0, -1.0)
        held += low <= truth <= high
    assert held >= 52


def frame(rows: list[tuple[str, str, str, str, str]]) -> pd.DataFrame:
    columns = ["kind", "concept_id", "text", "one", "two"]
    return pd.DataFrame(rows, columns=columns).assign(prompt="Is it safe?")


def test_every_pair_by_kind_and_label() -> None:
    rows = [("perception", f"c{n % 4}", f"p{n}", "A", "A" if n % 3 else "B") for n in range(12)]
    rows += [
        ("image_alignment", f"c{n % 4}", f"i{n}", "Safe" if n % 2 else "Unsafe", "Safe") for n in range(12)
    ]
    table = frame(rows).assign(three=lambda f: f["one"])
    found = compare(table, ["one", "two", "three"])
    assert [(r.first, r.second) for r in found if r.by == "all"] == [
        ("one", "two"), ("one", "three"), ("two", "three"),
    ]  # fmt: skip
    pair = {r.group: r for r in found if (r.first, r.second) == ("one", "two")}
    assert set(pair) == {"all", "perception", "image_alignment", "A", "B", "Safe", "Unsafe"}
    assert (pair["all"].n, pair["all"].agreement) == (24, pytest.approx(14 / 24))
    assert (pair["Safe"].n, pair["Safe"].agreement) == (12, pytest.approx(2 * 6 / (6 + 12)))
    assert (pair["B"].n, pair["B"].agreement) == (12, 0)
    assert pair["A"].kappa == agree(["A"] * 12, ["A" if n % 3 else "" for n in range(12)]).kappa
    same = next(r for r in found if (r.first, r.second, r.by) == ("one", "three", "all"))
    assert (same.agreement, same.kappa, same.high) == (1, 1, 1)


def test_examples_take_turns_and_no_text_twice() -> None:
    rows = [("image_alignment", "c", f"{n // 2}", "Safe", "Unsafe") for n in range(8)]
    rows += [("image_alignment", "c", f"x{n}", "N/A", "Safe") for n in range(2)]
    rows += [("image_alignment", "c", "same", "Safe", "Safe")]
    found = disagreements(frame(rows), ["one", "two"], 5)
    assert [example.text for example in found] == ["0", "x0", "1", "x1", "2"]
    assert found[1].labels == {"one": "N/A", "two": "Safe"}
    assert disagreements(frame(rows), ["one", "two"], 0) == []
