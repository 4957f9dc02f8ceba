"""The embedded model and its training set, small enough for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

from ucbench.align import settings as presets
from ucbench.align.data import TrainingSet, training_set
from ucbench.align.settings import PPOSettings
from ucbench.models import registry
from ucbench.tracks.pictograms import Pictograms

MODEL = "embedded:tiny-vlm"

#: The machine may be busy: no example has a deadline.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data() -> TrainingSet:
    """The pictograms' train split."""
    return training_set(Pictograms())


@pytest.fixture
def base() -> registry.Base:
    """A fresh tiny model, without any adapter."""
    return registry.load_base(MODEL)


@pytest.fixture
def small() -> Callable[..., PPOSettings]:
    """PPO settings of a few seconds; changes on top."""

    def make(**changes: Any) -> PPOSettings:
        fixed = {
            "batch_size": 8, "micro_batch_size": 4, "max_steps": 2, "max_new_tokens": 16, "probe_every": 0,
            "checkpoint_every": 1, "warmup_steps": 0,
        }  # fmt: skip
        settings = presets.load("ppo", "tiny", **{**fixed, **changes})
        assert isinstance(settings, PPOSettings)
        return settings

    return make
