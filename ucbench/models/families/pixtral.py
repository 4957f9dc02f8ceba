"""Pixtral and Mistral 3: pictures of any size, a token a patch, row ends and the picture's end marked."""

from __future__ import annotations

from typing import Any

from ucbench.errors import UnknownNameError
from ucbench.models.families.base import BATCHED, SHARED_PREFIX, SHARED_VISION, Family, edge


def own_processor(name: str) -> type | None:
    """The processor class of transformers cannot be imported without torchvision; this one does its work."""
    if name != "PixtralProcessor":
        return None
    from transformers import ProcessorMixin

    class PixtralProcessor(ProcessorMixin):  # type: ignore[misc]  # transformers is not typed
        """Pictures through Pixtral's PIL image processor; text by the rules of Mistral's tokenizer."""

        def __init__(
            self,
            image_processor: Any = None,
            tokenizer: Any = None,
            patch_size: int = 16,
            spatial_merge_size: int = 1,
            chat_template: str | None = None,
            image_token: str = "[IMG]",
            image_break_token: str = "[IMG_BREAK]",
            image_end_token: str = "[IMG_END]",
            **_: Any,
        ) -> None:
            super().__init__(image_processor, tokenizer, chat_template=chat_template)
            self.image_token = image_token
            self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)
            self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
            self.image_break_token, self.image_end_token = image_break_token, image_end_token

        @property
        def _side(self) -> int:
            """Pixels to a token, each way."""
            return self.patch_size * self.spatial_merge_size

        def _process_images(self, images: Any, **options: Any) -> Any:
            return super()._process_images(images, **{**options, "patch_size": self._side})

        def replace_image_token(self, image_inputs: Any, image_idx: int, **_: Any) -> str:
            """What stands for a picture: its rows of tokens."""
            height, width = (int(pixels) // self._side for pixels in image_inputs["image_sizes"][image_idx])
            if self.spatial_merge_size > 1 and height * width == 1:
                # Mistral 3 of transformers drops the token's axis, unless others share the batch.
                raise ValueError(f"it is a single token; take one wider or higher than {self._side} pixels")
            row = self.image_token * width
            return self.image_break_token.join([row] * height) + self.image_end_token

        @property
        def model_input_names(self) -> list[str]:
            return [*super().model_input_names, "image_sizes"]

    return PixtralProcessor


def limit_longest_edge(processor: Any, pixels: int) -> None:
    """Longest edge such that no picture has more pixels. Raises `UnknownNameError` for a fixed size."""
    size = processor.image_processor.size
    if "longest_edge" not in size:
        raise UnknownNameError("the model's pictures all have one size; leave --max-pixels out")
    processor.image_processor.size = {"longest_edge": min(int(size["longest_edge"]), edge(pixels))}


MISTRAL3 = Family(
    name="mistral3",
    model_types=("mistral3",),
    paths=(SHARED_PREFIX, SHARED_VISION, BATCHED),
    assemble=own_processor,
    limit_pixels=limit_longest_edge,
)
