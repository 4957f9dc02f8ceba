"""LLaVA-OneVision: a picture is cut into tiles of one size, whose tokens are put together as a grid."""

from __future__ import annotations

from ucbench.models.families.base import BATCHED, SHARED_PREFIX, Family

LLAVA_ONEVISION = Family(
    name="llava-onevision",
    model_types=("llava_onevision",),
    paths=(SHARED_PREFIX, BATCHED),
)
