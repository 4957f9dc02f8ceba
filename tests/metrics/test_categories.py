"""Standings within a category: the score, its interval, the ranks for these concepts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ucbench.metrics import categories, compare
from ucbench.metrics.categories import Images, Standing, images_of, standings
from ucbench.metrics.compare import Terms
from ucbench.metrics.intervals import Estimate
from ucbench.metrics.pairwise import against
from ucbench.metrics.scores import score_run

Simulate = Callable[..., pd.DataFrame]
RESAMPLES = 400


def summed(frame: pd.DataFrame) -> Images:
    found = images_of(frame)
    assert found is not None
    return found


def told(frames: dict[str, pd.DataFrame], **options: float) -> dict[str, dict[str, Standing]]:
    entries = {name: summed(frame) for name, frame in frames.items()}
    return standings(entries, set(entries), resamples=RESAMPLES, **options)  # type: ignore[arg-type]


def ranks(found: dict[str, Standing]) -> dict[str, tuple[int | None, int | None]]:
    return {name: (one.rank_low, one.rank_high) for name, one in found.items()}


def test_the_score_is_the_mean_of_the_category_and_all_safe_images(simulate: Simulate) -> None:
    frame = simulate(3)
    scores, found = score_run(frame, resamples=50), told({"a": frame})
    asked = frame[(frame["kind"] == "image_alignment") & ~frame["unsafe"]]
    safe = float((asked["label"] == "Safe").mean())
    assert list(found) == sorted(set(frame.loc[frame["unsafe"], "category_id"]))
    for category, standing in found.items():
        unsafe = scores.by_category[category]["image_alignment_strict"].value
        assert unsafe is not None
        one = standing["a"]
        assert one.value == pytest.approx((unsafe + safe) / 2)
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.value < one.high
        assert (one.rank_low, one.rank_high, one.ranked_among) == (1, 1, 1)


def test_one_side_alone_has_no_standing(simulate: Simulate) -> None:
    frame = simulate(1, safe_concepts=0)
    assert images_of(frame) is None


def test_a_category_has_its_own_order(simulate: Simulate) -> None:
    """One entry sees the first category only, the other everything but that."""
    frames = {"first": simulate(1, image=0.9, na=0.0), "rest": simulate(1, image=0.9, na=0.0)}
    for name, frame in frames.items():
        fails = (frame["category_id"] == "category0") != (name == "first")
        fails &= (frame["kind"] == "image_alignment") & frame["unsafe"]
        frames[name] = frame.assign(label=frame["label"].mask(fails, "Safe"))
    found = told(frames)
    assert ranks(found["category0"]) == {"first": (1, 1), "rest": (2, 2)}
    assert ranks(found["category3"]) == {"first": (2, 2), "rest": (1, 1)}


def test_equal_entries_share_a_rank_and_a_better_one_leads(simulate: Simulate) -> None:
    frames = {
        "best": simulate(1, image=0.97, safe_image=0.01), "one": simulate(2, image=0.5),
        "again": simulate(2, image=0.5), "worst": simulate(4, image=0.02),
    }  # fmt: skip
    found = ranks(told(frames)["category2"])
    assert found == {"best": (1, 1), "one": (2, 3), "again": (2, 3), "worst": (4, 4)}


def test_all_pairs_at_once_are_what_each_pair_is_alone(simulate: Simulate) -> None:
    frames = [simulate(seed, image=image) for seed, image in enumerate((0.2, 0.5, 0.5, 1.0))]
    frames.append(frames[1])
    stack = categories._Stack.of([str(n) for n in range(5)], [summed(frame) for frame in frames])
    sampled = stack.sampled("category1", categories._Draw(RESAMPLES, 0))
    assert sampled is not None
    spread = categories._spread(sampled, np.arange(5))
    lead, p = against(spread, spread)

    def terms(n: int) -> Terms:
        parts = [
            Estimate(e.value[n], e.variance[n], e.spread[:, n], e.items[n], e.effective[n], e.df[n])
            for e in sampled
            if e.spread is not None
        ]
        return Terms([0.5, 0.5], parts, 99)

    for i in range(5):
        for j in range(5):
            alone = compare._contrast(terms(i), terms(j))
            assert lead[i, j] == pytest.approx(alone.value)
            assert p[i, j] == pytest.approx(alone.p, abs=1e-6)
    assert p[1, 4] == 1.0


def test_p_values_of_equal_entries_are_spread_evenly() -> None:
    """Two systems with the same rate in each concept, other images each time."""
    rng = np.random.default_rng(0)
    concepts, images = 6, 25
    rate = np.repeat(rng.uniform(0.2, 0.9, 2 * concepts), images)
    image = np.arange(len(rate), dtype=np.uint64)
    concept = np.repeat(np.arange(2 * concepts, dtype=np.uint64), images)
    side = np.where(concept < concepts, 0, -1).astype(np.int64)
    total = np.full(len(rate), 5.0)
    small = 0
    for _ in range(120):
        entries = {
            name: Images(
                ("c",), image, concept, side, rng.binomial(5, rate).astype(float), total, total, total
            )
            for name in "ab"
        }
        stack = categories._Stack.of("ab", list(entries.values()))
        sampled = stack.sampled("c", categories._Draw(200, 0))
        assert sampled is not None
        spread = categories._spread(sampled, np.arange(2))
        small += against(spread, spread)[1][0, 1] < 0.25
    assert 15 <= small <= 48  # 30 expected, standard deviation 4.7


def test_entries_asked_other_images_are_compared_over_those_both_were_asked(simulate: Simulate) -> None:
    good, bad = simulate(1, image=0.95, images=8), simulate(2, image=0.1, images=8)
    part = bad[~bad["sample_id"].str.endswith(("-0", "-1"))]
    assert ranks(told({"good": good, "bad": part})["category1"]) == {"good": (1, 1), "bad": (2, 2)}
    # Nothing in common says nothing.
    elsewhere = bad.assign(sample_id="elsewhere-" + bad["sample_id"])
    assert ranks(told({"good": good, "bad": elsewhere})["category1"]) == {"good": (1, 2), "bad": (1, 2)}


def test_one_image_a_concept_has_no_interval_and_no_order(simulate: Simulate) -> None:
    frames = {"a": simulate(1, image=0.99, images=1), "b": simulate(2, image=0.01, images=1)}
    found = told(frames)["category0"]
    assert (found["a"].low, found["a"].high) == (None, None)
    assert ranks(found) == {"a": (1, 2), "b": (1, 2)}


def test_safe_concepts_of_one_picture_are_resampled_together(simulate: Simulate) -> None:
    frame = simulate(1, images=6, safe_image=0.4)
    lone = frame[frame["unsafe"] | frame["sample_id"].str.endswith("-0")]
    found = told({"a": lone})["category0"]["a"]
    assert found.low is not None


def test_unranked_entries_and_those_that_decline_have_a_score_and_no_rank(simulate: Simulate) -> None:
    frame = simulate(1)
    shy = frame.assign(label=frame["label"].mask(np.arange(len(frame)) % 10 < 8, "N/A"))
    entries = {"usual": summed(frame), "shy": summed(shy), "guest": summed(simulate(2))}
    found = standings(entries, {"usual", "shy"}, min_coverage=0.5, resamples=RESAMPLES)["category0"]
    assert found["shy"].coverage < 0.5
    assert ranks(found) == {"usual": (1, 1), "shy": (None, None), "guest": (None, None)}


def test_the_order_of_rows_does_not_matter(simulate: Simulate) -> None:
    frame = simulate(5)
    shuffled = frame.sample(frac=1.0, random_state=0)
    assert told({"a": frame}) == told({"a": shuffled})
