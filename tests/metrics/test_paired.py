"""Two runs over the questions both were asked: the same as comparing them overall, and within concepts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ucbench.errors import UcbenchError
from ucbench.metrics.compare import difference
from ucbench.metrics.paired import FEWEST_IMAGES, Paired
from ucbench.metrics.scores import score_run

Simulate = Callable[..., pd.DataFrame]
RESAMPLES = 400


@pytest.fixture(scope="module")
def runs(simulate: Simulate) -> tuple[pd.DataFrame, pd.DataFrame]:
    return simulate(1, image=0.4, images=8, na=0.05), simulate(2, image=0.7, images=8, na=0.0)


@pytest.mark.parametrize("key", ["balanced_accuracy", "perception", "image_alignment", "modality_gap"])
def test_overall_is_what_comparing_says(runs: tuple[pd.DataFrame, pd.DataFrame], key: str) -> None:
    first, second = runs
    found = Paired(first, second, resamples=RESAMPLES).overall(key)
    told = difference(second, first, key, resamples=RESAMPLES)
    assert found is not None
    assert found.difference.value == pytest.approx(told.value)
    assert (found.difference.low, found.difference.high, found.difference.p) == pytest.approx(
        (told.low, told.high, told.p)
    )
    for value, frame in ((found.first, first), (found.second, second)):
        assert value == pytest.approx(score_run(frame, resamples=10).overall[key].value, abs=1e-8)


def test_within_groups_the_scores_are_those_of_each_run(runs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    paired = Paired(*runs, resamples=RESAMPLES)
    scores = [score_run(frame, resamples=10) for frame in runs]
    for found, table in (
        (paired.by_concept("image_alignment"), "by_concept"),
        (paired.by_category("modality_gap"), "by_category"),
    ):
        assert found
        for name, one in found.items():
            key = "image_alignment" if table == "by_concept" else "modality_gap"
            values = [getattr(score, table)[name][key].value for score in scores]
            assert (one.first, one.second) == pytest.approx(tuple(values), abs=1e-8)
            assert one.difference.value == pytest.approx(values[1] - values[0], abs=1e-8)
            assert one.difference.low is not None
            assert one.difference.high is not None
            assert one.difference.low <= one.difference.value <= one.difference.high
    assert set(paired.by_concept("image_alignment")) == set(paired.concepts)
    assert len(paired.concepts) == paired.n_concepts


def test_the_other_way_round_it_is_the_opposite(runs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    there, back = (Paired(*pair, resamples=RESAMPLES) for pair in (runs, runs[::-1]))
    for key in ("image_alignment", "modality_gap"):
        one, other = there.by_concept(key), back.by_concept(key)
        for name in one:
            a, b = one[name].difference, other[name].difference
            assert a.low is not None
            assert (a.value, a.low, a.high) == pytest.approx((-b.value, -b.high, -b.low))  # type: ignore[operator]


def test_a_run_does_not_differ_from_itself(runs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    paired = Paired(runs[0], runs[0], resamples=RESAMPLES)
    for one in (paired.overall("image_alignment"), *paired.by_category("image_alignment").values()):
        assert one is not None
        assert (one.difference.value, one.difference.p) == (0.0, 1.0)


def test_words_are_known_exactly_and_few_images_say_nothing(simulate: Simulate) -> None:
    few = Paired(
        simulate(1, images=FEWEST_IMAGES - 1), simulate(2, images=FEWEST_IMAGES - 1), resamples=RESAMPLES
    )
    assert all(one.difference.low is None for one in few.by_concept("image_alignment").values())
    enough = Paired(simulate(1, images=FEWEST_IMAGES), simulate(2, images=FEWEST_IMAGES), resamples=RESAMPLES)
    assert all(one.difference.low is not None for one in enough.by_concept("image_alignment").values())
    # In words nothing is sampled, and the gap is as uncertain as its image side.
    assert all(one.difference.low is None for one in enough.by_concept("text_alignment").values())
    image, gap = enough.by_concept("image_alignment"), enough.by_concept("modality_gap")
    for name, one in gap.items():
        mine, theirs = one.difference, image[name].difference
        assert mine.low is not None
        assert mine.high is not None
        assert theirs.low is not None
        assert theirs.high is not None
        if theirs.low > -1 and theirs.high < 1:
            assert mine.high - mine.low == pytest.approx(theirs.high - theirs.low, abs=1e-6)
    assert enough.by_concept("modality_gap_macro") == {}


def test_only_what_both_were_asked_counts(runs: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    first, second = runs
    half = second[second["sample_id"].str[-1].isin(list("k0123")) | second["kind"].str.startswith("text")]
    paired = Paired(first, half, resamples=RESAMPLES)
    assert paired.n_questions == len(half)
    with pytest.raises(UcbenchError, match="share no question"):
        Paired(first, second.assign(sample_id="other-" + second["sample_id"]))
    assert paired.overall("diversity") is None
    assert paired.overall("image_context_safe") is None


def test_intervals_within_concepts_hold_what_they_promise(simulate: Simulate) -> None:
    """Of concepts whose images answer at the same rate in both runs, about one in twenty is missed."""
    first, second = (
        simulate(seed, image=0.5, images=12, concepts=80, safe_concepts=2, na=0.0) for seed in (3, 4)
    )
    rng = np.random.default_rng(0)
    for frame in (first, second):
        asked = (frame["kind"] == "image_alignment") & frame["unsafe"]
        frame.loc[asked, "label"] = np.where(rng.random(int(asked.sum())) < 0.5, "Unsafe", "Safe")
    found = Paired(first, second, resamples=RESAMPLES).by_concept("image_alignment")
    missed = [
        name for name, one in found.items()
        if one.difference.low is None or one.difference.high is None
        or not one.difference.low <= 0.0 <= one.difference.high
    ]  # fmt: skip
    assert len(missed) <= 0.12 * len(found)
