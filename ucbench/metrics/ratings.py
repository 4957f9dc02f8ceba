"""LLaVABench's score: what a judge model gave the answers, over what it gave the reference answers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ucbench.metrics.intervals import Floats, estimate, resample_clusters, t_quantile
from ucbench.record import Score
from ucbench.types import NA

#: Columns beside those of `score_run`: both ratings of a question, missing where it has none.
REFERENCE, ANSWER = "rating_reference", "rating_answer"


def rating_score(frame: pd.DataFrame, *, seed: int = 0, resamples: int = 2000) -> Score | None:
    """Sum of the answers' ratings over the sum of the references', over the `rated` questions of a run.

    None when no such question was asked. A question whose answer or rating failed is in neither sum, only
    in `coverage`. The interval resamples the questions; as a ratio, the score may exceed 1. The same frame
    gives the same numbers in any order of rows.
    """
    asked = frame[frame["kind"] == "rated"].sort_values(["sample_id", "question_id"])
    if asked.empty:
        return None
    given = asked["error"].isna() & asked["label"].notna() & (asked["label"] != NA)
    rated = asked[given]
    coverage = round(len(rated) / len(asked), 9)
    if rated.empty:
        return Score(value=None, coverage=coverage)
    answers, references = (_floats(rated[column]) for column in (ANSWER, REFERENCE))
    n = len(rated)
    found = estimate(answers, references, resample_clusters(np.zeros(n), resamples, seed))
    value, low, high = float(found.value), None, None
    if n > 1:
        # Not a share: it has no upper end, so the interval is Student's on the plain scale.
        half = float(t_quantile(n - 1) * np.sqrt(found.variance))
        low, high = round(max(value - half, 0.0), 9), round(value + half, 9)
    return Score(value=round(value, 9), low=low, high=high, n_items=n, n_clusters=n, coverage=coverage)


def _floats(column: pd.Series) -> Floats:
    return column.to_numpy(dtype=float)
