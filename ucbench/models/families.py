"""What the engine has to know about an architecture, as data.

A new architecture is one entry here. The engine shares image prefixes for the families of the table
and asks one question at a time of every other model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _nothing(processor: Any, config: Any) -> None:
    """Most checkpoints are complete."""


def _llava_patches(processor: Any, config: Any) -> None:
    """Fill what processors saved before transformers 4.45 leave out, from the model's own config.

    CLIP puts a class token before the patches; the `default` strategy drops it again.
    """
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
        processor.num_additional_image_tokens = int(config.vision_config.model_type == "clip_vision_model")
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture whose image prefix can be shared by many questions.

    `complete` gets (processor, model config) once after loading.
    """

    model_type: str
    complete: Callable[[Any, Any], None] = _nothing


#: Keyed by `config.model_type`.
FAMILIES: dict[str, Family] = {
    family.model_type: family for family in (Family("llava", complete=_llava_patches),)
}
