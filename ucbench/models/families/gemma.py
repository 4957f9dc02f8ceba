"""Gemma 3: one picture size; five of six layers see a sliding window, image tokens see each other."""

from __future__ import annotations

from ucbench.models.families.base import BATCHED, SHARED_VISION, Family

GEMMA3 = Family(
    name="gemma3",
    model_types=("gemma3",),
    paths=(SHARED_VISION, BATCHED),
    why="most layers see a sliding window, whose cache forgets the beginning of a prefix",
)
