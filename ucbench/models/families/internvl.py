"""InternVL in the transformers format: a picture is cut into tiles of one size, and shown whole."""

from __future__ import annotations

from typing import Any

from ucbench.models.families.base import BATCHED, SHARED_PREFIX, SHARED_VISION, Family


def limit_pixels(processor: Any, pixels: int) -> None:
    """As many tiles as have that many pixels; one at least."""
    images = processor.image_processor
    tile = int(images.size["height"]) * int(images.size["width"])
    images.max_patches = max(1, min(int(images.max_patches), pixels // tile))


INTERNVL = Family(
    name="internvl",
    model_types=("internvl",),
    paths=(SHARED_PREFIX, SHARED_VISION, BATCHED),
    limit_pixels=limit_pixels,
)
