"""The learning rate by step, the same for every method."""

from __future__ import annotations

import math

from ucbench.align.settings import Common


def rate(step: int, steps: int, settings: Common) -> float:
    """The share of the peak rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
