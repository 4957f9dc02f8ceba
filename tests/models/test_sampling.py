from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ucbench.models.sampling import GumbelSampling, row_key, uniforms
from ucbench.record import Decoding


def draws(decoding: Decoding, scores: list[float], n: int) -> np.ndarray:
    rows = [(f"s{i}", "q") for i in range(n)]
    noisy = GumbelSampling(decoding, rows)(torch.zeros(n, 1, dtype=torch.long), torch.tensor([scores] * n))
    return np.bincount(noisy.argmax(-1).numpy(), minlength=len(scores)) / n


def test_draws_follow_the_softmax() -> None:
    scores = [0.0, 1.0, 2.0, -1.0]
    for temperature in (0.5, 1.0, 2.0):
        expected = torch.softmax(torch.tensor(scores) / temperature, 0).numpy()
        seen = draws(Decoding(temperature=temperature), scores, 20_000)
        # Four standard errors of a share over 20,000 draws.
        assert np.abs(seen - expected).max() < 4 * 0.5 / np.sqrt(20_000)


def test_top_p_keeps_the_smallest_nucleus() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    seen = draws(Decoding(temperature=1, top_p=0.7), np.log(probabilities).tolist(), 20_000)
    assert seen[2] == seen[3] == 0
    assert seen[0] == pytest.approx(0.5 / 0.8, abs=0.015)


def test_noise_changes_with_seed_sample_question_and_step() -> None:
    base = uniforms(row_key(0, "s", "q"), 0, 64)
    assert np.array_equal(base, uniforms(row_key(0, "s", "q"), 0, 64))
    others = [
        uniforms(row_key(1, "s", "q"), 0, 64),
        uniforms(row_key(0, "t", "q"), 0, 64),
        uniforms(row_key(0, "s", "r"), 0, 64),
        uniforms(row_key(0, "s", "q"), 1, 64),
    ]
    assert all(abs(np.corrcoef(base, other)[0, 1]) < 0.5 for other in others)


@given(st.permutations(range(5)))
def test_a_row_does_not_depend_on_its_neighbours(order: list[int]) -> None:
    decoding = Decoding(temperature=0.8, top_p=0.9, seed=3)
    scores = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(5, 1, dtype=torch.long)
    whole = GumbelSampling(decoding, [(f"s{i}", "q") for i in range(5)])(ids, scores)
    mixed = GumbelSampling(decoding, [(f"s{i}", "q") for i in order])(ids, scores[order])
    assert torch.equal(mixed, whole[order])
