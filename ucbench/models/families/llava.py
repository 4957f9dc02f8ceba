"""LLaVA-1.5: CLIP, a projector, Llama. One picture size, one token a patch."""

from __future__ import annotations

from typing import Any

from ucbench.models.families.base import BATCHED, SHARED_PREFIX, SHARED_VISION, Family
from ucbench.models.families.pixtral import limit_longest_edge, own_processor


def complete(processor: Any, config: Any) -> None:
    """Fill what processors saved before transformers 4.45 leave out, from the model's own config.

    CLIP puts a class token before the patches; the `default` strategy drops it again.
    """
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
        processor.num_additional_image_tokens = int(config.vision_config.model_type == "clip_vision_model")
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy


LLAVA = Family(
    name="llava",
    model_types=("llava",),
    paths=(SHARED_PREFIX, SHARED_VISION, BATCHED),
    complete=complete,
    # Pixtral's conversion to transformers is of the type llava as well.
    assemble=own_processor,
    limit_pixels=limit_longest_edge,
    aligns=True,
)
