"""Idefics 3 and SmolVLM: a picture is cut into tiles, each a row of tokens with its place, then whole."""

from __future__ import annotations

from typing import Any

from ucbench.models.families.base import BATCHED, SHARED_PREFIX, SHARED_VISION, Family, edge


def own_processor(name: str) -> type | None:
    """SmolVLM's processor asks for a package that it writes the prompts of videos with; this one does not."""
    if name != "SmolVLMProcessor":
        return None
    from transformers import ProcessorMixin
    from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor as Original

    class SmolVLMProcessor(Original):  # type: ignore[misc]  # transformers is not typed
        """The pictures' half of SmolVLM's processor."""

        def __init__(
            self,
            image_processor: Any,
            tokenizer: Any,
            video_processor: Any = None,
            image_seq_len: int = 169,
            chat_template: str | None = None,
            **_: Any,
        ) -> None:
            marks = {"fake_image": "<fake_token_around_image>", "image": "<image>", "video": "<video>"}
            marks |= {"end_of_utterance": "<end_of_utterance>", "global_image": "<global-img>"}
            for mark, usual in marks.items():
                setattr(self, f"{mark}_token", getattr(tokenizer, f"{mark}_token", usual))
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.image_seq_len = image_seq_len
            ProcessorMixin.__init__(
                self, image_processor, tokenizer, video_processor, chat_template=chat_template
            )

        def apply_chat_template(self, *args: Any, **options: Any) -> Any:
            """Without the original's options for videos."""
            return ProcessorMixin.apply_chat_template(self, *args, **options)

    return SmolVLMProcessor


def limit_pixels(processor: Any, pixels: int) -> None:
    """The longest edge that a picture is scaled to, in whole tiles; one tile at least."""
    images = processor.image_processor
    tile = int(images.max_image_size["longest_edge"])
    longest = max(tile, edge(pixels) // tile * tile)
    images.size = {"longest_edge": min(int(images.size["longest_edge"]), longest)}


IDEFICS3 = Family(
    name="idefics3",
    model_types=("idefics3", "smolvlm"),
    paths=(SHARED_PREFIX, SHARED_VISION, BATCHED),
    assemble=own_processor,
    limit_pixels=limit_pixels,
)
