"""Qwen2-VL, 2.5 and 3: pictures of any size; positions in time, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ucbench.models.families.base import BATCHED, SHARED_PREFIX, Carried, Family


def take(model: Any) -> Any:
    """How far positions lag behind tokens after a picture; [1, 1], kept on the module by its forward."""
    return model.model.rope_deltas


def give(model: Any, rows: Sequence[Any]) -> None:
    """Set it for the rows of a batch."""
    import torch

    model.model.rope_deltas = torch.cat(list(rows))


def limit_pixels(processor: Any, pixels: int) -> None:
    """Qwen's own setting, which for want of a better name has `edge` in it and counts pixels."""
    images = processor.image_processor
    least = min(int(images.size["shortest_edge"]), pixels)
    images.size = {"shortest_edge": least, "longest_edge": min(int(images.size["longest_edge"]), pixels)}


QWEN2_VL = Family(
    name="qwen2-vl",
    model_types=("qwen2_vl", "qwen2_5_vl", "qwen3_vl"),
    paths=(SHARED_PREFIX, BATCHED),
    limit_pixels=limit_pixels,
    carried=Carried(take, give),
)
