"""LLaVABench's score: the ratings of the answers over those of the references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ucbench.metrics.ratings import rating_score
from ucbench.metrics.scores import counts, score_run

RATING = st.integers(2, 20).map(lambda half: half / 2)
PAIRS = st.lists(st.tuples(RATING, RATING), min_size=2, max_size=30)


def rated(pairs: list[tuple[float, float] | None]) -> pd.DataFrame:
    """A run with these ratings (reference, answer); None is a rating that failed."""
    rows: list[dict[str, Any]] = [
        {
            "sample_id": f"picture{i // 3}", "question_id": f"open_{i % 3}", "kind": "rated",
            "template": f"open_{'conv' if i % 2 else 'detail'}", "category_id": "llavabench",
            "concept_id": f"llavabench-{'conv' if i % 2 else 'detail'}", "unsafe": False, "expected": "Rock.",
            "label": None if pair is None else "Rated", "error": "judge_unparsed" if pair is None else None,
            "text": "words", "how": "rating" if pair else "rating:unparsed",
            "rating_reference": pair[0] if pair else np.nan, "rating_answer": pair[1] if pair else np.nan,
        }
        for i, pair in enumerate(pairs)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_by_hand() -> None:
    frame = rated([(8, 4), (10, 10), None, (6, 7)])
    scores = score_run(frame, clusters="images")
    overall = scores.overall["llavabench"]
    assert overall.value == pytest.approx(21 / 24)
    assert (overall.n_items, overall.n_clusters, overall.coverage) == (3, 3, 0.75)
    assert scores.by_concept["llavabench-detail"]["llavabench"].value == 0.5  # the other one failed
    assert scores.by_question["open_conv"]["llavabench"].value == pytest.approx(17 / 16)
    assert scores.by_category["llavabench"]["llavabench"] == overall
    assert set(scores.overall) == {"llavabench"}
    told = counts(frame)
    assert told.errors == {"judge_unparsed": 1}
    assert told.rated_by == {"rating": 3, "rating:unparsed": 1}


def test_nothing_rated_has_no_value_and_nothing_asked_no_score(usual_run: pd.DataFrame) -> None:
    score = rating_score(rated([None, None]))
    assert score is not None
    assert (score.value, score.low, score.coverage) == (None, None, 0.0)
    assert rating_score(usual_run) is None
    assert "llavabench" not in score_run(usual_run, resamples=20).overall


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_it_is_the_ratio_of_the_sums_inside_its_interval_in_any_order(
    pairs: list[tuple[float, float]],
) -> None:
    frame = rated(list(pairs))
    score = rating_score(frame, resamples=200)
    assert score is not None
    assert score.value == pytest.approx(sum(a for _, a in pairs) / sum(r for r, _ in pairs), abs=1e-8)
    assert score.low is not None
    assert score.high is not None
    assert 0 <= score.low <= score.value <= score.high
    assert rating_score(frame.sample(frac=1, random_state=1), resamples=200) == score


@settings(deadline=None, max_examples=20)
@given(PAIRS, st.integers(2, 5))
def test_answers_rated_as_a_share_of_the_references_have_that_score_for_sure(
    pairs: list[tuple[float, float]], share: int
) -> None:
    score = rating_score(rated([(reference, reference / share) for reference, _ in pairs]), resamples=100)
    assert score is not None
    assert score.value == score.low == score.high == pytest.approx(1 / share, abs=1e-8)


def test_the_interval_covers() -> None:
    """Of 200 runs on 60 questions each, about 95% have the true ratio inside."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        hard = rng.normal(0, 1, 60)
        references = np.clip(8.5 + 0.5 * hard + rng.normal(0, 1, 60), 1, 10)
        answers = np.clip(5.5 + hard + rng.normal(0, 2, 60), 1, 10)
        score = rating_score(rated(list(zip(references, answers, strict=True))), resamples=300)
        assert score is not None
        assert score.low is not None
        assert score.high is not None
        inside += score.low < TRUE_RATIO < score.high
    assert 180 <= inside <= 199


def _true_ratio() -> float:
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 1, 1_000_000)
    references = np.clip(8.5 + 0.5 * hard + rng.normal(0, 1, hard.size), 1, 10)
    answers = np.clip(5.5 + hard + rng.normal(0, 2, hard.size), 1, 10)
    return float(answers.sum() / references.sum())


TRUE_RATIO = _true_ratio()
