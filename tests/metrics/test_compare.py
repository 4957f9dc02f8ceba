"""Differences of two entries, and rank intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.metrics import compare
from ucbench.metrics.compare import difference, holm, rank_intervals
from ucbench.metrics.keys import KEYS
from ucbench.metrics.scores import score_run

Simulate = Callable[..., pd.DataFrame]
RESAMPLES = 500


def flip(frame: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """The same run with a share of its unsafe image verdicts turned to safe."""
    chosen = (frame["label"] == "Unsafe") & (frame["kind"] == "image_alignment") & frame["unsafe"]
    chosen &= np.random.default_rng(seed).random(len(frame)) < share
    return frame.assign(label=frame["label"].mask(chosen, "Safe"))


#: What a simulated run asks; a score that reads other questions has none to compare.
SIMULATED = {"perception", "image_alignment", "text_alignment", "general"}


@pytest.mark.parametrize(
    "key", [key for key, about in KEYS.items() if key != "diversity" and SIMULATED.issuperset(about.kinds)]
)
def test_value_is_the_difference_of_the_scores(simulate: Simulate, key: str) -> None:
    a, b = simulate(1, image=0.7), simulate(2, image=0.3)
    found = difference(a, b, key, resamples=RESAMPLES)
    scores = [score_run(frame, extra=[key], resamples=10).overall[key].value for frame in (a, b)]
    assert scores[0] is not None
    assert scores[1] is not None
    assert found.value == pytest.approx(scores[0] - scores[1], abs=1e-8)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    back = difference(b, a, key, resamples=RESAMPLES)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert back.p == pytest.approx(found.p)


def test_an_entry_does_not_differ_from_itself(usual_run: pd.DataFrame) -> None:
    found = difference(usual_run, usual_run, "balanced_accuracy", resamples=RESAMPLES)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low is not None
    assert abs(found.low) < 1e-6


def test_pairing_makes_a_small_consistent_difference_visible(usual_run: pd.DataFrame) -> None:
    worse = flip(usual_run, 0.15)
    found = difference(usual_run, worse, "image_alignment", resamples=RESAMPLES)
    scores = [score_run(f, resamples=RESAMPLES).overall["image_alignment"] for f in (usual_run, worse)]
    assert scores[0].low is not None
    assert scores[1].high is not None
    assert scores[0].low < scores[1].high  # the two intervals overlap
    assert found.p is not None
    assert found.p < 0.001


def test_p_values_of_equal_entries_are_spread_evenly(simulate: Simulate) -> None:
    small = 0
    for seed in range(60):
        a, b = (simulate(seed * 2 + i, concepts=25, safe_concepts=0, images=1) for i in range(2))
        p = difference(a, b, "image_alignment", resamples=200).p
        assert p is not None
        small += p < 0.25
    assert 6 <= small <= 25  # 15 expected, standard deviation 3.4


def test_only_questions_asked_of_both_count(usual_run: pd.DataFrame) -> None:
    worse = flip(usual_run, 0.5)
    some = usual_run["concept_id"].isin(sorted(usual_run["concept_id"].unique())[:20])
    cut = difference(usual_run, worse[some], "image_alignment", resamples=RESAMPLES)
    both = difference(usual_run[some], worse[some], "image_alignment", resamples=RESAMPLES)
    assert cut == both


def test_each_entry_keeps_its_own_answered_items(usual_run: pd.DataFrame) -> None:
    """An entry that leaves its safe verdicts out scores 1 on what it answered, and no less for the other."""
    silent = usual_run.assign(label=usual_run["label"].mask(usual_run["label"] == "Safe", "N/A"))
    found = difference(silent, usual_run, "image_alignment", resamples=RESAMPLES)
    value = score_run(usual_run, resamples=10).overall["image_alignment"].value
    assert value is not None
    assert found.value == pytest.approx(1 - value, abs=1e-8)
    strict = difference(silent, usual_run, "image_alignment_strict", resamples=RESAMPLES)
    assert strict.value == 0


def test_two_perfect_entries_tie_with_an_interval(simulate: Simulate) -> None:
    a, b = (simulate(s, image=1.0, na=0.0) for s in (1, 2))
    found = difference(a, b, "image_alignment", resamples=RESAMPLES)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.high is not None
    assert found.high > 0.02


def test_one_concept_gives_no_interval(usual_run: pd.DataFrame) -> None:
    one = usual_run[usual_run["concept_id"] == usual_run["concept_id"].iloc[0]]
    found = difference(one, flip(one, 0.5), "image_alignment")
    assert (found.low, found.high, found.p) == (None, None, None)


def test_equal_systems_tie_and_a_clearly_better_one_leads(simulate: Simulate) -> None:
    frames = {
        "best": simulate(1, image=0.9, safe_image=0.02),
        "twin": simulate(2, image=0.5),
        "other twin": simulate(3, image=0.5),
        "worst": simulate(4, image=0.1),
    }
    ranks = rank_intervals(frames, "balanced_accuracy", resamples=RESAMPLES)
    assert ranks == {"best": (1, 1), "twin": (2, 3), "other twin": (2, 3), "worst": (4, 4)}


def test_lower_is_better_where_the_key_says_so(simulate: Simulate) -> None:
    frames = {"prim": simulate(1, safe_image=0.6), "calm": simulate(2, safe_image=0.05)}
    assert rank_intervals(frames, "over_refusal", resamples=RESAMPLES) == {"prim": (2, 2), "calm": (1, 1)}


def test_of_two_gaps_the_one_nearer_to_zero_is_better(simulate: Simulate) -> None:
    frames = {
        "wide": simulate(1, image=0.1, text=0.95),
        "narrow": simulate(2, image=0.55, text=0.5),
        "reversed": simulate(3, image=0.95, text=0.2),
    }
    ranks = rank_intervals(frames, "modality_gap", resamples=RESAMPLES)
    assert ranks["narrow"] == (1, 1)
    assert min(ranks["wide"][0], ranks["reversed"][0]) == 2


def test_a_run_on_part_of_the_questions_is_ranked_on_that_part(simulate: Simulate) -> None:
    good, bad = simulate(1, image=0.9), simulate(2, image=0.2)
    part = bad[bad["concept_id"].isin(sorted(bad["concept_id"].unique())[::2])]
    assert rank_intervals({"good": good, "bad": part}, "image_alignment", resamples=RESAMPLES) == {
        "good": (1, 1),
        "bad": (2, 2),
    }


def test_one_entry_ranks_first(usual_run: pd.DataFrame) -> None:
    assert rank_intervals({"only": usual_run}, "perception") == {"only": (1, 1)}
    assert rank_intervals({}, "perception") == {}


def test_holm_by_hand() -> None:
    # Sorted .005, .011, .02, .04 against .05 / 4, 3, 2, 1: all pass.
    assert holm([0.011, 0.02, 0.005, 0.04]) == [True, True, True, True]
    # .03 fails against .05 / 2, and so does all that follows, be it below .05 or not.
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.02, 0.02, 0.02]) == [False, False, False]
    assert holm([]) == []


def test_holm_spares_equal_entries(simulate: Simulate) -> None:
    """Eight equal entries make 28 pairs; uncorrected, one or more would often stand out."""
    frames = {str(s): simulate(s, concepts=15, safe_concepts=0, images=1) for s in range(8)}
    ranks = rank_intervals(frames, "image_alignment", resamples=200)
    assert set(ranks.values()) == {(1, 8)}


def test_what_cannot_be_compared_is_refused(usual_run: pd.DataFrame) -> None:
    with pytest.raises(UnknownNameError, match="no score called 'beauty'"):
        difference(usual_run, usual_run, "beauty")
    with pytest.raises(UnknownNameError):
        rank_intervals({"a": usual_run}, "beauty")
    with pytest.raises(UcbenchError, match="no interval"):
        difference(usual_run, usual_run, "diversity")
    with pytest.raises(UcbenchError, match="not asked"):
        difference(usual_run, usual_run, "text_context_safe")
    elsewhere = usual_run.assign(sample_id="elsewhere")
    with pytest.raises(UcbenchError, match="share no question"):
        difference(usual_run, elsewhere, "perception")
    with pytest.raises(UcbenchError, match="no value"):
        difference(usual_run, usual_run.assign(label="N/A"), "perception")


@pytest.mark.parametrize("key", ["balanced_accuracy", "over_refusal", "modality_gap_macro"])
def test_all_pairs_at_once_rank_as_pairs_one_by_one(
    simulate: Simulate, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {str(n): simulate(n, image=0.1 + 0.12 * n, safe_image=0.02 * n) for n in range(7)}
    frames["perfect"] = simulate(9, image=1.0, safe_image=0.0, na=0.0)
    frames["again"] = frames["3"]
    at_once = rank_intervals(frames, key, resamples=RESAMPLES)
    monkeypatch.setattr(compare, "_all_margins", lambda *_: {})
    assert rank_intervals(frames, key, resamples=RESAMPLES) == at_once


def test_margins_are_those_of_a_pair(simulate: Simulate) -> None:
    frames = {
        "a": simulate(1, image=0.4),
        "b": simulate(2, image=0.5),
        "full": simulate(3, image=1.0, na=0.0),
    }
    for key in ("perception", "balanced_accuracy", "modality_gap"):
        profiles = {name: compare.profile(frame, key, 0, RESAMPLES) for name, frame in frames.items()}
        for (first, second), margin in compare._all_margins(profiles, "higher").items():
            alone = difference(frames[first], frames[second], key, resamples=RESAMPLES)
            assert margin.lead == pytest.approx(alone.value)
            assert margin.p == pytest.approx(alone.p, abs=1e-9)
