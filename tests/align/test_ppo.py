"""PPO's mathematics against plain loops over single tokens, in double precision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ucbench.align import ppo

CLIP = 0.2
UNIT = st.floats(0.0, 1.0)


@dataclass(frozen=True)
class Case:
    """Random numbers for answers of several lengths; `lengths` [n], the tensors [n, A]."""

    lengths: tuple[int, ...]
    seed: int
    columns: int

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.columns) < torch.tensor(self.lengths)[:, None]

    def draw(self, name: str, scale: float = 1.0) -> Tensor:
        """The same numbers for the same name, whatever the padding; zeros under it."""
        stream = np.random.default_rng([self.seed, *name.encode()])
        kept = torch.from_numpy(stream.normal(0, scale, (len(self.lengths), max(self.lengths))))
        wide = torch.zeros(len(self.lengths), self.columns, dtype=torch.float64)
        wide[:, : kept.shape[1]] = kept
        return torch.where(self.mask, wide, 0.0)

    def scores(self) -> Tensor:
        return torch.from_numpy(np.random.default_rng(self.seed).normal(0, 1, len(self.lengths)))

    def padded(self, more: int) -> Case:
        return Case(self.lengths, self.seed, self.columns + more)

    def garbage(self, values: Tensor) -> Tensor:
        """What no function may look at, under the mask."""
        stream = np.random.default_rng(self.seed)
        junk = stream.choice([np.nan, np.inf, -np.inf, 1e300, -1.0], tuple(values.shape))
        return torch.where(self.mask, values, torch.from_numpy(junk))


@st.composite
def cases(draw: st.DrawFn, answers: int = 5) -> Case:
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=answers))
    return Case(tuple(lengths), draw(st.integers(0, 10**6)), max(lengths) + draw(st.integers(0, 2)))


def cells(case: Case) -> list[tuple[int, int]]:
    return [(i, t) for i, length in enumerate(case.lengths) for t in range(length)]


def close(found: Tensor | float, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(found, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64)
    )


@given(cases())
def test_masked_sums_and_means(case: Case) -> None:
    values = case.draw("values")
    plain = [float(values[cell]) for cell in cells(case)]
    close(ppo.masked_sum(case.garbage(values), case.mask), sum(plain))
    close(ppo.masked_mean(case.garbage(values), case.mask), sum(plain) / len(plain))
    close(ppo.masked_mean(case.garbage(values), case.mask, 7.0), sum(plain) / 7)


def test_the_mean_of_nothing_is_zero() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert ppo.masked_mean(torch.full((2, 3), torch.nan), nothing) == 0.0


# KL


@st.composite
def distributions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Log probabilities of two distributions over the same two to six outcomes."""
    size = draw(st.integers(2, 6))
    logits = st.lists(st.floats(-5, 5), min_size=size, max_size=size)
    p, q = (torch.tensor(draw(logits), dtype=torch.float64).log_softmax(0) for _ in range(2))
    return p, q


@given(distributions())
def test_the_mean_of_each_estimator_over_all_outcomes(both: tuple[Tensor, Tensor]) -> None:
    p, q = both
    true = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    means = {name: float((p.exp() * estimate(p, q)).sum()) for name, estimate in ppo.KL.items()}
    assert means["k1"] == pytest.approx(float(true), abs=1e-9)
    assert means["k3"] == pytest.approx(float(true), abs=1e-9)
    assert means["k1_positive"] >= float(true) - 1e-9
    assert (ppo.kl_k3(p, q) >= 0).all()
    assert (ppo.kl_k1_positive(p, q) >= 0).all()
    for estimate in ppo.KL.values():
        assert torch.equal(estimate(p, p), torch.zeros_like(p))


# Rewards of tokens, advantages


@given(cases(), UNIT)
def test_token_rewards(case: Case, coefficient: float) -> None:
    kl, scores = case.draw("kl"), case.scores()
    expected = torch.zeros_like(kl)
    for i, t in cells(case):
        expected[i, t] = -coefficient * kl[i, t]
        if t == case.lengths[i] - 1:
            expected[i, t] += scores[i]
    close(ppo.token_rewards(scores, case.garbage(kl), case.mask, coefficient), expected)


def reference_advantages(case: Case, rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = sum_l (gamma lam)^l delta_{t+l}: the definition, with a sum for every token."""
    advantages = torch.zeros_like(values)
    for i, t in cells(case):
        for later in range(t, case.lengths[i]):
            following = float(values[i, later + 1]) if later + 1 < case.lengths[i] else 0.0
            delta = float(rewards[i, later]) + gamma * following - float(values[i, later])
            advantages[i, t] += (gamma * lam) ** (later - t) * delta
    return advantages


@given(cases(), UNIT, UNIT)
def test_gae(case: Case, gamma: float, lam: float) -> None:
    rewards, values = case.draw("rewards"), case.draw("values")
    expected = reference_advantages(case, rewards, values, gamma, lam)
    advantages, returns = ppo.gae(case.garbage(rewards), case.garbage(values), case.mask, gamma, lam)
    close(advantages, expected)
    close(returns, expected + values)


@given(cases())
def test_without_discount_the_return_is_the_sum_of_what_follows(case: Case) -> None:
    rewards, values = case.draw("rewards"), case.draw("values")
    _, returns = ppo.gae(rewards, values, case.mask, 1.0, 1.0)
    close(returns, torch.where(case.mask, rewards.flip(1).cumsum(1).flip(1), 0.0))


# Whitening


@given(cases())
def test_whitened_values(case: Case) -> None:
    values = case.draw("values", 3.0)
    plain = np.array([float(values[cell]) for cell in cells(case)])
    white, degenerate = ppo.whiten(case.garbage(values), case.mask)
    assert degenerate == (len(plain) == 1)
    expected = torch.zeros_like(values)
    for cell in cells(case):
        expected[cell] = (values[cell] - plain.mean()) / (plain.std() or 1.0)
    close(white, expected)


@given(cases(), st.floats(-1e4, 1e4))
def test_equal_values_whiten_to_zeros(case: Case, value: float) -> None:
    white, degenerate = ppo.whiten(torch.full(tuple(case.mask.shape), value), case.mask)
    assert degenerate
    assert torch.equal(white, torch.zeros_like(white))


class Meeting:
    """Adds tensors up over two threads, as `reduce` does over two processes."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2, timeout=60)
        self._handed: list[Tensor] = []

    def reduce(self, values: Tensor) -> Tensor:
        self._handed.append(values)
        self._barrier.wait()
        everyone = self._handed[-2:]
        self._barrier.wait()
        return everyone[0] + everyone[1]


@given(cases(), cases())
def test_two_processes_whiten_as_one(first: Case, second: Case) -> None:
    values = [case.draw("values").reshape(-1) for case in (first, second)]
    masks = [case.mask.reshape(-1) for case in (first, second)]
    alone, degenerate = ppo.whiten(torch.cat(values), torch.cat(masks))
    meeting = Meeting()
    with ThreadPoolExecutor(2) as pool:
        shares = list(pool.map(lambda rank: ppo.whiten(values[rank], masks[rank], meeting.reduce), (0, 1)))
    close(torch.cat([white for white, _ in shares]), alone)
    assert {flat for _, flat in shares} == {degenerate}


# Losses


def reference_policy_loss(
    case: Case, new: Tensor, old: Tensor, advantages: Tensor, clip: float
) -> tuple[float, int]:
    loss, clipped = 0.0, 0
    for cell in cells(case):
        ratio, advantage = float((new[cell] - old[cell]).exp()), float(advantages[cell])
        plain = ratio * advantage
        bounded = min(max(ratio, 1 - clip), 1 + clip) * advantage
        loss -= min(plain, bounded)
        clipped += bounded < plain
    return loss, clipped


def reference_value_loss(case: Case, new: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> float:
    loss = 0.0
    for cell in cells(case):
        value, before, target = float(new[cell]), float(old[cell]), float(returns[cell])
        errors = [(value - target) ** 2]
        if clip is not None:
            errors.append((before + min(max(value - before, -clip), clip) - target) ** 2)
        loss += max(errors) / 2
    return loss


@given(cases(), st.floats(0.01, 0.9), st.floats(1, 50))
def test_policy_loss(case: Case, clip: float, total: float) -> None:
    new, old, advantages = case.draw("new", 0.3), case.draw("old", 0.3), case.draw("advantages")
    loss, clipped = ppo.policy_loss(*map(case.garbage, (new, old, advantages)), case.mask, clip, total)
    expected, count = reference_policy_loss(case, new, old, advantages, clip)
    close(loss, expected / total)
    assert int(clipped) == count


@given(cases())
def test_at_ratio_one_the_loss_is_minus_the_mean_advantage(case: Case) -> None:
    old, advantages = case.draw("old"), case.draw("advantages")
    new = old.clone().requires_grad_()
    total = len(cells(case))
    loss, clipped = ppo.policy_loss(new, old, advantages, case.mask, CLIP, total)
    loss.backward()
    close(loss, -ppo.masked_mean(advantages, case.mask))
    assert clipped == 0
    assert new.grad is not None
    close(new.grad, -advantages / total)


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"),
    [
        (1.5, 1.0, True),  # already likelier than the bound: no more of it
        (1.5, -1.0, False),  # likelier, and worse: back
        (0.5, -1.0, True),
        (0.5, 1.0, False),
        (1.1, 1.0, False),
        (0.9, -1.0, False),
    ],
)
def test_what_is_clipped_has_no_gradient(ratio: float, advantage: float, clipped: bool) -> None:
    new = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    loss, count = ppo.policy_loss(
        new, torch.zeros_like(new), torch.tensor([[advantage]]), torch.tensor([[True]]), CLIP, 1
    )
    loss.backward()
    bound = 1 + CLIP if advantage > 0 else 1 - CLIP
    close(loss, -advantage * (bound if clipped else ratio))
    assert bool(count) == clipped
    assert new.grad is not None
    close(new.grad, [[0.0 if clipped else -advantage * ratio]])


@given(cases(), st.none() | st.floats(0.01, 2.0), st.floats(1, 50))
def test_value_loss(case: Case, clip: float | None, total: float) -> None:
    new, old, returns = case.draw("new"), case.draw("old"), case.draw("returns")
    loss = ppo.value_loss(*map(case.garbage, (new, old, returns)), case.mask, clip, total)
    close(loss, reference_value_loss(case, new, old, returns, clip) / total)


def test_a_value_that_runs_from_its_old_one_is_held_back() -> None:
    values = torch.tensor([[1.0]], requires_grad=True)
    args = torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([[True]])
    loss = ppo.value_loss(values, *args, 0.2, 1)
    loss.backward()
    close(loss, 0.5 * 0.8**2)
    assert values.grad == 0


@given(cases())
def test_explained_variance(case: Case) -> None:
    values, returns = case.draw("values"), case.draw("returns")
    kept = np.array([(float(values[cell]), float(returns[cell])) for cell in cells(case)])
    expected = 0.0 if len(kept) == 1 else 1 - np.var(kept[:, 1] - kept[:, 0]) / np.var(kept[:, 1])
    found = ppo.explained_variance(case.garbage(values), case.garbage(returns), case.mask)
    assert found == pytest.approx(float(expected), abs=1e-9)
    if len(kept) > 1:
        assert ppo.explained_variance(returns, returns, case.mask) == 1.0


def test_returns_that_do_not_vary_explain_nothing() -> None:
    ones = torch.ones(2, 3)
    assert ppo.explained_variance(ones, ones, ones > 0) == 0.0
    assert ppo.explained_variance(ones, ones, ones < 0) == 0.0


# A whole step


def step(
    case: Case, dirt: Callable[[Tensor], Tensor], rows: Sequence[slice]
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and gradients of a step, from what a loop has in hand; `rows` cuts the answers into packs."""
    mask = case.mask
    names = ("new", "old", "reference", "values", "new_values", "entropy")
    new, old, reference, values, new_values, entropy = (dirt(case.draw(name, 0.3)) for name in names)
    new.requires_grad_()
    new_values.requires_grad_()
    rewards = ppo.token_rewards(case.scores(), ppo.kl_k1(old, reference), mask, 0.1)
    advantages, returns = ppo.gae(dirt(rewards), values, mask, 0.99, 0.95)
    advantages, _ = ppo.whiten(dirt(advantages), mask)
    total = mask.sum()
    loss = torch.zeros((), dtype=torch.float64)
    for rows_ in rows:
        m = mask[rows_]
        width = int(m.sum(1).max())  # a pack is as wide as its longest answer

        def cut(x: Tensor, rows_: slice = rows_, width: int = width) -> Tensor:
            return x[rows_, :width]

        part, _ = ppo.policy_loss(*map(cut, (new, old, advantages, mask)), CLIP, total)
        part = part + 0.5 * ppo.value_loss(*map(cut, (new_values, values, returns, mask)), CLIP, total)
        part = part - 0.01 * ppo.masked_mean(cut(entropy), cut(mask), total)
        part.backward()
        loss += part.detach()
    assert new.grad is not None
    assert new_values.grad is not None
    return loss, new.grad, new_values.grad


@given(cases(), st.integers(1, 5))
def test_garbage_under_more_padding_changes_nothing(case: Case, more: int) -> None:
    wide = case.padded(more)
    everything = [slice(None)]
    clean, dirty = step(case, lambda x: x, everything), step(wide, wide.garbage, everything)
    close(dirty[0], clean[0])
    for found, expected in zip(dirty[1:], clean[1:], strict=True):
        close(torch.where(wide.mask, found, 0.0)[:, : case.columns], expected)
        assert not found[~wide.mask].any()  # a NaN counts as any


@given(cases(8), st.lists(st.integers(1, 7), max_size=3))
def test_cutting_a_minibatch_changes_neither_loss_nor_gradient(case: Case, cuts: list[int]) -> None:
    n = len(case.lengths)
    edges = sorted({0, n, *(cut for cut in cuts if cut < n)})
    packs = [slice(a, b) for a, b in pairwise(edges)]
    for found, expected in zip(
        step(case, lambda x: x, packs), step(case, lambda x: x, [slice(None)]), strict=True
    ):
        close(found, expected)


@pytest.mark.parametrize("lengths", [(1,), (1, 1, 1), (5,)])
def test_degenerate_batches_stay_finite(lengths: tuple[int, ...]) -> None:
    case = Case(lengths, 0, max(lengths))
    zeros = torch.zeros_like(case.draw("x"))
    scores = torch.ones(len(lengths), dtype=torch.float64)
    rewards = ppo.token_rewards(scores, zeros, case.mask, 0.1)
    advantages, returns = ppo.gae(rewards, zeros, case.mask, 1.0, 1.0)
    white, degenerate = ppo.whiten(advantages, case.mask)
    assert degenerate
    new = zeros.clone().requires_grad_()
    loss, _ = ppo.policy_loss(new, zeros, white, case.mask, CLIP, case.mask.sum())
    loss.backward()
    assert loss == 0
    assert new.grad is not None
    assert not new.grad.any()
    assert np.isfinite(ppo.explained_variance(zeros, returns, case.mask))


def test_shaping_moves_credit_and_keeps_every_sum() -> None:
    """By hand: two answers of 3 and 2 tokens; with gamma 1 the potentials cancel out of the sums."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, -1.0, 9.0]])
    potentials = torch.tensor([[7.0, 0.8, 0.9], [7.0, -0.7, float("nan")]])
    found = ppo.shaped(rewards, potentials, mask, 1.0)
    assert torch.allclose(found, torch.tensor([[0.8, 0.1, 0.1], [-0.7, -0.3, 0.0]]), atol=1e-6)
    assert torch.allclose(found.sum(1), torch.tensor([1.0, -1.0]), atol=1e-6)


def test_with_lambda_one_a_potential_is_a_baseline() -> None:
    """A_t = R - Phi_t - V_t: what was earned before a token is not its merit."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(5, 7, dtype=torch.bool)
    rewards, potentials, values = (torch.randn(5, 7, generator=generator) for _ in range(3))
    potentials[:, 0] = 0.0
    plain, _ = ppo.gae(rewards, torch.zeros_like(values), mask, 1.0, 1.0)
    moved, _ = ppo.gae(ppo.shaped(rewards, potentials, mask, 1.0), values, mask, 1.0, 1.0)
    assert torch.allclose(moved, plain - potentials - values, atol=1e-5)
