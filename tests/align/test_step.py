"""A step of ours is the step of the naive way: other models in memory, other padding, the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from naive_ppo import NaivePPO
from ppo_step import Ours

from ucbench.align.data import TrainingSet
from ucbench.align.settings import PPOSettings
from ucbench.judges import registry as judges
from ucbench.models.registry import EMBEDDED, Base


def test_a_step_equals_the_naive_one(
    base: Base, data: TrainingSet, small: Callable[..., PPOSettings]
) -> None:
    """Three whole models, pixels in every pass, left padding, all logits, twice the columns needed."""
    # Ours has its critic on the policy's trunk, the naive way on a model of its own: no common clipping.
    s = small(minibatches=2, ppo_epochs=2, grad_clip=1e9, judge_every=0)
    ours = Ours(base, data, s, judges.load("classifier"))
    start = {
        name.removeprefix("peft."): p.detach().clone()
        for name, p in ours.policy.trainable().items()
        if "lora_" in name
    }
    done = ours.step(0)
    naive = NaivePPO(EMBEDDED["embedded:tiny-vlm"], s, start, 2 * s.max_new_tokens)
    draws = [r.draw for r in done.rollouts]
    losses, _ = naive.step(draws, [r.answer for r in done.rollouts], done.scores, done.places)
    assert losses == pytest.approx(done.losses, abs=1e-5)
    assert max(map(abs, losses)) > 1e-2
    assert len(set(losses)) == 4
