"""ShieldGemma 2: Gemma 3 under another name, with a processor that writes its prompts itself."""

from __future__ import annotations

from typing import Any

from ucbench.models.families.base import BATCHED, SHARED_VISION, Family
from ucbench.models.prompts import Prompts


def own_processor(name: str) -> type | None:
    """The original takes pictures and names of policies; this one takes prompts, as all others do."""
    if name != "ShieldGemma2Processor":
        return None
    from transformers import ProcessorMixin
    from transformers.models.shieldgemma2.processing_shieldgemma2 import ShieldGemma2Processor as Original

    class ShieldGemma2Processor(Original):  # type: ignore[misc]  # transformers is not typed
        """What the original does once it has written its prompts."""

        def __call__(self, images: Any = None, text: Any = None, **options: Any) -> Any:
            inputs = ProcessorMixin.__call__(self, images=images, text=text, **options)
            if "mm_token_type_ids" in inputs:
                inputs["token_type_ids"] = inputs.pop("mm_token_type_ids")
            return inputs

    return ShieldGemma2Processor


class AsTheOriginal(Prompts):
    """The original processor does not ask its template for a beginning of the answer."""

    add_generation_prompt = False


SHIELDGEMMA2 = Family(
    name="shieldgemma2",
    model_types=("shieldgemma2",),
    paths=(SHARED_VISION, BATCHED),
    why="as Gemma 3: most layers see a sliding window, whose cache forgets the beginning of a prefix",
    assemble=own_processor,
    prompts=AsTheOriginal,
    wrapper="ShieldGemma2ForImageClassification",
)
